"""The folder of a run: its layout, its lock, and the check that it belongs to a recipe.

    RUN_DIR/
      recipe.yaml  manifest.json      the resolved recipe; versions, seeds, split digests, git revision, commands
      plan.json                       the steps of the run, with the keys of their episodes
      trajectories/<role>/round=NNN/  Parquet shards
      checkpoints/round=NNN/          model folders; .round=NNN.resume while they are trained; .round=NNN.state until
                                      the next round is trained; round=NNN.bad-steps if steps were skipped
      evaluation/<agent>/             Parquet shards
      metrics.jsonl  report.json  report.md  report.html
      logs/                           output of Ray and the engines

One driver at a time holds the lock of the folder. The lock is advisory and ends with the process that holds it, so a
killed driver leaves none behind.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import yaml

from cluster.config.load import check_recipe
from cluster.config.recipe import Recipe
from cluster.config.settings import dump_yaml, read_settings
from cluster.run.claim import LOCK_NAME, LOGS_NAME, clear, given_back, has_results, made_folder, run_folder
from cluster.run.provenance import git_revision, hardware, versions
from learner.checkpoints.folders import resume_folder
from rollout.environment import Task
from rollout.errors import UserError
from rollout.messages import one_line
from rollout.storage.atomic import atomic_write_text
from rollout.storage.locks import LockHeldError, lock_file

MUTABLE_KEYS = frozenset({"description", "workers", "concurrency", "replicas", "resources", "failures"})
"""Settings that may differ when a run is resumed: they decide where it runs and how it handles failures, not what it
computes."""
MUTABLE_PATHS = frozenset(
    {
        *(f"{role}.engine.{key}" for role in ("teacher", "student") for key in ("timeout_s", "max_retries")),
        *(f"retrieval.client.{key}" for key in ("timeout_s", "retries", "retry_wait_s")),
        *(f"learner.{key}" for key in ("checkpoint_every_s", "keep_checkpoints", "max_bad_steps")),
    }
)
"""The same for timeouts and retries of requests, and for the learner's intermediate checkpoints. ``agent.time_limit_s``
and ``agent.step_timeout_s`` are not among them, because they decide how an episode ends."""

DISK_FULL = {
    errno.ENOSPC: "there is no space left on the disk of {where}; free some and start the same command again.",
    errno.EDQUOT: "the disk quota of {where} is exceeded; free some space and start the same command again.",
}
REASONS = {
    errno.EROFS: "it is on a read-only file system",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "it is a file",
    errno.ENOENT: "no folder can be made there",
}
"""Clearer than what the system says."""


class RunDirectory:
    """The folder of a run. `open_run` locks it for a driver; `open_read_only` opens it without the lock."""

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
        """Folder for the output of Ray and the engines."""
        return self.path / LOGS_NAME

    def trajectories(self, role: str, round: int) -> str:
        """Path of the store with the episodes that one role collects in one round."""
        return str(self.path / "trajectories" / role / f"round={round:03d}")

    def evaluation(self, agent: str) -> str:
        """Path of the store with the evaluation episodes of one agent."""
        return str(self.path / "evaluation" / agent)

    @property
    def hint_bank(self) -> Path:
        """File of the run's hint bank."""
        return self.path / "hints.parquet"

    def checkpoint(self, round: int) -> Path:
        """Model folder that the training of ``round`` writes."""
        return self.path / "checkpoints" / f"round={round:03d}"

    def training_state(self, round: int) -> Path:
        """Folder of the weights in float32 and the optimizer's state that ``round`` leaves to the next one."""
        return self.path / "checkpoints" / f".round={round:03d}.state"

    def remove_training_states(self, before: int) -> None:
        """Delete the states of the rounds before a round, which is trained, and what a killed learner left of them."""
        for round in range(before):
            for folder in (self.training_state(round), resume_folder(self.checkpoint(round))):
                shutil.rmtree(folder, ignore_errors=True)

    def stores(self) -> dict[tuple[str, int | None], str]:
        """Paths of all existing stores by (role, round) for collected episodes and (agent, None) for evaluations."""
        found: dict[tuple[str, int | None], str] = {}
        for folder in sorted(self.path.glob("trajectories/*/round=*")):
            found[folder.parent.name, int(folder.name.partition("=")[2])] = str(folder)
        for folder in sorted(self.path.glob("evaluation/*")):
            if folder.is_dir():
                found[folder.name, None] = str(folder)
        return found

    def manifest(self) -> dict[str, Any]:
        """Contents of manifest.json (recipe, versions, hardware, commands); empty if there is none.

        Raises:
            UserError: it is damaged.
        """
        if not self.manifest_file.is_file():
            return {}
        try:
            return {**json.loads(self.manifest_file.read_text(encoding="utf-8"))}
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{self.manifest_file} is no JSON object ({one_line(error)}); delete it, and `stillhouse run` writes "
                "another."
            ) from error

    def add_to_manifest(self, entries: Mapping[str, Any]) -> None:
        """Merge entries into manifest.json; an entry that is a mapping is merged key by key."""
        manifest = self.manifest()
        for key, value in entries.items():
            before = manifest.get(key)
            manifest[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, Mapping) else value
        atomic_write_text(self.manifest_file, json.dumps(manifest, indent=2, sort_keys=True, default=str) + "\n")

    def record_split(self, split: str, tasks: Sequence[Task]) -> None:
        """Record a digest of the tasks drawn from ``split``, so that two runs can be compared."""
        entry = {"tasks": len(tasks), "sha256": digest_tasks(tasks)}
        self.add_to_manifest({"splits": {split: entry}})

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Append one line with a timestamp to metrics.jsonl and flush it."""
        if self._metrics is None:
            end_partial_line(self.metrics_file)
            self._metrics = self.metrics_file.open("a", buffering=1, encoding="utf-8")
        self._metrics.write(json.dumps({"time_unix_s": round(time.time(), 3), **metrics}, default=str) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All complete lines of metrics.jsonl; a partial line, left by a killed process, is skipped."""
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
    """Create a run folder or open an existing one to resume it, and lock it until the block ends.

    Raises:
        UserError: if another driver holds the lock, the folder belongs to another recipe, or it cannot be written.
    """
    folder = run_folder(path)
    run = RunDirectory(folder)
    with ExitStack() as stack:
        stack.enter_context(translate_os_errors(DISK_FULL, folder))
        with not_writable(folder):
            stack.enter_context(made_folder(folder))
            refuse_foreign(folder, run.recipe_file.name, "--run-dir")
            stack.enter_context(lock(folder))
            is_new = not run.recipe_file.is_file()
            acquire(run, recipe, command)
            stack.enter_context(given_back(folder, is_new))
        stack.callback(run.close)
        yield run


