"""Time that a training step waits for its data."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from cluster.bench.learner.models import scored_episodes
from cluster.bench.learner.workload import Workload
from learner.config import LearnerConfig
from learner.data.reader import StepReader
from learner.data.training_set import load_data

_REPEATS = 20


def data_wait_s(workload: Workload, folder: Path) -> float:
    """Median seconds in which the batches of one step of ``kl`` are read; the trainer does nothing meanwhile."""
    config = LearnerConfig.model_validate(
        {
            "model": str(folder / "student"),
            "terms": [{"stream": "generated", "divergence": "forward_kl"}],
            "epochs": 1,
            "batch_episodes": workload.episodes,
        }
    )
    data = load_data(config, scored_episodes(folder), workload.max_positions)
    reader = StepReader(config, data, rank=0, world_size=1, packed=True)
    seconds = []
    started_s = time.perf_counter()
    for step in reader.read(reader.plan(0) * _REPEATS):
        list(step.batches())
        now_s = time.perf_counter()
        seconds.append(now_s - started_s)
        started_s = now_s
    return median(seconds)
