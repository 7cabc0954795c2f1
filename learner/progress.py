"""Counters of a running fit, and the intermediate checkpoint from which a killed fit resumes."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch

from learner.config import LearnerConfig
from learner.data import Data
from learner.distributed import Distributed
from learner.strategies.torch_trainer import Trainer
from rollout.storage.atomic import atomic_write

_LOSS_WINDOW = 10
"""Number of steps that the first and the last loss are averaged over."""


@dataclass
class Progress:
    """Counters of a running fit; the same on every rank.

    Attributes:
        epoch_fraction: fraction of the budget that was used when the epoch began.
        tokens: tokens processed, padding excluded.
        trained_tokens: tokens that at least one term trained on.
        padded_tokens: tokens processed, padding included.
        seconds: training time, the time before a resume included.
        dummy_passes: forward passes without a sequence, over all ranks.
        first_losses, last_losses: losses of the first and of the last ten steps.
    """

    step: int = 0
    epoch: int = 0
    epoch_fraction: float = 0.0
    step_in_epoch: int = 0
    steps_of_epoch: int = 1
    tokens: int = 0
    trained_tokens: int = 0
    padded_tokens: int = 0
    seconds: float = 0.0
    dummy_passes: int = 0
    first_losses: list[float] = field(default_factory=list)
    last_losses: list[float] = field(default_factory=list)

    def fraction(self, config: LearnerConfig) -> float:
        """Return the used fraction of the budget: the largest of those of epochs, tokens and seconds."""
        epochs = self.epoch + self.step_in_epoch / self.steps_of_epoch
        return min(
            1.0,
            max(
                epochs / config.epochs if config.epochs else 0.0,
                self.tokens / config.max_tokens if config.max_tokens else 0.0,
                self.seconds / config.max_seconds if config.max_seconds else 0.0,
            ),
        )

    def begin_epoch(self, config: LearnerConfig) -> None:
        """Advance to the next epoch."""
        self.epoch_fraction = self.fraction(config)
        self.epoch += 1
        self.step_in_epoch = 0

    def record(
        self,
        *,
        loss: float,
        tokens: int,
        trained_tokens: int,
        padded_tokens: int,
        seconds: float,
        dummy_passes: int = 0,
    ) -> None:
        """Count one finished step; ``seconds`` is the total training time after it."""
        self.step += 1
        self.step_in_epoch += 1
        self.tokens += tokens
        self.trained_tokens += trained_tokens
        self.padded_tokens += padded_tokens
        self.seconds = seconds
        self.dummy_passes += dummy_passes
        if len(self.first_losses) < _LOSS_WINDOW:
            self.first_losses.append(loss)
        self.last_losses = [*self.last_losses, loss][-_LOSS_WINDOW:]


class ResumeCheckpoint:
    """The intermediate checkpoint of one fit, in a hidden folder beside the output folder.

    A checkpoint of other settings, other data or a version with other counters is ignored and overwritten.
    """

    def __init__(self, output_folder: str, config: LearnerConfig, data: Data, base_model: str | None) -> None:
        target = Path(output_folder)
        self._folder = target.with_name(f".{target.name}.resume")
        settings = config.model_dump_json(exclude={"checkpoint_every_s"})
        digest = hashlib.sha256(f"{settings}\n{base_model}".encode())
        for sequence in data.sequences:
            digest.update(np.ascontiguousarray(sequence.token_ids).tobytes())
        self._digest = digest.hexdigest()

    def load(self, trainer: Trainer, distributed: Distributed) -> Progress:
        """Restore the trainer and return the saved progress; without a usable checkpoint, return a new progress."""
        file = self._folder / "state.pt"
        saved = (
            torch.load(file, weights_only=True, map_location="cpu") if distributed.rank == 0 and file.exists() else {}
        )
        counters = {counter.name for counter in fields(Progress)}
        if saved.get("digest") != self._digest or saved["progress"].keys() != counters:
            saved = {}
        progress = distributed.broadcast(saved.get("progress"))
        if progress is None:
            return Progress()
        trainer.restore(saved.get("state", {}))
        return Progress(**progress)

    def save(self, trainer: Trainer, distributed: Distributed, progress: Progress) -> None:
        """Replace the checkpoint atomically. Called on all ranks. Raises `UserError` if the disk is full."""
        state = trainer.state()
        if distributed.rank == 0:
            with atomic_write(self._folder / "state.pt") as temporary:
                torch.save({"digest": self._digest, "progress": asdict(progress), "state": state}, temporary)

    def remove(self) -> None:
        """Delete the checkpoint, when the fit is complete."""
        shutil.rmtree(self._folder, ignore_errors=True)
