"""Episodes to roll out: what they share, and the request of one. What crosses process boundaries is a frozen record."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.environment import Task
from rollout.episode.config import AgentConfig
from rollout.episode.runner import Job, job
from rollout.hints.config import HintConfig
from rollout.trajectory import Key


@dataclass(frozen=True, slots=True)
class HintContext:
    """Hints that a stage's episodes are shown: the file that they are in, and which share of the tasks gets any."""

    bank: str
    config: HintConfig
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What all episodes of one role in one round share.

    Attributes:
        store: where they are kept.
        scored: a store whose episodes are scored and kept in ``store``, in place of new ones; None plays.
        top_k: entries of each distribution of a score.
        thoughts: a store of episodes whose first thoughts begin these.
        advice: hints to be shown, or to be read before scoring.
    """

    run: str
    role: str
    round: int
    store: str
    agent: AgentConfig
    scored: str | None = None
    top_k: int = 0
    thoughts: str | None = None
    advice: HintContext | None = None


@dataclass(frozen=True, slots=True)
class EpisodeRequest:
    """One episode to play; small enough to be sent anywhere."""

    stage: Stage
    task: Task
    attempt: int

    @property
    def key(self) -> Key:
        return Key(self.stage.role, self.stage.round, self.task.id, self.attempt)

    @property
    def job(self) -> Job:
        stage = self.stage
        return job(self.task, run=stage.run, role=stage.role, round_number=stage.round, attempt=self.attempt)
