"""The training loop.

trajectories ─▶ data ─▶ epoch order ─▶ steps ─▶ micro-batches ─▶ trainer ─▶ checkpoint folder
                                         ▲                          │
                                         └─────── progress ◀────────┘    (saved at intervals for resuming)

A step whose loss or gradients are not finite updates nothing, on any rank, and its episodes are saved.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learner.bad_steps import MAX_SAVED_STEPS, bad_steps_folder, save_bad_step
from learner.checkpoints.carry import load_state, save_state
from learner.checkpoints.fingerprint import Fingerprint
from learner.checkpoints.resume import ResumeCheckpoint
from learner.checkpoints.tensor_files import part_of
from learner.config import LearnerConfig
from learner.data.reader import PlannedStep, StepReader
from learner.data.training_set import Data, load_data
from learner.distributed import Distributed
from learner.export import TrainedFormat
from learner.head import check_head
from learner.losses.objective import term_coefficients, tokens_of_sums
from learner.model import make_model, save_model
from learner.packing import use_packing
from learner.precision import check_precision
from learner.progress import Progress, StoppedBy
from learner.reports import FitResult, StepReport
from learner.strategies.torch_trainer import make_trainer
from learner.teacher import FrozenTeacher, load_teacher
from learner.trainer import Trainer
from rollout.errors import UserError
from rollout.storage.atomic import remove_leftovers
from rollout.trajectory import Trajectory

_log = logging.getLogger(__name__)


def fit(
    config: LearnerConfig,
    trajectories: Iterable[Trajectory],
    output_folder: str,
    *,
    base_model: str | None = None,
    trained: TrainedFormat | None = None,
    initial_state: str | None = None,
    state_folder: str | None = None,
    on_step: Callable[[StepReport], None] | None = None,
    on_note: Callable[[str], None] = _log.warning,
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
        initial_state: ``state_folder`` of the fit that made ``base_model``. Training continues from its float32 weights
            and, with ``config.carry_optimizer``, from its optimizer's state.
        state_folder: where to keep this state for a following fit; its contents are replaced.
        on_step: called on every rank after each step.
        on_note: called on rank 0 with sentences on checkpoints and states that cannot be used, and why.
        should_stop: called on every rank after each step. If it returns True on any rank, training ends and the model
            is saved.

    Raises:
        UserError: there is no model or nothing to train on, the output folder exists, the loss or the gradients are not
            finite in ``config.max_bad_steps`` steps in a row, or the disk is full. What was trained up to the last
            intermediate checkpoint is kept.
    """
    if Path(output_folder).exists():
        raise UserError(f"{output_folder} exists already; remove it or choose another output folder.")
    training = _prepare(config, trajectories, output_folder, base_model, on_note, should_stop)
    with closing(training.resume):
        training.begin(initial_state, base_model)
        stopped_by = training.run(on_step)
        training.finish(output_folder, state_folder, trained)
    return _result(training, output_folder, stopped_by)


@dataclass(frozen=True, slots=True)
class _Models:
    """The student, its tokenizer's name, and the teacher of exact divergences.

    Attributes:
        packed: whether rows are packed; both models have the attention for it then.
        why_padded: reason why rows are not packed; may be empty.
    """

    student: Any
    tokenizer: str
    teacher: FrozenTeacher | None
    packed: bool
    why_padded: str

    @property
    def vocabulary(self) -> int:
        """The student's number of token ids."""
        return len(self.student.get_input_embeddings().weight)

    @property
    def max_positions(self) -> int:
        """Maximum number of tokens that all models can read."""
        read = [self.student, *([self.teacher.model] if self.teacher else [])]
        return min(model.config.max_position_embeddings for model in read)


def _load_models(config: LearnerConfig, base_model: str | None, distributed: Distributed) -> _Models:
    """Raises `UserError` if a model cannot be loaded or used, or the device does not compute in its precision."""
    check_precision(config, distributed.device)
    student, tokenizer = make_model(config, base_model)
    check_head(student)
    teacher = load_teacher(config, tokenizer)
    packed, why_padded = use_packing(config, student)
    if packed and teacher is not None:
        packed, why_padded = use_packing(config, teacher.model)
    return _Models(student, tokenizer, teacher, packed, why_padded)


def _steps(config: LearnerConfig, reader: StepReader, progress: Progress) -> Generator[PlannedStep]:
    """Yield the steps, starting at ``progress``, until a limit of the budget is reached."""
    while True:
        steps = reader.plan(progress.epoch)
        progress.steps_of_epoch = len(steps)
        for step in reader.read(steps[progress.step_in_epoch :]):
            if progress.limit(config) is not None:
                return
            yield step
        progress.begin_epoch()


