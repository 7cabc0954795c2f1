"""A dry run and a run agree on which agents can act in which environments; both refuse before an engine starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.dry_run.dry_run import dry_run
from cluster.run.playable import check_agents
from cluster.runtime.rollout_worker import RolloutWorker, WorkerConfig
from rollout.errors import UserError
from tests.cluster.run.playing import ACTING, differences, recipe

HOUSE = {"type": "household", "size": "small"}
QUESTIONS = {"type": "hotpotqa"}
ADMISSIBLE = ACTING[2]
PLUGIN = '''
from typing import Literal
from pydantic import BaseModel, ConfigDict
from rollout.environment import Reset, Step, Task
from rollout.environments.plugin import EnvironmentPlugin
class PondConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["pond"] = "pond"
class LakeConfig(PondConfig):
    type: Literal["lake"] = "lake"
class PondEnvironment:
    """Has no optional abilities."""
    def __init__(self, config): self.started = False
    def reset(self, task):
        self.started = True
        return Reset("A pond.", "fish")
    def step(self, action): return Step("A fish.")
    def admissible_actions(self):
        if not self.started: raise RuntimeError("reset must come before the first step")
        return ["fish"]
    def close(self): pass
class LakeEnvironment(PondEnvironment):
    """Lists no actions."""
    def admissible_actions(self): return None
class Tasks:
    def __init__(self, name): self.name = name
    def splits(self): return ("train",)
    def tasks(self, split, count, seed=0):
        return [Task(f"{self.name}/{number}", self.name, split, self.name) for number in range(count)]
def tasks(config): return Tasks(config.type)
INSTRUCTIONS = {"short": "Fish.", "full": "Fish."}
POND = EnvironmentPlugin(
    name="pond", description="a pond with fish", config="ponds:PondConfig", environment="ponds:PondEnvironment",
    tasks="ponds:tasks", instructions="ponds:INSTRUCTIONS",
)
LAKE = EnvironmentPlugin(
    name="lake", description="a lake", config="ponds:LakeConfig", environment="ponds:LakeEnvironment",
    tasks="ponds:tasks", instructions="ponds:INSTRUCTIONS", finish="finish[{}]",
)
'''


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "pages.jsonl"
    path.write_text(json.dumps({"title": "Weir", "text": "It holds back water."}) + "\n")
    return path


@pytest.mark.parametrize("environment", ["household", "hotpotqa", "math", "webshop"])
def test_a_dry_run_accepts_exactly_the_settings_with_which_an_episode_runs(environment: str, corpus: Path) -> None:
    accepted, refused, differ = differences([{"type": environment}], corpus)
    assert differ == []
    assert accepted > 3
    assert refused > 1


def test_dry_run_and_run_agree_on_environments_of_other_packages(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "ponds.py").write_text(PLUGIN)
    info = tmp_path / "ponds-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ponds\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stillhouse.environments]\npond = ponds:POND\nlake = ponds:LAKE\n")
    code = (
        "import json, pathlib; from tests.cluster.run.playing import differences\n"
        f"corpus = pathlib.Path({str(corpus)!r})\n"
        "print(json.dumps([differences([{'type': name}], corpus) for name in ('pond', 'lake')]))"
    )
    path = os.pathsep.join([str(Path(__file__).parents[3]), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for accepted, refused, differ in json.loads(done.stdout.splitlines()[-1]):
        assert differ == []
        assert min(accepted, refused) > 3


def test_a_household_with_search_allows_acting_constrained_to_admissible_actions(corpus: Path) -> None:
    assert dry_run(recipe(HOUSE, ADMISSIBLE, "react", corpus, 0)).can_run
    assert dry_run(recipe({"type": "math"}, ADMISSIBLE, "react", corpus, 0)).findings[-1].fatal


def test_the_acting_of_the_evaluation_is_checked_too(corpus: Path) -> None:
    evaluate = {"episodes": 1, "agents": ["teacher"], "acting": ADMISSIBLE}
    mix = {"type": "mix", "parts": [{"environment": HOUSE}, {"environment": QUESTIONS}]}
    one = recipe(mix, ACTING[0], "react", None, 0, evaluate=evaluate)
    expected = (
        "evaluate.acting is constrained to admissible actions, but HotpotQAEnvironment does not list its actions; "
        "set evaluate.acting.to to grammar"
    )
    assert [finding.text for finding in dry_run(one).findings if finding.fatal] == [expected]
    with pytest.raises(UserError, match=r"^evaluate\.acting is constrained"):
        check_agents(one)
    check_agents(recipe(HOUSE, ACTING[0], "react", None, 0, evaluate=evaluate))


async def test_a_worker_refuses_an_agent_that_cannot_act_before_its_engine_starts() -> None:
    one = recipe(QUESTIONS, ADMISSIBLE, "react", None, 0)
    nowhere = one.teacher.engine.model_copy(update={"tokenizer": "builtin:no-such"})
    worker = RolloutWorker(WorkerConfig(nowhere, (one.environment,), one.agent))
    with pytest.raises(UserError, match="HotpotQAEnvironment does not list its actions"):
        await worker.start()
    assert worker.engine is None


def test_a_dry_run_builds_no_index_of_the_questions_corpus(corpus: Path, tmp_path: Path) -> None:
    questions = {"type": "hotpotqa", "source": "hotpotqa", "data": str(tmp_path), "corpus": str(corpus)}
    one = recipe({**questions, "index_dir": str(tmp_path / "index")}, ACTING[1], "react", None, 0)
    assert not [finding for finding in dry_run(one).findings if "acting" in finding.text]
    assert not (tmp_path / "index").exists()
