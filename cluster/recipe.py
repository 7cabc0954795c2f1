"""The root of all settings: a `Recipe` says what a whole run does.

It is composed of the models that live beside what they configure, and adds only what the cluster decides: how many
workers, with what resources, which episodes to collect and to evaluate. Recipes are YAML files (``cluster/recipes/``
holds the shipped ones); `load_recipe` (in ``recipe_loading``) reads them. This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self, Union

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cluster.mixture import WorldConfig, parts_of
from learner.config import LearnerConfig
from rollout.agent import AgentConfig
from rollout.engine import Sampling
from rollout.registry import engines, has_own_search
from rollout.retrieval.service import RetrievalConfig

if TYPE_CHECKING:
    from rollout.engines.config import EngineConfig
else:
    # Those that other packages bring by entry point are settings like our own.
    EngineConfig = Annotated[Union[tuple(engines().values())], Field(discriminator="type")]  # noqa: UP007
Agent = Literal["teacher", "student_before", "student"]

CHECKPOINT = "checkpoint"
"""As an engine's model: the newest checkpoint of the run. The engine starts when there is one."""

FROZEN = ConfigDict(frozen=True, extra="forbid")


class Resources(BaseModel):
    """What one worker takes of a node."""

    model_config = FROZEN

    cpus: float = Field(1.0, ge=0.0)
    """CPU cores; a share of one is allowed."""
    gpus: float = Field(0.0, ge=0.0)
    """GPUs; a share below 1 lets workers share a device, above 1 it must be whole."""
    memory_gib: float | None = Field(None, gt=0.0)
    """Memory to reserve; none if not given."""
    custom: dict[str, float] = Field(default_factory=dict)
    """Further resources by the name the cluster gives them."""


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


class RoleConfig(BaseModel):
    """A model that acts (teacher or student): its engine, and the workers that run it."""

    model_config = FROZEN

    engine: EngineConfig
    workers: int = Field(1, ge=1)
    """Actors, each with an engine of its own."""
    concurrency: int = Field(64, ge=1)
    """Episodes that one worker plays at once."""
    resources: Resources = Resources()


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


class EvaluateConfig(BaseModel):
    """Which agents play which held-out tasks."""

    model_config = FROZEN

    split: str = "valid_unseen"
    episodes: int = Field(ge=1)
    """Tasks, the same ones for every agent, so that agents are compared task by task."""
    attempts: int = Field(1, ge=1)
    agents: tuple[Agent, ...] = Field(("teacher", "student_before", "student"), min_length=1)
    sampling: SamplingChanges = SamplingChanges()


class RetrievalRole(RetrievalConfig):
    """What agents can search, and the processes that answer them."""

    replicas: int = Field(2, ge=1)
    """Actors that answer queries; those of one node share the index in its page cache."""
    resources: Resources = Resources(cpus=0.5)
    """Of each replica."""


class LearnerRole(LearnerConfig):
    """The learner's own settings, and the processes it trains in."""

    workers: int = Field(1, ge=1)
    """Training processes; one process trains without a process group."""
    resources: Resources = Resources()
    """Of each training process."""


class Recipe(BaseModel):
    """A whole run: collect, train, evaluate. ``learner`` or ``evaluate`` may be left out."""

    model_config = FROZEN

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    seed: int = Field(0, ge=0)
    """Of tasks, sampling and training; the same seed on the same machine asks for the same things."""
    environment: WorldConfig
    """One environment, or a mix of several by weight."""
    agent: AgentConfig
    retrieval: RetrievalRole | None = None
    """A search for agents in environments that have none of their own."""
    teacher: RoleConfig
    student: RoleConfig | None = None
    """None where nothing but the teacher acts."""
    collect: CollectConfig
    rounds: int = Field(1, ge=1)
    """Times around the loop of collect and train; each round starts from the last one's checkpoint."""
    learner: LearnerRole | None = None
    evaluate: EvaluateConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for mistake in mistakes(self):
            raise ValueError(mistake)
        return self

    @property
    def student_has_start(self) -> bool:
        """Whether there is a student before the first training."""
        return self.student is not None and model_of(self.student) != CHECKPOINT

    def collect_sampling(self, role: Literal["teacher", "student"]) -> Sampling:
        """How ``role`` decodes when it collects."""
        changes = self.collect.teacher_sampling if role == "teacher" else self.collect.student_sampling
        return changes.apply(self.agent.sampling)

    def evaluate_sampling(self) -> Sampling:
        """How every agent decodes when it is evaluated."""
        changes = self.evaluate.sampling if self.evaluate else SamplingChanges()
        return changes.apply(self.agent.sampling)


