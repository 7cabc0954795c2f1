"""Who may import whom, what stays out of start-up, how large files and folders may grow.

Read from the source, so an import inside a function counts. ``python -m tests.import_graph`` prints the graph.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch

import pytest

from tests.import_graph import (
    PACKAGES,
    ROOT,
    Import,
    all_imports,
    child,
    folder_cycles,
    imports_of,
    layers,
    module_edges,
    module_name,
    sources,
    unit,
)

Rows = Sequence[Sequence[str]]

ORDER: Rows = (
    (
        *("rollout.child_process", "rollout.concurrency", "rollout.errors", "rollout.frozen_model", "rollout.grammar"),
        *("rollout.messages", "rollout.scripted_policy"),
    ),
    ("rollout.storage", "rollout.extensions"),
    ("rollout.trajectory", "rollout.models", "rollout.environment"),
    ("rollout.engine", "rollout.tools", "learner", "evaluation"),
    ("rollout.prompts",),
    ("rollout.episode", "rollout.hints"),
    ("rollout.environments",),
    ("rollout.engines",),
    ("rollout.factory",),
    ("cluster.config",),
    ("cluster.run",),
    ("cluster.runtime",),
    ("cluster.driver", "cluster.dry_run"),
    ("cluster.study", "cluster.bench"),
    ("cluster.commands",),
    ("cluster.cli",),
)
"""Low to high: a unit imports from rows above its own in this table and from no other, not even its neighbors."""

INSIDE: Mapping[str, Rows] = {
    "rollout.trajectory": (("record",), ("arrow", "turns"), ("store",)),
    "rollout.tools": (("retrieval", "sandbox"),),
    "rollout.prompts": (("tokenizer", "style"), ("act", "codeact", "cot", "react", "stateact"), ("styles",)),
    "rollout.episode": (("acting", "constrained", "guidance", "self_test"), ("config",), ("episode",), ("runner",)),
    "rollout.hints": (("config", "wording"), ("bank",), ("rules", "retrieve"), ("writer",)),
    "rollout.environments": (
        ("data_sets", "generated", "wrappers"),
        ("household", "hotpotqa", "math", "webshop"),
        ("conformance", "make_tokenizer"),
    ),
    "rollout.engines": (
        ("endpoint",),
        ("openai_engine", "scripted", "transformers_engine", "vllm_engine"),
        ("config",),
    ),
    "learner": [[name] for name in "distributed terms config data losses checkpoints strategies fit".split()],
    "evaluation": (("records", "tables"), ("metrics",), ("report", "seeds")),
    "cluster.config": (("errors", "settings"), ("collect", "environments"), ("recipe",), ("load",)),
}
"""The same for the main files and folders inside a folder. What is not listed must only be free of cycles."""

MAY_IMPORT: Mapping[str, Sequence[str]] = {
    "rollout": ("rollout",),
    "learner": (
        "learner",
        "rollout.trajectory",
        "rollout.storage",
        "rollout.models",
        "rollout.errors",
        "rollout.extensions",
        "rollout.frozen_model",
        "rollout.messages",
    ),
    "evaluation": ("evaluation", "rollout"),
    "cluster": PACKAGES,
}
"""What a package sees of the project, however low the rest stands in the order."""

EVERYWHERE = {"numpy", "pyarrow", "pydantic", "pydantic_core", "rapidfuzz", "rich", "typer", "yaml"}
"""Packages from elsewhere that any file may import."""

ADAPTERS: Mapping[str, Sequence[str]] = {
    "alfworld": ("rollout/environments/household/alfworld_child.py",),
    "bm25s": ("rollout/tools/retrieval/lexical.py",),
    "datasets": ("cluster/bench/learner/trl_peers.py",),
    "deepspeed": ("learner/strategies/deepspeed_trainer.py", "learner/strategies/sharding.py"),
    "filelock": ("rollout/storage/locks.py",),
    "faiss": ("rollout/tools/retrieval/dense.py",),
    "grpc": ("cluster/runtime/address.py",),
    "httpx": ("cluster/runtime/ray_jobs.py", "rollout/engines/endpoint/client.py"),
    "jinja2": ("evaluation/html.py",),
    "huggingface_hub": ("learner/weight_files.py", "rollout/models/hub.py"),
    "llguidance": ("rollout/engines/transformers_engine.py",),
    "math_verify": ("rollout/environments/math/grading/verify_child.py",),
    "peft": ("learner/model.py",),
    "psutil": ("cluster/bench/webshop.py", "rollout/environments/hosts/*", "rollout/environments/math/grading/*"),
    "ray": ("cluster/runtime/*",),
    "regex": ("rollout/environments/webshop/search/analysis.py",),
    "safetensors": ("learner/checkpoints/tensor_files.py", "learner/weight_files.py"),
    "sentence_transformers": ("rollout/tools/retrieval/dense.py",),
    "stillhouse_cli": ("cluster/__init__.py",),  # ours: the check at start-up, which imports none of the four packages
    "textworld": ("rollout/environments/household/alfworld_child.py",),
    "tokenizers": ("cluster/bench/learner/*", "rollout/environments/make_tokenizer.py", "rollout/prompts/tokenizer.py"),
    "torch": (
        "learner/*",
        "rollout/engines/transformers_engine.py",
        "rollout/engines/vllm_worker.py",
        "rollout/models/smollm2.py",
        "cluster/bench/learner/*",
        "cluster/runtime/train_learner.py",
    ),
    "transformers": (
        "cluster/bench/learner/*",
        "learner/check_student.py",
        "learner/checkpoints/handover.py",
        "learner/model.py",
        "learner/packing.py",
        "learner/weight_files.py",
        "learner/widen.py",
        "rollout/engines/transformers_engine.py",
        "rollout/models/smollm2.py",
        "rollout/prompts/tokenizer.py",
    ),
    "trl": ("cluster/bench/learner/trl_peers.py",),
    "vllm": ("rollout/engines/vllm_engine.py",),
}
"""Files that may import each other package from elsewhere; a package that is in neither table is refused."""

LIGHT = {"filelock", "jinja2", "psutil", "regex", "stillhouse_cli"}
"""Adapted packages that may be imported when the adapter is; all others only at call time."""

HEAVY = ("learner/*", "cluster/runtime/ray_backend.py", "cluster/runtime/ray_train.py", "cluster/bench/learner/*")
"""Files that nothing imports at start-up, so that their torch or Ray may stand at the top."""

PUBLIC: Mapping[str, Sequence[str]] = {
    "rollout.environment": ("Environment", "Reset", "Step", "Task", "TaskSource", "fork_of"),
    "rollout.engine": ("Completion", "Engine", "Sampling"),
    "rollout.trajectory": (
        *("SCHEMA_VERSION", "Author", "Counts", "Failure", "Identity", "Key", "Kind", "Outcome", "Policy", "Segment"),
        *("StopReason", "Times", "TopK", "Trajectory", "float32s"),
    ),
}
"""Paths that other people's environments and engines import."""

