"""Settings of data collection: tasks, sampling, hints, first thoughts and scoring."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rollout.engine import Sampling
from rollout.episode.filters import KeepConfig
from rollout.frozen_model import FrozenModel
from rollout.hints.config import HintConfig

Role = Literal["teacher", "student"]


class SamplingChanges(FrozenModel):
    """Overrides of ``agent.sampling``. A setting that is not given keeps its value."""

    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0.0, le=10.0)
    top_p: float | None = Field(None, gt=0.0, le=1.0)
    top_k: int | None = Field(None, ge=0)
    top_logprobs: int | None = Field(None, ge=0, le=128)

    def apply(self, sampling: Sampling) -> Sampling:
        return sampling.model_copy(update=self.model_dump(exclude_none=True))


class Depth(FrozenModel):
    """Maximum length of the student's episodes, growing with every round."""

    first_steps: int = Field(ge=1)
    """Turns per episode in the first round."""
    more_steps: int = Field(ge=0)
    """Additional turns in each later round, up to ``agent.max_steps``."""

    def steps(self, round: int, max_steps: int) -> int:
        return min(max_steps, self.first_steps + round * self.more_steps)


class CollectConfig(FrozenModel):
    """Which episodes are collected and trained on in each round."""

    split: str = "train"
    teacher_episodes: int = Field(ge=0)
    """Tasks per round for the teacher, with ``attempts`` episodes each."""
    student_episodes: int = Field(0, ge=0)
    """Tasks per round for the student, which collects at the same time as the teacher."""
    attempts: int = Field(1, ge=1)
    """Episodes per task. They differ by their sampling seed."""
    teacher_sampling: SamplingChanges = SamplingChanges()
    student_sampling: SamplingChanges = SamplingChanges()
    student_depth: Depth | None = None
    """Shorter episodes in early rounds; None uses ``agent.max_steps`` in all rounds."""
    train_on: tuple[Role, ...] = Field(("teacher",), min_length=1)
    """Roles whose episodes are trained on. With both, training mixes off-policy and on-policy data."""
    max_age_rounds: int | None = Field(None, ge=1)
    """Train only on the episodes of this many last rounds; None uses all rounds."""
    also: tuple[str, ...] = ()
    """Stores of other runs' episodes to train on as well (``RUN_DIR/trajectories/teacher/round=000``)."""
    keep: KeepConfig | None = None
    """Filter for the teacher's episodes, in addition to ``learner.keep``."""


class ScoreConfig(FrozenModel):
    """The teacher scores finished episodes with one forward pass each."""

    roles: tuple[Role, ...] = Field(("student",), min_length=1)
    """Roles whose episodes are scored. The teacher's own episodes hold its distributions at generated tokens; scored
    episodes hold them at every token."""
    top_k: int = Field(16, ge=1, le=128)
    """Entries of each distribution. The remaining mass is one bucket."""
    hints: bool = False
    """The teacher sees hints when it scores; the agent that acted did not."""


class FirstThoughtConfig(FrozenModel):
    """The teacher first thinks about a task without acting. Its first thought then begins the episode.

    First-thought prefix, arXiv 2505.17612, equation 5.
    """

    sampling: SamplingChanges = SamplingChanges(temperature=0.0)
    """Overrides of ``agent.sampling`` for this thinking."""
    max_tokens: int | None = Field(None, ge=1)
    """Tokens of the thinking episode, prompt included; None is ``agent.max_tokens``."""


class HintsRole(HintConfig):
    """Hints from failed episodes, and which agents see them."""

    failures_episodes: int = Field(0, ge=0)
    """Tasks that the teacher attempts without hints to get failed episodes; 0 requires a ``bank``."""
    teacher: bool = True
    """The teacher collects with hints."""
    share: float = Field(1.0, gt=0.0, le=1.0)
    """Fraction of tasks shown hints. Below 1, training data has episodes with and without hints."""
    agents: tuple[Literal["teacher", "student_before", "student"], ...] = ()
    """Agents that see hints during evaluation."""
