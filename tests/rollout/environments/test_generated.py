"""Generated task sources share a stable hash, and refuse tasks of another generator version."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout.environment import Payload, TaskSource
from rollout.environments.generated import stable_hash
from rollout.environments.hotpotqa.generator import HotpotQATasks, generated_task
from rollout.environments.household.generator import HouseholdTasks, generate_game
from rollout.environments.math.generator import MathTasks, generate_problem
from rollout.environments.webshop.generator import GeneratedGoals, generate_goal


def test_the_hash_is_the_same_in_every_process_and_version() -> None:
    assert stable_hash("") == 0xE3B0C442  # the first four bytes of SHA-256
    assert stable_hash("abc") == 0xBA7816BF


@pytest.mark.parametrize(
    ("source", "generate", "name"),
    [
        (HotpotQATasks(), generated_task, "HotpotQA"),
        (HouseholdTasks(), generate_game, "house"),
        (MathTasks(), generate_problem, "math"),
        (GeneratedGoals(), generate_goal, "shop"),
    ],
)
def test_a_task_of_another_generator_version_is_refused(
    source: TaskSource, generate: Callable[[Payload], object], name: str
) -> None:
    payload = source.tasks("train", 1)[0].payload
    assert generate(payload)
    for other in ({**payload, "generator": 0}, {key: payload[key] for key in payload if key != "generator"}):
        with pytest.raises(ValueError, match=rf"made by {name} generator (0|None), this is 1; make the tasks again"):
            generate(other)
