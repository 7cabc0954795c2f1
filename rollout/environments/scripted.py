"""Base classes of the environments' scripted policies: experts and random policies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random
from typing import Generic, TypeVar

Move = tuple[str, str]
"""Thought and action."""

RatesT = TypeVar("RatesT")


class ScriptedPolicy(ABC):
    """Plays one episode and writes each turn in ReAct's form (`rollout.scripted_policy.TextPolicy`).

    Args:
        seed: seed of all random choices.
    """

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._last_action = ""
        """Action of the previous turn; empty in the first turn."""

    def respond(self, observation: str) -> str:
        """The next turn. Raises `ValueError` if the first message states no task that this policy can read."""
        thought, action = self._move(observation)
        self._last_action = action
        return f"Thought: {thought}\nAction: {action}"

    @abstractmethod
    def _move(self, observation: str) -> Move:
        """Read the observation, then choose what to think and do."""


class ExpertPolicy(ScriptedPolicy, Generic[RatesT]):
    """A scripted policy that makes errors at given rates.

    Args:
        seed: seed of the errors.
        error_rates: chances of each kind of error; with all at zero, the policy is deterministic.
    """

    def __init__(self, seed: int, error_rates: RatesT) -> None:
        super().__init__(seed)
        self._error_rates = error_rates

    def _errs(self, rate: float) -> bool:
        """Draw whether an error with this chance happens now."""
        return self._rng.random() < rate
