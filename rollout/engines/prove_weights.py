"""Proves that an engine has the weights of a checkpoint: version, files, and log-probabilities of one sequence."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rollout.engine import Engine
from rollout.errors import EngineDied
from rollout.models import model_folder
from rollout.models.handover import Handover, checked_handover

TOP_K = 20
MAX_DIFFERENCE = {"float32": 0.02, "float16": 0.1, "bfloat16": 0.25}
"""Largest mean difference in nats between the log-probabilities of engine and learner, by the engine's precision."""
MAX_DIFFERENCE_UNKNOWN = 0.25
"""The same for an engine that does not state its ``precision``."""


async def load_and_prove(engine: Engine, folder: str, version: int) -> None:
    """Have an engine load a checkpoint, and prove that it has.

    A folder without ``handover.json``, which the learner has not written, is loaded only; so it is by an engine that
    cannot score.

    Raises:
        UserError: the files are not those that the learner wrote.
        EngineDied: the engine has other weights, so it must be started again.
    """
    handover = await asyncio.to_thread(checked_handover, Path(model_folder(folder)))
    await engine.load_weights(folder, version)
    if engine.weight_version != version:
        raise EngineDied(f"the engine has weights of version {engine.weight_version} after it has loaded {version}")
    if handover is None:
        return
    try:
        difference = await mean_difference(engine, handover)
    except NotImplementedError:
        return
    bound = MAX_DIFFERENCE.get(getattr(engine, "precision", ""), MAX_DIFFERENCE_UNKNOWN)
    if not difference <= bound:
        raise EngineDied(
            f"the engine does not predict what the learner did with {folder}: log-probabilities differ by "
            f"{difference:.3g} on average, and {bound:g} is allowed, so it has other weights"
        )


async def mean_difference(engine: Engine, handover: Handover) -> float:
    """Mean over a sequence of the absolute difference in log-probability of the learner's most likely tokens, in nats.

    For a token that is not among the engine's `TOP_K`, it is at least that to the least likely one of them.
    """
    length = min(len(handover.token_ids), engine.max_model_len)
    scores = await engine.score(handover.token_ids[:length], TOP_K)
    differences = []
    for i in range(1, length):
        row = dict(zip(scores.token_ids[i], scores.logprobs[i], strict=True))
        token, logprob = handover.top_ids[i - 1], handover.top_logprobs[i - 1]
        found = row[token] if token in row else min(logprob, *row.values())
        differences.append(abs(found - logprob))
    return sum(differences) / len(differences)
