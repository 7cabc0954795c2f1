"""Counters of a running fit, and which limit of the budget ends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from learner.config import LearnerConfig

_LOSS_WINDOW = 10
"""Number of steps that the first and the last loss are averaged over."""
Limit = Literal["epochs", "tokens", "seconds"]
StoppedBy = Literal["epochs", "tokens", "seconds", "should_stop"]


@dataclass
class Progress:
    """Counters of a running fit; the same on every rank.

    Attributes:
        step: number of steps, those included that updated nothing.
        tokens: tokens processed, padding excluded.
        trained_tokens: tokens that at least one term trained on.
        padded_tokens: tokens processed, padding included.
        seconds: training time, the time before a resume included.
        dummy_passes: forward passes without a sequence, over all ranks.
        skipped_steps: steps without an update because their loss or gradients were not finite.
        bad_steps_in_a_row: such steps since the last update.
        first_losses, last_losses: losses of the first and of the last ten steps with an update.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    steps_of_epoch: int = 1
    tokens: int = 0
    trained_tokens: int = 0
    padded_tokens: int = 0
    seconds: float = 0.0
    dummy_passes: int = 0
    skipped_steps: int = 0
    bad_steps_in_a_row: int = 0
    first_losses: list[float] = field(default_factory=list)
    last_losses: list[float] = field(default_factory=list)

    def used(self, config: LearnerConfig) -> dict[Limit, float]:
        """Return the used fraction of each limit of the budget that is set; above 1 if it is exceeded."""
        epochs = self.epoch + self.step_in_epoch / self.steps_of_epoch
        shares: dict[Limit, float] = {}
        if config.epochs:
            shares["epochs"] = epochs / config.epochs
        if config.max_tokens:
            shares["tokens"] = self.tokens / config.max_tokens
        if config.max_seconds:
            shares["seconds"] = self.seconds / config.max_seconds
        return shares

    def fraction(self, config: LearnerConfig) -> float:
        """Return the used fraction of the budget: the largest of those of epochs, tokens and seconds."""
        return min(1.0, max(self.used(config).values()))

    def schedule(self, config: LearnerConfig) -> float:
        """Return the position in [0, 1] that the learning rate follows.

        It is the largest used fraction of epochs and tokens, so that it does not depend on the speed of the machine.
        Seconds count only if the budget has no other limit.
        """
        used = self.used(config)
        reproducible = [share for limit, share in used.items() if limit != "seconds"]
        return min(1.0, max(reproducible or used.values()))

    def limit(self, config: LearnerConfig) -> Limit | None:
        """Return the limit that is reached; None if training goes on."""
        return next((limit for limit, share in self.used(config).items() if share >= 1.0), None)

    def begin_epoch(self) -> None:
        """Advance to the next epoch."""
        self.epoch += 1
        self.step_in_epoch = 0

    def record(
        self, *, tokens: int, trained_tokens: int, padded_tokens: int, dummy_passes: int, seconds: float
    ) -> None:
        """Count one finished step; ``seconds`` is the total training time after it."""
        self.step += 1
        self.step_in_epoch += 1
        self.tokens += tokens
        self.trained_tokens += trained_tokens
        self.padded_tokens += padded_tokens
        self.dummy_passes += dummy_passes
        self.seconds = seconds

    def record_update(self, loss: float) -> None:
        """Count an update of the weights."""
        self.bad_steps_in_a_row = 0
        if len(self.first_losses) < _LOSS_WINDOW:
            self.first_losses.append(loss)
        self.last_losses = [*self.last_losses, loss][-_LOSS_WINDOW:]

    def record_bad_step(self) -> None:
        """Count a step without an update because its loss or gradients were not finite."""
        self.skipped_steps += 1
        self.bad_steps_in_a_row += 1
