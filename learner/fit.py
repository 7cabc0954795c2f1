"""The training loop.

trajectories ─▶ data ─▶ epoch order ─▶ steps ─▶ micro-batches ─▶ trainer ─▶ checkpoint folder
                                         ▲                          │
                                         └─────── progress ◀────────┘    (saved at intervals for resuming)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learner.batching import collate, micro_batches, plan_steps
from learner.config import LearnerConfig
from learner.curriculum import EpochOrder
from learner.data import Data, load_data
from learner.distributed import Distributed
from learner.export import TrainedFormat
from learner.head import check_head
from learner.losses.objective import term_coefficients, tokens_of_sums
from learner.model import make_model, save_model
from learner.precision import check_precision
from learner.progress import Progress, ResumeCheckpoint
from learner.strategies.torch_trainer import Trainer, make_trainer
from learner.teacher import load_teacher
from rollout.errors import UserError
from rollout.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class StepReport:
    """Metrics of one optimizer step; the same on every rank.

    Attributes:
        loss: weighted sum of the terms.
        term_values: unweighted value of each term, by ``stream/divergence``.
        learning_rate: rate of this step.
        grad_norm: norm of the gradients before clipping.
        fraction: fraction of the budget that is used.
        tokens: tokens processed so far, padding excluded.
        trained_tokens: tokens so far that at least one term trains on.
        seconds: training time so far, the time before a resume included.
    """

    step: int
    epoch: int
    loss: float
    term_values: dict[str, float]
    learning_rate: float
    grad_norm: float
    fraction: float
    tokens: int
    trained_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FitResult:
    """Result of a fit.

    Attributes:
        steps: number of optimizer steps.
        tokens: tokens processed, padding excluded.
        trained_tokens: tokens that at least one term trained on, counted once per epoch.
        seconds: training time, the time before a resume included.
        loss_first, loss_last: mean loss of the first and of the last ten steps.
        checkpoint: the output folder.
        sequences: number of episodes in the training set.
        num_skipped: number of episodes that were read but not trained on.
        padding_share: fraction of the processed token positions that held padding.
    """

    steps: int
    tokens: int
    trained_tokens: int
    seconds: float
    loss_first: float
    loss_last: float
    checkpoint: str
    sequences: int
    num_skipped: int
    padding_share: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)


def fit(
    config: LearnerConfig,
    trajectories: Iterable[Trajectory],
    output_folder: str,
    *,
    base_model: str | None = None,
    trained: TrainedFormat | None = None,
    on_step: Callable[[StepReport], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> FitResult:
    """Train a model and save it as a Hugging Face model folder, or as a PEFT adapter folder with ``config.lora``.

    Runs in one process, or on every rank of an initialized ``torch.distributed`` group. All ranks must read the same
    trajectories; each trains on its share of every step. A fit that was killed resumes from its last intermediate
    checkpoint when it is called again with the same arguments.

    Args:
        config: model, loss terms, data order, budget and optimizer.
        trajectories: episodes in the token ids of the trained model; iterated once.
        output_folder: created atomically at the end; must not exist.
        base_model: folder or hub name; overrides ``config.model`` and ``config.scratch``.
        trained: chat format of the trajectories, with which the model is saved; None is that of its tokenizer.
        on_step: called on every rank after each step.
        should_stop: called on every rank after each step. If it returns True on any rank, training ends and the model
            is saved.

    Raises:
        UserError: there is no model or nothing to train on, the output folder exists, the loss is not finite, or the
            disk is full.
    """
    distributed = Distributed.current()
    if Path(output_folder).exists():
        raise UserError(f"{output_folder} exists already; remove it or choose another output folder.")
    check_precision(config, distributed.device)
    model, tokenizer = make_model(config, base_model)
    check_head(model)
    teacher = load_teacher(config, tokenizer)
    readers: list[Any] = [model, teacher.model] if teacher is not None else [model]
    data = load_data(config, trajectories, min(reader.config.max_position_embeddings for reader in readers))
    trainer = make_trainer(config, model, distributed, teacher)
    resume = ResumeCheckpoint(output_folder, config, data, base_model)
    progress = resume.load(trainer, distributed)
    saved_at_s, started_s = progress.seconds, time.monotonic() - progress.seconds
    for step in _steps(config, data, progress):
        report, stop = _train_step(config, data, trainer, distributed, progress, step, started_s, should_stop)
        if on_step is not None:
            on_step(report)
        if stop:
            break
        if config.checkpoint_every_s is not None and progress.seconds - saved_at_s >= config.checkpoint_every_s:
            resume.save(trainer, distributed, progress)
            saved_at_s = progress.seconds
    weights = trainer.weights()
    if distributed.rank == 0:
        dtype = torch.bfloat16 if (config.saved_precision or config.precision) == "bfloat16" else torch.float32
        save_model(model, weights, tokenizer, output_folder, dtype, trained)
        resume.remove()
    distributed.barrier()
    return _result(progress, data, output_folder)


def _steps(config: LearnerConfig, data: Data, progress: Progress) -> Iterator[list[int]]:
    """Yield the sequence indices of each step, starting at ``progress``, until the budget is used."""
    order = EpochOrder(config.order, data.sequences, config.seed)
    while True:
        steps = plan_steps(
            order.epoch(progress.epoch, progress.epoch_fraction),
            data.lengths,
            batch_episodes=config.batch_episodes,
            batch_tokens=config.batch_tokens,
            keep_order=order.fixed,
            seed=(config.seed, progress.epoch),
        )
        progress.steps_of_epoch = len(steps)
        for step in steps[progress.step_in_epoch :]:
            if progress.fraction(config) >= 1.0:
                return
            yield step
        progress.begin_epoch(config)


def _train_step(
    config: LearnerConfig,
    data: Data,
    trainer: Trainer,
    distributed: Distributed,
    progress: Progress,
    step: list[int],
    started_s: float,
    should_stop: Callable[[], bool] | None,
) -> tuple[StepReport, bool]:
    """Run one optimizer step and record it in ``progress``. Returns its report and whether any rank asks to stop."""
    sum_divisor = len(step) * tokens_of_sums(config.terms, data.term_counts.mean(axis=0))
    coefficients = term_coefficients(config.terms, data.term_counts[step].sum(axis=0), sum_divisor)
    weight_names = [term.weight_name for term in config.terms]
    batches = micro_batches(step, data.lengths, distributed.rank, distributed.world_size, config.micro_batch_tokens)
    values, padded_tokens = [0.0] * len(weight_names), 0
    for number, members in enumerate(batches):
        batch = collate([data.sequences[i] for i in members or step[:1]], weight_names)
        padded_tokens += batch.input_ids.size
        used = coefficients if members else [0.0] * len(weight_names)
        shares = trainer.accumulate(batch, used, last=number == len(batches) - 1)
        values = [value + share for value, share in zip(values, shares, strict=True)]
    learning_rate, grad_norm = trainer.update(progress.fraction(config))
    clock = time.monotonic() - started_s if distributed.rank == 0 else 0.0
    stop = should_stop is not None and should_stop()
    *summed, all_padded_tokens, seconds, stops = distributed.all_reduce_sum([*values, padded_tokens, clock, stop])
    loss = sum(term.weight * value for term, value in zip(config.terms, summed, strict=True))
    if not math.isfinite(loss):
        raise UserError(f"the loss is {loss} at step {progress.step}; lower learner.learning_rate.")
    progress.record(
        loss=loss,
        tokens=sum(data.lengths[i] for i in step),
        trained_tokens=int(data.trained_tokens[step].sum()),
        padded_tokens=int(all_padded_tokens),
        seconds=seconds,
    )
    names = [f"{term.stream}/{term.divergence}" for term in config.terms]
    report = StepReport(
        step=progress.step,
        epoch=progress.epoch,
        loss=loss,
        term_values=dict(zip(names, summed, strict=True)),
        learning_rate=learning_rate,
        grad_norm=grad_norm,
        fraction=progress.fraction(config),
        tokens=progress.tokens,
        trained_tokens=progress.trained_tokens,
        seconds=seconds,
    )
    return report, stops > 0


def _result(progress: Progress, data: Data, checkpoint: str) -> FitResult:
    return FitResult(
        steps=progress.step,
        tokens=progress.tokens,
        trained_tokens=progress.trained_tokens,
        seconds=progress.seconds,
        loss_first=float(np.mean(progress.first_losses)),
        loss_last=float(np.mean(progress.last_losses)),
        checkpoint=checkpoint,
        sequences=len(data.sequences),
        num_skipped=data.num_skipped,
        padding_share=1.0 - progress.tokens / progress.padded_tokens,
    )
