"""The calculator is exact and bounded, and returns a value or an error for every text."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.environments.math.calculator import CalculationError, calculate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("12 + 5", "17"),
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("7 / 2", "3.5"),
        ("7 // 2", "3"),
        ("-7 // 2", "-4"),
        ("7 % 4", "3"),
        ("2 ** 10", "1024"),
        ("2 ^ 3", "8"),
        ("3 × 4 ÷ 6 − 1", "1"),
        ("1,234 + 1", "1235"),
        ("0.1 + 0.2", "0.3"),
        ("1 / 3 * 3", "1"),
        ("1/3", "0.3333333333"),
        ("2 ** -2", "0.25"),
        ("2 ** 0.5", "1.414213562"),
        ("1.5e3", "1500"),
        ("0 ** 0", "1"),
        ("(-1) ** 1000000000000", "1"),
        ("(-1) ** 1000000000001", "-1"),
        ("0 ** 5", "0"),
        ("7 ** 222 % 10", "9"),
        ("--5", "5"),
    ],
)
def test_values_are_exact_and_formatted_short(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("", "there is no expression"),
        ("1 / 0", "division by zero"),
        ("5 % (2 - 2)", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("10**10**10", "too large"),
        ("9**9**9**9", "too large"),
        ("1e400", "too large"),
        ("1e300 * 1e300", "too large"),
        ("(-8) ** 0.5", "no such power"),
        ("2 ** 1023.5 * 2 ** 1023.5", "too large"),
        ("1e200 ** 1.9", "too large"),
        ("two + 2", "only numbers"),
        ("__import__('os')", "only numbers"),
        ("1,2", "only numbers"),
        ("e", "only numbers"),
        ("1(2)", "only numbers"),
        ("1 < 2", "only numbers"),
        ("()", "only numbers"),
        ("3 +", "cannot be read"),
        ("1\n2", "cannot be read"),
        ("(" * 199, "cannot be read"),
        ("1+" * 200 + "1", "longer than 200"),
        ("9" * 5000, "longer than 200"),
    ],
)
def test_an_invalid_or_too_large_expression_is_an_error(expression: str, sentence: str) -> None:
    with pytest.raises(CalculationError, match=sentence):
        calculate(expression)


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), st.text("0123456789.eE+-*/%() ", max_size=60)))
def test_every_text_gets_a_value_or_an_error(text: str) -> None:
    with suppress(CalculationError):
        assert Fraction(calculate(text)) is not None


@given(st.integers(-999, 999), st.integers(-999, 999), st.integers(1, 99))
def test_values_agree_with_fractions(a: int, b: int, c: int) -> None:
    value = Fraction(a) * b - Fraction(a, c)
    assert abs(Fraction(calculate(f"{a} * {b} - {a} / {c}")) - value) <= abs(value) / 10**9
