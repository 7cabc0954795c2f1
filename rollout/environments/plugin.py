"""All that belongs to one environment, by import strings: listing environments imports none of their code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from rollout.environment import Environment, TaskSource
from rollout.extensions.registry import import_object
from rollout.prompts.example import Example
from rollout.prompts.tool import ACT, Tool

IMPORTED_PARTS = (
    "config",
    "environment",
    "tasks",
    "instructions",
    "examples",
    "tools",
    "expert_policy",
    "random_policy",
    "novice_policy",
    "reasoner",
    "state_keeper",
    "code_writer",
    "hint_rules",
    "vocabulary",
)
"""The attributes of a plug-in that are import strings."""


@dataclass(frozen=True, slots=True)
class EnvironmentPlugin:
    """What makes an environment available by name. Every part is an import string (``package.module:name``).

    The module that holds the record should import nothing else of the package, so that listings stay fast and show the
    record even where the package's requirements are not installed.

    Attributes:
        name: what ``environment.type`` says in a recipe.
        description: one line for listings.
        config: frozen pydantic model with ``type: Literal["<name>"]``.
        environment: called with the settings, gives a `rollout.environment.Environment` that plays one task at a time.
        tasks: called with the settings, gives a `rollout.environment.TaskSource`.
        instructions: system messages by variant, at least ``short`` and ``full``; ``{form}`` in one stands for how the
            agent's style writes a turn.
        examples: function that gives worked episodes, as text in ReAct's form or as demonstrations for every style.
        tools: sequence of functions that code of the style ``codeact`` may call; without it there is one, ``act``.
        finish: the action that gives an answer, with ``{}`` for it (a text, not an import string).
        has_search: whether one of its actions or tools is a ``search``; it then gets no other one.
        expert_policy, random_policy, novice_policy: called with the episode's seed, give a `TextPolicy`: one that
            solves tasks, one that acts at random, and one that fails for want of what hints can tell. The first
            `respond` of an expert raises `ValueError` for a message that begins no task of this environment.
        reasoner: called with the seed, gives a `Reasoner`, which answers in one turn.
        state_keeper: called once an episode, gives a `rollout.environments.demonstrate.StateKeeper`.
        code_writer: a `rollout.environments.demonstrate.CodeWriter`; without it an action is a call of ``act``.
        hint_rules: `rollout.hints.rules.RuleBook`, how failed episodes become hints.
        vocabulary: `rollout.environments.vocabulary.Vocabulary`, the words of its models' tokenizer.
        models: names of models that come with the package, as a recipe names them (``builtin:webshop-teacher``).
    """

    name: str
    description: str
    config: str
    environment: str
    tasks: str
    instructions: str
    examples: str = ""
    tools: str = ""
    finish: str | None = None
    has_search: bool = False
    expert_policy: str = ""
    random_policy: str = ""
    novice_policy: str = ""
    reasoner: str = ""
    state_keeper: str = ""
    code_writer: str = ""
    hint_rules: str = ""
    vocabulary: str = ""
    models: tuple[str, ...] = ()

    def load(self, part: str) -> Any:
        """The object of a part by its attribute's name; None if the environment has no such part.

        Raises:
            UserError: it cannot be imported.
        """
        value: str = getattr(self, part)
        if not value:
            return None
        what = f"{part} of the environment {self.name}"
        return import_object(value, what, "fix or uninstall the package that brings the environment")

    def config_model(self) -> type[BaseModel]:
        """The class of its settings. Raises `UserError` as `load`."""
        model: type[BaseModel] = self.load("config")
        return model

    def make_environment(self, config: BaseModel) -> Environment:
        """A new environment. Raises `UserError` as `load`, and for what its settings ask for and is not there."""
        environment: Environment = self.load("environment")(config)
        return environment

    def make_tasks(self, config: BaseModel) -> TaskSource:
        """The source of its tasks. Raises `UserError` as `make_environment`."""
        source: TaskSource = self.load("tasks")(config)
        return source

    def load_instructions(self) -> Mapping[str, str]:
        """Its system messages by variant. Raises `UserError` as `load`."""
        texts: Mapping[str, str] = self.load("instructions")
        return texts

    def load_examples(self) -> Sequence[Example]:
        """Its worked episodes, which may be played for this. Raises `UserError` as `load`."""
        make = self.load("examples")
        return tuple(make()) if make is not None else ()

    def load_tools(self) -> tuple[Tool, ...]:
        """The functions that code may call; one that acts where it names none. Raises `UserError` as `load`."""
        tools = self.load("tools")
        return (ACT,) if tools is None else tuple(tools)
