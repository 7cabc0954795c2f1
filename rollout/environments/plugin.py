"""Plug-in record of an environment. Its parts are import strings, so listing environments imports none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

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
"""Attributes of `EnvironmentPlugin` that are import strings."""


@dataclass(frozen=True, slots=True)
class EnvironmentPlugin:
    """Registers an environment under a name. Every part is an import string (``package.module:name``).

    The module of the record should import nothing else of its package. Then listings are fast and include the record
    even if the package's requirements are not installed.

    Attributes:
        name: value of ``environment.type`` in a recipe.
        description: one line for listings.
        config: frozen pydantic model with ``type: Literal["<name>"]``.
        environment: callable that accepts the config and returns a `rollout.environment.Environment`, which runs one
            episode at a time.
        tasks: callable that accepts the config and returns a `rollout.environment.TaskSource`.
        instructions: system messages by variant, at least ``short`` and ``full``. ``{form}`` is replaced by the turn
            format of the agent's prompt style.
        examples: function that returns example episodes, as text in ReAct's format or as demonstrations for every
            style.
        tools: sequence of functions that code of the style ``codeact`` may call; without it, ``act`` is the only one.
        finish: template of the action that submits an answer, with ``{}`` for the answer (not an import string).
        has_search: whether one of its actions or tools is a ``search``; if so, no other search is added.
        expert_policy, random_policy, novice_policy: callables that accept the episode's seed and return a `TextPolicy`:
            one that solves tasks, one that acts at random, and one that fails without hints. The first `respond` of an
            expert raises `ValueError` for a message that starts no task of this environment.
        reasoner: callable that accepts the seed and returns a `Reasoner`, which answers in one turn.
        state_keeper: callable that returns a `rollout.environments.demonstrate.StateKeeper`; called once per episode.
        code_writer: a `rollout.environments.demonstrate.CodeWriter`; by default actions are calls of ``act``.
        hint_rules: a `rollout.hints.rules.RuleBook`, which derives hints from failed episodes.
        vocabulary: a `rollout.environments.vocabulary.Vocabulary` for the tokenizer of its models.
        models: names of models shipped with the package, as in recipes (``builtin:webshop-teacher``).
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
        """Import a part by its attribute name; None if the environment has no such part.

        Raises:
            UserError: the part cannot be imported.
        """
        fix = "fix or uninstall the package that provides the environment"
        value = getattr(self, part)
        return import_object(value, f"{part} of the environment {self.name}", fix) if value else None

    def config_model(self) -> type[BaseModel]:
        """Load the config class. Raises `UserError` like `load`."""
        return cast(type[BaseModel], self.load("config"))

    def make_environment(self, config: BaseModel) -> Environment:
        """Create an environment. Raises `UserError` like `load`, and if something that the config needs is missing."""
        return cast(Environment, self.load("environment")(config))

    def make_tasks(self, config: BaseModel) -> TaskSource:
        """Create the task source. Raises `UserError` like `make_environment`."""
        return cast(TaskSource, self.load("tasks")(config))

    def load_instructions(self) -> Mapping[str, str]:
        """Load the system messages by variant. Raises `UserError` like `load`."""
        return cast(Mapping[str, str], self.load("instructions"))

    def load_examples(self) -> Sequence[Example]:
        """Load or generate the example episodes. Raises `UserError` like `load`."""
        make = self.load("examples")
        return tuple(make()) if make is not None else ()

    def load_tools(self) -> tuple[Tool, ...]:
        """Load the functions that code may call; only ``act`` by default. Raises `UserError` like `load`."""
        tools = self.load("tools")
        return (ACT,) if tools is None else tuple(tools)
