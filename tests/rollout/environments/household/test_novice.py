"""The novice policy lacks knowledge and follows hints that supply it."""

from __future__ import annotations

import pytest

from rollout.environments.household.environment import HouseholdConfig
from rollout.environments.household.game import VERBS, TaskType
from rollout.environments.household.novice_policy import HouseholdNovice
from rollout.environments.plugins import make_task_source
from rollout.factory import make_environment
from rollout.prompts.react import ReActStyle

STYLE = ReActStyle("")
KNOWN = [kind for kind in TaskType if kind not in VERBS]


def solved(hints: str, wanted: list[TaskType]) -> list[bool]:
    """Whether it solves tasks of these types, when it is shown these hints first."""
    config = HouseholdConfig(size="small")
    environment, won = make_environment(config), []
    names = {kind.value for kind in wanted}
    for task in [task for task in make_task_source(config).tasks("train", 60) if task.task_type in names]:
        reset, novice = environment.reset(task), HouseholdNovice(0)
        text, done = hints + reset.observation + STYLE.task(reset.instruction), False
        for _ in range(40):
            step = environment.step(STYLE.parse(novice.respond(text)).action or "")
            text, done = step.observation, step.success
            if step.done:
                break
        won.append(done)
    return won


def test_without_hints_only_tasks_without_a_change_are_solved() -> None:
    assert sum(solved("", KNOWN)) >= 0.9 * len(solved("", KNOWN)) > 0
    assert not any(solved("", list(VERBS)))


@pytest.mark.parametrize("kind", list(VERBS))
def test_a_hint_that_names_the_change_is_sufficient(kind: TaskType) -> None:
    hint = f"Hint: Before you put the {{object}} down, {VERBS[kind]} it.\n\n"
    other = "Hint: Look for the {object} in/on the shelf.\n\n"
    told = solved(other + hint, [kind])
    assert sum(told) >= 0.9 * len(told) > 0
    assert not any(solved(other, [kind]))
