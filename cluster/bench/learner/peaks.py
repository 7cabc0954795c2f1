"""Memory of the head and of many episodes, each measured in a process of its own through `learner.fit.fit`."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.bench.learner.gate import make_meter
from cluster.bench.learner.memory import limit_address_space, peak_rss_mib
from cluster.bench.learner.models import make_model, make_tokenizer
from cluster.bench.learner.workload import (
    RESERVED,
    SEED,
    HeadCase,
    ModelSize,
    Workload,
    episodes,
    parameters,
    trained,
    with_scores,
)
from learner.config import LearnerConfig
from learner.fit import fit
from learner.reports import StepReport
from rollout.trajectory import TopK, Trajectory

SMALL = ModelSize(32, 1, 2, 1, 32)
"""A model of which the head is the largest part."""
LIMIT_MIB = 6144.0
"""A head that needs more than this has no figure; it would endanger other work on the machine."""
MIB = 2**20


class _Measured(Exception):
    """Stops a fit when the figure is known."""


def head_peak_mib(case: HeadCase, folder: Path) -> float:
    """Peak memory of one step above weights, their gradients and libraries. Run it in a process of its own.

    Hidden states and data are in it too: subtract what the same case with a tiny vocabulary needs.
    """
    count = case.trained_tokens // 1024
    workload = Workload(
        "head",
        SMALL,
        SMALL,
        case.vocabulary,
        count,
        (1280, 1280),
        trained_share=0.8,
        micro_batch_tokens=2 * 1280 * count,
        device="cuda" if case.device == "cuda" else "cpu",
    )
    recorded = [_uniform_scores(workload, episode) for episode in episodes(workload)]
    config = _config(workload, folder, case.divergence, {"epochs": 1, "batch_episodes": count})
    meter = make_meter(case.device)

    def on_step(_report: StepReport) -> None:
        raise _Measured

    if case.device == "cpu":
        limit_address_space(LIMIT_MIB)
    meter.start(2 * 4 * parameters(workload, SMALL) / MIB)
    try:
        fit(config, recorded, str(folder / "out"), on_step=on_step)
    except _Measured:
        return meter.peak_mib()
    raise RuntimeError("the fit ended without a step")


def episodes_rss_mib(count: int, tokens: int, folder: Path) -> float:
    """Peak resident memory, libraries included, of a fit that reads ``count`` scored episodes and trains on a few.

    Run it in a process of its own.
    """
    workload = Workload("stream", SMALL, SMALL, 4096, 64, (tokens // 2, tokens * 3 // 2))
    config = _config(workload, folder, "forward_kl", {"max_tokens": 20 * tokens, "batch_tokens": 4 * tokens})
    different = [_uniform_scores(workload, episode) for episode in episodes(workload)]
    fit(config, _stream(different, count), str(folder / "out"))
    return peak_rss_mib()


def _stream(different: list[Trajectory], count: int) -> Iterator[Trajectory]:
    """``count`` episodes with keys of their own, created one at a time."""
    for number in range(count):
        episode = different[number % len(different)]
        yield replace(episode, identity=replace(episode.identity, task=f"task-{number}"))


def _config(workload: Workload, folder: Path, divergence: str, budget: dict[str, Any]) -> LearnerConfig:
    """Settings of a fit, whose model is written to ``folder``."""
    model = make_model(workload, SMALL, SEED)
    model.save_pretrained(str(folder / "student"))
    # The words of large vocabularies take more memory than the model; they are not needed.
    make_tokenizer(min(workload.vocabulary, 512)).save_pretrained(str(folder / "student"))
    settings = {
        "model": str(folder / "student"),
        "terms": [{"stream": "generated", "divergence": divergence}],
        "micro_batch_tokens": workload.micro_batch_tokens,
        "keep_checkpoints": 0,
        "precision": "bfloat16" if workload.device == "cuda" else "float32",
    }
    return LearnerConfig.model_validate({**settings, **budget})


def _uniform_scores(workload: Workload, episode: Trajectory) -> Trajectory:
    """Scores that give 16 tokens equal probability, and 1/17 to the tail."""
    rng, rows = random.Random(SEED), sum(trained(episode))
    first = max(RESERVED, workload.vocabulary - workload.top_k)
    ids = tuple(range(first - workload.top_k, first))
    share = -math.log(workload.top_k + 1)
    chosen = [tuple(rng.sample(ids, len(ids))) for _ in range(rows)]
    return with_scores(
        episode, TopK(tuple(chosen), ((share,) * len(ids),) * rows, (math.exp(share),) * rows, "teacher")
    )
