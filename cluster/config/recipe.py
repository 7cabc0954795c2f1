"""The root config: a `Recipe` describes a whole run.

It is composed of the models that live beside what they configure, and adds only what the cluster decides: how many
workers, with what resources, which episodes to collect and to evaluate. Recipes are YAML files (the shipped ones are in
``cluster/config/recipes/``); `cluster.config.load.load_recipe` reads them. This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from cluster.config.collect import (
    CollectConfig,
    FirstThoughtConfig,
    HintsRole,
    SamplingChanges,
    ScoreConfig,
)
from cluster.config.environments import WorldConfig, parts_of
from cluster.config.failures import FailurePolicies
from learner.config import LearnerConfig
from rollout.engine import Sampling
from rollout.engines.config import EngineConfig
from rollout.environments.plugins import has_own_search, plugin_of
from rollout.episode.acting import Acting
from rollout.episode.config import AgentConfig
from rollout.frozen_model import FrozenModel
from rollout.tools.retrieval.config import RetrievalConfig

Agent = Literal["teacher", "student_before", "student"]

BEYOND_GENERATED = frozenset(
    {"all", "random", "system", "task", "example", "hint", "prefix", "observation", "assistant"}
)
"""Streams with tokens that the teacher did not generate and so recorded no distribution for."""

ROLES = ("teacher", "student")
CHECKPOINT = "checkpoint"
"""As an engine's model: the newest checkpoint of the run. The engine starts when there is one."""


class Resources(FrozenModel):
    """Resources of one worker."""

    cpus: float = Field(1.0, ge=0.0)
    """CPU cores; a fraction is allowed."""
    gpus: float = Field(0.0, ge=0.0)
    """GPUs. Workers with a fraction below 1 share a device; above 1 the number must be whole."""
    memory_gib: float | None = Field(None, gt=0.0)
    """Memory to reserve; none if not given."""
    custom: dict[str, float] = Field(default_factory=dict)
    """Custom Ray resources by name."""


class RoleConfig(FrozenModel):
    """A model that acts (teacher or student): its engine, and the workers that run it."""

    engine: EngineConfig
    workers: int = Field(1, ge=1)
    """Number of actors. Each has its own engine."""
    concurrency: int = Field(64, ge=1)
    """Maximum number of concurrent episodes per worker."""
    resources: Resources = Resources()


class EvaluateConfig(FrozenModel):
    """Which agents are evaluated on which held-out tasks."""

    split: str = "valid_unseen"
    episodes: int = Field(ge=1)
    """Number of tasks. All agents get the same ones, so that they are compared task by task."""
    attempts: int = Field(1, ge=1)
    agents: tuple[Agent, ...] = Field(("teacher", "student_before", "student"), min_length=1)
    sampling: SamplingChanges = SamplingChanges()
    acting: Acting | None = None
    """How agents act when they are evaluated; None is ``agent.acting``."""


class RetrievalRole(RetrievalConfig):
    """The retrieval service: its corpus, and the processes that answer queries."""

    replicas: int = Field(2, ge=1)
    """Number of actors that answer queries. Replicas on one node share the index through its page cache."""
    resources: Resources = Resources(cpus=0.5)
    """Resources of each replica."""


class LearnerRole(LearnerConfig):
    """The learner and its training processes."""

    workers: int = Field(1, ge=1)
    """Training processes; one process trains without a process group."""
    resources: Resources = Resources()
    """Resources of each training process."""


