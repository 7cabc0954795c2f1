"""What a fit reports of its steps and at its end."""

from __future__ import annotations

from dataclasses import dataclass

from learner.progress import StoppedBy


@dataclass(frozen=True, slots=True)
class StepReport:
    """Metrics of one optimizer step; the same on every rank.

    Attributes:
        loss: weighted sum of the terms; may be not finite if the step was skipped.
        term_values: unweighted value of each term, by ``stream/divergence``.
        learning_rate: rate of this step.
        grad_norm: norm of the gradients before clipping.
        fraction: fraction of the budget that is used.
        tokens: tokens processed so far, padding excluded.
        trained_tokens: tokens so far that at least one term trains on.
        seconds: training time so far, the time before a resume included.
        updated: whether the weights were updated. They are not if the loss or the gradients are not finite, or if no
            term has weight.
        skipped_steps: steps so far whose loss or gradients were not finite.
        stopped_by: the limit of the budget that ends training after this step; None if it goes on.
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
    updated: bool
    skipped_steps: int
    stopped_by: StoppedBy | None


@dataclass(frozen=True, slots=True)
class FitResult:
    """Result of a fit.

    Attributes:
        steps: number of steps, those included that were skipped.
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
        skipped_steps: number of steps without an update because their loss or gradients were not finite.
        stopped_by: what ended training.
        schedule_fraction: fraction of the learning-rate schedule that was completed.
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
    skipped_steps: int
    stopped_by: StoppedBy
    schedule_fraction: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)
