"""Problems that take a few lines of Python and are tedious by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from random import Random

from rollout.environments.math.sentences import Sentence

Numbers = Mapping[str, int]

_PRIME = "def prime(n): return n > 1 and all(n % d for d in range(2, n))"
_RANGE = "range({a}, {b} + 1)"


@dataclass(frozen=True)
class CodeProblem:
    """A template of a problem.

    Attributes:
        family: family of the problem.
        key: unique name; held-out splits select problems by key.
        sentence: text of the problem.
        code: lines of Python with slots; the last one prints the answer.
        solve: reference solution; None if these numbers make no suitable problem.
    """

    family: str
    key: str
    sentence: Sentence
    code: tuple[str, ...]
    solve: Callable[[Numbers], int | None]


def write_problem(problem: CodeProblem, rng: Random) -> tuple[str, str]:
    """Draw the numbers, and return text and answer."""
    while True:
        slots = problem.sentence.draw(rng)
        answer = problem.solve({name: int(value) for name, value in slots.items()})
        if answer is not None:
            return problem.sentence.write(slots), str(answer)


_AGGREGATES: Mapping[str, tuple[str, str, Callable[[list[int]], int]]] = {
    "sum": ("What is the sum of all {noun} from {span} {which}?", "sum({all})", sum),
    "squares": (
        "What is the sum of the squares of all {noun} from {span} {which}?",
        "sum(n * n for n in {all})",
        lambda numbers: sum(n * n for n in numbers),
    ),
    "count": ("How many {noun} are there from {span} {which}?", "len({all})", len),
    "largest": ("What is the largest of all {noun} from {span} {which}?", "max({all})", max),
    "second": ("What is the second smallest of all {noun} from {span} {which}?", "sorted({all})[1]", lambda n: n[1]),
}
_FILTERS: Mapping[str, tuple[str, str, Callable[[int, Numbers], bool]]] = {
    "divisible": ("that can be divided by {k:2:12}", "n % {k} == 0", lambda n, s: n % s["k"] == 0),
    "but_not": (
        "that can be divided by {k:2:9} but not by {m:2:9}",
        "n % {k} == 0 and n % {m}",
        lambda n, s: n % s["k"] == 0 and n % s["m"] != 0,
    ),
    "either": (
        "that can be divided by {k:2:9} or by {m:2:9}",
        "n % {k} == 0 or n % {m} == 0",
        lambda n, s: n % s["k"] == 0 or n % s["m"] == 0,
    ),
    "remainder": (
        "with remainder {r:1:5} after division by {k:3:12}",
        "n % {k} == {r}",
        lambda n, s: n % s["k"] == s["r"],
    ),
    "digit_sum": (
        "with digit sum {s:3:15}",
        "sum(map(int, str(n))) == {s}",
        lambda n, s: sum(map(int, str(n))) == s["s"],
    ),
    "last_digit": ("with last digit {r:1:9}", "n % 10 == {r}", lambda n, s: n % 10 == s["r"]),
}
_PRIME_FILTERS = ("remainder", "digit_sum", "last_digit")


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def _range_problem(family: str, noun: str, aggregate: str, which: str) -> CodeProblem:
    question, code, reduce = _AGGREGATES[aggregate]
    words, condition, is_kept = _FILTERS[which]
    primes = noun == "prime numbers"
    test = f"prime(n) and {condition}" if primes else condition

    def solve(slots: Numbers) -> int | None:
        numbers = [n for n in range(slots["a"], slots["b"] + 1) if is_kept(n, slots) and (_is_prime(n) or not primes)]
        return reduce(numbers) if len(numbers) > 1 else None

    text = question.format(noun=noun, span="{a:1:50} to {b:90:300}", which=words)
    line = f"print({code.format(all=f'[n for n in {_RANGE} if {test}]')})"
    lines = (_PRIME, line) if primes else (line,)
    return CodeProblem(family, f"{family}/{aggregate}/{which}", Sentence(text), lines, solve)


def _powers() -> list[CodeProblem]:
    base, exponent = "{a:2:30}", "{b:20:200}"
    power = f"{base} to the power of {exponent}"
    other = "{c:2:30} to the power of {d:20:200}"
    by = "after division by {m:7:97}"

    def problem(key: str, text: str, code: str, solve: Callable[[Numbers], int]) -> CodeProblem:
        return CodeProblem("modular_power", f"modular_power/{key}", Sentence(text), (f"print({code})",), solve)

    return [
        problem(
            "remainder",
            f"What is the remainder of {power} {by}?",
            "pow({a}, {b}, {m})",
            lambda s: pow(s["a"], s["b"], s["m"]),
        ),
        problem("last", f"What is the last digit of {power}?", "{a} ** {b} % 10", lambda s: pow(s["a"], s["b"], 10)),
        problem(
            "plus",
            f"What is the remainder of {power} plus {other} {by}?",
            "({a} ** {b} + {c} ** {d}) % {m}",
            lambda s: (pow(s["a"], s["b"], s["m"]) + pow(s["c"], s["d"], s["m"])) % s["m"],
        ),
        problem(
            "times",
            f"What is the remainder of {power} times {other} {by}?",
            "{a} ** {b} * {c} ** {d} % {m}",
            lambda s: pow(s["a"], s["b"], s["m"]) * pow(s["c"], s["d"], s["m"]) % s["m"],
        ),
        problem(
            "minus",
            f"What is the remainder of {power} minus {{c:2:30}} {by}?",
            "({a} ** {b} - {c}) % {m}",
            lambda s: (pow(s["a"], s["b"], s["m"]) - s["c"]) % s["m"],
        ),
        problem(
            "digit_sum",
            f"What is the digit sum of {power}?",
            "sum(map(int, str({a} ** {b})))",
            lambda s: sum(map(int, str(s["a"] ** s["b"]))),
        ),
        problem(
            "digits",
            f"How many digits does {power} have?",
            "len(str({a} ** {b}))",
            lambda s: len(str(s["a"] ** s["b"])),
        ),
    ]


_RULES: Mapping[str, tuple[str, str, Callable[[int, int, Numbers], int]]] = {
    "sum": ("the sum of the two terms before it", "a + b", lambda a, b, s: a + b),
    "sum_plus": ("{k:2:9} plus the sum of the two terms before it", "a + b + {k}", lambda a, b, s: a + b + s["k"]),
    "last_times": ("{k:2:4} times the last term plus the one before", "{k} * b + a", lambda a, b, s: s["k"] * b + a),
    "first_times": ("the last term plus {k:2:4} times the one before", "b + {k} * a", lambda a, b, s: b + s["k"] * a),
    "linear": ("{k:2:4} times the last term plus {m:1:9}", "{k} * b + {m}", lambda a, b, s: s["k"] * b + s["m"]),
}
_ASKED: Mapping[str, tuple[str, str, Callable[[list[int], Numbers], int]]] = {
    "term": ("What is term {n:6:14}?", "x[{n} - 1]", lambda x, s: x[s["n"] - 1]),
    "rest": (
        "What is the remainder of term {n:10:40} after division by {r:7:97}?",
        "x[{n} - 1] % {r}",
        lambda x, s: x[s["n"] - 1] % s["r"],
    ),
    "total": ("What is the sum of the first {n:6:14} terms?", "sum(x[:{n}])", lambda x, s: sum(x[: s["n"]])),
    "largest": (
        "What is the largest remainder of the first {n:6:20} terms after division by {r:7:97}?",
        "max(y % {r} for y in x[:{n}])",
        lambda x, s: max(y % s["r"] for y in x[: s["n"]]),
    ),
}


def _recurrence(rule: str, asked: str) -> CodeProblem:
    words, code, following = _RULES[rule]
    question, result, reduce = _ASKED[asked]
    text = f"A sequence begins with {{a:1:9}} and {{b:1:9}}. Each further term is {words}. {question}"
    step = code.replace("a", "x[-2]").replace("b", "x[-1]")
    lines = ("x = [{a}, {b}]", f"for i in range({{n}}): x.append({step})", f"print({result})")

    def solve(slots: Numbers) -> int:
        terms = [slots["a"], slots["b"]]
        while len(terms) < slots["n"]:
            terms.append(following(terms[-2], terms[-1], slots))
        return reduce(terms, slots)

    return CodeProblem("recurrence", f"recurrence/{rule}/{asked}", Sentence(text), lines, solve)


def _all_problems() -> list[CodeProblem]:
    made = [_range_problem("range_sum", "numbers", *pair) for pair in product(("sum", "squares"), _FILTERS)]
    made += [_range_problem("counting", "numbers", *pair) for pair in product(("count", "largest", "second"), _FILTERS)]
    made += [_range_problem("primes", "prime numbers", *pair) for pair in product(_AGGREGATES, _PRIME_FILTERS)]
    made += _powers()
    made += [_recurrence(rule, asked) for rule, asked in product(_RULES, _ASKED)]
    return made


PROBLEMS: tuple[CodeProblem, ...] = tuple(_all_problems())
