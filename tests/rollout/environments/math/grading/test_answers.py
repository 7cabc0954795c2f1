"""Sixty hard pairs of answers, hostile answers, and the reference answers of GSM8K."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.environments.math.grading.answers import same_answer
from rollout.environments.math.grading.notation import answer_in, boxed
from rollout.environments.math.grading.verify import AnswerChecker, shared_checker

REPOSITORY = Path(__file__).parents[5]
DATA = REPOSITORY / os.environ.get("STILLHOUSE_TEST_DATA", "../shared/data") / "math"

EQUAL = [
    # fractions and decimals
    (r"\frac{3}{4}", "0.75"),
    (r"\frac34", "3/4"),
    (r"-\frac{1}{2}", r"\dfrac{-1}{2}"),
    (r"\frac{6}{8}", r"\frac{3}{4}"),
    (r"2\frac{3}{4}", "11/4"),
    ("1 1/2", "1.5"),
    ("1/3", "0.3333"),
    ("0.5", ".50"),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"),
    # large and scientific numbers
    ("1,234,567", "1234567"),
    (r"12{,}000", "12,000.00"),
    (r"1.5 \times 10^{3}", "1500"),
    ("1500", "1.5e3"),
    ("−7", "-7"),
    # percent, money, units
    ("25%", r"25\%"),
    ("25", "25 percent"),
    ("0.25", "25%"),
    ("18", "$18"),
    ("$0.50", "50 cents"),
    (r"\$1.5 million", "$1,500,000"),
    (r"5\text{ cm}", "50 mm"),
    (r"12\text{ cm}^2", "12 square centimeters"),
    (r"90^\circ", "90 degrees"),
    ("2 hours", "120 minutes"),
    ("8", "8 apples"),
    # sets, tuples, lists, intervals
    (r"\{1,2,3\}", r"\{3, 1, 2\}"),
    (r"\{1,2\}", r"\{2,1,1\}"),
    ("-2, 3", "3 and -2"),
    (r"x=2 \text{ or } x=-2", "-2, 2"),
    ("(1, -2)", r"\left( 1,-2 \right)"),
    (r"(\frac{1}{2}, 3)", "(0.5, 3)"),
    (r"[1,\infty)", "[1, ∞)"),
    (r"(-\infty, 2) \cup (3, \infty)", r"(3,\infty)\cup(-\infty,2)"),
    (r"\emptyset", r"\{\}"),
    # expressions and LaTeX decoration
    ("x^2+2x+1", "(x+1)^2"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"\boxed{42}", "$42$"),
    ("x = 5", "5"),
    ("y=2x+3", "2x + 3"),
    # text and choices
    (r"\text{Monday}", "monday."),
    ("(A)", "A"),
    ("no solution", r"\text{No solution}"),
]
UNEQUAL = [
    (r"\frac{3}{4}", r"\frac{4}{3}"),
    ("1/3", "0.33"),
    ("5", "-5"),
    ("1,234", "1.234"),
    ("100", "1000"),
    ("25%", "0.0025"),
    (r"5\text{ cm}", r"5\text{ m}"),
    ("10 minutes", "10 degrees"),
    ("(1,2)", "(2,1)"),
    ("[1,2)", "[1,2]"),
    (r"(1,\infty)", r"(-\infty,1)"),
    (r"\{1,2,3\}", r"\{1,2\}"),
    ("2, 3", "2"),
    ("x^2+1", "x^2-1"),
    ("2x", "3x"),
    ("x=5", "y=5"),
    ("Yes", "No"),
    ("7", "seven of them"),
]
PAIRS = [(*pair, True) for pair in EQUAL] + [(*pair, False) for pair in UNEQUAL]


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    checker = AnswerChecker(cpu_limit_s=20)
    yield checker
    checker.close()


def test_the_table_has_sixty_pairs_of_both_kinds() -> None:
    assert (len(set(PAIRS)), len(EQUAL), len(UNEQUAL)) == (60, 42, 18)


@pytest.mark.parametrize(("right", "answer", "equal"), PAIRS)
def test_hard_pairs_get_the_right_verdict(checker: AnswerChecker, right: str, answer: str, equal: bool) -> None:
    assert checker.check(answer, right).correct is equal


@pytest.mark.parametrize(("right", "answer", "equal"), PAIRS)
def test_the_exact_comparison_is_never_wrong_and_is_symmetric(right: str, answer: str, equal: bool) -> None:
    assert same_answer(answer, right) in (equal, None)
    assert same_answer(right, answer) in (equal, None)


def test_numbers_units_and_words_need_no_math_verify_and_mathematics_does() -> None:
    assert sum(same_answer(answer, right) is not None for right, answer, _ in PAIRS) >= 38
    assert [pair for pair in PAIRS if r"\sqrt" in pair[0] and same_answer(pair[1], pair[0]) is not None] == []


def test_a_verdict_states_what_decided(checker: AnswerChecker) -> None:
    assert checker.check("0.75", r"\frac{3}{4}").by == "exact"
    assert checker.check("(x+1)^2", "x^2+2x+1").by == "math-verify"


@pytest.mark.parametrize(
    "answer",
    [
        "10**10**10",
        "10^{10^{10}}",
        "9^{9^{9^9}}",
        r"\sum_{i=1}^{10^{12}} i",
        "(" * 400,
        r"\frac{" * 100,
        "}{",
        "\x00",
        "\ud800",
        "a\nb\n\n",
        "__import__('os').system('true')",
        "9" * 900,
        "1e999999999",
        "x" * 100_000,
    ],
)
def test_hostile_answers_are_wrong_and_the_checker_keeps_working(answer: str) -> None:
    with_limit = shared_checker(0.5)
    assert not with_limit.check(answer, "5").correct
    assert not with_limit.check(answer, r"\sqrt{7}").correct
    assert with_limit.check(r"\sqrt{28}", r"2\sqrt{7}").by == "math-verify"


def test_an_answer_that_exceeds_the_cpu_limit_is_wrong_and_the_process_survives() -> None:
    with_limit = shared_checker(0.5)
    assert with_limit.verify("10^{10^{10}}", "5").by == "limit"
    assert with_limit.restarts == 0


def test_a_process_that_dies_is_replaced(checker: AnswerChecker) -> None:
    checker.close()
    assert checker.verify(r"\frac{1}{2}", "0.5").correct


def test_one_checker_per_limit_is_shared() -> None:
    assert shared_checker(0.5) is shared_checker(0.5)
    assert shared_checker(0.5) is not shared_checker(0.25)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(max_size=80), st.text(r"0123456789.,/%$\{}()[]^-+ xcm", max_size=60)),
    st.sampled_from(["5", r"\frac{1}{2}", r"\{1,2\}", "(1,2)", "Monday", "25%", "3 cm", r"[1,\infty)"]),
)
def test_the_exact_comparison_returns_a_verdict_for_every_text(answer: str, right: str) -> None:
    assert same_answer(answer, right) in (True, False, None)
    assert same_answer(right, right) is True


@given(st.integers(-(10**9), 10**9), st.integers(1, 9999))
def test_a_fraction_equals_its_other_spellings_and_no_other_fraction(above: int, below: int) -> None:
    right = rf"\frac{{{above}}}{{{below}}}"
    assert same_answer(f"{3 * above}/{3 * below}", right)
    assert same_answer(f"{above:,}/{below:,}", right)
    assert not same_answer(f"{above + 1}/{below}", right)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"so \boxed{1} or \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\fbox{3}", "3"),
        (r"$\boxed 7$", "7"),
        (r"\boxed{1", None),
        ("no box", None),
    ],
)
def test_the_last_closed_box_is_the_answer(text: str, inside: str | None) -> None:
    assert boxed(text) == inside


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"$\left(\dfrac12,\, 3\text{ cm}\right)$.", r"\left(\dfrac12,\, 3\text{ cm}\right)"),
        ("3+4=7, so the answer is **12**.", "12"),
        (r"The answer is $\frac{1}{2}$ cup.", r"\frac{1}{2} cup"),
        ("The answer is not 12.", "not 12"),
        (r"\boxed{1}, \boxed{2}", "1, 2"),
        (r"at first \boxed{1}, then \boxed{2}", "2"),
    ],
)
def test_only_the_text_around_an_answer_is_removed(text: str, answer: str) -> None:
    assert answer_in(text) == answer


def gold_answers() -> list[str]:
    rows = []
    for name in ("gsm8k_train.jsonl.gz", "gsm8k_test_300.jsonl.gz"):
        with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
            rows += [json.loads(line) for line in lines]
    return [row["answer"].rpartition("####")[2].strip() for row in rows]


needs_gsm8k = pytest.mark.skipif(
    not (DATA / "gsm8k_train.jsonl.gz").is_file(), reason="no GSM8K files: set STILLHOUSE_TEST_DATA"
)


@needs_gsm8k
def test_all_gold_answers_of_gsm8k_verify_against_themselves_in_any_spelling() -> None:
    gold = gold_answers()
    assert len(gold) == 7773
    assert [a for a in gold if not same_answer(a, a)] == []
    assert [a for a in gold if not same_answer(a.replace(",", "") + ".0", a)] == []
    assert [a for a in gold if same_answer(str(int(a.replace(",", "")) + 1), a) is not False] == []


@needs_gsm8k
def test_math_verify_agrees_on_a_sample_of_gold_answers(checker: AnswerChecker) -> None:
    distinct = sorted(set(gold_answers()))
    sample = [a for a in distinct if "," in a][:20] + distinct[::100]
    assert [a for a in sample if not checker.verify(a, a).correct] == []
