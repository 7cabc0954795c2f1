"""Self-test of a teacher: are its distributions reproducible, and is each one at the token that it predicts?

The reference is the teacher's own next-token distribution after each prefix of a short sequence, one request each. The
scores of the whole sequence, and the distributions of a completion, must agree with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle, islice
from math import exp
from typing import TypeVar

from rollout.engine import Completion, Engine, Sampling
from rollout.errors import UserError
from rollout.trajectory import TopK

BOUND = 0.1
"""Largest accepted distance of two distributions, several times what the rounding of bfloat16 causes."""
REPEATS = 5
_NUM_TOKENS = 20
_MAX_TOP_K = 128
_ROUNDING = 0.02
"""Largest accepted error of a row's total probability."""
_T = TypeVar("_T")
Row = Mapping[int, float]
"""Probabilities of the most likely tokens."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Result of a self-test. Distances are total variation in [0, 1], over the listed tokens.

    Attributes:
        spread: largest distance between repetitions of a request.
        shift: largest distance to the distribution that was computed token by token.
        bound: largest accepted value of both.
    """

    spread: float
    shift: float
    bound: float = BOUND

    def __str__(self) -> str:
        return (
            f"Teacher self-test: spread {self.spread:.3f} in {REPEATS} repetitions, shift {self.shift:.3f} against "
            f"token by token, bound {self.bound:g}."
        )


async def self_test(engine: Engine, prompt: Sequence[int], *, written: int, scored: int) -> SelfTest:
    """Measure the distributions of a teacher, with up to 60 short requests.

    Args:
        engine: the teacher's engine.
        prompt: any prompt.
        written: entries of the distributions of its own completions; 0 if they are not used.
        scored: entries of the distributions over finished episodes; 0 if they are not used.

    Raises:
        NotImplementedError: the engine returns none.
        UserError: they do not have the form of `TopK`, or spread or shift exceeds the bound.
    """
    tests = [await _test_scores(engine, prompt, scored)] if scored else []
    tests += [await _test_completions(engine, prompt, written)] if written else []
    result = SelfTest(max(test.spread for test in tests), max(test.shift for test in tests))
    if result.spread > BOUND:
        raise _refusal(f"repetitions of the same request differ by {result.spread:.3f}, more than {BOUND:g}")
    if result.shift > BOUND:
        raise _refusal(
            f"they differ by {result.shift:.3f}, more than {BOUND:g}, from those that it computes token by token: they "
            "belong to other positions, are rescaled, or are not the most likely tokens"
        )
    return result


async def _test_scores(engine: Engine, prompt: Sequence[int], k: int) -> SelfTest:
    await engine.score(prompt, k)  # before any completion, as it is refused if scores are not supported
    completion = await engine.generate(prompt, _sampled(), "self-test")
    ids = _long_enough((*prompt, *completion.token_ids))[: engine.max_model_len - 1]
    steps = await _token_by_token(engine, ids, 1, k)
    scores = [_rows(top, len(ids), k, first=1) for top in await _all(engine.score(ids, k) for _ in range(REPEATS))]
    pairs = ((a, b) for one, other in combinations(scores, 2) for a, b in zip(one, other, strict=True))
    shift = (_error(row, step) for row, step in zip(scores[0], steps, strict=True))
    return SelfTest(max(_distance(a, b) for a, b in pairs), max(shift))


async def _test_completions(engine: Engine, prompt: Sequence[int], k: int) -> SelfTest:
    # A completion that ends at once would show nothing.
    tried = await _all(engine.generate(prompt, _sampled(k, seed), f"self-test/{seed}") for seed in range(REPEATS))
    seed = max(range(REPEATS), key=lambda seed: len(tried[seed].token_ids))
    repeated = (engine.generate(prompt, _sampled(k, seed), f"self-test/again/{i}") for i in range(1, REPEATS))
    completions = [tried[seed], *await _all(repeated)]
    written = [_rows(_top(made), len(made.token_ids), k) for made in completions]
    steps = await _token_by_token(engine, (*prompt, *completions[0].token_ids), len(prompt), k)
    spread = [0.0]
    for made, rows in zip(completions[1:], written[1:], strict=True):
        for i, (row, other) in enumerate(zip(written[0], rows, strict=False)):
            if made.token_ids[:i] == completions[0].token_ids[:i]:  # an endpoint may ignore the seed
                spread.append(_distance(row, other))
    return SelfTest(max(spread), max(_error(row, step) for row, step in zip(written[0], steps, strict=True)))


