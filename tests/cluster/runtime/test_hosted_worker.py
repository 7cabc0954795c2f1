"""A worker runs an environment of another package in host processes, and ends them when it stops or cannot start."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from cluster.runtime.rollout_worker import RolloutWorker, WorkContext, WorkerConfig
from rollout.engines.scripted import ScriptedConfig
from rollout.environments.household.environment import HouseholdConfig
from rollout.environments.plugins import needs_host
from rollout.episode.config import AgentConfig
from rollout.episode.runner import roll_out
from rollout.errors import UserError
from rollout.extensions import registry
from rollout.trajectory import Cause, Identity, is_owed
from tests.ponds import TASK, PondConfig, install_ponds

AGENT = AgentConfig(max_steps=2)
ENGINE = ScriptedConfig(tokenizer="builtin:household-teacher", replies=("Thought: I try.\nAction: die",))


@pytest.fixture(autouse=True)
def ponds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_ponds(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_added", registry._added.__wrapped__)


def keepers() -> list[int]:
    return [child.pid for child in psutil.Process().children() if any("keeper.py" in part for part in child.cmdline())]


def test_environments_of_other_packages_and_blocking_ones_run_in_hosts() -> None:
    assert needs_host(PondConfig())
    assert not needs_host(HouseholdConfig())


async def test_an_episode_whose_host_dies_is_owed_and_the_next_has_another_host() -> None:
    worker = RolloutWorker(WorkerConfig(ENGINE, (PondConfig(),), AGENT))
    await worker.start()
    context = WorkContext(worker)
    for attempt in range(2):
        identity = Identity("run", "teacher", 0, TASK.id, attempt, "pond", "train", TASK.task_type)
        episode = await roll_out(
            TASK,
            identity,
            lambda: context.environment("pond"),
            worker.started_engine(),
            context.builder("pond", AGENT),
            AGENT,
            fresh=lambda: context.fresh_environment("pond"),
        )
        failure = episode.outcome.failure
        assert failure is not None
        assert (failure.cause, failure.message) == (
            Cause.INFRASTRUCTURE,
            "the host process of pond ended with code -9",
        )
        assert is_owed(episode)
        assert episode.segments
    await worker.stop()
    assert keepers() == []


async def test_no_host_is_left_when_a_worker_cannot_start() -> None:
    nowhere = ENGINE.model_copy(update={"tokenizer": "builtin:no-such"})
    worker = RolloutWorker(WorkerConfig(nowhere, (PondConfig(),), AGENT))
    with pytest.raises(UserError, match="no-such"):
        await worker.start()
    assert keepers() == []