def open_read_only(path: str | Path) -> RunDirectory:
    """Open an existing run folder without the lock, also while a driver uses it. Raises `UserError` if it is none."""
    folder = run_folder(path)
    run = RunDirectory(folder)
    if not run.recipe_file.is_file():
        reason = "has no recipe.yaml" if folder.is_dir() else "does not exist"
        raise UserError(f"{folder} is not a run directory (it {reason}); give the folder that a run printed last.")
    return run


def acquire(run: RunDirectory, recipe: Recipe, command: Sequence[str]) -> None:
    """Record recipe, versions and command in a folder, after `check_same_recipe`.

    A run of another recipe that has no results makes room.
    """
    if check_same_recipe(run, recipe):
        clear(run.path)
    commands = [*run.manifest().get("commands", []), {"started": _now(), "argv": list(command)}]
    run.logs.mkdir(exist_ok=True)
    atomic_write_text(run.recipe_file, recipe_yaml(recipe))
    run.add_to_manifest(
        {
            "recipe": recipe.name,
            "seeds": [recipe.seed],
            "chat": {"template": recipe.agent.chat_template, "date": str(recipe.agent.date)},
            "versions": versions(),
            "hardware": hardware(),
            "git_revision": git_revision(Path(__file__).parent),
            "commands": commands,
        }
    )


def check_same_recipe(run: RunDirectory, recipe: Recipe) -> list[str]:
    """Settings other than `MUTABLE_KEYS` in which a recipe differs from that of a run; none for a new folder.

    Raises:
        UserError: there are some, and the run has results.
    """
    if not run.recipe_file.is_file():
        return []
    changed = differing_keys(saved_settings(run), yaml.safe_load(recipe_yaml(recipe)))
    if changed and has_results(run.path):
        named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        raise UserError(
            f"{run.path} was made with another recipe (it differs in {named}); choose a new --run-dir, "
            f"or resume with the old recipe: stillhouse run {run.recipe_file} --run-dir {run.path}"
        )
    return changed


def refuse_foreign(folder: Path, own_file: str, option: str) -> None:
    """Raise `UserError` if a folder is neither empty nor ours. Hidden files may be in an empty one."""
    foreign = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if foreign and own_file not in foreign:
        raise UserError(f"{folder} has {foreign[0]} but no {own_file}; give {option} a new or empty folder.")


def saved_settings(run: RunDirectory) -> object:
    """The saved recipe, with defaults for settings that its version of Stillhouse did not have.

    Raises:
        UserError: it cannot be read, and the run has results.
    """
    try:
        saved = read_settings(run.recipe_file)
    except UserError:
        if has_results(run.path):
            raise
        return None
    try:
        return yaml.safe_load(recipe_yaml(check_recipe(saved, str(run.recipe_file))))
    except UserError:
        return saved  # it is not a recipe of this version; the difference is reported


def differing_keys(a: object, b: object, prefix: str = "") -> list[str]:
    """Paths of the settings in which two recipes differ, without those that may change when a run is resumed."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [] if a == b else [prefix]
    paths: list[str] = []
    for key in [*b, *(k for k in a if k not in b)]:
        path = f"{prefix}.{key}" if prefix else str(key)
        if key not in MUTABLE_KEYS and path not in MUTABLE_PATHS:
            paths += differing_keys(a.get(key), b.get(key), path)
    return paths


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every setting written out; `load_recipe` reads it back."""
    return dump_yaml(recipe.model_dump(mode="json"))


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock the folder until the block ends. Raises `UserError` if another live process holds the lock."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_file(folder / LOCK_NAME))
        except LockHeldError as error:
            raise UserError(
                f"another driver (process {error.holder}) uses {folder}; wait for it, stop it, or choose another "
                "--run-dir."
            ) from None
        yield


@contextmanager
def translate_os_errors(sentences: Mapping[int, str], folder: Path) -> Iterator[None]:
    """Convert operating system errors into `UserError`, with the sentence given for their ``errno``."""
    try:
        yield
    except OSError as error:
        sentence = sentences.get(error.errno or 0)
        if sentence is None:
            raise
        raise UserError(sentence.format(where=error.filename or folder)) from error


@contextmanager
def not_writable(folder: Path, option: str = "--run-dir") -> Iterator[None]:
    """Convert operating system errors while a folder is opened into `UserError`; ``option`` selects the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        reason = REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()
        where = error.filename or folder
        raise UserError(f"{where} cannot be written ({reason}); choose another folder with {option}.") from error


def end_partial_line(path: Path) -> None:
    """Append a newline if a killed process left a partial last line."""
    if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")


def digest_tasks(tasks: Sequence[Task]) -> str:
    """SHA-256 digest of the ids and payloads of tasks, in order."""
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(json.dumps([task.id, dict(task.payload)], sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
