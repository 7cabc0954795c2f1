"""Parses numbers with percent signs, money and units, exactly and without evaluating expressions."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from rollout.environments.math.grading.units import unit_of

_MAX_EXPONENT = 300

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_DECIMAL = re.compile(rf"(?P<digits>{_DIGITS}(?:\.\d*)?|\.\d+)(?:[eE](?P<e>[+-]?\d+))?")
_TIMES_TEN = re.compile(
    r"(?P<first>[^\s*\\]+)\s*(?:\\times|\\cdot|\*|x)\s*10\s*(?:\^|\*\*)\s*(?:\{\s*(?P<a>-?\d+)\s*\}|(?P<b>-?\d+))"
)
_FRACTION = re.compile(r"(?:(?P<whole>\d+)\s*)?\\frac\s*\{(?P<above>[^{}]*)\}\s*\{(?P<below>[^{}]*)\}")
_SLASH = re.compile(r"(?:(?P<whole>\d+)\s+)?(?P<above>[^/\s]+)\s*/\s*(?P<below>[^/\s]+)")
_PERCENT = re.compile(r"(?P<number>.*\S)\s*(?:%|percent|per cent)")
_DOLLARS = re.compile(r"(?P<sign>-?)\s*\$\s*(?P<number>[\d.,]+)\s*(?P<rest>(?:thousand|million|billion)?)(?: dollars)?")
_UNIT = re.compile(r"(?P<number>.*[\d}.])(?P<space>\s*)(?P<unit>(?:\^\s*\\circ|[A-Za-z]).*)")
_UNIT_WORDS = re.compile(r"(?P<first>[a-z]+)\.?(?:\s*\^\s*\{?[23]\}?)?(?:[ /-][a-z]+(?:\s*\^\s*\{?[23]\}?)?)*\.?")
_FUNCTIONS = frozenset("sin cos tan cot sec csc log exp sqrt frac mod and".split())
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its notation.

    Attributes:
        value: the number as written: ``25 %`` is 25.
        decimals: number of digits after the decimal point, None without a point.
        significant: number of significant digits, for a number with a point.
        percent: whether a percent sign or the word follows.
        unit: text after the number in lower case; may be empty.
    """

    value: Fraction
    decimals: int | None = None
    significant: int = 0
    percent: bool = False
    unit: str = ""


def read_quantity(text: str) -> Quantity | None:
    """Parse ``text`` (output of `notation.plain`); None unless it is certainly a quantity."""
    if money := _DOLLARS.fullmatch(text):
        text = f"{money['sign']}{money['number']} {money['rest']} dollars".replace("  ", " ")
    if share := _PERCENT.fullmatch(text):
        number = _number(share["number"])
        return replace(number, percent=True) if number else None
    return _number(text) or _with_unit(text)


def _with_unit(text: str) -> Quantity | None:
    match = _UNIT.fullmatch(text)
    number = _number(match["number"].strip()) if match else None
    if match is None or number is None:
        return None
    unit = match["unit"].strip().lower()
    scale, _, rest = unit.partition(" ")
    if scale in _SCALES:
        return replace(number, value=number.value * _SCALES[scale], unit=rest)
    return replace(number, unit=unit) if _is_unit(unit, bool(match["space"])) else None


def _is_unit(text: str, spaced: bool) -> bool:
    r"""Whether a text is a unit of words and exponents. ``2x``, ``3 ab``, ``3 sin x`` and ``5\pi`` are products."""
    if re.fullmatch(r"\^\s*\\circ( ?[cf])?", text):
        return True
    match = _UNIT_WORDS.fullmatch(text)
    if match is None or match["first"] in _FUNCTIONS:
        return False
    known = unit_of(text) is not None and (spaced or len(text) > 1)
    return known or len(match["first"]) > 3 or (spaced and len(match["first"]) == 3)


def _number(text: str) -> Quantity | None:
    unsigned = text[1:].strip() if text[:1] in ("-", "+") else text
    number = _scientific(unsigned) or _decimal(unsigned) or _fraction(unsigned)
    return replace(number, value=-number.value) if number and text.startswith("-") else number


def _decimal(text: str) -> Quantity | None:
    match = _DECIMAL.fullmatch(text)
    if match is None or abs(int(match["e"] or 0)) > _MAX_EXPONENT:
        return None
    digits = match["digits"].replace(",", "")
    value = Fraction(digits.removesuffix(".")) * Fraction(10) ** int(match["e"] or 0)
    if "." not in digits or match["e"]:
        return Quantity(value)
    return Quantity(value, len(digits.partition(".")[2]), len(digits.replace(".", "").lstrip("0")))


def _scientific(text: str) -> Quantity | None:
    match = _TIMES_TEN.fullmatch(text)
    first = _decimal(match["first"]) if match else None
    exponent = int(match["a"] or match["b"]) if match else 0
    return Quantity(first.value * Fraction(10) ** exponent) if first and abs(exponent) <= _MAX_EXPONENT else None


def _fraction(text: str) -> Quantity | None:
    match = _FRACTION.fullmatch(text) or _SLASH.fullmatch(text)
    if match is None:
        return None
    above, below = _signed(match["above"]), _signed(match["below"])
    if above is None or not below or (match["whole"] and (above < 0 or below < 0)):
        return None
    return Quantity(int(match["whole"] or 0) + above / below)


def _signed(text: str) -> Fraction | None:
    text = text.strip().removeprefix("(").removesuffix(")")
    number = _decimal(text.removeprefix("-").strip())
    if number is None:
        return None
    return -number.value if text.startswith("-") else number.value
