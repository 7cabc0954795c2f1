"""Seeded generator of math problems, with held-out splits.

A plot is the structure of a problem: its family, the kinds of its steps in order, and its question. ``valid_seen``
shares its plots with ``train`` and differs in numbers, names and distractors. ``valid_unseen`` has only plots that
never occur in the other splits. A problem is a pure function of its task's payload, identical in every process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from rollout.environment import Payload, Task
from rollout.environments.generated import SPLITS, GeneratedTasks, check_generator, stable_hash
from rollout.environments.math import code_problems, word_problems

GENERATOR_VERSION = 1

WordFamily = Literal["collection", "shopping", "journey", "wages", "comparison"]
CodeFamily = Literal["range_sum", "counting", "primes", "modular_power", "recurrence"]
Family = WordFamily | CodeFamily
WORD_FAMILIES: tuple[WordFamily, ...] = get_args(WordFamily)
CODE_FAMILIES: tuple[CodeFamily, ...] = get_args(CodeFamily)

_HELD_BACK_ONE_IN = 5
_MAX_DISTRACTORS = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """A generated problem. Splits are separated by ``plot``."""

    text: str
    answer: str
    plot: str


@dataclass(frozen=True, slots=True)
class MathTasks(GeneratedTasks):
    """A task source of generated problems; the families take turns."""

    families: tuple[Family, ...] = WORD_FAMILIES

    def task(self, split: str, seed: int, index: int) -> Task:
        family = self.families[index % len(self.families)]
        payload: Payload = {
            "generator": GENERATOR_VERSION,
            "split": split,
            "seed": seed,
            "index": index,
            "family": family,
        }
        return Task(f"math/{family}/{split}/{seed}/{index}", "math", split, family, payload)


def _order(plot: str) -> int:
    return stable_hash(f"plot/{plot}")


def _held_back_code() -> Iterator[str]:
    """Held-out plots of the code families: one in five, and at least one per family."""
    for family in CODE_FAMILIES:
        keys = sorted((problem.key for problem in code_problems.PROBLEMS if problem.family == family), key=_order)
        yield from keys[: max(1, len(keys) // _HELD_BACK_ONE_IN)]


_HELD_BACK_CODE = frozenset(_held_back_code())


def is_held_back(plot: str) -> bool:
    """Whether a plot is held out from ``train`` and ``valid_seen``."""
    if plot.partition("/")[0] in CODE_FAMILIES:
        return plot in _HELD_BACK_CODE
    return _order(plot) % _HELD_BACK_ONE_IN == 0


def generate_problem(payload: Payload) -> Problem:
    """Generate the problem of a task's payload.

    Raises:
        ValueError: the payload is damaged, or was created by another version of the generator.
    """
    check_generator(payload, "math", GENERATOR_VERSION)
    family, split = payload.get("family"), payload.get("split")
    if family not in (*WORD_FAMILIES, *CODE_FAMILIES) or split not in SPLITS:
        raise ValueError(f"there is no family {family!r} in a split {split!r}; make the tasks again")
    rng = Random("/".join(str(payload.get(key)) for key in ("split", "seed", "index", "family")))
    unseen = split == "valid_unseen"
    return (
        _code_problem(str(family), rng, unseen) if family in CODE_FAMILIES else _word_problem(str(family), rng, unseen)
    )


def _word_problem(family: str, rng: Random, unseen: bool) -> Problem:
    while True:  # some plots belong to other splits, some have no solution in whole numbers
        plot = word_problems.draw_plot(family, rng)
        if is_held_back(plot.key) != unseen:
            continue
        written = word_problems.write_problem(plot, rng, distractors=rng.randint(0, _MAX_DISTRACTORS))
        if written:
            return Problem(*written, plot.key)


def _code_problem(family: str, rng: Random, unseen: bool) -> Problem:
    allowed = [p for p in code_problems.PROBLEMS if p.family == family and is_held_back(p.key) == unseen]
    problem = rng.choice(allowed)
    return Problem(*code_problems.write_problem(problem, rng), problem.key)
