"""What an evaluation keeps of an episode: one small record, without its segments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rollout.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """The figures of one episode.

    Attributes:
        task: the task's id; two agents are compared on the tasks that both have played.
        score: the environment's reward of the whole episode.
        scores: what else the environment said of it, by name.
        prompt_tokens: summed over all engine calls, as served.
        invalid_action_rate: share of the steps whose action the environment did not take, in [0, 1].
        seconds: wall clock of the whole episode.
        error: something beyond a boundary failed; the episode still counts, as it ended.
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
    error: bool


def episode_record(trajectory: Trajectory) -> EpisodeRecord:
    """The record of an episode; its segments are not looked at, so a summary is enough."""
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
        error=outcome.failure is not None,
    )


def by_environment(records: Iterable[EpisodeRecord]) -> Mapping[str, list[EpisodeRecord]]:
    """Records grouped by environment, names sorted."""
    groups: dict[str, list[EpisodeRecord]] = defaultdict(list)
    for record in records:
        groups[record.environment].append(record)
    return dict(sorted(groups.items()))


def by_task_type(records: Iterable[EpisodeRecord]) -> Mapping[str, list[EpisodeRecord]]:
    """Records grouped by task type, names sorted; episodes of environments without types are left out."""
    groups: dict[str, list[EpisodeRecord]] = defaultdict(list)
    for record in records:
        if record.task_type:
            groups[record.task_type].append(record)
    return dict(sorted(groups.items()))
