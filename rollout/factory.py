"""What a recipe can name: built-in environments and engines, and those that other packages add by entry point.

An entry point of the group ``stillhouse.environments`` names a class like `EnvironmentKind`; one of
``stillhouse.engines`` a class of `EngineSettings`. Its name is what ``type:`` says in a recipe. Nothing is imported
before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, get_args

from pydantic import BaseModel

from rollout.engine import Engine
from rollout.environment import Environment, TaskSource
from rollout.environments.wrappers.context import HasPassages, PassagesFirst, own_passages, passages_of
from rollout.environments.wrappers.search import ACTION, SEARCH, SearchWorld
from rollout.episode.episode import AgentConfig
from rollout.errors import UserError
from rollout.models import model_folder
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.codeact import ACT, Tool
from rollout.prompts.example import Example
from rollout.prompts.style import Style
from rollout.prompts.styles import new_style
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.tools.retrieval.service import Search
from rollout.tools.sandbox.config import SandboxConfig

ENVIRONMENTS = "stillhouse.environments"
ENGINES = "stillhouse.engines"


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


class EngineSettings(Protocol):
    """What makes an engine of another package available by name: a frozen pydantic model that can start it.

    Besides ``type: Literal["<name>"]`` it has ``model`` or ``tokenizer``, which says whose tokenizer the engine speaks.
    """

    type: str

    async def start(self) -> Engine:
        """Bring the engine up."""
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


def engines() -> dict[str, type[BaseModel]]:
    """The settings of all engines by name. Raises `UserError` if another package's cannot be imported."""
    from rollout.engines.config import EngineConfig

    built_in = {get_args(settings.model_fields["type"].annotation)[0]: settings for settings in _members(EngineConfig)}
    added = _load(entry_points(group=ENGINES))
    _refuse_twice([*built_in, *added])
    return {**built_in, **added}


def environment_kind(config: BaseModel) -> type[EnvironmentKind]:
    """The environment that these settings are of. Raises `UserError` if there is none of that name."""
    name, known = str(getattr(config, "type", "")), environments()
    if name not in known:
        raise UserError(f"there is no environment {name!r}; choose one of {', '.join(sorted(known))}")
    return known[name]


def make_environment(config: BaseModel, agent: AgentConfig | None = None, search: Search | None = None) -> Environment:
    """A new environment of these settings, for an agent that writes code one that runs it.

    ``search`` asks a retrieval service; the environment gets an action for it, unless it `has_own_search`.

    Raises:
        UserError: something that it needs is not installed, or no sandbox can be had for the agent's code.
    """
    kind = environment_kind(config)
    environment, tools = kind.environment(config), tools_of(kind)
    if agent is not None and agent.passages:
        environment = _with_passages(environment, agent.passages, config, search)
    if search is not None and not _has_search(kind):
        environment, tools = SearchWorld(environment, search), (*tools, SEARCH)
    if agent is None or agent.style != "codeact":
        return environment
    from rollout.environments.wrappers.code import CodeWorld
    from rollout.tools.sandbox.tiers import shared_sandbox

    sandbox = shared_sandbox(agent.sandbox)
    return CodeWorld(environment, sandbox, tools, getattr(kind, "finish", None))


def _with_passages(environment: Environment, k: int, config: BaseModel, search: Search | None) -> Environment:
    if isinstance(environment, HasPassages):
        return PassagesFirst(environment, own_passages(k))
    if search is None:
        raise UserError(
            f"agent.passages is {k}, but {getattr(config, 'type', 'this environment')} has no corpus of its own; add a "
            "retrieval section, or set agent.passages to 0"
        )
    return PassagesFirst(environment, passages_of(search))


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


async def make_engine(config: BaseModel, agent: AgentConfig | None = None) -> Engine:
    """Start an engine; a scripted one writes in the style of ``agent``, by default in ReAct's.

    Raises:
        UserError: a model or setting cannot work.
    """
    from rollout.engines.config import EngineConfig, start_engine

    if isinstance(config, _members(EngineConfig)):
        style = agent.style if agent else "react"
        return await start_engine(config, style)  # type: ignore[arg-type]  # just checked
    plugged_in: EngineSettings = config  # type: ignore[assignment]  # what the entry point promises
    return await plugged_in.start()


def make_style(agent: AgentConfig, environment: BaseModel, *, with_search: bool = False) -> Style:
    """The prompt style of an agent in an environment, which tells of the search if there is one.

    Raises:
        UserError: the environment has no such instructions, too few examples, or none that fit the style.
    """
    kind = environment_kind(environment)
    if agent.instructions not in kind.instructions:
        raise UserError(
            f"agent.instructions {agent.instructions!r} is not known to this environment; "
            f"choose one of {', '.join(kind.instructions)}"
        )
    if agent.examples > len(kind.examples):
        raise UserError(
            f"agent.examples is {agent.examples}, but this environment comes with {len(kind.examples)}; ask for fewer"
        )
    instructions, added = kind.instructions[agent.instructions], with_search and not _has_search(kind)
    if added and agent.style != "codeact":
        instructions = f"{instructions}\n{ACTION}"
    return new_style(
        agent.style,
        instructions,
        kind.examples,
        shown=agent.examples,
        tools=tools_of(kind),
        added_tools=(SEARCH,) if added else (),
        answer=getattr(kind, "finish", None),
    )


def make_builder(
    agent: AgentConfig, environment: BaseModel, engine: BaseModel, *, with_search: bool = False
) -> PromptBuilder:
    """The prompt builder of an agent, with the tokenizer that the engine speaks.

    Raises:
        UserError: the tokenizer or its chat template cannot be used, or the style is not to be had.
    """
    return PromptBuilder(tokenizer_of(engine), make_style(agent, environment, with_search=with_search))


def tokenizer_of(engine: BaseModel) -> Tokenizer:
    """The tokenizer that an engine of these settings speaks. Raises `UserError` if it names none or has none."""
    model = getattr(engine, "tokenizer", None) or getattr(engine, "model", None)
    if not isinstance(model, str):
        raise UserError("the engine names no tokenizer; set its tokenizer to the folder or hub name of its model")
    return load_tokenizer(model_folder(model))


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


def _members(union: Any) -> tuple[type[BaseModel], ...]:
    """The classes of ``Annotated[A | B, ...]``."""
    return get_args(get_args(union)[0])
