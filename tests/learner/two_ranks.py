"""One of two training processes of ``test_fit.py``. Arguments: FOLDER RANK KILL_AFTER NAMES.

Rank 0 writes its step reports to ``FOLDER/NAME.steps``. A fit whose name ends with ``-interrupted`` fails after four
steps and is called again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import torch.distributed as dist

from learner.config import LearnerConfig
from learner.fit import fit
from learner.reports import StepReport
from tests.learner.toys import toy_trajectory


def main(folder: Path, rank: int, kill_after: int, names: list[str]) -> None:
    """Train each config in turn. Exit with code 3 after ``kill_after`` steps, unless it is 0."""
    meet = f"file://{folder}/{names[0]}.{kill_after}.meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    for name in names:
        train(folder, rank, kill_after, name)
    dist.destroy_process_group()


def train(folder: Path, rank: int, kill_after: int, name: str) -> None:
    config = LearnerConfig.model_validate_json((folder / f"{name}.json").read_text())
    lines = (folder / f"{name}.steps").open("w") if rank == 0 else None

    def on_step(report: StepReport) -> None:
        if lines is not None:
            print(json.dumps(dataclasses.asdict(report)), file=lines, flush=True)
        if report.step == kill_after:
            os._exit(3)

        if name.endswith("-interrupted") and not failed and report.step == 4:
            failed.append(True)
            raise InterruptedError

    episodes = [toy_trajectory(seed, k=4) for seed in range(20)]
    failed: list[bool] = []
    with suppress(InterruptedError):
        fit(config, episodes, str(folder / name), on_step=on_step)
    if failed:
        fit(config, episodes, str(folder / name), on_step=on_step)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
