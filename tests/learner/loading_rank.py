"""One of two training processes of ``test_loading_memory.py``. Arguments: FOLDER RANK STRATEGY.

Loads ``FOLDER/model``, trains nothing, and saves it. Writes to ``FOLDER/STRATEGY.RANK.json`` the peak of the memory
that belongs to the process alone, in bytes above what it had before. Pages of mapped files are not counted, because all
processes share them and the kernel takes them back when it needs memory.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from pathlib import Path

import torch
import torch.distributed as dist

from learner.config import LearnerConfig
from learner.distributed import Distributed
from learner.model import make_model, save_model
from learner.strategies.sharding import full_weights, partition_with_zero3
from learner.strategies.torch_trainer import make_trainer


def private_bytes() -> int:
    """Memory of this process without mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class Peak(threading.Thread):
    """Watches the memory of this process until it ends."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_bytes = self.peak_bytes = private_bytes()

    def run(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, private_bytes())
            time.sleep(0.002)


def main(folder: Path, rank: int, strategy: str) -> None:
    if strategy != "ddp":
        import deepspeed  # noqa: F401  # its import is not part of the measurement
    dist.init_process_group("gloo", init_method=f"file://{folder}/{strategy}.meet", rank=rank, world_size=2)
    settings = {"zero3": {"strategy": "deepspeed", "zero_stage": 3}}.get(strategy, {"strategy": strategy})
    config = LearnerConfig.model_validate(
        {"model": str(folder / "model"), "epochs": 1, "batch_episodes": 1, **settings}
    )
    peak = Peak()
    peak.start()
    model, tokenizer = make_model(config, None)
    if strategy == "zero3":  # without the engine, which allocates gradients and optimizer states at once
        partition_with_zero3(model, {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}})
        weights = full_weights(model, torch.device("cpu"))
    else:
        weights = make_trainer(config, model, Distributed.current()).weights()
    loaded = peak.peak_bytes - peak.start_bytes
    if rank == 0:
        save_model(model, weights, tokenizer, str(folder / strategy), torch.bfloat16)
    else:
        deque(weights, maxlen=0)
    saved = peak.peak_bytes - peak.start_bytes
    (folder / f"{strategy}.{rank}.json").write_text(json.dumps({"loaded": loaded, "saved": saved}))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = sys.argv[2]
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