def _sampled(top_logprobs: int = 0, seed: int = 0) -> Sampling:
    """A temperature other than 1 shows whether the engine rescales what it returns."""
    return Sampling(max_tokens=_NUM_TOKENS, temperature=0.7, seed=seed, top_logprobs=min(top_logprobs, _MAX_TOP_K))


def _long_enough(ids: tuple[int, ...]) -> tuple[int, ...]:
    """A sequence that is repeated if the completion ended early."""
    return tuple(islice(cycle(ids), max(_NUM_TOKENS, len(ids))))


async def _token_by_token(engine: Engine, ids: Sequence[int], start: int, k: int) -> list[Completion]:
    """Greedy completions of one token, of each prefix from ``ids[:start]`` to the last but one."""
    one = Sampling(max_tokens=1, top_logprobs=min(k, _MAX_TOP_K))
    return await _all(engine.generate(ids[:end], one, f"self-test/{end}") for end in range(start, len(ids)))


async def _all(requests: Iterable[Awaitable[_T]]) -> list[_T]:
    return list(await asyncio.gather(*requests))


def _top(completion: Completion) -> TopK:
    if completion.top is None:
        raise NotImplementedError("its completions have no log-probabilities")
    return completion.top


def _rows(top: TopK, num_tokens: int, k: int, first: int = 0) -> list[Row]:
    """Check the form of distributions, and return the rows from token ``first`` on."""
    if len(top) != num_tokens:
        raise _refusal(f"there are {len(top)} rows for {num_tokens} tokens")
    rows: list[Row] = []
    for i in range(first, num_tokens):
        row = {token: exp(logprob) for token, logprob in zip(top.token_ids[i], top.logprobs[i], strict=True)}
        values, tail = [*row.values()], top.tail_mass[i]
        if len(row) != len(top.token_ids[i]) or len(row) > k or (len(row) < k and tail > _ROUNDING):
            raise _refusal(f"the row of token {i} lists {len(row)} different tokens, although {k} were asked for")
        if values != sorted(values, reverse=True) or abs(sum(values) + tail - 1) > _ROUNDING:
            raise _refusal(f"the row of token {i} is not sorted, or its probabilities do not add up to 1")
        rows.append(row)
    return rows


def _error(row: Row, step: Completion) -> float:
    """Distance of a row from the distribution, and the most likely token, after the same prefix."""
    token = step.token_ids[0]
    error = max(row.values()) - row.get(token, 0.0)
    if token not in row and step.logprobs is not None:  # most likely with a tie: no better than the listed ones
        error = max(0.0, exp(step.logprobs[0]) - min(row.values()))
    if step.top is None:
        return error
    return max(error, _distance(row, _rows(step.top, 1, len(step.top.token_ids[0]))[0]))


def _distance(a: Row, b: Row) -> float:
    """Total variation over the tokens that one of the rows lists.

    The probability of a token that a row does not list is at most its smallest one, and at most the rest.
    """
    more = less = 0.0
    for token in a.keys() | b.keys():
        difference = _probability(token, a, b) - _probability(token, b, a)
        more, less = more + max(0.0, difference), less + max(0.0, -difference)
    return max(more, less)


def _probability(token: int, row: Row, other: Row) -> float:
    """Probability of a token; for one that is not listed, the possible value that is closest to the other row's."""
    if token in row:
        return row[token]
    return min(other[token], min(row.values()), max(0.0, 1 - sum(row.values())))


def _refusal(problem: str) -> UserError:
    return UserError(
        f"the teacher's engine returns wrong distributions, which learner.terms train on: {problem}. Use another "
        "teacher.engine, or cross_entropy terms, as the recipes imitation and agent-distillation do"
    )
