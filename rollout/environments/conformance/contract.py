"""What an environment promises, by name, with what mends a broken promise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from rollout.errors import UserError

_SHOWN_CHARS = 120


class Requirement(StrEnum):
    """One promise of `rollout.environment` or `rollout.environments.plugin.EnvironmentPlugin`, in words."""

    PARTS = "every part of the plug-in can be imported"
    CALLS = "environment(config) and tasks(config) can be called"
    CONFIG_FROZEN = "config is a frozen pydantic model"
    CONFIG_TYPE = "config says its name as type"
    CONFIG_KEYS = "config refuses unknown settings"
    INSTRUCTIONS = "instructions are there as short and full"
    EXAMPLES = "examples are worked episodes"
    SPLITS = "splits have names and tasks"
    TASKS = "tasks can be asked for"
    TASKS_SAME = "the same arguments give the same tasks"
    TASK_FIELDS = "a task says its environment, split and type"
    IDS = "task ids are unique"
    PAYLOADS = "payloads are JSON scalars"
    RESET = "reset starts a task with an observation and an instruction"
    RESET_SAME = "reset gives the same start again"
    STEP = "step answers any text"
    REWARDS = "rewards are finite numbers"
    SUCCESS = "success comes only with done"
    ADMISSIBLE = "admissible_actions is None or sorted, without duplicates"
    ADMISSIBLE_VALID = "an admissible action is valid"
    DETERMINISM = "the same actions give the same observations"
    CLOSE = "close can be called twice"


_MENDS = {
    Requirement.PARTS: "correct the import string in the EnvironmentPlugin",
    Requirement.CALLS: "let the EnvironmentPlugin name callables that take the settings",
    Requirement.CONFIG_FROZEN: 'give it model_config = ConfigDict(frozen=True, extra="forbid")',
    Requirement.CONFIG_TYPE: 'give it type: Literal["<name>"] = "<name>", with the name of the entry point',
    Requirement.CONFIG_KEYS: 'give it model_config = ConfigDict(frozen=True, extra="forbid")',
    Requirement.INSTRUCTIONS: 'make instructions {"short": "...", "full": "..."}, both texts that are not empty',
    Requirement.EXAMPLES: "make each a Demonstration with turns, or a text with lines that begin with Action:",
    Requirement.SPLITS: "let splits() name only splits that have tasks, each once",
    Requirement.TASKS: "let tasks(split, count, seed) give up to count tasks as a sequence of Task",
    Requirement.TASKS_SAME: "draw from random.Random(f'{split}/{seed}/{index}'), one for each task, and sort files",
    Requirement.TASK_FIELDS: "set environment to Config's type, split to the one asked for, and fill in the texts",
    Requirement.IDS: "put split, seed and index into the id",
    Requirement.PAYLOADS: "keep str, int, finite float, bool and None there; make the rest in reset",
    Requirement.RESET: "return Reset(observation, instruction) with texts, the instruction not empty",
    Requirement.RESET_SAME: "make the world from the task's payload alone, and forget the episode before",
    Requirement.STEP: "return a Step with an observation for every text; for one not understood, valid=False",
    Requirement.REWARDS: "give a float that is neither nan nor infinite",
    Requirement.SUCCESS: "set done=True wherever success=True",
    Requirement.ADMISSIBLE: "return sorted(set(actions)), or None if the actions cannot be listed",
    Requirement.ADMISSIBLE_VALID: "list only what step answers with valid=True",
    Requirement.DETERMINISM: "draw chance from a generator seeded in reset, and keep nothing between episodes",
    Requirement.CLOSE: "let close() do nothing if there is nothing left to release",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: which, where it was seen, and what mends it."""

    promise: Requirement
    what: str
    how_to_mend: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.what}; {self.how_to_mend}"


@dataclass(slots=True)
class Breaches:
    """Broken promises as they are found, each with the first place where it was seen."""

    first: dict[Requirement, Violation] = field(default_factory=dict)

    def add(self, promise: Requirement, what: str) -> None:
        if promise not in self.first:
            self.first[promise] = Violation(promise, what, _MENDS[promise])

    def check(self, holds: bool, promise: Requirement, what: str) -> bool:
        """Note a breach unless ``holds``; gives ``holds``."""
        if not holds:
            self.add(promise, what)
        return holds

    @contextmanager
    def expect(self, promise: Requirement, doing: str) -> Iterator[None]:
        """What the block raises breaks ``promise``, but for `UserError`, which says what the user can mend."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # whatever foreign code raises is the finding
            self.add(promise, f"{doing} raises {type(error).__name__}: {shown(str(error))}")

    def all(self) -> list[Violation]:
        """In the order of `Requirement`."""
        return [self.first[promise] for promise in Requirement if promise in self.first]


def shown(value: object) -> str:
    """A value on one line, cut if long."""
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
