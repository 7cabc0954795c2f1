"""Demonstrations of the household: episodes of the expert in generated houses, with its state at each turn."""

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
"""Seed of the houses; a run is unlikely to use it."""
_INDICES = (2, 0)
"""Indices of the tasks: one that needs a tool, then a simple one."""


class StateKeeper:
    """Tracks the state that an agent can write down: goal, visited places, current location and inventory."""

    def __init__(self) -> None:
        self._known = BeliefState()
        self._goal = ""
        self._visited: list[str] = []

    def __call__(self, observation: str) -> State:
        """Read the first user message, then each observation, and return the state."""
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
    """Episodes of the expert on fixed tasks, identical in every process."""
    tasks = HouseholdTasks("small").tasks("train", max(_INDICES) + 1, _SEED)
    return tuple(_play(tasks[index]) for index in _INDICES)


def _play(task: Task) -> Demonstration:
    environment = HouseholdEnvironment(HouseholdConfig(size="small"))
    return demonstrate(environment, task, HouseholdExpert(error_rates=NO_MISTAKES), state=StateKeeper())
