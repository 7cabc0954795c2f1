"""The environments by name: the built-in ones and those that other packages add by entry point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from pydantic import BaseModel

from rollout.environment import Environment, TaskSource
from rollout.environments.wrappers.search import SEARCH
from rollout.episode.config import AgentConfig
from rollout.errors import UserError
from rollout.prompts.codeact import ACT, Tool
from rollout.prompts.example import Example
from rollout.tools.sandbox.config import SandboxConfig

ENVIRONMENTS = "stillhouse.environments"


class EnvironmentKind(Protocol):
    """What makes an environment available by name; its docstring's first line is shown in listings.

    Attributes:
        Config: frozen pydantic model with ``type: Literal["<name>"]``.
        instructions: system messages by variant, at least ``short`` and ``full``; ``{form}`` in one stands for how the
            agent's style writes a turn.
        examples: worked episodes, as text in ReAct's form or as demonstrations for every style.
        tools: if there, the functions that code of the style ``codeact`` may call, a `Tool` each.
        finish: if there, the action that gives an answer, with ``{}`` for it; ``final_answer`` of such code calls it.
    """

    Config: type[BaseModel]
    instructions: Mapping[str, str]
    examples: Sequence[Example]

    @staticmethod
    def environment(config: Any) -> Environment:
        """An environment that plays one task at a time."""
        ...

    @staticmethod
    def tasks(config: Any) -> TaskSource:
        """Its tasks."""
        ...


_BUILT_IN_ENVIRONMENTS = {
    "household": "rollout.environments.household.plugin:Household",
    "alfworld": "rollout.environments.household.plugin:Alfworld",
    "hotpotqa": "rollout.environments.hotpotqa.plugin:Encyclopaedia",
    "math": "rollout.environments.math.plugin:Maths",
    "webshop": "rollout.environments.webshop.plugin:Shop",
}


def environments() -> dict[str, type[EnvironmentKind]]:
    """All environments by name. Raises `UserError` if another package's cannot be imported."""
    built_in = [EntryPoint(name, value, ENVIRONMENTS) for name, value in _BUILT_IN_ENVIRONMENTS.items()]
    return _load([*built_in, *entry_points(group=ENVIRONMENTS)])


def environment_kind(config: BaseModel) -> type[EnvironmentKind]:
    """The environment that these settings are of. Raises `UserError` if there is none of that name."""
    name, known = str(getattr(config, "type", "")), environments()
    if name not in known:
        raise UserError(f"there is no environment {name!r}; choose one of {', '.join(sorted(known))}")
    return known[name]


def code_sandbox(config: BaseModel, agent: AgentConfig) -> SandboxConfig | None:
    """Where code that the agent writes runs; None where it writes none.

    An environment whose own actions run code says so by a property ``code_sandbox`` of its settings.
    """
    return agent.sandbox if agent.style == "codeact" else getattr(config, "code_sandbox", None)


def has_own_search(config: BaseModel) -> bool:
    """Whether an environment names a search among its tools or actions. It then keeps it, and gets no other."""
    return _has_search(environment_kind(config))


def _has_search(kind: type[EnvironmentKind]) -> bool:
    named = any(tool.name == SEARCH.name for tool in tools_of(kind))
    return named or any(f"{SEARCH.name}[" in text for text in kind.instructions.values())


def tools_of(kind: type[EnvironmentKind]) -> tuple[Tool, ...]:
    """The functions that code may call in an environment; where it names none, one that acts."""
    return tuple(getattr(kind, "tools", (ACT,)))


def make_task_source(config: BaseModel) -> TaskSource:
    """The tasks of these settings."""
    return environment_kind(config).tasks(config)


def _load(points: Iterable[EntryPoint]) -> dict[str, Any]:
    points = list(points)
    _refuse_twice([point.name for point in points])
    return {point.name: _import(point) for point in points}


def _import(point: EntryPoint) -> Any:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{point.name} ({point.value}) of the group {point.group} cannot be imported: {error}; "
            "mend or uninstall the package that brings it"
        ) from error


def _refuse_twice(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two packages bring {name!r}; uninstall one of them")
