"""A calculator for expressions written by a model: exact, and bounded in time and memory."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

MAX_LENGTH = 200
"""Maximum number of characters of an expression."""
MAX_BITS = 1000
"""Maximum size of a numerator or denominator, including intermediate values; about 300 digits."""

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_ALLOWED = re.compile(r"[\d.eE+\-*/%()\s]*")
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: operator.mod,
}


class CalculationError(ValueError):
    """An expression cannot be calculated; the message becomes part of the observation."""


def calculate(expression: str) -> str:
    """Calculate ``expression`` and return an integer or a decimal of up to ten digits.

    Supports numbers, ``+ - * / // % **`` and brackets, and also ``× ÷ ^`` and thousands separators. Fractions are exact
    until they are formatted; only powers with a fractional exponent are rounded to double precision.

    Raises:
        CalculationError: the expression cannot be parsed, or its value is undefined or too large.
    """
    text = _plain(expression)
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise CalculationError("the expression cannot be read") from error
    return show(_value(tree.body))


def show(value: Fraction) -> str:
    """Format a number as the calculator does."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.10g}"


def _plain(expression: str) -> str:
    text = expression.strip()
    if not text:
        raise CalculationError("there is no expression")
    if len(text) > MAX_LENGTH:
        raise CalculationError(f"the expression is longer than {MAX_LENGTH} characters")
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    text = text.replace("×", "*").replace("÷", "/").replace("−", "-").replace("^", "**")
    if not _ALLOWED.fullmatch(text):
        raise CalculationError("only numbers, + - * / // % ** and brackets can be calculated")
    return text


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return _number(node.value)
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if right == 0 and isinstance(node.op, ast.Div | ast.FloorDiv | ast.Mod):
            raise CalculationError("division by zero")
        return _bounded(_OPERATORS[type(node.op)](left, right))
    raise CalculationError("only numbers, + - * / // % ** and brackets can be calculated")


def _number(value: int | float) -> Fraction:
    if value in (float("inf"), float("-inf")):
        raise CalculationError("a number is too large")
    return _bounded(Fraction(repr(value)))  # repr: 0.1 means one tenth


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if base == 0 and exponent < 0:
        raise CalculationError("division by zero")
    if exponent.denominator != 1:
        if base < 0:
            raise CalculationError("a negative number has no such power")
        try:
            return _number(float(base) ** float(exponent))
        except OverflowError as error:
            raise CalculationError("the value is too large") from error
    if base in (0, 1, -1):
        return base if exponent % 2 else base * base if exponent else Fraction(1)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if (bits - 1) * abs(exponent) > MAX_BITS:
        raise CalculationError("the value is too large")
    return _bounded(base ** int(exponent))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise CalculationError("the value is too large")
    return value
