"""Common units of measurement and currencies with their dimension and size."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS: dict[str, tuple[str, Fraction]] = {
    name: (kind, Fraction(size))
    for kind, table in {
        "length": {
            "mm millimeter millimeters millimetre millimetres": "0.001",
            "cm centimeter centimeters centimetre centimetres": "0.01",
            "m meter meters metre metres": "1",
            "km kilometer kilometers kilometre kilometres": "1000",
            "in inch inches": "0.0254",
            "ft foot feet": "0.3048",
            "yd yard yards": "0.9144",
            "mi mile miles": "1609.344",
        },
        "mass": {
            "mg milligram milligrams": "0.000001",
            "g gram grams": "0.001",
            "kg kilogram kilograms": "1",
            "lb lbs": "0.45359237",
            "oz ounce ounces": "0.028349523125",
        },
        "time": {
            "s sec secs second seconds": "1",
            "min mins minute minutes": "60",
            "h hr hrs hour hours": "3600",
            "day days": "86400",
            "week weeks": "604800",
        },
        "volume": {
            "ml milliliter milliliters millilitre millilitres": "0.001",
            "l liter liters litre litres": "1",
        },
        "speed": {"mph": "0.44704"},
        "angle": {"° deg degree degrees": "1"},
        "celsius": {"°c": "1"},
        "fahrenheit": {"°f": "1"},
        "money": {"cent cents ¢": "0.01", "$ us$ dollar dollars usd": "1"},
        "aud": {"a$ aud": "1"},
        "cad": {"c$ cad": "1"},
        "nzd": {"nz$ nzd": "1"},
        "hkd": {"hk$ hkd": "1"},
        "sgd": {"s$ sgd": "1"},
        "brl": {"r$ brl real reais": "1"},
        "eur": {"€ eur euro euros": "1"},
        "gbp": {"£ gbp": "1"},
        "jpy": {"jpy yen": "1"},
        "cny": {"cny rmb yuan": "1"},
        "inr": {"₹ inr rs rupee rupees": "1"},
        "chf": {"chf": "1"},
        "rub": {"₽ rub ruble rubles": "1"},
        "krw": {"₩ krw": "1"},
        "try": {"₺ try": "1"},
        "vnd": {"₫ vnd": "1"},
        "thb": {"฿ thb baht": "1"},
        "ils": {"₪ ils": "1"},
        "ngn": {"₦ ngn": "1"},
        "php": {"₱ php": "1"},
        "uah": {"₴ uah": "1"},
        "mxn": {"mxn": "1"},
        "zar": {"zar": "1"},
        "sek": {"sek": "1"},
        "nok": {"nok": "1"},
        "dkk": {"dkk": "1"},
        "pln": {"pln": "1"},
    }.items()
    for names, size in table.items()
    for name in names.split()
}
_PER = {"kmh": "km/h", "kph": "km/h", "kmph": "km/h"}
_SCALED = {"speed": "length^1/time^1"}

CURRENCY = (
    r"(?:US|A|C|NZ|HK|S|R)?\\?\$|[€£¥₹₽₩₺₫฿₪₦₱₴]|Rs\.?|\\(?:pounds|euro|texteuro|yen)(?![a-zA-Z])|"
    r"(?:USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|AUD|CAD|NZD|HKD|SGD|BRL|RUB|KRW|TRY|VND|THB|ILS|NGN|PHP|UAH|MXN|ZAR|SEK|NOK|"
    r"DKK|PLN|CZK|HUF|AED|SAR|QAR|KWD|EGP|KES|GHS|PKR|BDT|LKR|IDR|MYR|TWD|ARS|CLP|COP|kr\.?)(?![A-Za-z])"
)
"""Pattern of a sign or code that stands before an amount of money. The yen sign is also that of the yuan."""


def currency_of(sign: str) -> str:
    r"""Unit of a currency sign as written, such as ``\$``, ``US$``, ``Rs.`` or ``EUR``."""
    name = sign.lower().rstrip(".")
    return {r"\pounds": "£", r"\euro": "€", r"\texteuro": "€", r"\yen": "¥"}.get(name, name.replace("\\", ""))


def unit_of(text: str) -> tuple[str, Fraction] | None:
    """Dimension of a unit and its size in base units; None for an unknown unit. ``km/h`` is a length by a time."""
    text = _PER.get(text, text)
    parts = re.split(r"\s*/\s*|\s+per\s+|\s+an?\s+", text)
    if len(parts) > 2:
        return None
    found = [_power(part) for part in parts]
    above = found[0]
    below = found[-1]
    if above is None or below is None:
        return None
    if len(parts) == 1:
        return (_SCALED.get(above[0].removesuffix("^1"), above[0]), above[1])
    return f"{above[0]}/{below[0]}", above[1] / below[1]


def _power(text: str) -> tuple[str, Fraction] | None:
    text = re.sub(r"\s*\^\s*\{?([23])\}?", r"^\1", text).strip().removesuffix(".")
    power = 1
    for prefix, exponent in (("square ", 2), ("sq ", 2), ("cubic ", 3), ("cu ", 3)):
        if text.startswith(prefix):
            text, power = text.removeprefix(prefix), exponent
    if text.endswith(("^2", "^3")):
        text, power = text[:-2], int(text[-1])
    base = _UNITS.get(text)
    return (f"{base[0]}^{power}", base[1] ** power) if base else None
