"""Parses plain numbers exactly, without evaluating: decimals, fractions, mixed and scientific notation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_MAX_EXPONENT = 300
_TOLERANCE = Fraction(1, 10**9)
_MIN_DIGITS = 3
_FLOAT_DIGITS = 6

SPACE = r"(?:\s|~|\\[,;:! ]|\\q?quad(?![a-zA-Z]))"
_SEPARATOR = r"(?:,\\!|\\!,|\{,\}|,|\\[,;: ]|~|['_ ])"
_GROUPS = rf"[1-9]\d{{0,2}}(?P<separator>{_SEPARATOR})\d{{3}}(?:(?P=separator)\d{{3}})*"
_DECIMAL = re.compile(
    rf"(?P<whole>{_GROUPS}|\d+)?(?:(?P<point>\.)(?P<part>\d*)(?:\\overline\s*\{{(?P<repeated>\d+)\}})?)?"
    r"(?:[eE](?P<exponent>[+-]?\d+))?"
)
_EUROPEAN = re.compile(
    r"(?P<whole>[1-9]\d{0,2}(?P<separator>[. ])\d{3}(?:(?P=separator)\d{3})*),(?P<part>\d+)"
    r"|(?P<dots>[1-9]\d{0,2}(?:\.\d{3}){2,})"
)
_INDIAN = re.compile(r"[1-9]\d?(?:,\d\d)+,\d{3}(?:\.\d+)?")
_TIMES_TEN = re.compile(
    rf"(?P<first>[^\s*\\]+){SPACE}*(?:\\times|\\cdot|\*|x){SPACE}*10\s*(?:\^|\*\*)\s*"
    r"(?:\{\s*(?P<a>[+-]?\d+)\s*\}|(?P<b>[+-]?\d+))"
)
_FRACTION = re.compile(
    rf"(?:(?P<whole>\d+){SPACE}*)?\\[dtc]?frac\s*(?:\{{(?P<above>[^{{}}]*)\}}|(?P<a>\d))\s*(?:\{{(?P<below>[^{{}}]*)\}}|(?P<b>\d))"
)
_SLASH = re.compile(rf"(?:(?P<whole>\d+){SPACE}+)?(?P<above>[^/\s]+)\s*/\s*(?P<below>[^/\s]+)")


@dataclass(frozen=True, slots=True)
class Number:
    """A number with its notation.

    Attributes:
        value: the exact value.
        decimals: number of digits after the decimal point, None if it is not written as a decimal.
        significant: number of significant digits of a decimal.
    """

    value: Fraction
    decimals: int | None = None
    significant: int = 0

    @property
    def latex(self) -> str:
        """The number as math-verify reads it; decimals stay decimals."""
        if self.value.denominator == 1:
            return str(self.value.numerator)
        sign = "-" if self.value < 0 else ""
        if self.decimals is None:
            return rf"{sign}\frac{{{abs(self.value.numerator)}}}{{{self.value.denominator}}}"
        digits = str(int(abs(self.value) * 10**self.decimals)).zfill(self.decimals + 1)
        return f"{sign}{digits[: -self.decimals]}.{digits[-self.decimals :]}"


def read_number(text: str, *, indian: bool = False) -> Number | None:
    """Parse ``text``; None unless all of it is a number. ``indian``: also digit groups such as ``1,23,456``."""
    unsigned = text[1:].strip() if text[:1] in ("-", "+") else text
    if indian and _INDIAN.fullmatch(unsigned):
        unsigned = unsigned.replace(",", "")
    number = _scientific(unsigned) or _decimal(unsigned) or _fraction(unsigned)
    if number is None or not text.startswith("-"):
        return number
    return Number(-number.value, number.decimals, number.significant)


def same_number(one: Number, other: Number) -> bool:
    """Whether two numbers are equal, equal up to the rounding of floats (1e-9), or one is the other one rounded.

    A decimal with three or more digits is the rounded value of a fraction without finite decimals, such as 1/3. Of two
    decimals, the shorter one needs six digits.
    """
    difference = abs(one.value - other.value)
    if difference == 0:
        return True
    if one.decimals is None and other.decimals is None:
        return False
    broken = 1 not in (one.value.denominator, other.value.denominator) or not (_is_whole(one) and _is_whole(other))
    if broken and difference <= _TOLERANCE * max(abs(one.value), abs(other.value)):
        return True
    decimals = [side for side in (one, other) if side.decimals is not None]
    if len(decimals) == 1:
        fraction = other if decimals[0] is one else one
        return not _is_finite(fraction.value) and _rounds(decimals[0], difference, _MIN_DIGITS)
    return _rounds(min(decimals, key=lambda side: side.decimals or 0), difference, _FLOAT_DIGITS)


def join_thousands(text: str) -> str:
    r"""Remove separators of thousands that cannot separate the parts of a list: ``10,\!080``, ``2{,}000``."""
    text = re.sub(
        r"(?<![\d.,])[1-9]\d{0,2}(?:(?:,\\!|\\!,|\{,\}|\\[,;: ]|~)\d{3})+(?!\d)", lambda match: _bare(match[0]), text
    )
    if not re.search(r",\s|;|\b(?:and|or)\b", text):
        return text
    return re.sub(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)", lambda match: _bare(match[0]), text)


def _is_whole(number: Number) -> bool:
    return number.value.denominator == 1


def _is_finite(value: Fraction) -> bool:
    """Whether a fraction has finitely many decimals."""
    below = value.denominator
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
    return below == 1


def _rounds(decimal: Number, difference: Fraction, digits: int) -> bool:
    places = decimal.decimals or 0
    return min(places, decimal.significant) >= digits and difference <= Fraction(1, 2 * 10**places)


def _bare(text: str) -> str:
    return re.sub(r"\D", "", text)


def _decimal(text: str) -> Number | None:
    if european := _EUROPEAN.fullmatch(text):
        text = _bare(european["dots"] or european["whole"]) + ("." + european["part"] if european["part"] else "")
    match = _DECIMAL.fullmatch(text)
    if match is None or not (match["whole"] or match["part"] or match["repeated"]):
        return None
    exponent = int(match["exponent"] or 0) if len(match["exponent"] or "") < 6 else _MAX_EXPONENT + 1
    if abs(exponent) > _MAX_EXPONENT:
        return None
    whole, part = _bare(match["whole"] or ""), match["part"] or ""
    value = Fraction(int(whole + part or "0"), 10 ** len(part))
    if match["repeated"]:
        value += Fraction(int(match["repeated"]), (10 ** len(match["repeated"]) - 1) * 10 ** len(part))
    value *= Fraction(10) ** exponent
    if not part or match["repeated"]:
        return Number(value)
    return Number(value, max(0, len(part) - exponent), len((whole + part).lstrip("0")))


def _scientific(text: str) -> Number | None:
    match = _TIMES_TEN.fullmatch(text)
    first = _decimal(match["first"]) if match else None
    power = (match["a"] or match["b"]) if match else ""
    if first is None or len(power) > 4 or abs(int(power)) > _MAX_EXPONENT:
        return None
    return Number(first.value * Fraction(10) ** int(power))


def _fraction(text: str) -> Number | None:
    match = _FRACTION.fullmatch(text) or _SLASH.fullmatch(text)
    if match is None:
        return None
    groups = match.groupdict()
    above, below = _signed(groups["above"] or groups.get("a") or ""), _signed(groups["below"] or groups.get("b") or "")
    if above is None or not below or (match["whole"] and (above < 0 or below < 0)):
        return None
    return Number(int(match["whole"] or 0) + above / below)


def _signed(text: str) -> Fraction | None:
    text = text.strip().removeprefix("(").removesuffix(")")
    number = _decimal(text.removeprefix("-").strip())
    if number is None:
        return None
    return -number.value if text.startswith("-") else number.value
