"""A run's folder: where everything lies, who may write to it, and which recipe it belongs to.

    RUN_DIR/
      recipe.yaml  manifest.json      the resolved recipe; versions, seeds, split digests, git revision, commands
      plan.json                       the steps of the run, with the keys of their episodes
      trajectories/<role>/round=NNN/  Parquet shards
      checkpoints/round=NNN/          model folders
      evaluation/<agent>/             Parquet shards
      metrics.jsonl  report.json  report.md  report.html
      logs/                           what Ray and the engines say

One driver at a time holds the folder (an advisory lock that dies with its process, so a killed driver leaves none).
"""

from __future__ import annotations

import errno
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import yaml

from cluster.config.recipe import Recipe
from cluster.run.provenance import git_revision, hardware, versions
from rollout.environment import Task
from rollout.errors import UserError
from rollout.storage.atomic import atomic_write_text
from rollout.storage.locks import LockHeldError, lock_file

MOVABLE_KEYS = frozenset({"description", "workers", "concurrency", "replicas", "resources", "failures"})
"""Settings that say where a run runs and how it survives failures, not what it computes: they may differ when a run is
resumed."""
MOVABLE_PATHS = frozenset(
    {
        *(f"{role}.engine.{key}" for role in ("teacher", "student") for key in ("timeout_s", "max_retries")),
        *(f"retrieval.client.{key}" for key in ("timeout_s", "retries", "retry_wait_s")),
    }
)
"""The same for timeouts and retries of requests. ``agent.time_limit_s`` and ``agent.step_timeout_s`` are not among them
because they decide how an episode ends."""

FULL = {
    errno.ENOSPC: "there is no space left on the disk of {where}; free some and start the same command again.",
    errno.EDQUOT: "the disk quota of {where} is used up; free some space and start the same command again.",
}
FORBIDDEN = {
    code: "{where} cannot be written (" + reason + "); choose another folder with --run-dir."
    for code, reason in {
        errno.EACCES: "permission denied",
        errno.EPERM: "not permitted",
        errno.EROFS: "read-only file system",
        errno.ENOTDIR: "a part of the path is a file",
        errno.EEXIST: "it is a file",
    }.items()
}


class RunDirectory:
    """An open run folder. Use it as a context manager from `open_run`, or `look` at one without the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics: TextIO | None = None

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def manifest_file(self) -> Path:
        return self.path / "manifest.json"

    @property
    def plan_file(self) -> Path:
        """The steps of the run."""
        return self.path / "plan.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def logs(self) -> Path:
        """Folder for what Ray and the engines write."""
        return self.path / "logs"

    def trajectories(self, role: str, round: int) -> str:
        """Where the store of one role's episodes of one round is."""
        return str(self.path / "trajectories" / role / f"round={round:03d}")

    def evaluation(self, agent: str) -> str:
        """Where the store of one agent's evaluation episodes is."""
        return str(self.path / "evaluation" / agent)

    @property
    def hint_bank(self) -> Path:
        """The hints of the run, made or given."""
        return self.path / "hints.parquet"

    def checkpoint(self, round: int) -> Path:
        """The model folder that training in ``round`` ends in."""
        return self.path / "checkpoints" / f"round={round:03d}"

    def stores(self) -> dict[tuple[str, int | None], str]:
        """All stores that exist: (role, round) of what was collected, (agent, None) of evaluations."""
        found: dict[tuple[str, int | None], str] = {}
        for folder in sorted(self.path.glob("trajectories/*/round=*")):
            found[folder.parent.name, int(folder.name.partition("=")[2])] = str(folder)
        for folder in sorted(self.path.glob("evaluation/*")):
            if folder.is_dir():
                found[folder.name, None] = str(folder)
        return found

    def manifest(self) -> dict[str, Any]:
        """What is known about where the run came from."""
        if not self.manifest_file.is_file():
            return {}
        return dict(json.loads(self.manifest_file.read_text(encoding="utf-8")))

    def add_to_manifest(self, entries: Mapping[str, Any]) -> None:
        """Merge entries into manifest.json; an entry that is a mapping is merged key by key."""
        manifest = self.manifest()
        for key, value in entries.items():
            before = manifest.get(key)
            manifest[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, Mapping) else value
        atomic_write_text(self.manifest_file, json.dumps(manifest, indent=2, sort_keys=True, default=str) + "\n")

    def record_split(self, split: str, tasks: Sequence[Task]) -> None:
        """Write down a digest of the tasks taken from ``split``, so that two runs can be seen to share them."""
        entry = {"tasks": len(tasks), "sha256": digest_tasks(tasks)}
        self.add_to_manifest({"splits": {split: entry}})

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl, stamped with the time; on disk when this returns."""
        if self._metrics is None:
            end_torn_line(self.metrics_file)
            self._metrics = self.metrics_file.open("a", buffering=1, encoding="utf-8")
        self._metrics.write(json.dumps({"time_unix_s": round(time.time(), 3), **metrics}, default=str) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl; a line cut short by a kill is left out."""
        if not self.metrics_file.is_file():
            return []
        rows = []
        for line in self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return [row for row in rows if isinstance(row, dict)]

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None


