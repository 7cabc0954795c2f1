"""Requirements of the environment interface, and how to fix a violation of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from rollout.errors import UserError

_SHOWN_CHARS = 120


class Requirement(StrEnum):
    """One requirement of `rollout.environment` or `rollout.environments.plugin.EnvironmentPlugin`."""

    PARTS = "every part of the plug-in can be imported"
    CALLS = "environment(config) and tasks(config) can be called"
    CONFIG_FROZEN = "config is a frozen pydantic model"
    CONFIG_TYPE = "the field type of config has the name of the environment"
    CONFIG_KEYS = "config rejects unknown settings"
    INSTRUCTIONS = "instructions have the variants short and full"
    EXAMPLES = "examples are worked episodes"
    SPLITS = "splits have names and tasks"
    TASKS = "tasks(split, count, seed) returns tasks"
    TASKS_SAME = "the same arguments return the same tasks"
    TASK_FIELDS = "a task has its environment, split and type"
    IDS = "task ids are unique"
    PAYLOADS = "payloads are JSON scalars"
    RESET = "reset starts a task with an observation and an instruction"
    RESET_SAME = "reset returns the same start for the same task"
    STEP = "step accepts any text"
    REWARDS = "rewards are finite numbers"
    SUCCESS = "success comes only with done"
    ADMISSIBLE = "admissible_actions is None or sorted, without duplicates"
    ADMISSIBLE_VALID = "an admissible action is valid"
    DETERMINISM = "the same actions lead to the same observations"
    CLOSE = "close can be called twice"


_FIXES = {
    Requirement.PARTS: "correct the import string in the EnvironmentPlugin",
    Requirement.CALLS: "let the EnvironmentPlugin name callables that take the settings",
    Requirement.CONFIG_FROZEN: 'give it model_config = ConfigDict(frozen=True, extra="forbid")',
    Requirement.CONFIG_TYPE: 'give it type: Literal["<name>"] = "<name>", with the name of the entry point',
    Requirement.CONFIG_KEYS: 'give it model_config = ConfigDict(frozen=True, extra="forbid")',
    Requirement.INSTRUCTIONS: 'make instructions {"short": "...", "full": "..."}, both texts that are not empty',
    Requirement.EXAMPLES: "make each a Demonstration with turns, or a text with lines that begin with Action:",
    Requirement.SPLITS: "let splits() name only splits that have tasks, each once",
    Requirement.TASKS: "let tasks(split, count, seed) return up to count tasks as a sequence of Task",
    Requirement.TASKS_SAME: "draw from random.Random(f'{split}/{seed}/{index}'), one for each task, and sort files",
    Requirement.TASK_FIELDS: "set environment to Config's type, split to the requested one, and leave no text empty",
    Requirement.IDS: "put split, seed and index into the id",
    Requirement.PAYLOADS: "keep str, int, finite float, bool and None there; make the rest in reset",
    Requirement.RESET: "return Reset(observation, instruction) with texts, the instruction not empty",
    Requirement.RESET_SAME: "create the state from the task's payload alone, and discard the previous episode",
    Requirement.STEP: "return a Step with an observation for every text; for one not understood, valid=False",
    Requirement.REWARDS: "return a finite float",
    Requirement.SUCCESS: "set done=True wherever success=True",
    Requirement.ADMISSIBLE: "return sorted(set(actions)), or None if the actions cannot be listed",
    Requirement.ADMISSIBLE_VALID: "list only actions for which step returns valid=True",
    Requirement.DETERMINISM: "use a random generator seeded in reset, and keep no state between episodes",
    Requirement.CLOSE: "let close() do nothing if there is nothing left to release",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A violated requirement, where it was violated, and how to fix it."""

    requirement: Requirement
    what: str
    how_to_fix: str

    def __str__(self) -> str:
        return f"{self.requirement}: {self.what}; {self.how_to_fix}"


@dataclass(slots=True)
class Violations:
    """Collects violations and keeps the first one of each requirement."""

    first: dict[Requirement, Violation] = field(default_factory=dict)

    def add(self, requirement: Requirement, what: str) -> None:
        if requirement not in self.first:
            self.first[requirement] = Violation(requirement, what, _FIXES[requirement])

    def check(self, condition: bool, requirement: Requirement, what: str) -> bool:
        """Record a violation unless ``condition`` is true. Returns ``condition``."""
        if not condition:
            self.add(requirement, what)
        return condition

    @contextmanager
    def expect(self, requirement: Requirement, doing: str) -> Iterator[None]:
        """Record an exception of the block as a violation of ``requirement``. `UserError` propagates."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # any exception of the checked code is a violation
            self.add(requirement, f"{doing} raises {type(error).__name__}: {format_value(str(error))}")

    def all(self) -> list[Violation]:
        """All violations in the order of `Requirement`."""
        return [self.first[requirement] for requirement in Requirement if requirement in self.first]


def format_value(value: object) -> str:
    """The value on one line, truncated if long."""
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
