"""Scripted policies write turns in ReAct's format, remember the last action, and err at the given rates."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rollout.environments.scripted import ExpertPolicy, Move


@dataclass(frozen=True, slots=True)
class Rates:
    slip: float


class Walker(ExpertPolicy[Rates]):
    """Follows the observation or slips; its thought is the previous action."""

    def _move(self, observation: str) -> Move:
        if not observation:
            raise ValueError("there is no task")
        return self._last_action, "slip" if self._errs(self._error_rates.slip) else f"go {observation}"


def slips(rate: float, seed: int = 0) -> list[bool]:
    walker = Walker(seed, Rates(rate))
    return [walker.respond("north").endswith("slip") for _ in range(2000)]


def test_a_turn_is_a_thought_and_an_action_and_the_action_is_remembered() -> None:
    walker = Walker(0, Rates(0.0))
    assert walker.respond("north") == "Thought: \nAction: go north"
    assert walker.respond("south") == "Thought: go north\nAction: go south"


def test_a_failed_turn_keeps_the_last_action() -> None:
    walker = Walker(0, Rates(0.0))
    walker.respond("north")
    with pytest.raises(ValueError, match="no task"):
        walker.respond("")
    assert walker.respond("south").startswith("Thought: go north\n")


def test_errors_occur_at_their_rate_and_depend_on_the_seed() -> None:
    assert sum(slips(0.2)) / 2000 == pytest.approx(0.2, abs=0.04)
    assert slips(0.2, seed=1) == slips(0.2, seed=1) != slips(0.2, seed=2)
    assert not any(slips(0.0))
    assert all(slips(1.0))