def default_run_directory(recipe: Recipe) -> Path:
    """``runs/<recipe>-<local time>`` below the current folder."""
    return Path("runs") / f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"


@contextmanager
def open_run(path: str | Path, recipe: Recipe, command: Sequence[str] = ()) -> Iterator[RunDirectory]:
    """Create a run folder, or take up the one that is there, and hold it until the block ends.

    Raises:
        UserError: another driver holds it, it belongs to another recipe, or it cannot be written.
    """
    folder = Path(path).expanduser().absolute()
    run = RunDirectory(folder)
    with ExitStack() as stack:
        stack.enter_context(plain_os_errors(FULL, folder))
        with plain_os_errors(FORBIDDEN, folder):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock(folder))
            claim(run, recipe, command)
        stack.callback(run.close)
        yield run


def look(path: str | Path) -> RunDirectory:
    """An existing run folder, to read; also while a driver works in it. Raises `UserError` if it is none."""
    folder = Path(path).expanduser().absolute()
    run = RunDirectory(folder)
    if not run.recipe_file.is_file():
        reason = "has no recipe.yaml" if folder.is_dir() else "does not exist"
        raise UserError(f"{folder} is not a run directory (it {reason}); give the folder that a run printed last.")
    return run


def claim(run: RunDirectory, recipe: Recipe, command: Sequence[str]) -> None:
    """Check that the folder is this recipe's (or new), and write down recipe, versions and command."""
    if run.recipe_file.is_file():
        refuse_other_recipe(run, recipe)
    elif foreign := sorted(p.name for p in run.path.iterdir() if not p.name.startswith(".")):
        raise UserError(f"{run.path} holds {foreign[0]} but no recipe.yaml; give --run-dir a new or empty folder.")
    run.logs.mkdir(exist_ok=True)
    atomic_write_text(run.recipe_file, recipe_yaml(recipe))
    commands = [*run.manifest().get("commands", []), {"started": _now(), "argv": list(command)}]
    run.add_to_manifest(
        {
            "recipe": recipe.name,
            "seeds": [recipe.seed],
            "versions": versions(),
            "hardware": hardware(),
            "git_revision": git_revision(Path(__file__).parent),
            "commands": commands,
        }
    )


def refuse_other_recipe(run: RunDirectory, recipe: Recipe) -> None:
    """Raise `UserError` if the folder was made with a recipe that computes something else."""
    saved = yaml.safe_load(run.recipe_file.read_text(encoding="utf-8"))
    changed = differing_keys(saved, yaml.safe_load(recipe_yaml(recipe)))
    if changed:
        named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        raise UserError(
            f"{run.path} was made with another recipe (it differs in {named}); take a new --run-dir, "
            f"or go on with the old recipe: stillhouse run {run.recipe_file} --run-dir {run.path}"
        )


def differing_keys(a: object, b: object, prefix: str = "") -> list[str]:
    """Paths of the settings in which two recipes differ, but for those that do not change a result."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [] if a == b else [prefix]
    paths: list[str] = []
    for key in [*b, *(k for k in a if k not in b)]:
        path = f"{prefix}.{key}" if prefix else str(key)
        if key not in MOVABLE_KEYS and path not in MOVABLE_PATHS:
            paths += differing_keys(a.get(key), b.get(key), path)
    return paths


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every setting written out; `load_recipe` reads it back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the folder alone. Raises `UserError` if another live process holds it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_file(folder / ".lock"))
        except LockHeldError as error:
            raise UserError(
                f"another driver (process {error.holder}) works in {folder}; wait for it, stop it, or take another "
                "--run-dir."
            ) from None
        yield


@contextmanager
def plain_os_errors(sentences: Mapping[int, str], folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals (by ``errno``) into one sentence."""
    try:
        yield
    except OSError as error:
        sentence = sentences.get(error.errno or 0)
        if sentence is None:
            raise
        raise UserError(sentence.format(where=error.filename or folder)) from error


def end_torn_line(path: Path) -> None:
    """Start a new line if a killed process left its last one unfinished."""
    if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")


def digest_tasks(tasks: Sequence[Task]) -> str:
    """SHA-256 over ids and payloads of tasks, in order."""
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(json.dumps([task.id, dict(task.payload)], sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
