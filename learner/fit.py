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

import numpy as np
import torch

from learner.batches.reader import PlannedStep, StepReader
from learner.config import LearnerConfig
from learner.data import Data, load_data
from learner.distributed import Distributed
from learner.export import TrainedFormat
from learner.head import check_head
from learner.losses.objective import term_coefficients
from learner.model import make_model, save_model
from learner.packing import use_packing
from learner.progress import Progress, ResumeCheckpoint
from learner.strategies.torch_trainer import Trainer, make_trainer
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
        packed: whether micro-batches were packed rows.
        dummy_passes: number of forward passes without a sequence, over all ranks: other ranks had more to compute.
        truncated_episodes: number of episodes that were truncated to the maximum length.
        truncated_tokens: number of tokens that were removed from them.
        truncated_trained_tokens: number of these that would have been trained.
        notes: sentences on what may be wrong with the data or is not supported by the model.
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
    packed: bool
    dummy_passes: int
    truncated_episodes: int
    truncated_tokens: int
    truncated_trained_tokens: int
    notes: tuple[str, ...]

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
    model, tokenizer = make_model(config, base_model)
    check_head(model)
    packed, why_padded = use_packing(config, model)
    vocabulary = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]  # a tensor
    data = load_data(config, trajectories, model.config.max_position_embeddings, vocabulary, Path(output_folder).parent)
    reader = StepReader(config, data, rank=distributed.rank, world_size=distributed.world_size, packed=packed)
    trainer = make_trainer(config, model, distributed)
    resume = ResumeCheckpoint(output_folder, config, data, base_model)
    progress = resume.load(trainer, distributed)
    saved_at_s, started_s = progress.seconds, time.monotonic() - progress.seconds
    for step in _steps(config, reader, progress):
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
    return _result(progress, data, output_folder, packed, why_padded)


def _steps(config: LearnerConfig, reader: StepReader, progress: Progress) -> Iterator[PlannedStep]:
    """Yield the steps, starting at ``progress``, until the budget is used."""
    while True:
        steps = reader.plan(progress.epoch)
        progress.steps_of_epoch = len(steps)
        for step in reader.read(steps[progress.step_in_epoch :]):
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
    step: PlannedStep,
    started_s: float,
    should_stop: Callable[[], bool] | None,
) -> tuple[StepReport, bool]:
    """Run one optimizer step and record it in ``progress``. Returns its report and whether any rank asks to stop."""
    coefficients = term_coefficients(config.terms, data.term_counts[step.members].sum(axis=0))
    values, padded_tokens = [0.0] * len(config.terms), 0
    for number, (batch, counts) in enumerate(step.batches()):
        padded_tokens += batch.input_ids.size
        used = coefficients if counts else [0.0] * len(values)
        shares = trainer.accumulate(batch, used, last=number == len(step.pending) - 1)
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
        tokens=int(data.lengths[step.members].sum()),
        trained_tokens=int(data.trained_tokens[step.members].sum()),
        padded_tokens=int(all_padded_tokens),
        seconds=seconds,
        dummy_passes=step.dummy_passes,
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


def _result(progress: Progress, data: Data, checkpoint: str, packed: bool, why_padded: str) -> FitResult:
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
        packed=packed,
        dummy_passes=progress.dummy_passes,
        truncated_episodes=data.truncated_episodes,
        truncated_tokens=data.truncated_tokens,
        truncated_trained_tokens=data.truncated_trained_tokens,
        notes=(*data.notes, *([why_padded] if why_padded else [])),
    )
