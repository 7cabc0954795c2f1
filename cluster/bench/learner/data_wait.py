"""Time that a training step waits for its data."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from cluster.bench.learner.models import scored_episodes
from cluster.bench.learner.workload import Workload
from learner.batching import collate, micro_batches
from learner.config import LearnerConfig
from learner.data import load_data

_REPEATS = 20


def data_wait_s(workload: Workload, folder: Path) -> float:
    """Median seconds in which one step of ``kl`` builds its batches; the trainer does nothing meanwhile."""
    config = LearnerConfig.model_validate(
        {
            "model": str(folder / "student"),
            "terms": [{"stream": "generated", "divergence": "forward_kl"}],
            "epochs": 1,
            "batch_episodes": workload.episodes,
        }
    )
    data = load_data(config, scored_episodes(folder), workload.max_positions)
    step, names = list(range(workload.episodes)), [term.weight_name for term in config.terms]
    seconds = []
    for _ in range(_REPEATS):
        started_s = time.perf_counter()
        for members in micro_batches(step, data.lengths, 0, 1, workload.micro_batch_tokens):
            collate([data.sequences[i] for i in members], names)
        seconds.append(time.perf_counter() - started_s)
    return median(seconds)