MAX_FILES, MAX_FILE_LINES, MAX_FUNCTION_LINES = 20, 400, 60


def row_of(name: str, rows: Rows) -> int | None:
    return next((number for number, row in enumerate(rows) if name in row), None)


def is_below(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}.")


def against_order(item: Import) -> bool:
    """The import leads from one unit to another that is not in a lower row, or that the importer may not see."""
    source, target = unit(item.importer), unit(item.module)
    if source == target or item.top not in PACKAGES or item.module in PACKAGES or target.endswith(".__init__"):
        return False
    low, high = row_of(target, ORDER), row_of(source, ORDER)
    unseen = not any(is_below(item.module, name) for name in MAY_IMPORT[source.split(".")[0]])
    return low is None or high is None or low >= high or unseen


def against_inner_order(item: Import) -> bool:
    """The import leads upward or sideways between two listed children of one folder."""
    for folder, rows in INSIDE.items():
        source, target = child(folder, item.importer), child(folder, item.module)
        if source and target and source != target and not item.by_string:
            low, high = (row_of(name.removeprefix(f"{folder}."), rows) for name in (target, source))
            if low is not None and high is not None and low >= high:
                return True
    return False


def against_adapters(item: Import) -> bool:
    """A package from elsewhere is imported by a file that does not adapt it, or too early."""
    if item.top in (*PACKAGES, *sys.stdlib_module_names, *EVERYWHERE):
        return False
    if not any(fnmatch(item.path, pattern) for pattern in ADAPTERS.get(item.top, ())):
        return True
    return item.at_start and item.top not in LIGHT and not any(fnmatch(item.path, name) for name in HEAVY)


