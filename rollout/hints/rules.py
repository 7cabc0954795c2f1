"""Rules that write hints from failed episodes.

Environments without rules of their own use `DEFAULT_RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

from rollout.hints.bank import Hint
from rollout.hints.wording import PLACEHOLDERS
from rollout.prompts.style import BaseStyle
from rollout.trajectory import StopReason, Trajectory
from rollout.trajectory.turns import CompletedTurn, completed_turns

P = TypeVar("P")

_AGENT_FAILED = frozenset({StopReason.FAILURE, StopReason.STEP_LIMIT, StopReason.TOKEN_LIMIT})


@dataclass(frozen=True, slots=True)
class RuleBook(Generic[P]):
    """The rules of one environment that turn a failed episode into hints.

    Attributes:
        read: parses a trajectory into the object that the rules inspect; raises `ValueError` if the trajectory is not
            an episode of this environment.
        rules: functions that return hint texts with placeholders, ordered from the worst mistake to the least.
        names: returns the names that are specific to the episode, each with its placeholder.
        placeholders: the placeholders of this environment.
        seen: returns the kinds of locations at which the target object was seen.
        look_for: writes a hint that lists such kinds, the most frequent first.
    """

    read: Callable[[Trajectory], P]
    rules: tuple[Callable[[P], Iterable[str]], ...]
    names: Callable[[P], Mapping[str, str]] = lambda _: {}
    placeholders: tuple[str, ...] = PLACEHOLDERS
    seen: Callable[[P], Iterable[str]] = lambda _: ()
    look_for: Callable[[Sequence[str]], str] | None = None

    def write(self, trajectory: Trajectory, max_hints: int, max_characters: int) -> tuple[Hint, ...]:
        """Write up to ``max_hints`` distinct hints for a failed episode, in rule order; skip longer ones."""
        episode = self._read(trajectory)
        if episode is None:
            return ()
        texts = dict.fromkeys(text for rule in self.rules for text in rule(episode))
        hints = (hint_of(text, trajectory) for text in texts)
        return tuple(hint for hint in hints if len(hint.text) <= max_characters)[:max_hints]

    def places(self, trajectory: Trajectory) -> tuple[str, ...]:
        """Distinct kinds of locations at which the episode's target object was seen."""
        episode = self._read(trajectory)
        return () if episode is None else tuple(dict.fromkeys(self.seen(episode)))

    def names_in(self, trajectory: Trajectory) -> Mapping[str, str]:
        """Names that are specific to the episode, each with its placeholder."""
        episode = self._read(trajectory)
        return {} if episode is None else self.names(episode)

    def _read(self, trajectory: Trajectory) -> P | None:
        try:
            return self.read(trajectory)
        except ValueError:  # not an episode of this environment
            return None


def hint_of(text: str, trajectory: Trajectory) -> Hint:
    """Create a hint from an episode. Raises `pydantic.ValidationError` if ``text`` is not valid."""
    identity = trajectory.identity
    return Hint(category=identity.task_type, text=text, source=identity.environment, made_from=(identity.task,))


def has_failed(trajectory: Trajectory) -> bool:
    """Whether the agent failed the task by its own actions, not by an error or the time limit."""
    return not trajectory.outcome.success and trajectory.outcome.stop_reason in _AGENT_FAILED


def when(mistake: object, hint: str) -> tuple[str, ...]:
    """The hint of a rule if its mistake was made."""
    return (hint,) if mistake else ()


def no_action(turns: Sequence[CompletedTurn]) -> Iterator[str]:
    """Applies if a turn had no action."""
    if any(turn.action is None for turn in turns):
        yield "End every turn with one action, written in the form that was asked for."


def repeated_without_effect(turns: Sequence[CompletedTurn]) -> Iterator[str]:
    """Applies if an action was refused more than once, or twice in a row gave the same observation."""
    acted = [(turn.action, turn.observation.strip()) for turn in turns if turn.action]
    refused = [action for action, answer in acted if answer == BaseStyle.no_action]
    if len(refused) > len(set(refused)) or any(a == b for a, b in pairwise(acted)):
        yield "Do not repeat an action that changed nothing: do something else."


DEFAULT_RULES: RuleBook[list[CompletedTurn]] = RuleBook(
    read=completed_turns, rules=(no_action, repeated_without_effect)
)
"""Rules of environments without rules of their own."""

RuleBooks = Callable[[str], RuleBook[Any]]
"""Returns the rules of an environment by its name."""


def general_rules(environment: str) -> RuleBook[Any]:
    """Return `DEFAULT_RULES` for every environment (`RuleBooks`)."""
    return DEFAULT_RULES
