"""Random answers in the style of MATH with other spellings that are right and near misses that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from random import Random
from typing import NamedTuple


class Pair(NamedTuple):
    gold: str
    answer: str
    right: bool


def math_pairs(number: int, seed: int) -> Iterator[Pair]:
    """``number`` pairs of all kinds but matrices."""
    random = Random(seed)
    for _ in range(number):
        yield random.choice(KINDS)(random, random.random() < 0.5)


def matrix_pairs(number: int, seed: int) -> Iterator[Pair]:
    """``number`` pairs of matrices and vectors, spaced and compact."""
    random = Random(seed)
    for _ in range(number):
        yield matrix(random, random.random() < 0.5)


def fraction(random: Random, right: bool) -> Pair:
    value = Fraction(random.randint(-60, 60), random.randint(2, 30))
    other = value if right else random.choice([-value, value + 1, 1 / (value or Fraction(1, 3))])
    right = other == value
    return Pair(frac(value), random.choice([frac(other, r"\dfrac"), f"{other.numerator}/{other.denominator}"]), right)


def integer(random: Random, right: bool) -> Pair:
    value = random.randint(1, 10 ** random.randint(1, 7))
    other = value if right else random.choice([-value, value + 1, value * 10])
    spelled = [
        f"{other:,}",
        f"{other:,}".replace(",", r",\!"),
        f"{other:,}".replace(",", "{,}"),
        f"${other}$",
        f"{other}.0",
    ]
    return Pair(random.choice([str(value), f"{value:,}".replace(",", r",\!")]), random.choice(spelled), right)


def root(random: Random, right: bool) -> Pair:
    factor, inside = random.randint(2, 12), random.choice([2, 3, 5, 6, 7, 10])
    square = factor * factor * inside + (0 if right else random.choice([-1, 1, inside]))
    return Pair(rf"{factor}\sqrt{{{inside}}}", rf"\sqrt{{{square}}}", right)


def circle(random: Random, right: bool) -> Pair:
    value = Fraction(random.randint(1, 40), random.choice([1, 1, 2, 3, 4, 6]))
    other = value if right else value + random.choice([Fraction(1), Fraction(1, 2)])
    gold = rf"{value}\pi" if value.denominator == 1 else rf"\frac{{{value.numerator}\pi}}{{{value.denominator}}}"
    spelled = [rf"{frac(other)} \pi", frac(other, r"\dfrac") + r"\pi", rf"\pi \cdot {frac(other)}"]
    return Pair(gold, random.choice(spelled), right)


def polynomial(random: Random, right: bool) -> Pair:
    a, b, c = random.randint(2, 5), random.randint(1, 9), random.randint(1, 9)
    middle = a * c - b + (0 if right else random.choice([1, -1, 2 * b]))
    gold = rf"({a}x - {b})(x + {c})"
    return Pair(f"{a}x^2 {middle:+d}x - {b * c}", gold, right)


def interval(random: Random, right: bool) -> Pair:
    low, high = sorted(random.sample(range(-20, 20), 2))
    gold = random.choice("([") + f"{low}, {high}" + random.choice("])")
    if right:
        return Pair(gold, rf"\left{gold[0]}{low},\,{high}\right{gold[-1]}", True)
    closed = {"(": "[", "[": "(", ")": "]", "]": ")"}
    wrong = [closed[gold[0]] + gold[1:], gold[:-1] + closed[gold[-1]], f"{gold[0]}{low}, {high + 1}{gold[-1]}"]
    return Pair(gold, random.choice(wrong), False)


def union(random: Random, right: bool) -> Pair:
    low, high = sorted(random.sample(range(-20, 20), 2))
    end = low if right else low - 1
    return Pair(rf"(-\infty, {low}) \cup ({high}, \infty)", rf"({high},\infty)\cup(-\infty,{end})", right)


def finite_set(random: Random, right: bool) -> Pair:
    parts = random.sample(range(-30, 30), random.randint(2, 4))
    gold = ", ".join(map(str, parts))
    if not right:
        parts[0] += random.choice([1, 100])
    random.shuffle(parts)
    right = sorted(parts) == sorted(map(int, gold.split(", ")))
    spelled = [",".join(map(str, parts)), rf"\{{{', '.join(map(str, parts))}\}}"]
    return Pair(rf"\{{{gold}\}}" if random.random() < 0.5 else gold, random.choice(spelled), right)


def point(random: Random, right: bool) -> Pair:
    values = [Fraction(random.randint(-9, 9), random.choice([1, 1, 2, 3])) for _ in range(random.randint(2, 3))]
    others = values if right else values[::-1]
    right = others == values
    gold, answer = (", ".join(map(frac, side)) for side in (values, others))
    return Pair(f"({gold})", rf"\left( {answer} \right)".replace(r"\frac", r"\dfrac"), right)


def complex_number(random: Random, right: bool) -> Pair:
    a, b = random.randint(1, 20), random.randint(2, 20)
    return Pair(f"{a} + {b}i", f"{b}i + {a}" if right else random.choice([f"{a} - {b}i", f"{b} + {a + 1}i"]), right)


def inequality(random: Random, right: bool) -> Pair:
    bound = random.randint(-20, 20)
    sign, other = random.choice(
        [(r"\leqslant", r"\le"), (r"\geqslant", r"\geq"), ("<", r"\lt"), (r"\le", r"\leqslant")]
    )
    wrong = {r"\leqslant": "<", r"\geqslant": ">", "<": r"\le", r"\le": r"\ge"}[sign]
    return Pair(f"x {sign} {bound}", f"x {other if right else wrong} {bound}", right)


def line(random: Random, right: bool) -> Pair:
    slope, start = random.randint(2, 9), random.randint(1, 9)
    return Pair(f"y = {slope}x + {start}", f"y = {start if right else start + 1} + {slope}x", right)


def quantity(random: Random, right: bool) -> Pair:
    value = random.randint(2, 500)
    other = value if right else value + random.choice([1, -1, 10])
    unit = random.choice([r"\text{ cm}", r"^\circ", r"\text{ square units}", r"\%", r"\text{ inches}^2", ""])
    return Pair(f"{value}{unit}", f"{other}{random.choice([unit, ''])}", right)


def words(random: Random, right: bool) -> Pair:
    names = random.sample(["Evelyn", "Carla", "Monday", "ellipse", "even", "neither", "no solution", "Saturn"], 2)
    return Pair(rf"\text{{{names[0]}}}", names[0] if right else rf"\text{{{names[1]}}}", right)


def choice(random: Random, right: bool) -> Pair:
    letters = random.sample("ABCDE", 2)
    return Pair(
        rf"\textbf{{({letters[0]})}}", random.choice(["{}", "({})", r"\text{{({})}}"]).format(letters[not right]), right
    )


def power(random: Random, right: bool) -> Pair:
    base, exponent = random.choice([2, 3, 5, 7]), random.randint(3, 9)
    value = base**exponent + (0 if right else random.choice([1, -1, base]))
    return Pair(f"{base}^{{{exponent}}}", str(value), right)


def matrix(random: Random, right: bool) -> Pair:
    rows, columns = random.choice([(2, 1), (3, 1), (2, 2), (2, 3), (3, 3), (1, 3)])
    values = [[entry(random) for _ in range(columns)] for _ in range(rows)]
    others = [list(row) for row in values]
    if not right:
        others = random.choice([reversed_rows, transposed, changed])(others, random)
    gold, answer = (written(side, random) for side in (values, others))
    return Pair(gold, answer, values == others)


def entry(random: Random) -> str:
    whole = str(random.randint(-12, 12))
    return random.choice([whole, whole, whole, frac(Fraction(random.randint(1, 9), 2)), r"\sqrt{3}", "x"])


def reversed_rows(rows: list[list[str]], _: Random) -> list[list[str]]:
    return [row[::-1] for row in rows[::-1]]


def transposed(rows: list[list[str]], _: Random) -> list[list[str]]:
    return [list(column) for column in zip(*rows, strict=True)]


def changed(rows: list[list[str]], random: Random) -> list[list[str]]:
    row = random.choice(rows)
    row[random.randrange(len(row))] = str(random.randint(20, 30))
    return rows


def written(rows: list[list[str]], random: Random) -> str:
    space, kind = random.choice(["", " "]), random.choice(["pmatrix", "pmatrix", "bmatrix"])
    lines = (f"{space}\\\\{space}").join(f"{space}&{space}".join(row) for row in rows)
    return rf"\begin{{{kind}}}{space}{lines}{space}\end{{{kind}}}"


def frac(value: Fraction, command: str = r"\frac") -> str:
    if value.denominator == 1:
        return str(value.numerator)
    return f"{'-' if value < 0 else ''}{command}{{{abs(value.numerator)}}}{{{value.denominator}}}"


KINDS: tuple[Callable[[Random, bool], Pair], ...] = (
    fraction,
    integer,
    root,
    circle,
    polynomial,
    interval,
    union,
    finite_set,
    point,
    complex_number,
    inequality,
    line,
    quantity,
    words,
    choice,
    power,
)
