"""Settings of what becomes training data: who plays which tasks, with what help, and what the teacher says of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rollout.engine import Sampling
from rollout.episode.filters import KeepConfig
from rollout.hints.config import HintConfig

Role = Literal["teacher", "student"]

FROZEN = ConfigDict(frozen=True, extra="forbid")


class SamplingChanges(BaseModel):
    """What differs from ``agent.sampling``; a setting that is not given stays as it is there."""

    model_config = FROZEN

    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0.0, le=10.0)
    top_p: float | None = Field(None, gt=0.0, le=1.0)
    top_k: int | None = Field(None, ge=0)
    top_logprobs: int | None = Field(None, ge=0, le=128)

    def apply(self, sampling: Sampling) -> Sampling:
        return sampling.model_copy(update=self.model_dump(exclude_none=True))


class Depth(BaseModel):
    """How far a student's episodes go: further with every round, as it learns to."""

    model_config = FROZEN

    first_steps: int = Field(ge=1)
    """Turns an episode in the first round."""
    more_steps: int = Field(ge=0)
    """Turns more in each round after it, up to ``agent.max_steps``."""

    def steps(self, round: int, max_steps: int) -> int:
        return min(max_steps, self.first_steps + round * self.more_steps)


class CollectConfig(BaseModel):
    """Which episodes become training data, a round."""

    model_config = FROZEN

    split: str = "train"
    teacher_episodes: int = Field(ge=0)
    """Tasks that the teacher plays in a round (each ``attempts`` times)."""
    student_episodes: int = Field(0, ge=0)
    """Tasks that the student plays in a round, at the same time as the teacher."""
    attempts: int = Field(1, ge=1)
    """How often each task is played; attempts differ by their sampling seed."""
    teacher_sampling: SamplingChanges = SamplingChanges()
    student_sampling: SamplingChanges = SamplingChanges()
    student_depth: Depth | None = None
    """Shorter episodes for a student that begins; None is ``agent.max_steps`` from the first round on."""
    train_on: tuple[Role, ...] = Field(("teacher",), min_length=1)
    """Whose episodes the learner gets. Both, for a mix on and off policy, by the numbers of their episodes."""
    max_age_rounds: int | None = Field(None, ge=1)
    """Train on the episodes of so many last rounds only, so that none was made by weights older than that; None takes
    all."""
    also: tuple[str, ...] = ()
    """Stores of other runs' episodes to train on as well (``RUN_DIR/trajectories/teacher/round=000``)."""
    keep: KeepConfig | None = None
    """Which of the teacher's episodes are fit to train on, beside what ``learner.keep`` says."""


class ScoreConfig(BaseModel):
    """The teacher's distributions over episodes that are finished, one pass over each."""

    model_config = FROZEN

    roles: tuple[Role, ...] = Field(("student",), min_length=1)
    """Whose episodes are scored. The teacher's own carry its distributions already where it wrote; scored, they carry
    them at every token."""
    top_k: int = Field(16, ge=1, le=128)
    """Entries of each distribution; the rest is one bucket."""
    hints: bool = False
    """The teacher reads hints before it scores, which the author of the episode did not."""


class FirstThoughtConfig(BaseModel):
    """The teacher first thinks a task through without acting; its first step then begins the episode.

    First-thought prefix, arXiv 2505.17612, equation 5.
    """

    model_config = FROZEN

    sampling: SamplingChanges = SamplingChanges(temperature=0.0)
    """Of the thinking, beside ``agent.sampling``."""
    max_tokens: int | None = Field(None, ge=1)
    """Tokens of the thinking episode, prompt included; None is ``agent.max_tokens``."""


class HintsRole(HintConfig):
    """Advice from failed episodes, and who gets it."""

    failures_episodes: int = Field(0, ge=0)
    """Tasks that the teacher plays without hints, so that there are failures to learn from; 0 needs a ``bank``."""
    teacher: bool = True
    """The teacher collects with hints."""
    share: float = Field(1.0, gt=0.0, le=1.0)
    """Of the tasks, those with hints. Below 1, an agent that is trained on such episodes knows both."""
    agents: tuple[Literal["teacher", "student_before", "student"], ...] = ()
    """Agents that get hints when they are evaluated."""
