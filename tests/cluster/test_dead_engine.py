"""A run whose vLLM engine is killed: its episodes are rolled out again, and none of them becomes a result by that."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cluster.config.recipe import Recipe
from cluster.driver import PHASES, run
from cluster.run.directory import open_run
from cluster.run.progress import Screen
from rollout.errors import UserError
from rollout.trajectory import StopReason
from rollout.trajectory.store import TrajectoryStore

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(900)]
EPISODES = 60


def engine_cores() -> list[int]:
    """Process ids of vLLM's EngineCore below this process."""
    found = psutil.Process().children(recursive=True)
    return [process.pid for process in found if "EngineCore" in " ".join([process.name(), *process.cmdline()])]


@contextmanager
def killing(folder: Path, more_than: int) -> Iterator[list[int]]:
    """Kill the engine once when more than so many episodes are stored; gives the ids of killed processes."""
    killed: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.05):
            if len(TrajectoryStore(folder, read_only=True).keys()) > more_than and (found := engine_cores()):
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
                return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("address", ["local", pytest.param(None, marks=pytest.mark.ray)], ids=["local", "ray"])
def test_an_engine_that_is_killed_is_replaced_and_the_same_command_completes_every_key(
    toy_recipe: Callable[..., Recipe], tmp_path: Path, address: str | None
) -> None:
    def recipe(max_restarts: int) -> Recipe:
        engine = {"type": "vllm", "model": "builtin:household-teacher", "max_model_len": 2048, "kv_cache_gib": 0.25}
        return toy_recipe(
            agent={"max_steps": 12, "max_tokens": 2000, "sampling": {"max_tokens": 64}},
            teacher={"engine": engine, "concurrency": 4, "resources": {"cpus": 1}},
            student=None,
            learner=None,
            collect={"teacher_episodes": 0},
            evaluate={"episodes": EPISODES, "agents": ["teacher"]},
            failures={"teacher": {"max_restarts": max_restarts}},
        )

    def go(max_restarts: int) -> None:
        with open_run(tmp_path / "run", recipe(max_restarts)) as directory:
            run(recipe(max_restarts), directory, address=address, phases=PHASES, screen=Screen(io.StringIO()))

    folder = tmp_path / "run" / "evaluation" / "teacher"
    store = TrajectoryStore(folder, read_only=True)
    with killing(folder, 3) as killed, pytest.raises(UserError, match="teacher pool died once"):
        go(0)
    before = {summary.key: summary for summary in store.summaries()}
    assert len(killed) == 1
    assert 3 < len(before) < EPISODES
    assert not [summary.outcome.failure for summary in before.values() if summary.outcome.failure]
    assert not list(store.owed())
    with killing(folder, len(before) + 3) as killed:
        go(3)
    assert len(killed) == 1
    after = {summary.key: summary for summary in store.summaries()}
    assert len(after) == EPISODES
    assert {key: after[key] for key in before} == before
    assert not [s for s in after.values() if s.outcome.failure or s.outcome.stop_reason is StopReason.ERROR]
    figures = json.loads((tmp_path / "run" / "report.json").read_text())["agents"]["teacher"]["household"]
    assert (figures["n"], figures["errors"]) == (EPISODES, 0)
