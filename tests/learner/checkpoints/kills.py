"""Kills training processes at random moments until they have been killed a number of times, and checks the result.

    python tests/learner/checkpoints/kills.py FOLDER --ranks 2 --kills 50

A fit that ends before it is killed is checked and followed by another. Each must end with the weights of a fit that was
not interrupted, bit for bit, and must have trained each episode once an epoch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

EPISODES, EPOCHS, BATCH = 24, 3, 3
LIMIT_S = 300.0
STEP_S = 0.02
"""Added to each step, so that kills hit steps, checkpoints and the export."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.folder, arguments.ranks, arguments.kills, arguments.seed)))


def run(folder: Path, ranks: int, kills: int, seed: int = 0) -> dict[str, int]:
    """Kill until it has happened ``kills`` times. Returns counts."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["learner.fit", "transformers.models.gpt2.modeling_gpt2", "tests.learner.toys"])
    rng, done, fits, resumed = random.Random(seed), 0, 0, 0
    finish(context, folder, "warm-up", ranks)
    started_s = time.monotonic()
    finish(context, folder, "whole", ranks)
    whole_s = time.monotonic() - started_s
    while done < kills:
        fits += 1
        name = f"fit-{fits}"
        while not (folder / name).exists():
            processes = start(context, folder, name, ranks, attempt=done)
            if wait(processes, rng.uniform(0.0, whole_s) if done < kills else LIMIT_S):
                assert all(process.exitcode == 0 for process in processes), [p.exitcode for p in processes]
            else:
                kill(processes)
                done += 1
        resumed += check(folder, name, ranks)
        shutil.rmtree(folder / name)
    return {"ranks": ranks, "kills": done, "fits": fits, "resumes": resumed}


def start(context: Any, folder: Path, name: str, ranks: int, attempt: int | str) -> list[BaseProcess]:
    processes = [context.Process(target=train, args=(folder, name, rank, ranks, attempt)) for rank in range(ranks)]
    for process in processes:
        process.start()
    return processes


def finish(context: Any, folder: Path, name: str, ranks: int) -> None:
    processes = start(context, folder, name, ranks, name)
    assert wait(processes, LIMIT_S)
    assert all(process.exitcode == 0 for process in processes)


def wait(processes: list[BaseProcess], seconds: float) -> bool:
    """Whether all have ended within some time. If one dies by itself, the others are given up."""
    end_s = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, end_s - time.monotonic()))
    return all(process.exitcode is not None for process in processes)


def kill(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), process.exitcode


def train(folder: Path, name: str, rank: int, ranks: int, attempt: int | str) -> None:
    """One process; rank 0 appends the number of each step to ``NAME.steps``, and -1 when it starts."""
    import torch
    import torch.distributed as dist

    from learner.config import LearnerConfig
    from learner.fit import fit
    from tests.learner.toys import small_model, toy_tokenizer, toy_trajectory

    torch.set_num_threads(1)
    if ranks > 1:
        meet = f"file://{folder}/{name}.{attempt}.meet"
        dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=ranks)
    base = folder / "base"
    if rank == 0 and not base.exists():
        model = small_model("gpt2")
        model.config.update(dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.1))
        model.save_pretrained(folder / "base.tmp")
        toy_tokenizer(folder / "base.tmp")
        (folder / "base.tmp").rename(base)
    if ranks > 1:
        dist.barrier()
    config = LearnerConfig.model_validate(
        {"model": str(base), "batch_episodes": BATCH, "epochs": EPOCHS, "checkpoint_every_s": 1e-3}
    )
    lines = (folder / f"{name}.steps").open("a", buffering=1)

    def on_step(report: Any) -> None:
        if rank == 0:
            print(report.step, report.tokens, file=lines)
        time.sleep(STEP_S)

    if rank == 0:
        print(-1, 0, file=lines)
    fit(config, [toy_trajectory(seed) for seed in range(EPISODES)], str(folder / name), on_step=on_step)
    if ranks > 1:
        dist.destroy_process_group()


def check(folder: Path, name: str, ranks: int) -> int:
    """Compare a fit with the uninterrupted one. Returns the number of starts that resumed."""
    import torch
    from safetensors.torch import load_file

    left, right = (load_file(folder / which / "model.safetensors") for which in ("whole", name))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left), f"{name} has other weights"
    rows = [tuple(map(int, line.split())) for line in (folder / f"{name}.steps").read_text().splitlines()]
    final: dict[int, int] = {}
    resumed = 0
    for before, (step, tokens) in zip([(0, 0), *rows], rows, strict=False):
        if step < 0:
            continue
        if before[0] < 0:  # the first step of a start
            resumed += step > 1
            assert step <= max(final, default=0) + 1, f"{name} skipped steps before {step}"
            final = {number: total for number, total in final.items() if number < step}
        else:
            assert step == before[0] + 1
        final[step] = tokens
    expected = [line.split() for line in (folder / "whole.steps").read_text().splitlines()][1:]
    # The steps of an epoch hold each episode once (test_plan.py), so the same steps train each once an epoch.
    assert final == {int(step): int(tokens) for step, tokens in expected}
    return resumed


if __name__ == "__main__":
    main()
