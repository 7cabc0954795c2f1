"""``python[…]`` in a sandbox; skipped if none works on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollout.environment import Environment
from rollout.environments.math.config import MathConfig
from rollout.environments.math.expert_policy import MathExpert
from rollout.environments.math.generator import CODE_FAMILIES
from rollout.environments.math.plugin import MATH
from rollout.tools.sandbox.tiers import available_tiers
from tests.rollout.environments.math.episodes import roll_out

CONFIG = MathConfig(python="sandbox", families=CODE_FAMILIES)

pytestmark = pytest.mark.skipif(
    not any(status.works for status in available_tiers()[:2]), reason="no strong sandbox works on this machine"
)


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    environment = MATH.make_environment(CONFIG)
    yield environment
    environment.close()


def test_variables_persist_within_an_episode_only(environment: Environment) -> None:
    one, other = MATH.make_tasks(CONFIG).tasks("train", 2)
    environment.reset(one)
    actions = ["python[x = 3]", "python[x * 2]", "python[print('a'); x]"]
    assert [environment.step(action).observation for action in actions] == ["(no output)", "6", "a\n3"]
    environment.reset(other)
    assert "NameError" in environment.step("python[x]").observation


def test_code_that_fails_or_never_ends_gets_an_error_message() -> None:
    config = MathConfig.model_validate({"python": "sandbox", "sandbox": {"time_limit_s": 1, "preload": []}})
    environment = MATH.make_environment(config)
    environment.reset(MATH.make_tasks(config).tasks("train", 1)[0])
    assert "ZeroDivisionError" in environment.step("python[1 / 0]").observation
    assert "TimeoutError" in environment.step("python[while True: pass]").observation
    assert environment.step("python[1 + 1]").observation == "2"
    environment.close()


def test_the_expert_solves_problems_for_code_in_the_sandbox(environment: Environment) -> None:
    for task in MATH.make_tasks(CONFIG).tasks("valid_unseen", 2 * len(CODE_FAMILIES)):
        assert roll_out(environment, task, MathExpert())[0]