class Recipe(FrozenModel):
    """A whole run: collect, train, evaluate. ``learner`` or ``evaluate`` may be left out."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    seed: int = Field(0, ge=0)
    """Seed of tasks, sampling and training."""
    environment: WorldConfig
    """One environment, or a mix of several by weight."""
    agent: AgentConfig
    retrieval: RetrievalRole | None = None
    """A search for agents in environments without one of their own."""
    teacher: RoleConfig
    student: RoleConfig | None = None
    """None if only the teacher acts."""
    collect: CollectConfig
    hints: HintsRole | None = None
    """Hints from failed episodes, and which agents see them."""
    first_thought: FirstThoughtConfig | None = None
    """The teacher thinks about each task before it acts; None disables this."""
    score: ScoreConfig | None = None
    """The teacher scores collected episodes before training; None disables scoring."""
    rounds: int = Field(1, ge=1)
    """Number of rounds of collection and training. Each round starts from the checkpoint of the round before."""
    learner: LearnerRole | None = None
    evaluate: EvaluateConfig | None = None
    failures: FailurePolicies = FailurePolicies()
    """What is restarted or retried after a failure, and how often."""

    @model_validator(mode="before")
    @classmethod
    def _name_chat_template(cls, settings: Any) -> Any:
        """Replace ``teacher`` and ``student`` in ``agent.chat_template`` by the names of their models."""
        agent = settings.get("agent") if isinstance(settings, dict) else None
        role = agent.get("chat_template") if isinstance(agent, dict) else None
        name = _tokenizer_source(settings, role) if role in ROLES else None
        return {**settings, "agent": {**agent, "chat_template": name}} if name and agent else settings

    @model_validator(mode="after")
    def _check(self) -> Self:
        for mistake in inconsistencies(self):
            raise ValueError(mistake)
        return self

    @property
    def student_has_start(self) -> bool:
        """Whether there is a student before the first training."""
        return self.student is not None and model_of(self.student) != CHECKPOINT

    @property
    def student_grows(self) -> bool:
        """Whether the trained student is larger than the one before, so that an engine cannot take its weights."""
        return self.learner is not None and self.learner.widen > 1

    def collect_sampling(self, role: Literal["teacher", "student"]) -> Sampling:
        """How ``role`` decodes when it collects."""
        changes = self.collect.teacher_sampling if role == "teacher" else self.collect.student_sampling
        return changes.apply(self.agent.sampling)

    def evaluated_agent(self) -> AgentConfig:
        """The agent as it is evaluated: with its own decoding and its own way of acting."""
        evaluate = self.evaluate
        if evaluate is None:
            return self.agent
        changes = {"sampling": evaluate.sampling.apply(self.agent.sampling)}
        return AgentConfig.model_validate(
            {**dict(self.agent), **changes, "acting": evaluate.acting or self.agent.acting}
        )


def _tokenizer_source(settings: Mapping[str, Any], role: str) -> Any:
    """Where the tokenizer of a role's model comes from, in settings that are not validated yet; None if nowhere."""
    engine, learner = (_section(settings, *path) for path in ((role, "engine"), ("learner",)))
    names = [engine.get("tokenizer"), engine.get("model")]
    if role == "student":
        names += [learner.get("model"), _section(learner, "scratch").get("tokenizer")]
    return next((name for name in names if name not in (None, CHECKPOINT)), None)


