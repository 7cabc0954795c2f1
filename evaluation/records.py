"""Per-episode records: the values of one episode that metrics are computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rollout.errors import Failure
from rollout.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """The values of one episode.

    Attributes:
        task: id of the task; two agents are compared on the tasks that both have attempted.
        score: the environment's reward for the episode.
        scores: further scores of the environment, by name.
        prompt_tokens: summed over all engine calls, before prefix caching.
        output_tokens: tokens that the model generated; ``reason_tokens`` are those of its reasoning.
        invalid_action_rate: fraction of the steps whose action the environment rejected, in [0, 1].
        seconds: wall-clock duration of the episode.
        attempt: number of the attempt at the task that the recipe asks for.
        failure: the failure that ended the episode, if one did.
    """

    environment: str
    split: str
    task: str
    task_type: str
    success: bool
    score: float
    scores: Mapping[str, float]
    steps: int
    prompt_tokens: int
    output_tokens: int
    reason_tokens: int
    invalid_action_rate: float
    seconds: float
    attempt: int = 0
    failure: Failure | None = None

    @property
    def error(self) -> bool:
        """Whether the episode was not completed: a failure ended it that is not a result. It is in no mean."""
        return self.failure is not None and not self.failure.is_result

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What two agents are compared on: environment, split, task and attempt."""
        return self.environment, self.split, self.task, self.attempt


def episode_record(trajectory: Trajectory) -> EpisodeRecord:
    """Return the record of an episode. Segments are not read, so a summary is sufficient."""
    identity, outcome, counts = trajectory.identity, trajectory.outcome, trajectory.counts
    return EpisodeRecord(
        environment=identity.environment,
        split=identity.split,
        task=identity.task,
        task_type=identity.task_type,
        success=outcome.success,
        score=outcome.reward,
        scores=outcome.scores,
        steps=counts.steps,
        prompt_tokens=counts.prompt_tokens,
        output_tokens=counts.output_tokens,
        reason_tokens=counts.reason_tokens,
        invalid_action_rate=counts.invalid_actions / counts.steps if counts.steps else 0.0,
        seconds=trajectory.times.total_s,
        attempt=identity.attempt,
        failure=outcome.failure,
    )


RECORD_COLUMNS = (
    *("environment", "task_type", "success", "reward", "steps"),
    *("prompt_tokens", "output_tokens", "reason_tokens", "invalid_actions", "total_s"),
)
"""Columns of stored episodes that `metric_columns` and the groups of episodes need."""


def metric_columns(stored: pa.Table) -> dict[str, NDArray[np.float64]]:
    """The metrics of `EpisodeRecord` by name, for a table of stored episodes with `RECORD_COLUMNS`."""
    column = {name: stored[name].to_numpy().astype(np.float64) for name in RECORD_COLUMNS[2:]}
    names = ("success", "steps", "prompt_tokens", "output_tokens", "reason_tokens")
    return {
        **{name: column[name] for name in names},
        "score": column["reward"],
        "invalid_action_rate": column["invalid_actions"] / np.maximum(column["steps"], 1) * (column["steps"] > 0),
        "seconds": column["total_s"],
    }


def by_environment(records: Iterable[EpisodeRecord]) -> Mapping[str, list[EpisodeRecord]]:
    """Group records by environment, sorted by name."""
    groups: dict[str, list[EpisodeRecord]] = defaultdict(list)
    for record in records:
        groups[record.environment].append(record)
    return dict(sorted(groups.items()))


def by_task_type(records: Iterable[EpisodeRecord]) -> Mapping[str, list[EpisodeRecord]]:
    """Group records by task type, sorted by name. Records without a type are excluded."""
    groups: dict[str, list[EpisodeRecord]] = defaultdict(list)
    for record in records:
        if record.task_type:
            groups[record.task_type].append(record)
    return dict(sorted(groups.items()))


def completed(records: Iterable[EpisodeRecord]) -> list[EpisodeRecord]:
    """Records of the episodes that were completed."""
    return [record for record in records if not record.error]


def completed_by_all(groups: Iterable[Sequence[EpisodeRecord]]) -> list[list[EpisodeRecord]]:
    """The groups without the episodes that were not completed in any one of them, for a paired comparison."""
    groups = list(groups)
    failed = failed_keys(groups)
    return [[record for record in group if record.key not in failed] for group in groups]


def failed_keys(groups: Iterable[Sequence[EpisodeRecord]]) -> set[tuple[str, str, str, int]]:
    """Keys of the episodes that were not completed."""
    return {record.key for group in groups for record in group if record.error}
