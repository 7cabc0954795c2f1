"""Hints by rules: what an environment's rules make of a failed episode.

Where an environment has no rules of its own, those hold that make sense in every one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

from rollout.hints.bank import Hint
from rollout.hints.wording import PLACEHOLDERS
from rollout.prompts.style import SharedWords
from rollout.trajectory import StopReason, Trajectory
from rollout.trajectory.turns import CompletedTurn, completed_turns

P = TypeVar("P")

_AGENT_FAILED = frozenset({StopReason.FAILURE, StopReason.STEP_LIMIT, StopReason.TOKEN_LIMIT})


def nothing(play: object) -> tuple[str, ...]:
    """Where an environment has nothing to say."""
    return ()


def no_names(play: object) -> Mapping[str, str]:
    """Where no names of an episode are known."""
    return {}


@dataclass(frozen=True, slots=True)
class RuleBook(Generic[P]):
    """How one environment's failed episodes become hints.

    Attributes:
        read: makes of a record what the rules look at; raises `ValueError` if it is no episode of this world.
        rules: each gives texts, with placeholders, for what it finds; the first one is about the worst mistake.
        names: names of this one episode, and what stands for each in a hint.
        placeholders: those that make sense here.
        seen: kinds of places in which the wanted thing was seen.
        look_for: a hint that names such kinds, the most frequent first.
    """

    read: Callable[[Trajectory], P]
    rules: tuple[Callable[[P], Iterable[str]], ...]
    names: Callable[[P], Mapping[str, str]] = no_names
    placeholders: tuple[str, ...] = PLACEHOLDERS
    seen: Callable[[P], Iterable[str]] = nothing
    look_for: Callable[[Sequence[str]], str] | None = None

    def write(self, trajectory: Trajectory, most: int, max_characters: int) -> tuple[Hint, ...]:
        """Up to ``most`` different hints from a failed episode, the most telling first; longer ones are left out."""
        play = self._play(trajectory)
        if play is None:
            return ()
        texts = dict.fromkeys(text for rule in self.rules for text in rule(play))
        hints = (hint_of(text, trajectory) for text in texts)
        return tuple(hint for hint in hints if len(hint.text) <= max_characters)[:most]

    def places(self, trajectory: Trajectory) -> tuple[str, ...]:
        """Kinds of places in which the episode's wanted thing was seen, each once."""
        play = self._play(trajectory)
        return () if play is None else tuple(dict.fromkeys(self.seen(play)))

    def names_in(self, trajectory: Trajectory) -> Mapping[str, str]:
        """Names of this one episode, and what stands for each in a hint."""
        play = self._play(trajectory)
        return {} if play is None else self.names(play)

    def _play(self, trajectory: Trajectory) -> P | None:
        try:
            return self.read(trajectory)
        except ValueError:  # it states no task of this world: nothing can be said of it
            return None


def hint_of(text: str, trajectory: Trajectory) -> Hint:
    """A hint that this episode gave. Raises `pydantic.ValidationError` for what is no hint."""
    identity = trajectory.identity
    return Hint(category=identity.task_type, text=text, source=identity.environment, made_from=(identity.task,))


def has_failed(trajectory: Trajectory) -> bool:
    """The agent did not solve the task; where the world failed, or time ran out, there is nothing to learn from."""
    return not trajectory.outcome.success and trajectory.outcome.stop_reason in _AGENT_FAILED


def no_action(turns: Sequence[CompletedTurn]) -> Iterator[str]:
    """A turn had no action."""
    if any(turn.action is None for turn in turns):
        yield "End every turn with one action, written in the form that was asked for."


def repeated_in_vain(turns: Sequence[CompletedTurn]) -> Iterator[str]:
    """The same action was refused more than once, or answered the same way twice in a row."""
    acted = [(turn.action, turn.observation.strip()) for turn in turns if turn.action]
    refused = [action for action, answer in acted if answer == SharedWords.no_action]
    if len(refused) > len(set(refused)) or any(a == b for a, b in pairwise(acted)):
        yield "Do not repeat an action that changed nothing: do something else."


ANY_ENVIRONMENT: RuleBook[list[CompletedTurn]] = RuleBook(read=completed_turns, rules=(no_action, repeated_in_vain))
"""The rules of environments that have none of their own."""

RuleBooks = Callable[[str], RuleBook[Any]]
"""Gives the rules of an environment by its name."""


def general_rules(environment: str) -> RuleBook[Any]:
    """The same rules for every environment (`RuleBooks`)."""
    return ANY_ENVIRONMENT
