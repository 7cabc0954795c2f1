"""How well steps fill the positions of their forward passes, and divide them among ranks. Nothing is trained.

This file and `data_wait.py` are the only ones of the benchmark that call parts of the learner below `learner.fit.fit`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from learner.batching import micro_batches, padded_length, plan_steps

EPISODES, BATCH_TOKENS, MICRO_BATCH_TOKENS = 4000, 20_000, 2048
"""Size of the planned epoch, tokens of a step, and positions of a forward pass."""
RANKS = 8


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One optimizer step: its tokens, and the positions that each rank computes, padding and dummy passes included."""

    tokens: int
    positions: list[int]


def agent_lengths(count: int = EPISODES, seed: int = 0) -> list[int]:
    """Lengths of agent episodes: log-normal around 400 tokens, between 64 and `MICRO_BATCH_TOKENS`."""
    rng = random.Random(seed)
    return [max(64, min(MICRO_BATCH_TOKENS, round(rng.lognormvariate(6.0, 0.5)))) for _ in range(count)]


def plan(lengths: Sequence[int], ranks: int, seed: int = 0) -> list[StepPlan]:
    """Plan one shuffled epoch as `learner.fit.fit` does."""
    order = list(range(len(lengths)))
    random.Random(seed).shuffle(order)
    steps = plan_steps(order, lengths, batch_episodes=None, batch_tokens=BATCH_TOKENS, keep_order=False, seed=(seed, 0))
    return [
        StepPlan(sum(lengths[i] for i in step), [_positions(step, lengths, rank, ranks) for rank in range(ranks)])
        for step in steps
    ]


def _positions(step: list[int], lengths: Sequence[int], rank: int, ranks: int) -> int:
    """A rank without work in a pass computes one of the step's sequences with weight 0."""
    passes = micro_batches(step, lengths, rank, ranks, MICRO_BATCH_TOKENS)
    rows = [members or step[:1] for members in passes]
    return sum(len(members) * max(padded_length(lengths[i]) for i in members) for members in rows)


def packing_efficiency(steps: Sequence[StepPlan]) -> float:
    """Tokens divided by computed positions, over all steps and ranks."""
    return sum(step.tokens for step in steps) / sum(sum(step.positions) for step in steps)


def rank_efficiency(steps: Sequence[StepPlan]) -> float:
    """Mean tokens of a rank divided by the positions of the slowest rank, for which the others wait in every step."""
    mean = sum(step.tokens / len(step.positions) for step in steps)
    return mean / sum(max(step.positions) for step in steps)


def figures() -> dict[str, float]:
    """`packing_efficiency` of one rank and of 8 ranks, and `efficiency_8_ranks`."""
    lengths = agent_lengths()
    one, many = plan(lengths, 1), plan(lengths, RANKS)
    return {
        "packing_efficiency": packing_efficiency(one),
        f"packing_efficiency_{RANKS}_ranks": packing_efficiency(many),
        f"efficiency_{RANKS}_ranks": rank_efficiency(many),
    }
