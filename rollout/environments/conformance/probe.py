"""Random episodes that check every answer of an environment; each episode is repeated with the same actions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from rollout.environment import Environment, Reset, Step, Task, has_valid_types, is_finite
from rollout.environments.conformance.contract import Requirement, Violations, format_value

MAX_STEPS = 30
"""Maximum number of steps in an episode."""
LONG_CHARS = 100_000
ANY_TEXT = (
    "",
    " ",
    "\n",
    "look\nlook",
    "\x00\t\x7f",
    "[",
    "]]]][[[[",
    "{}%s%n\\",
    "naïve 漢字 עברית 🦊\u200b\u202e",
    "x" * LONG_CHARS,
    "[" * LONG_CHARS,
)
"""Texts that a model may write instead of an action."""
_ARGUMENTS = ("", " ", "\n", "漢字 🦊", "-1", "x" * 5000)
_CALL = re.compile(r"(\w+)\[(.*)\]", re.DOTALL)
_WORD = re.compile(r"\w+")
_ADMISSIBLE_SHARE = 0.9


class Outcome(NamedTuple):
    """The answer to an action, and the admissible actions after it."""

    step: Step
    admissible: tuple[str, ...] | None


class Prober:
    """Runs random episodes and records violations.

    Args:
        found: receives the violations.
        actions: actions of worked episodes; if actions cannot be listed, these and observed words are used.
        seed: seed of the random actions.
        counts: receives the numbers of ``episodes`` and ``steps``.
    """

    def __init__(self, found: Violations, actions: Sequence[str], seed: int, counts: Counter[str]) -> None:
        self._found, self._actions, self._counts = found, tuple(actions), counts
        self._rng = Random(f"check/{seed}")

    def probe_any_text(self, environment: Environment, task: Task) -> None:
        """Send texts that are not actions, each at the start of an episode or in the state after the previous text."""
        names = dict.fromkeys(match[1] for action in self._actions if (match := _CALL.fullmatch(action)))
        calls = [f"{name}[{argument}]" for name in names for argument in _ARGUMENTS]
        start = self._reset(environment, task)
        for text in (*ANY_TEXT, *calls):
            if start is None:
                return
            step = self._step(environment, text)
            if step is None or step.done:
                start = self._reset(environment, task)

    def probe_episode(self, environment: Environment, other: Environment, task: Task) -> None:
        """Run a random episode of ``task``, then repeat its actions in the same environment and in ``other``."""
        start = self._reset(environment, task)
        if start is None:
            return
        self._found.check(
            self._reset(environment, task) == start,
            Requirement.RESET_SAME,
            f"{task.id}: the second reset differs from the first",
        )
        actions, outcomes = self._episode(environment, start)
        self._counts["episodes"] += 1
        for prober, where in ((environment, "a second time"), (other, "in another environment")):
            replayed = self._reset(prober, task)
            self._found.check(replayed == start, Requirement.RESET_SAME, f"{task.id}: reset differs {where}")
            self._replay(prober, task, actions, outcomes, where)

    def _episode(self, environment: Environment, start: Reset) -> tuple[list[str], list[Outcome]]:
        actions: list[str] = []
        outcomes: list[Outcome] = []
        seen, admissible = start.observation, self._admissible(environment)
        while len(actions) < MAX_STEPS:
            action, listed = self._choose(admissible, seen)
            step = self._step(environment, action)
            if step is None:
                break
            if listed:
                self._found.check(
                    step.valid, Requirement.ADMISSIBLE_VALID, f"{format_value(action)} is listed but not valid"
                )
            seen, admissible = step.observation, self._admissible(environment)
            actions.append(action)
            outcomes.append(Outcome(step, admissible))
            if step.done:
                break
        return actions, outcomes

    def _replay(
        self, environment: Environment, task: Task, actions: Sequence[str], outcomes: Sequence[Outcome], where: str
    ) -> None:
        for number, (action, outcome) in enumerate(zip(actions, outcomes, strict=True), 1):
            step = self._step(environment, action)
            if step is None:
                return
            same = Outcome(step, self._admissible(environment)) == outcome
            what = f"{task.id}: step {number}, {format_value(action)}, is answered differently {where}"
            if not self._found.check(same, Requirement.DETERMINISM, what):
                return

    def _choose(self, admissible: tuple[str, ...] | None, seen: str) -> tuple[str, bool]:
        """A random action, and whether it was drawn from the admissible ones."""
        rng = self._rng
        if admissible and rng.random() < _ADMISSIBLE_SHARE:
            return rng.choice(admissible), True
        words = _WORD.findall(seen) or ["nothing"]
        start = rng.randrange(len(words))
        some = " ".join(words[start : start + rng.randint(1, 3)])
        action = rng.choice(self._actions) if self._actions else some
        call = _CALL.fullmatch(action)
        if call and rng.random() < 0.5:
            action = f"{call[1]}[{some}]"
        return action, False

    def _reset(self, environment: Environment, task: Task) -> Reset | None:
        with self._found.expect(Requirement.RESET, f"reset of {task.id}"):
            start: object = environment.reset(task)
            good = (
                isinstance(start, Reset)
                and isinstance(start.observation, str)
                and isinstance(start.instruction, str)
                and bool(start.instruction.strip())
            )
            if self._found.check(good, Requirement.RESET, f"reset of {task.id} returns {format_value(repr(start))}"):
                assert isinstance(start, Reset)
                return start
        return None

    def _step(self, environment: Environment, action: str) -> Step | None:
        """The answer to an action; None if it is unusable."""
        found, what = self._found, f"step({format_value(repr(action))})"
        with found.expect(Requirement.STEP, what):
            step: object = environment.step(action)
            self._counts["steps"] += 1
            if not isinstance(step, Step) or not has_valid_types(step):
                found.add(Requirement.STEP, f"{what} returns {format_value(repr(step))}")
                return None
            finite = is_finite(step.reward)
            found.check(finite, Requirement.REWARDS, f"{what} returns the reward {format_value(repr(step.reward))}")
            found.check(step.done or not step.success, Requirement.SUCCESS, f"{what} returns success without done")
            return step if finite else None
        return None

    def _admissible(self, environment: Environment) -> tuple[str, ...] | None:
        with self._found.expect(Requirement.ADMISSIBLE, "admissible_actions()"):
            listed: object = environment.admissible_actions()
            if listed is None:
                return None
            texts = not isinstance(listed, str) and isinstance(listed, Sequence)
            if not texts or not all(isinstance(action, str) for action in _items(listed)):
                self._found.add(Requirement.ADMISSIBLE, f"it is {format_value(repr(listed))}")
                return None
            actions = tuple(str(action) for action in _items(listed))
            ordered = list(actions) == sorted(set(actions))
            self._found.check(ordered, Requirement.ADMISSIBLE, f"it is {format_value(repr(list(actions)))}")
            return actions
        return None


def _items(listed: object) -> Sequence[object]:
    return listed if isinstance(listed, Sequence) else ()
