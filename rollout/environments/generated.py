"""What the task sources of all generated worlds have in common: three splits, and tasks by number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from rollout.environment import Task

SPLITS = ("train", "valid_seen", "valid_unseen")


class GeneratedTasks(ABC):
    """A task source (`rollout.environment.TaskSource`) that makes each task from its split, seed and number."""

    __slots__ = ()

    def splits(self) -> Sequence[str]:
        return SPLITS

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """Tasks ``0 .. count - 1`` of ``split``; another ``seed`` gives other worlds.

        Raises:
            ValueError: unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; choose one of {', '.join(SPLITS)}")
        return [self.task(split, seed, index) for index in range(count)]

    @abstractmethod
    def task(self, split: str, seed: int, index: int) -> Task:
        """One task of a known split; the same arguments give the same task in any process."""
