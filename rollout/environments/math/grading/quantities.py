"""Separates an expression from its currency, percent sign and unit."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from rollout.environments.math.grading.notation import TEXT_COMMAND
from rollout.environments.math.grading.numbers import SPACE, Number, read_number
from rollout.environments.math.grading.units import CURRENCY, currency_of, unit_of

_MAX_UNIT = 80

_MONEY = re.compile(
    rf"(?P<sign>[+-]?)\s*(?:{TEXT_COMMAND}\{{\s*)?(?P<currency>{CURRENCY})(?:\s*\}})?{SPACE}*"
    r"(?P<rest>[+-]?\s*(?:[\d.]|\\[dtc]?frac).*)",
    re.DOTALL,
)
_PERCENT = re.compile(
    rf"(?P<rest>.*[\d}})]){SPACE}*(?:\\?%|(?:{TEXT_COMMAND}\{{)?\s*(?:percent|per cent|pct)\.?\s*\}}?)", re.DOTALL
)
_EXPONENT = r"(?:\s*\^\s*\{?\s*[23]\s*\}?)?"
_UNIT = re.compile(
    rf"(?P<rest>.*?[\d}})]\.?)(?P<space>{SPACE}*)(?P<unit>"
    r"(?:\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z]))\s*(?:[CF]|\\(?:text|mathrm)\s*\{\s*[CF]\s*\})?"
    rf"|(?:{TEXT_COMMAND}\{{[^{{}}]*\}}{_EXPONENT}\s*(?:/|\\cdot|{SPACE})?\s*)+"
    r"|[€£¥₹₽₩₺₫฿₪₦₱₴¢]|\\?\$"
    rf"|(?:/\s*)?[A-Za-z]+\.?{_EXPONENT}(?:(?:\s*/\s*|[ -])[A-Za-z]+\.?{_EXPONENT})*)",
    re.DOTALL,
)
_DEGREES = re.compile(r"(?:\^\{?\\circ\}?|\\degree)([cf]?)")
_WORDS = re.compile(rf"(?:/\s*)?[a-z]+\.?{_EXPONENT}(?:(?:\s*/\s*|[ -]+)[a-z]+\.?{_EXPONENT})*")
_NO_UNIT = frozenset(
    "sin cos tan cot sec csc log ln exp sqrt frac mod squared cubed factorial or and plus minus times divided over "
    "more less fewer than to through out of half halves third thirds quarter quarters fourth fourths fifth fifths "
    "eighth eighths tenth tenths hundredth hundredths not no is are was were isn wrong if but percentage choose".split()
)
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_MONEY_SCALES = {"k": 10**3, "m": 10**6, "mn": 10**6, "b": 10**9, "bn": 10**9} | _SCALES


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression with what follows or precedes it.

    Attributes:
        expression: the expression as written, without percent sign, currency and unit.
        number: its value if it is a plain number; ``25 %`` is 25.
        percent: whether a percent sign or the word follows.
        unit: the unit in lower case, such as ``cm``, ``usd per hour`` or ``apples``; may be empty.
    """

    expression: str
    number: Number | None = None
    percent: bool = False
    unit: str = ""

    @property
    def latex(self) -> str:
        """The expression for math-verify."""
        return self.number.latex if self.number else self.expression


def read_quantity(text: str, *, glued: bool = False) -> Quantity:
    """Parse ``text``, an answer without the text around it.

    Args:
        text: the answer.
        glued: whether a letter or an unknown word directly after a number is a unit (``5m``) and not a factor.
    """
    currency = ""
    if money := _MONEY.fullmatch(text):
        currency, text = currency_of(money["currency"]), money["sign"] + money["rest"]
    if share := _PERCENT.fullmatch(text):
        return replace(_quantity(share["rest"].rstrip(), currency), percent=True)
    quantity = _quantity(text, currency)
    if quantity.number:
        return quantity
    return _with_unit(text, currency, glued) or quantity


def _quantity(text: str, unit: str) -> Quantity:
    return Quantity(text, read_number(text, indian=unit in ("₹", "inr", "rs")), unit=unit)


def _with_unit(text: str, currency: str, glued: bool) -> Quantity | None:
    cut = max(0, len(text) - _MAX_UNIT)
    match = _UNIT.fullmatch(text, cut)
    if match is None:
        return None
    expression, unit = text[:cut] + match["rest"], _unit_name(match["unit"])
    indian = unit in ("₹", "inr", "rs", "rupee", "rupees") or currency in ("₹", "inr", "rs")
    number = read_number(expression.strip(), indian=indian) or read_number(expression.strip().removesuffix("."))
    scale, _, rest = unit.partition(" ")
    factor = (_MONEY_SCALES if currency else _SCALES).get(scale)
    if factor:
        if number is None:
            return None
        scaled = Number(number.value * factor)
        return Quantity(scaled.latex, scaled, unit=_joined(currency, rest))
    if not _is_unit(unit, match, number is not None, glued):
        return None
    return Quantity(expression.strip(), number, unit=_joined(currency, unit))


def _joined(currency: str, unit: str) -> str:
    """``$5 dollars`` has one unit, ``$5 per hour`` a compound one."""
    return f"{currency} {unit}" if currency and unit_of(unit) is None else unit or currency


def _unit_name(text: str) -> str:
    text = re.sub(TEXT_COMMAND + r"\{([^{}]*)\}", r"\1", text)
    text = re.sub(SPACE + "+", " ", text).strip().lower()
    if degrees := _DEGREES.fullmatch(text.replace(" ", "")):
        return "°" + degrees[1]
    return text.replace("\\", "").strip().removesuffix(".")


def _is_unit(unit: str, match: re.Match[str], number: bool, glued: bool) -> bool:
    r"""Whether a text is a unit. ``2x``, ``3 ab``, ``3 sin x`` and ``2\pi r`` are products."""
    known = unit_of(unit) is not None
    written = match["unit"]
    if not written[0].isalpha() and not written.startswith(("\\", "/")):
        return True  # a degree or currency sign
    if not _WORDS.fullmatch(unit):
        return known
    words = re.findall("[a-z]+", unit)
    if _NO_UNIT & set(words):
        return False
    if written.startswith("\\"):
        return True  # text commands contain no factors
    if not number:
        return known and len(unit) > 1 and bool(match["space"])
    if not match["space"]:
        return (known and (glued or len(unit) > 1)) or (glued and len(words[0]) > 3)
    return known or len(words[0]) > 2