def _section(settings: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for key in path:
        settings = settings.get(key) or {}
        if not isinstance(settings, Mapping):
            return {}
    return settings


def model_of(role: RoleConfig) -> str | None:
    """The model that a role's engine loads; None for an engine without one (a script)."""
    return getattr(role.engine, "model", None)


def inconsistencies(recipe: Recipe) -> Iterator[str]:
    """Yield one sentence for each inconsistency between settings that are valid on their own."""
    learner = recipe.learner
    yield from _template_inconsistencies(recipe)
    yield from _collection_inconsistencies(recipe)
    if recipe.evaluate is not None:
        yield from _evaluation_inconsistencies(recipe, recipe.evaluate)
    if recipe.retrieval is not None:
        yield from _retrieval_inconsistencies(recipe, recipe.retrieval)
    if learner is None:
        return
    if learner.model is None and learner.scratch is None and not recipe.student_has_start:
        yield "learner has nothing to start from; give learner.model, learner.scratch or student.engine.model"
    if learner.scratch is not None and recipe.student_has_start:
        yield f"learner.scratch trains a new model, set student.engine.model to {CHECKPOINT} or remove learner.scratch"
    yield from _signal_inconsistencies(recipe, learner)
    gathered = {"teacher": recipe.collect.teacher_episodes, "student": recipe.collect.student_episodes}
    if not recipe.collect.also and not any(gathered[role] for role in recipe.collect.train_on):
        yield (
            f"collect gathers no episodes to learn from; set collect.{recipe.collect.train_on[0]}_episodes to 1 or more"
        )


def _template_inconsistencies(recipe: Recipe) -> Iterator[str]:
    template, learner = recipe.agent.chat_template, recipe.learner
    if template in ROLES:
        yield f"agent.chat_template is {template}, which names no model with a tokenizer; give a Jinja file instead"
    if template is not None and learner is not None and learner.teacher_tokenizer is not None:
        yield (
            "agent.chat_template is one template for teacher and student, but learner.teacher_tokenizer says that they "
            "have different tokenizers; remove one of the two, and each model uses its own template"
        )


def _collection_inconsistencies(recipe: Recipe) -> Iterator[str]:
    collect, hints, score = recipe.collect, recipe.hints, recipe.score
    if collect.student_episodes and recipe.student is None:
        yield "collect.student_episodes asks for a student; add a student section or set collect.student_episodes to 0"
    if collect.student_episodes and recipe.student is not None and not recipe.student_has_start:
        yield "collect.student_episodes needs a student with a model to start from; set it to 0 or student.engine.model"
    for setting, roles in {"collect.train_on": collect.train_on, "score.roles": score.roles if score else ()}.items():
        if "student" in roles and not collect.student_episodes:
            yield f"{setting} names the student, who collects nothing; set collect.student_episodes or leave it out"
    if hints is not None and hints.bank is None and not hints.failures_episodes:
        yield "hints have nothing to come from; set hints.failures_episodes, or hints.bank to the file of a bank"
    if score is not None and score.hints and hints is None:
        yield "score.hints needs hints; add a hints section or set score.hints to false"
    if recipe.first_thought is not None:
        if recipe.agent.style not in ("react", "codeact"):
            yield (
                "first_thought needs turns that begin with a thought; set agent.style to react or codeact in place of "
                f"{recipe.agent.style}, or remove first_thought"
            )
        if model_of(recipe.teacher) is None:
            yield (
                "first_thought needs a teacher with a model to think; an engine of type "
                f"{recipe.teacher.engine.type} has none; take another teacher.engine, or remove first_thought"
            )
        for part in parts_of(recipe.environment):
            if plugin_of(part.environment).finish is None:
                yield (
                    f"first_thought needs tasks with an answer to think of, and {part.environment.type} has none; "
                    "remove first_thought"
                )


def _signal_inconsistencies(recipe: Recipe, learner: LearnerConfig) -> Iterator[str]:
    """Check that the terms that need the teacher's distributions get them."""
    score = recipe.score
    if learner.teacher_tokenizer is not None and score is not None and "student" in score.roles:
        yield (
            "score.roles names the student, whose tokens mean nothing to a teacher with another tokenizer; leave the "
            "student out, or choose models that share a tokenizer"
        )
    if learner.exact:
        yield from _exact_inconsistencies(recipe, learner)
    if not needs_top_k(learner):
        return
    if model_of(recipe.teacher) is None:
        yield (
            "learner.terms ask for the teacher's distribution, but an engine of type "
            f"{recipe.teacher.engine.type} gives none; use cross_entropy or another teacher.engine"
        )
    for role in recipe.collect.train_on:
        if score is not None and role in score.roles:
            continue
        if role == "student":
            yield (
                "learner.terms ask for the teacher's distribution over the student's episodes; add score: {roles: "
                "[student]}"
            )
        elif not recipe.collect_sampling("teacher").top_logprobs:
            yield (
                "learner.terms ask for the teacher's distribution, but the teacher records none; set "
                "collect.teacher_sampling.top_logprobs to 16 or so"
            )
        elif beyond := sorted({t.stream for t in learner.terms if t.signal == "top_k_tail"} & BEYOND_GENERATED):
            yield (
                f"learner.terms ask for the teacher's distribution on the stream {beyond[0]}, which it does not write; "
                "add score: {roles: [teacher]}"
            )


def _exact_inconsistencies(recipe: Recipe, learner: LearnerConfig) -> Iterator[str]:
    if recipe.score is not None and recipe.score.hints:
        yield (
            "score.hints shows the teacher hints, but with signal exact it reads what the student reads; use signal "
            "top_k_tail, or set score.hints to false"
        )
    if learner.teacher is not None and learner.teacher.model is None and model_of(recipe.teacher) is None:
        yield (
            f"signal exact needs the teacher's weights, but an engine of type {recipe.teacher.engine.type} has none; "
            "set learner.teacher.model"
        )


def _evaluation_inconsistencies(recipe: Recipe, evaluate: EvaluateConfig) -> Iterator[str]:
    try:
        recipe.evaluated_agent()
    except ValidationError as error:
        yield "evaluate." + str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    for agent in evaluate.agents:
        if agent != "teacher" and recipe.student is None:
            yield f"evaluate.agents names {agent}, but there is no student; add a student section or leave it out"
    if "student_before" in evaluate.agents and recipe.student is not None and not recipe.student_has_start:
        yield "evaluate.agents names student_before, but the student starts untrained; leave student_before out"
    if "student" in evaluate.agents and recipe.learner is None:
        yield "evaluate.agents names student, the trained one, but there is no learner; name student_before instead"


def _retrieval_inconsistencies(recipe: Recipe, retrieval: RetrievalRole) -> Iterator[str]:
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


def distributions_of(recipe: Recipe) -> tuple[int, int]:
    """Number of top-k entries that the teacher must return while it generates, and when it scores finished episodes."""
    learner, score = recipe.learner, recipe.score
    if learner is None or not needs_top_k(learner):
        return 0, 0
    writes = "teacher" in recipe.collect.train_on and not (score and "teacher" in score.roles)
    return recipe.collect_sampling("teacher").top_logprobs if writes else 0, score.top_k if score else 0


def needs_top_k(learner: LearnerConfig) -> bool:
    """Whether a term of the loss needs the teacher's distribution."""
    return any(term.signal == "top_k_tail" for term in learner.terms)
