"""Compares verdicts with those of math-verify alone on random answers in the style of MATH and on random matrices."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import pytest

from rollout.environments.math.grading.verify import AnswerChecker
from tests.rollout.environments.math.grading.math_style import Pair, math_pairs, matrix_pairs

library = pytest.importorskip("math_verify")
MAX_FALSE_REJECTS = 0.002


@dataclass(frozen=True)
class Difference:
    """Pairs on which a verdict is wrong, and the median time of a check."""

    accepted: list[Pair]
    """Wrong answers that are accepted here but not by math-verify alone."""
    rejected: list[Pair]
    num_right: int
    median_ms: float


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    checker = AnswerChecker(cpu_limit_s=20)
    checker.verify("1", "1")  # starts the process
    yield checker
    checker.close()


def raw(pair: Pair) -> bool:
    """The verdict of math-verify alone, for each way to hand it an answer."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    return any(
        library.verify(
            *(library.parse(form.replace("@", text), parsing_timeout=None) for text in (pair.gold, pair.answer)),
            timeout_seconds=None,
        )
        for form in ("$@$", r"\boxed{@}")
    )


def difference(checker: AnswerChecker, pairs: list[Pair]) -> Difference:
    accepted, rejected, times_ms = [], [], []
    for pair in pairs:
        begin_s = time.perf_counter()
        correct = checker.check(pair.answer, pair.gold).correct
        times_ms.append(1000 * (time.perf_counter() - begin_s))
        if correct and not pair.right and not raw(pair):
            accepted.append(pair)
        if pair.right and not correct:
            rejected.append(pair)
    found = Difference(accepted, rejected, sum(pair.right for pair in pairs), median(times_ms))
    print(f"{len(pairs)} pairs, {found.num_right} right, {len(accepted)} false accepts that math-verify does not have,")
    print(f"{len(rejected)} false rejects, median {found.median_ms:.2f} ms")
    return found


def test_no_verdict_on_a_sample_is_worse_than_that_of_math_verify(checker: AnswerChecker) -> None:
    found = difference(checker, [*math_pairs(150, seed=1), *matrix_pairs(60, seed=2)])
    assert (found.accepted, found.rejected) == ([], [])


@pytest.mark.slow
def test_no_false_accepts_and_few_false_rejects_on_thousands_of_pairs(checker: AnswerChecker) -> None:
    for pairs in ([*math_pairs(2000, seed=3)], [*matrix_pairs(1000, seed=4)]):
        found = difference(checker, pairs)
        assert found.accepted == []
        assert len(found.rejected) <= MAX_FALSE_REJECTS * found.num_right
