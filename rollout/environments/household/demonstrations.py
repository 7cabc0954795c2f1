"""Worked episodes of the household: our expert plays generated houses, and what it knows is kept turn by turn."""

from __future__ import annotations

from functools import cache

from rollout.environment import Task
from rollout.environments.demonstrate import demonstrate
from rollout.environments.household.belief_state import BeliefState
from rollout.environments.household.environment import HouseholdConfig, HouseholdEnvironment
from rollout.environments.household.expert_policy import NO_MISTAKES, HouseholdExpert
from rollout.environments.household.generator import HouseholdTasks
from rollout.prompts.example import Demonstration, State

_SEED = 7919
"""Of houses that no run is likely to draw."""
_INDICES = (2, 0)
"""A task with a tool, then a simple one."""


class StateKeeper:
    """What an agent of one episode can write down: goal, places it has been to, where it is, what it holds."""

    def __init__(self) -> None:
        self._known = BeliefState()
        self._goal = ""
        self._visited: list[str] = []

    def __call__(self, observation: str) -> State:
        """Take in what the agent reads: the first user message, then each observation."""
        if self._goal:
            self._known.read(observation)
        else:
            self._known.read_first(observation)
            self._goal = observation.rpartition("Your task is to: ")[2].removesuffix(".")
        place = self._known.location
        if place and place not in self._visited:
            self._visited.append(place)
        return (
            ("goal", self._goal),
            ("locations visited", ", ".join(self._visited)),
            ("current location", place or "starting location"),
            ("current inventory", self._known.holding or ""),
        )


@cache
def household_demonstrations() -> tuple[Demonstration, ...]:
    """Episodes of the expert on fixed tasks: the same in every process."""
    tasks = HouseholdTasks("small").tasks("train", max(_INDICES) + 1, _SEED)
    return tuple(_play(tasks[index]) for index in _INDICES)


def _play(task: Task) -> Demonstration:
    environment = HouseholdEnvironment(HouseholdConfig(size="small"))
    return demonstrate(environment, task, HouseholdExpert(error_rates=NO_MISTAKES), state=StateKeeper())
