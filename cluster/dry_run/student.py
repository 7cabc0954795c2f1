"""Saves the untrained student once before a run, in a process of its own, so that saving it later cannot fail.

    run ──settings as JSON──▶ python -m learner.check_student ──▶ load, save to a scratch folder ──▶ mistakes as JSON

The process keeps torch out of the command's own. Shipped models are not checked, and neither are models of a hub that
were not downloaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE

from cluster.config.recipe import Recipe, model_of
from cluster.dry_run.findings import Finding
from cluster.dry_run.learner import trained_shape
from cluster.dry_run.model_shapes import UnknownShapeError
from rollout.errors import UserError
from rollout.models import BUILTIN_PREFIX, model_folder

TIMEOUT_S = 60.0
"""The check takes ten seconds on an idle machine. It is given up after this time."""
MAX_PARAMETERS = 200_000_000
"""Larger models are not loaded; only their configuration and tokenizer are saved."""


@contextmanager
def student_check(recipe: Recipe) -> Iterator[Callable[[], Iterator[Finding]]]:
    """Start the check of the student that the learner starts from; it runs beside the block.

    Yields:
        A function that waits for the end of the check and yields what it found.
    """
    request = _request(recipe)
    if request is None:
        yield lambda: iter(())
        return
    command = [sys.executable, "-m", "learner.check_student", request]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment, encoding="utf-8", errors="replace"
    ) as process:
        try:
            yield lambda: _findings(process)
        finally:
            process.kill()


def _request(recipe: Recipe) -> str | None:
    """What the program is told; None if there is nothing to check."""
    learner = recipe.learner
    if learner is None:
        return None
    model = learner.model or (model_of(recipe.student) if recipe.student and learner.scratch is None else None)
    name = model or (learner.scratch.tokenizer if learner.scratch else "")
    if not name or name.startswith(BUILTIN_PREFIX) or not _is_here(name):
        return None
    try:
        is_small = trained_shape(recipe).parameters <= MAX_PARAMETERS
    except UnknownShapeError:
        is_small = False
    settings = learner.model_dump(mode="json", exclude={"workers", "resources"})
    return json.dumps({"learner": settings, "model": model, "with_weights": is_small})


def _findings(process: subprocess.Popen[str]) -> Iterator[Finding]:
    try:
        answer, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        yield Finding(f"learner: the student was not saved for a test, because that takes more than {TIMEOUT_S:g} s")
        return
    if process.returncode:
        last = errors.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        yield Finding(f"learner: the untrained student cannot be loaded and saved: {last[0]}", fatal=True)
        return
    yield from (Finding(f"learner: {text}", fatal=True) for text in json.loads(answer.splitlines()[-1]))


def _is_here(name: str) -> bool:
    """Whether a model is on this machine: a folder, or in the cache of the hub."""
    try:
        if Path(model_folder(name)).is_dir():
            return True
    except UserError:
        return False
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    cache = os.environ.get("HF_HUB_CACHE") or home / "hub"
    return (Path(cache) / f"models--{name.replace('/', '--')}").is_dir()
