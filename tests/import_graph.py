"""Imports read from source: what imports what, folded into units, layers and cycles.

Imports inside functions, under ``TYPE_CHECKING`` and by ``import_module`` with a literal name all count.
``python -m tests.import_graph [CHECKOUT]`` prints units, edges, layers and cycles.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cluster", "rollout", "learner", "evaluation")
DIVIDED = ("cluster", "rollout")
"""Packages whose children are units of their own; each other package is one unit."""

IMPORT_STRING = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+:\w+")
IMPORT_FUNCTIONS = ("import_module", "__import__")

Edges = dict[str, set[str]]
"""Names by the name that imports them."""


@dataclass(frozen=True)
class Import:
    """A module that a file imports.

    Attributes:
        at_start: importing the file imports the module too.
        by_string: named by a string such as ``"package.module:Name"``, which is resolved at run time.
    """

    path: str
    line: int
    module: str
    at_start: bool = True
    by_string: bool = False

    @property
    def importer(self) -> str:
        return module_name(self.path)

    @property
    def top(self) -> str:
        return self.module.split(".")[0]

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def module_name(path: str) -> str:
    """The dotted name of a file; a package's ``__init__.py`` keeps that last part."""
    return path.removesuffix(".py").replace("/", ".")


def sources(root: Path, *folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def walk(node: ast.AST, at_start: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, with whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(child)
        child_at_start = at_start and not deferred
        yield child, child_at_start
        yield from walk(child, child_at_start)


def imported_names(node: ast.AST, path: str) -> list[str]:
    """Absolute names that a statement imports; ``from a import b`` gives ``a.b``, which may be a module or not."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = path.removesuffix(".py").split("/")[: -node.level] if node.level else []
        base = [*above, *([node.module] if node.module else [])]
        return [".".join([*base, alias.name]) for alias in node.names]
    if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in IMPORT_FUNCTIONS:
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return []


def imports_of(text: str, path: str) -> list[Import]:
    """All imports of one file, import strings included."""
    found = []
    for node, at_start in walk(ast.parse(text), True):
        line = getattr(node, "lineno", 0)
        found += [Import(path, line, name, at_start) for name in imported_names(node, path)]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and IMPORT_STRING.fullmatch(node.value):
            found.append(Import(path, line, node.value.replace(":", "."), at_start=False, by_string=True))
    return found


@cache
def all_imports(root: Path = ROOT) -> list[Import]:
    """The imports of the four packages."""
    return [
        item
        for path in sources(root, *PACKAGES)
        for item in imports_of(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix())
    ]


def module_edges(imports: Iterable[Import], modules: Iterable[str]) -> Edges:
    """Which of ``modules`` import which others of them. A package stands for its ``__init__``."""
    known = set(modules)
    edges: Edges = {name: set() for name in known}
    for item in imports:
        target = item.module
        while target and target not in known and f"{target}.__init__" not in known:
            target = target.rpartition(".")[0]
        target = target if target in known else f"{target}.__init__"
        if target in known and item.importer in known and target != item.importer and not item.by_string:
            edges[item.importer].add(target)
    return edges


def fold(edges: Mapping[str, set[str]], name_of: Callable[[str], str | None]) -> Edges:
    """The edges between groups of modules; a module whose group is None is left out."""
    folded: Edges = {}
    for name, targets in edges.items():
        group = name_of(name)
        if group is not None:
            groups = {name_of(target) for target in targets} - {None, group}
            folded.setdefault(group, set()).update(other for other in groups if other is not None)
    return folded


def unit(module: str) -> str:
    """The unit that holds a module: a direct child of a divided package, otherwise the package."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in DIVIDED else parts[0]


def child(folder: str, module: str) -> str | None:
    """The direct child of ``folder`` (empty: the root) that holds ``module``; None if it is elsewhere."""
    if folder and not module.startswith(f"{folder}."):
        return None
    prefix = f"{folder}." if folder else ""
    return prefix + module.removeprefix(prefix).split(".")[0]


def cycles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of names of which each reaches all others of its group."""
    reach = {name: reachable(edges, name) for name in edges}
    found = {tuple(sorted(other for other in reach[name] if name in reach.get(other, ()))) for name in edges}
    return sorted(list(group) for group in found if group)


def reachable(edges: Mapping[str, set[str]], start: str) -> set[str]:
    """All names that follow ``start``, and itself only if it lies on a cycle."""
    found: set[str] = set()
    waiting = list(edges.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += edges.get(name, ())
    return found


def folder_cycles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Cycles between the direct children (files and folders) of every folder, top to bottom."""
    folders = {""}
    for module in edges:
        parts = module.split(".")
        folders |= {".".join(parts[:depth]) for depth in range(1, len(parts))}
    return [
        group
        for folder in sorted(folders)
        for group in cycles(fold(edges, lambda module, folder=folder: child(folder, module)))  # type: ignore[misc]
    ]


def layers(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Names by the length of their longest chain of imports; edges inside a cycle do not count."""
    left = {name: {other for other in edges[name] if name not in reachable(edges, other)} for name in edges}
    result = []
    while left:
        result.append(sorted(name for name, targets in left.items() if not targets & left.keys()))
        left = {name: targets for name, targets in left.items() if name not in result[-1]}
    return result


def describe(root: Path) -> list[str]:
    """Lines with the units of a checkout, the edges between them, their layers and all cycles."""
    modules = [module_name(path.relative_to(root).as_posix()) for path in sources(root, *PACKAGES)]
    edges = module_edges(all_imports(root), modules)
    units = {name: targets for name, targets in fold(edges, unit).items() if not name.endswith(".__init__")}
    between = sum(len(targets & units.keys()) for targets in units.values())
    rows = layers(units)
    lines = [f"{len(modules)} modules, {sum(map(len, edges.values()))} edges"]
    lines += [f"{len(units)} units, {between} edges, {len(rows)} layers"]
    lines += [f"{number:3}  {', '.join(row)}" for number, row in enumerate(rows, 1)]
    lines += [f"{len(folder_cycles(edges))} cycles"]
    return lines + [f"     {' <-> '.join(group)}" for group in folder_cycles(edges)]


if __name__ == "__main__":
    print("\n".join(describe(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)))
