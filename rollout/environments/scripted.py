"""Base classes of the environments' scripted policies: experts and random policies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random
from typing import Generic, TypeVar

Move = tuple[str, str]
"""Thought and action."""

RatesT = TypeVar("RatesT")


class ScriptedPolicy(ABC):
    """Acts in one episode and writes each turn in ReAct's format (`rollout.scripted_policy.TextPolicy`).

    Args:
        seed: seed of all random choices.
    """

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._last_action = ""
        """Action of the previous turn; empty in the first turn."""

    def respond(self, observation: str) -> str:
        """The next turn. Raises `ValueError` if this policy cannot parse the task in the first message."""
        thought, action = self._move(observation)
        self._last_action = action
        return f"Thought: {thought}\nAction: {action}"

    @abstractmethod
    def _move(self, observation: str) -> Move:
        """Read the observation and choose the next thought and action."""


class ExpertPolicy(ScriptedPolicy, Generic[RatesT]):
    """A scripted policy that makes errors at given rates.

    Args:
        seed: seed of the errors.
        error_rates: probability of each kind of error; the policy is deterministic if all are zero.
    """

    def __init__(self, seed: int, error_rates: RatesT) -> None:
        super().__init__(seed)
        self._error_rates = error_rates

    def _errs(self, rate: float) -> bool:
        """Draw whether an error of this probability happens now."""
        return self._rng.random() < rate
