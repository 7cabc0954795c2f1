"""Base class of generated task sources, with three splits and tasks by index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import sha256

from rollout.environment import Payload, Task

SPLITS = ("train", "valid_seen", "valid_unseen")


def stable_hash(text: str) -> int:
    """A 32-bit hash that is the same in every process; it selects what the splits hold out."""
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big")


def check_generator(payload: Payload, generator: str, version: int) -> None:
    """Raise `ValueError` if a task's payload was created by another version of its generator."""
    if payload.get("generator") != version:
        raise ValueError(
            f"the task was made by {generator} generator {payload.get('generator')}, this is {version}; "
            "make the tasks again"
        )


class GeneratedTasks(ABC):
    """A task source (`rollout.environment.TaskSource`) that creates each task from split, seed and index."""

    __slots__ = ()

    def splits(self) -> Sequence[str]:
        return SPLITS

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """Tasks ``0 .. count - 1`` of ``split``; another ``seed`` gives other tasks.

        Raises:
            ValueError: the split is unknown.
        """
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; choose one of {', '.join(SPLITS)}")
        return [self.task(split, seed, index) for index in range(count)]

    @abstractmethod
    def task(self, split: str, seed: int, index: int) -> Task:
        """Create a task of a known split; the same arguments give the same task in every process."""
