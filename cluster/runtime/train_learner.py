"""Runs the learner under Ray Train, or in this process.

What a rank does is one plain function, `train_rank`; Ray Train only puts it into processes that form a group. Figures
go into the run's metrics.jsonl, written by rank 0; the checkpoint appears under its name when it is whole.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config.failures import LearnerPolicy
from cluster.run.chat_formats import trained_format
from cluster.run.directory import RunDirectory
from cluster.run.progress import Screen
from cluster.run.training_data import Selection, TrainRequest, translated, with_one_template
from cluster.runtime.resources import train_options
from rollout.errors import UserError
from rollout.prompts.retokenize import Retokenizer

if TYPE_CHECKING:
    from ray.train import RunConfig, ScalingConfig

    from cluster.config.recipe import LearnerRole
    from learner.reports import StepReport

METRICS_INTERVAL_S = 1.0
"""Minimum number of seconds between two lines of metrics."""


def train_rank(request: TrainRequest) -> None:
    """Train one round; called once in each process of the group, or once without a group.

    Consumes the stores, produces ``checkpoints/round=NNN`` (whole or not at all) and lines of metrics.jsonl. A learner
    that was killed goes on from its own intermediate checkpoint.
    """
    import torch
    import torch.distributed as dist

    from learner.fit import fit
    from learner.model import starting_point

    torch.set_num_threads(request.num_threads)
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    with closing(RunDirectory(Path(request.run_dir))) as directory:
        reporter, selection = StepReporter(directory, request.round), Selection(request.stores, request.keep)
        learner, episodes = request.learner, iter(selection)
        student = starting_point(learner, request.base_model)
        trained, digest = trained_format(student, request.chat)
        if learner.teacher_tokenizer is not None:
            retokenizer = Retokenizer(learner.teacher_tokenizer, student, request.chat)
            episodes = translated(episodes, learner, retokenizer)
        result = fit(
            learner,
            with_one_template(episodes, learner, digest),
            str(directory.checkpoint(request.round)),
            base_model=request.base_model,
            trained=trained,
            initial_state=str(directory.training_state(request.round - 1)) if request.round else None,
            state_folder=None if request.is_last else str(directory.training_state(request.round)),
            on_step=reporter.on_step if is_first else None,
            on_note=reporter.on_note,
        )
        if is_first:
            directory.remove_training_states(before=request.round)
            figures = {**asdict(result), "tokens_per_second": result.tokens_per_second}
            left_out = {"dropped": selection.dropped, "unreadable": selection.unreadable}
            directory.log_metrics({"kind": "trained", "round": request.round, **figures, **left_out})


class StepReporter:
    """Writes training steps to metrics.jsonl, at most one line per second besides skipped steps, and notes."""

    def __init__(self, directory: RunDirectory, round: int) -> None:
        self.directory = directory
        self.round = round
        self.last_s = 0.0

    def on_step(self, step: StepReport) -> None:
        now_s = time.monotonic()
        if now_s - self.last_s >= METRICS_INTERVAL_S or not step.updated:
            self.last_s = now_s
            figures = {name: _json_number(value) for name, value in asdict(step).items()}
            self.directory.log_metrics({"kind": "train_step", "round": self.round, **figures})

    def on_note(self, note: str) -> None:
        self.directory.log_metrics({"kind": "note", "role": "learner", "note": note})


def _json_number(value: Any) -> Any:
    """The value, and None for a number that is not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _json_number(number) for name, number in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def train_with_ray(request: TrainRequest, storage: Path, policy: LearnerPolicy) -> None:
    """Run `train_rank` in the recipe's number of processes under Ray Train. Blocks until the round is trained.

    Raises:
        UserError: a sentence from a rank that found its input wrong.
        ray.train.TrainingFailedError: any other failure of a rank.
    """
    from ray.train import TrainingFailedError
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        train_rank_from_config,
        train_loop_config={"request": request},
        scaling_config=scaling_config(request.learner),
        run_config=run_config(request.round, storage, policy),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise plain_error(error) from error


def scaling_config(role: LearnerRole) -> ScalingConfig:
    """Ray Train's number of processes, and what each of them reserves."""
    from ray.train import ScalingConfig

    return ScalingConfig(
        num_workers=role.workers,
        use_gpu=role.resources.gpus > 0,
        resources_per_worker=train_options("learner", role.resources),
    )


def run_config(round: int, storage: Path, policy: LearnerPolicy) -> RunConfig:
    """Ray Train's settings of one round: its name, its folder and its restarts."""
    from ray.train import FailureConfig, RunConfig

    return RunConfig(
        name=f"round={round:03d}",
        storage_path=str(storage),
        failure_config=FailureConfig(
            max_failures=policy.max_failures,
            max_preemption_failures=policy.max_preemption_failures,  # type: ignore[call-arg]  # typed as Train V1's
        ),
    )


def plain_error(error: Exception) -> Exception:
    """The `UserError` that a rank raised, if one did; else the error itself."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    for failure in failures.values():
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, UserError):
                return UserError(str(cause.args[0]))
            cause = cause.__cause__ or getattr(cause, "cause", None)
    return error


def train_rank_from_config(config: dict[str, Any]) -> None:
    """`train_rank` as Ray Train calls it."""
    train_rank(config["request"])


@asynccontextmanager
async def show_training(directory: RunDirectory, screen: Screen, round: int) -> AsyncIterator[None]:
    """Consumes the learner's lines in metrics.jsonl, produces progress on the screen, until the block ends."""
    name = f"train/{round}"
    screen.begin(name, f"train round {round}", 100, unit="%")
    showing = asyncio.create_task(follow_metrics(directory, screen, name))
    try:
        yield
    finally:
        showing.cancel()
    screen.end(name)


async def follow_metrics(directory: RunDirectory, screen: Screen, name: str) -> None:
    """Show the learner's newest line every second, until cancelled."""
    position = directory.metrics_file.stat().st_size if directory.metrics_file.exists() else 0
    while True:
        await asyncio.sleep(METRICS_INTERVAL_S)
        position, rows = lines_after(directory.metrics_file, position)
        for row in rows:
            if row.get("kind") == "note" and row.get("role") == "learner":
                screen.note(row["note"])
        for step in [row for row in rows if row.get("kind") == "train_step" and row["updated"]][-1:]:
            tokens_per_second = step["tokens"] / max(step["seconds"], 1e-9)
            facts = {"step": step["step"], "loss": step["loss"], "tokens/s": tokens_per_second}
            screen.progress(name, min(100, int(100 * step["fraction"])), facts)


def lines_after(file: Path, position: int) -> tuple[int, list[dict[str, Any]]]:
    """The whole JSON lines that were added after byte ``position``, and the position after them."""
    if not file.exists():
        return position, []
    with file.open("rb") as stream:
        stream.seek(position)
        whole, newline, _ = stream.read().rpartition(b"\n")
    return position + len(whole) + len(newline), [json.loads(line) for line in whole.splitlines() if line.strip()]
