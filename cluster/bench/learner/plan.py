"""How well steps fill the positions of their forward passes, and divide them among ranks. Nothing is trained.

This file and `data_wait.py` are the only ones of the benchmark that call parts of the learner below `learner.fit.fit`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learner.data.plan import PlanFigures, plan_figures, plan_steps

EPISODES, BATCH_TOKENS, MICRO_BATCH_TOKENS = 4000, 20_000, 2048
"""Size of the planned epoch, tokens of a step, and positions of a forward pass."""
RANKS = 8


def agent_lengths(count: int = EPISODES, seed: int = 0) -> NDArray[np.int64]:
    """Lengths of agent episodes: log-normal around 400 tokens, between 64 and `MICRO_BATCH_TOKENS`."""
    lengths = np.random.default_rng(seed).lognormal(6.0, 0.5, count).round()
    return np.clip(lengths, 64, MICRO_BATCH_TOKENS).astype(np.int64)


def plan(lengths: NDArray[np.int64], ranks: int, *, packed: bool, seed: int = 0) -> PlanFigures:
    """Plan one shuffled epoch as `learner.fit.fit` does. A quarter of the tokens are trained on."""
    order = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    trained = lengths // 4
    steps = plan_steps(
        order, trained, lengths, batch_episodes=None, batch_tokens=BATCH_TOKENS, keep_order=False, seed=(seed, 0)
    )
    return plan_figures(steps, lengths, ranks, MICRO_BATCH_TOKENS, packed=packed)


def figures() -> dict[str, float]:
    """Efficiency of packed and padded passes, and of the ranks, which wait for the slowest one in every step."""
    lengths = agent_lengths()
    packed, padded = plan(lengths, 1, packed=True), plan(lengths, 1, packed=False)
    ranks = plan(lengths, RANKS, packed=True)
    return {
        "packing_efficiency": packed.used_share,
        "packing_efficiency_padded": padded.used_share,
        f"packing_efficiency_{RANKS}_ranks": ranks.used_share,
        f"efficiency_{RANKS}_ranks": ranks.used_share * ranks.balance,
        f"dummy_passes_{RANKS}_ranks": float(ranks.dummy_passes),
    }