def violations(imports: Sequence[Import]) -> list[str]:
    rules = (against_order, against_inner_order, against_adapters)
    return sorted({str(item) for item in imports if any(rule(item) for rule in rules)})


def cycles_among(files: Mapping[str, str]) -> list[list[str]]:
    """The cycles between files given by path and text."""
    imports = [item for path, text in files.items() for item in imports_of(text, path)]
    return folder_cycles(module_edges(imports, [module_name(path) for path in files]))


def python_files() -> dict[str, str]:
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sources(ROOT, *PACKAGES)}


def test_imports_follow_the_tables() -> None:
    assert violations(all_imports()) == []


def test_files_and_folders_import_each_other_without_cycles() -> None:
    assert folder_cycles(module_edges(all_imports(), map(module_name, python_files()))) == []


def test_every_file_and_folder_has_a_place_in_the_order() -> None:
    units = {unit(module_name(path)) for path in python_files()}
    assert {name for name in units if not name.endswith(".__init__")} == {name for row in ORDER for name in row}


def test_the_inner_orders_and_the_adapters_name_what_exists() -> None:
    """A renamed file takes its rule along."""
    listed = [f"{folder}.{name}" for folder, rows in INSIDE.items() for row in rows for name in row]
    gone = [name for name in listed if not list(ROOT.glob(f"{name.replace('.', '/')}*"))]
    imports = all_imports()
    unused = [
        f"{package}: {pattern}"
        for package, patterns in ADAPTERS.items()
        for pattern in patterns
        if not any(item.top == package and fnmatch(item.path, pattern) for item in imports)
    ]
    assert (gone, unused) == ([], [])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        # against the order, wherever the import stands
        ("rollout/episode/episode.py", "from learner import fit"),
        ("rollout/grammar.py", "from rollout.trajectory import Kind"),
        ("rollout/hints/bank.py", "def f():\n    from rollout.episode.config import AgentConfig"),
        ("rollout/prompts/act.py", "if TYPE_CHECKING:\n    from rollout.environments.household.game import Game"),
        ("rollout/hints/rules.py", "RULES = 'rollout.environments.household.hint_rules:RULES'"),
        ("evaluation/metrics.py", "from ..cluster import driver"),
        ("evaluation/metrics.py", "from learner.config import LearnerConfig"),
        ("evaluation/metrics.py", "importlib.import_module('cluster.driver')"),
        ("cluster/run/plan.py", "from cluster.driver import run"),
        ("cluster/dry_run/tasks.py", "def f():\n    import cluster.driver"),
        ("cluster/newcomer.py", "import rollout.errors"),
        ("rollout/factory.py", "import cluster.newcomer"),
        # what the learner may not see
        ("learner/fit.py", "from rollout import grammar"),
        ("learner/fit.py", "from rollout.environment import Task"),
        # against the order inside a folder
        ("rollout/trajectory/record.py", "from rollout.trajectory.store import TrajectoryStore"),
        ("rollout/trajectory/record.py", "def f():\n    from .store import TrajectoryStore"),
        ("rollout/environments/webshop/pages.py", "from rollout.environments.household.text import name"),
        ("rollout/tools/sandbox/tools.py", "from rollout.tools import retrieval"),
        ("learner/losses/uld.py", "from learner.fit import fit"),
        # packages from elsewhere
        ("rollout/episode/episode.py", "def f():\n    import ray"),
        ("rollout/episode/episode.py", "def f():\n    import torch"),
        ("rollout/episode/episode.py", "def f():\n    import torch.nn"),
        ("rollout/episode/episode.py", "if TYPE_CHECKING:\n    from transformers import PreTrainedModel"),
        ("rollout/engines/vllm_engine.py", "import vllm"),
        ("rollout/engines/vllm_engine.py", "try:\n    import vllm\nexcept ImportError:\n    pass"),
        ("rollout/engines/openai_engine.py", "def f():\n    import httpx"),
        ("learner/fit.py", "class A:\n    import ray.train"),
        ("learner/fit.py", "def f():\n    import vllm"),
        ("cluster/driver.py", "def f():\n    import ray"),
        ("cluster/runtime/resources.py", "import ray"),
        ("evaluation/metrics.py", "def f():\n    from torch import nn"),
        ("evaluation/metrics.py", "importlib.import_module('torch.nn')"),
        ("evaluation/report.py", "import pandas"),
    ],
)
def test_the_tables_catch_what_they_forbid(path: str, text: str) -> None:
    assert violations(imports_of(text, path))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("rollout/engines/vllm_engine.py", "def f():\n    import vllm"),
        ("rollout/engines/vllm_engine.py", "if TYPE_CHECKING:\n    import vllm"),
        ("evaluation/html.py", "import jinja2, json"),
        ("rollout/factory.py", "from rollout.engines.scripted import ScriptedConfig"),
        ("learner/fit.py", "import torch\nfrom rollout.trajectory import Kind"),
        ("learner/fit.py", "from learner.strategies import torch_trainer"),
        ("evaluation/report.py", "from .metrics import METRICS"),
        ("cluster/runtime/train_learner.py", "def f():\n    import ray\nfrom learner.fit import fit"),
        ("cluster/cli.py", "text = 'learner.model'"),
    ],
)
def test_the_tables_let_pass_what_they_allow(path: str, text: str) -> None:
    assert violations(imports_of(text, path)) == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"learner/a.py": "import learner.b", "learner/b.py": "def f():\n    from learner import a"}, "learner.a"),
        ({"learner/a.py": "from .b import x", "learner/b.py": "if TYPE_CHECKING:\n    from .a import A"}, "learner.a"),
        (
            {
                "learner/one/a.py": "import learner.two.b",
                "learner/two/b.py": "",
                "learner/two/c.py": "from learner.one import d",
                "learner/one/d.py": "",
            },
            "learner.one",
        ),
        (
            {"learner/a.py": "import learner.b.c", "learner/b/c.py": "", "learner/b/d.py": "from .. import a"},
            "learner.a",
        ),
        (
            {"rollout/a.py": "import evaluation.b", "evaluation/b.py": "", "evaluation/c.py": "import rollout.a"},
            "rollout",
        ),
        ({"learner/p/__init__.py": "from .a import x", "learner/p/a.py": "from learner.p import x"}, "learner.p.a"),
    ],
    ids=["in-a-function", "for-type-checking", "folders", "file-and-folder", "packages", "own-package"],
)
def test_a_cycle_is_found(files: dict[str, str], found: str) -> None:
    assert [group for group in cycles_among(files) if found in group]