def _prepare(
    config: LearnerConfig,
    trajectories: Iterable[Trajectory],
    output_folder: str,
    base_model: str | None,
    on_note: Callable[[str], None],
    should_stop: Callable[[], bool] | None,
) -> _Training:
    """Load the models and the training set."""
    distributed = Distributed.current()
    notify = on_note if distributed.rank == 0 else _ignore
    if distributed.rank == 0:
        remove_leftovers(Path(output_folder))
    models = _load_models(config, base_model, distributed)
    data = load_data(config, trajectories, models.max_positions, models.vocabulary, Path(output_folder).parent)
    return _Training(
        config=config,
        models=models,
        data=data,
        reader=StepReader(config, data, rank=distributed.rank, world_size=distributed.world_size, packed=models.packed),
        trainer=make_trainer(config, models.student, distributed, models.teacher),
        distributed=distributed,
        resume=ResumeCheckpoint(
            output_folder, config, Fingerprint.of(config, data, models.tokenizer), distributed, notify
        ),
        bad_steps=bad_steps_folder(output_folder),
        should_stop=should_stop,
        notify=notify,
    )


@dataclass
class _Training:
    """The parts of one fit."""

    config: LearnerConfig
    models: _Models
    data: Data
    reader: StepReader
    trainer: Trainer
    distributed: Distributed
    resume: ResumeCheckpoint
    bad_steps: Path
    should_stop: Callable[[], bool] | None
    notify: Callable[[str], None]
    progress: Progress = field(default_factory=Progress)

    def begin(self, initial_state: str | None, base_model: str | None) -> None:
        """Continue from the last intermediate checkpoint, or else from the state of an earlier fit."""
        self.progress = self.resume.load(self.trainer)
        if initial_state is not None and base_model is not None and self.progress.step == 0:
            optimizer = self.config.carry_optimizer
            state = Path(initial_state)
            load_state(state, base_model, self.trainer, self.distributed, optimizer=optimizer, notify=self.notify)
        self.started_s = time.monotonic() - self.progress.seconds

    def run(self, on_step: Callable[[StepReport], None] | None) -> StoppedBy:
        """Train until a limit is reached or any rank asks to stop; save checkpoints. Returns what ended it."""
        with closing(_steps(self.config, self.reader, self.progress)) as steps:
            for step in steps:
                report, (stop, due, busy, failed) = self.step(step)
                if on_step is not None:
                    on_step(report)
                if failed:
                    self.resume.raise_failure()
                if stop:
                    return "should_stop"
                if due and not busy:
                    self.resume.save(self.trainer, self.progress)
        limit = self.progress.limit(self.config)
        assert limit is not None, "steps end at a limit only"
        return limit

    def finish(self, output_folder: str, state_folder: str | None, trained: TrainedFormat | None) -> None:
        """Save the model and, with ``state_folder``, the training state; delete the intermediate checkpoints."""
        config, models = self.config, self.models
        self.resume.finish()
        _require_finite(self.trainer, self.distributed, self.progress)
        state = _keep_state(state_folder, self.resume.name(self.progress), self.trainer, self.distributed)
        weights = self.trainer.weights()
        if self.distributed.rank == 0:
            dtype = torch.bfloat16 if (config.saved_precision or config.precision) == "bfloat16" else torch.float32
            save_model(models.student, weights, models.tokenizer, output_folder, dtype, trained, state)
            self.resume.remove()
        else:
            deque(weights, maxlen=0)  # all ranks gather the weights
        self.distributed.barrier()

    def step(self, step: PlannedStep) -> tuple[StepReport, list[bool]]:
        """Run one step and record it in the progress.

        Returns:
            The step's report, and whether any rank wants to stop, is to save a checkpoint, still writes one, and could
            not write one.
        """
        config, progress, num_terms = self.config, self.progress, len(self.config.terms)
        coefficients = self._coefficients(step.members)
        values, padded = self._accumulate(step, coefficients) if any(coefficients) else ([0.0] * num_terms, 0)
        clock_s = time.monotonic() - self.started_s if self.distributed.rank == 0 else 0.0
        stop = self.should_stop is not None and self.should_stop()
        votes = (stop, self.resume.is_due(progress), self.resume.is_busy, self.resume.has_failed)
        summed = self.distributed.all_reduce_sum([*values, padded, clock_s, *votes])
        values, (padded_tokens, seconds, *asked) = summed[:num_terms], summed[num_terms:]
        loss = sum(term.weight * value for term, value in zip(config.terms, values, strict=True))
        learning_rate, grad_norm = 0.0, 0.0
        if any(coefficients) and math.isfinite(loss):
            learning_rate, grad_norm = self.trainer.update(progress.schedule(config))
        elif any(coefficients):
            self.trainer.discard()
        progress.record(
            tokens=int(self.data.lengths[step.members].sum()),
            trained_tokens=int(self.data.trained_tokens[step.members].sum()),
            padded_tokens=int(padded_tokens),
            dummy_passes=step.dummy_passes,
            seconds=seconds,
        )
        is_finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if not is_finite:
            self._skip(step.members, {"loss": loss, "grad_norm": grad_norm if math.isfinite(loss) else "not computed"})
        elif any(coefficients):
            progress.record_update(loss)
        names = [f"{term.stream}/{term.divergence}" for term in config.terms]
        report = StepReport(
            step=progress.step,
            epoch=progress.epoch,
            loss=loss,
            term_values=dict(zip(names, values, strict=True)),
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            fraction=progress.fraction(config),
            tokens=progress.tokens,
            trained_tokens=progress.trained_tokens,
            seconds=seconds,
            updated=is_finite and any(coefficients),
            skipped_steps=progress.skipped_steps,
            stopped_by=progress.limit(config),
        )
        return report, [count > 0 for count in asked]

    def _coefficients(self, members: list[int]) -> list[float]:
        counts, terms = self.data.term_counts, self.config.terms
        sum_divisor = len(members) * tokens_of_sums(terms, counts.mean(axis=0))
        return term_coefficients(terms, counts[members].sum(axis=0), sum_divisor)

    def _accumulate(self, step: PlannedStep, coefficients: list[float]) -> tuple[list[float], int]:
        """Add up this rank's gradients. Returns its contribution to each term and the processed positions."""
        values, padded_tokens = torch.zeros(len(coefficients), device=self.distributed.device), 0
        for number, (batch, counts) in enumerate(step.batches()):
            padded_tokens += batch.input_ids.size
            used = coefficients if counts else [0.0] * len(coefficients)
            values += self.trainer.accumulate(batch, used, last=number == len(step.pending) - 1)
        return values.tolist(), padded_tokens

    def _skip(self, members: list[int], figures: dict[str, float | str]) -> None:
        """Count a step without an update and save its episodes. Raises `UserError` after too many in a row."""
        progress, most = self.progress, self.config.max_bad_steps
        progress.record_bad_step()
        if self.distributed.rank == 0 and progress.skipped_steps <= MAX_SAVED_STEPS:
            save_bad_step(self.bad_steps, progress.step, members, self.data, figures)
        if progress.bad_steps_in_a_row >= most:
            raise UserError(
                f"the loss or the gradients were not finite in {most} steps in a row, up to step {progress.step} (loss "
                f"{figures['loss']}, gradient norm {figures['grad_norm']}); lower learner.learning_rate, or leave out "
                f"the episodes that caused it, which are in {self.bad_steps}."
            )


