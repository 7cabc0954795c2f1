"""Common units of measurement with their dimension and size."""

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
            "inch inches": "0.0254",
            "ft foot feet": "0.3048",
            "yd yard yards": "0.9144",
            "mi mile miles": "1609.344",
        },
        "mass": {
            "mg milligram milligrams": "0.000001",
            "g gram grams": "0.001",
            "kg kilogram kilograms": "1",
            "lb lbs": "0.45359237",
        },
        "time": {
            "s sec second seconds": "1",
            "min minute minutes": "60",
            "h hr hour hours": "3600",
            "day days": "86400",
            "week weeks": "604800",
        },
        "volume": {
            "ml milliliter milliliters millilitre millilitres": "0.001",
            "l liter liters litre litres": "1",
        },
        "angle": {"degree degrees ^\\circ": "1"},
        "money": {"cent cents": "0.01", "dollar dollars usd": "1"},
        "euros": {"euro euros eur": "1"},
    }.items()
    for names, size in table.items()
    for name in names.split()
}


def unit_of(text: str) -> tuple[str, Fraction] | None:
    """Dimension of a unit and its size in the base unit; None for an unknown unit."""
    text = re.sub(r"\s*\^\s*\{?([23])\}?", r"^\1", text).strip().removesuffix(".")
    power = 1
    for prefix, exponent in (("square ", 2), ("cubic ", 3)):
        if text.startswith(prefix):
            text, power = text.removeprefix(prefix), exponent
    if text.endswith(("^2", "^3")):
        text, power = text[:-2], int(text[-1])
    base = _UNITS.get(text)
    return (f"{base[0]}^{power}", base[1] ** power) if base else None