def model_of(role: RoleConfig) -> str | None:
    """The model that a role's engine loads; None for an engine without one (a script)."""
    return getattr(role.engine, "model", None)


def mistakes(recipe: Recipe) -> Iterator[str]:
    """What is wrong between settings that are fine each for itself, a sentence each."""
    student, learner = recipe.student, recipe.learner
    if recipe.collect.student_episodes and student is None:
        yield "collect.student_episodes asks for a student; add a student section or set collect.student_episodes to 0"
    if recipe.collect.student_episodes and student is not None and not recipe.student_has_start:
        yield "collect.student_episodes needs a student with a model to start from; set it to 0 or student.engine.model"
    if recipe.evaluate is not None:
        yield from _evaluation_mistakes(recipe, recipe.evaluate)
    if recipe.retrieval is not None:
        yield from _retrieval_mistakes(recipe, recipe.retrieval)
    if learner is None:
        return
    if learner.model is None and learner.scratch is None and not recipe.student_has_start:
        yield "learner has nothing to start from; give learner.model, learner.scratch or student.engine.model"
    if learner.scratch is not None and recipe.student_has_start:
        yield f"learner.scratch trains a new model, set student.engine.model to {CHECKPOINT} or remove learner.scratch"
    if needs_top_k(learner) and not recipe.collect_sampling("teacher").top_logprobs:
        yield (
            "learner.terms ask for a KL divergence, but the teacher records no distribution; set "
            "collect.teacher_sampling.top_logprobs to 16 or so"
        )
    if needs_top_k(learner) and model_of(recipe.teacher) is None:
        yield (
            f"learner.terms ask for a KL divergence, but an engine of type {recipe.teacher.engine.type} gives no "
            "distribution; use cross_entropy or another teacher.engine"
        )
    if not recipe.collect.teacher_episodes and not recipe.collect.student_episodes:
        yield "collect gathers no episodes to learn from; set collect.teacher_episodes to 1 or more"


def _evaluation_mistakes(recipe: Recipe, evaluate: EvaluateConfig) -> Iterator[str]:
    for agent in evaluate.agents:
        if agent != "teacher" and recipe.student is None:
            yield f"evaluate.agents names {agent}, but there is no student; add a student section or leave it out"
    if "student_before" in evaluate.agents and recipe.student is not None and not recipe.student_has_start:
        yield "evaluate.agents names student_before, but the student starts untrained; leave student_before out"
    if "student" in evaluate.agents and recipe.learner is None:
        yield "evaluate.agents names student, the trained one, but there is no learner; name student_before instead"


def _retrieval_mistakes(recipe: Recipe, retrieval: RetrievalRole) -> Iterator[str]:
    parts = parts_of(recipe.environment)
    if all(has_own_search(part.environment) for part in parts):
        names = ", ".join(part.environment.type for part in parts)
        yield f"every environment of this recipe has a search of its own ({names}); leave retrieval out"
    longest_s = retrieval.client.longest_wait_s
    if longest_s >= recipe.agent.step_timeout_s:
        yield (
            f"retrieval.client may try for {longest_s:g} s, but agent.step_timeout_s is "
            f"{recipe.agent.step_timeout_s:g}; lower retrieval.client.timeout_s or retries, or raise the other"
        )


def needs_top_k(learner: LearnerConfig) -> bool:
    """Whether a term of the loss needs the teacher's distribution."""
    return any(term.signal == "top_k_tail" for term in learner.terms)