def _ignore(note: str) -> None:
    """Drop a sentence that rank 0 passes on."""


def _require_finite(trainer: Trainer, distributed: Distributed, progress: Progress) -> None:
    """Raise `UserError` on all ranks if a weight is not finite or nothing was trained."""
    tensors = [part_of(tensor).tensor for tensor in trainer.state(optimizer=False).values()]
    bad = any(tensor.is_floating_point() and not tensor.isfinite().all() for tensor in tensors)
    if distributed.all_reduce_sum([bad])[0] or not progress.last_losses:
        raise UserError(
            f"the weights are not finite after {progress.step} steps, or no step could update them; lower "
            "learner.learning_rate."
        )


def _keep_state(folder: str | None, name: str, trainer: Trainer, distributed: Distributed) -> str:
    """Write the training state for a following fit. Returns its name; empty if none is kept."""
    if folder is None:
        return ""
    if distributed.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
    distributed.barrier()
    save_state(Path(folder) / name, trainer, distributed)
    distributed.barrier()
    return name


def _result(training: _Training, checkpoint: str, stopped_by: StoppedBy) -> FitResult:
    config, progress, data, models = training.config, training.progress, training.data, training.models
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
        padding_share=1.0 - progress.tokens / max(1, progress.padded_tokens),
        packed=models.packed,
        dummy_passes=progress.dummy_passes,
        truncated_episodes=data.truncated_episodes,
        truncated_tokens=data.truncated_tokens,
        truncated_trained_tokens=data.truncated_trained_tokens,
        notes=(*data.notes, *([models.why_padded] if models.why_padded else [])),
        skipped_steps=progress.skipped_steps,
        stopped_by=stopped_by,
        schedule_fraction=progress.schedule(config),
    )