def test_a_chain_is_no_cycle_and_gives_its_layers() -> None:
    files = {"learner/a.py": "", "learner/b.py": "from learner import a", "learner/c.py": "import learner.a, learner.b"}
    assert cycles_among(files) == []
    edges = module_edges(
        [item for path, text in files.items() for item in imports_of(text, path)], map(module_name, files)
    )
    assert layers(edges) == [["learner.a"], ["learner.b"], ["learner.c"]]


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules that an import loads in a process of its own."""
    code = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(("module", "also"), [("cluster.cli", {"numpy", "pyarrow"}), ("cluster.config.recipe", set())])
def test_commands_and_recipes_start_without_heavy_packages(module: str, also: set[str]) -> None:
    loaded = loaded_by(f"import {module}")
    assert "cluster" in loaded
    assert not loaded & {*ADAPTERS.keys() - LIGHT, "pandas", "scipy", *also}


def test_paths_that_third_parties_import_give_their_names() -> None:
    missing = [
        f"{path}.{name}"
        for path, names in PUBLIC.items()
        for name in names
        if not hasattr(importlib.import_module(path), name)
    ]
    assert missing == []


def test_the_repository_has_these_folders_and_no_more() -> None:
    listing = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if listing.returncode or not listing.stdout:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in listing.stdout.splitlines() if "/" in line}
    assert {name for name in folders if not name.startswith(".")} <= {*PACKAGES, "tests", "docs", "requirements"}


def test_folders_stay_small() -> None:
    folders = {path.parent for path in sources(ROOT, *PACKAGES)}
    sizes = {folder.relative_to(ROOT).as_posix(): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: size for folder, size in sizes.items() if size > MAX_FILES} == {}


def test_files_stay_small() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(ROOT, *PACKAGES, "tests")}
    assert {path: size for path, size in sizes.items() if size > MAX_FILE_LINES} == {}


def test_functions_stay_small() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sources(ROOT, *PACKAGES, "tests")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert long == []
