"""How far a fit has come, and the intermediate checkpoint that a killed one resumes from."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from learner.config import LearnerConfig
from learner.data import Data
from learner.distributed import Distributed
from learner.strategies.torch_trainer import Trainer
from rollout.storage.atomic import atomic_write

_ENDS = 10
"""Steps that the first and the last loss are means of."""


@dataclass
class Progress:
    """Counters of a running fit; the same on every rank.

    Attributes:
        epoch_fraction: share of the budget that was used when the epoch began.
        places: token places of all passes, padding included.
        seconds: of training, those before a resume included.
    """

    step: int = 0
    epoch: int = 0
    epoch_fraction: float = 0.0
    step_in_epoch: int = 0
    steps_of_epoch: int = 1
    tokens: int = 0
    trained_tokens: int = 0
    places: int = 0
    seconds: float = 0.0
    first_losses: list[float] = field(default_factory=list)
    last_losses: list[float] = field(default_factory=list)

    def fraction(self, config: LearnerConfig) -> float:
        """Share of the budget that is used: of epochs, tokens or seconds, whichever is furthest."""
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
        """Go to the next epoch."""
        self.epoch_fraction = self.fraction(config)
        self.epoch += 1
        self.step_in_epoch = 0

    def record(self, *, loss: float, tokens: int, trained_tokens: int, places: int, seconds: float) -> None:
        """Count one finished step; ``seconds`` is the clock after it."""
        self.step += 1
        self.step_in_epoch += 1
        self.tokens += tokens
        self.trained_tokens += trained_tokens
        self.places += places
        self.seconds = seconds
        if len(self.first_losses) < _ENDS:
            self.first_losses.append(loss)
        self.last_losses = [*self.last_losses, loss][-_ENDS:]


class ResumePoint:
    """The intermediate checkpoint of one fit: a hidden folder beside the output folder.

    A point that another configuration or other data left behind is not used, and overwritten by the next save.
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
        """The saved progress, with the trainer put back to it; or a fresh one."""
        file = self._folder / "state.pt"
        saved = (
            torch.load(file, weights_only=True, map_location="cpu") if distributed.rank == 0 and file.exists() else {}
        )
        if saved.get("digest") != self._digest:
            saved = {}
        progress = distributed.from_first(saved.get("progress"))
        if progress is None:
            return Progress()
        trainer.restore(saved.get("state", {}))
        return Progress(**progress)

    def save(self, trainer: Trainer, distributed: Distributed, progress: Progress) -> None:
        """Replace the intermediate checkpoint, whole or not at all. Raises `UserError` if no space is left."""
        state = trainer.state()
        if distributed.rank == 0:
            with atomic_write(self._folder / "state.pt") as temporary:
                torch.save({"digest": self._digest, "progress": asdict(progress), "state": state}, temporary)

    def remove(self) -> None:
        """Forget it: the fit is complete."""
        shutil.rmtree(self._folder, ignore_errors=True)
