"""What a recipe can name: built-in environments and engines, and those that other packages add by entry point.

An entry point of the group ``stillhouse.environments`` names a class like `EnvironmentKind`; one of
``stillhouse.engines`` a class of `EngineSettings`. Its name is what ``type:`` says in a recipe. Nothing is imported
before it is asked for.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Protocol, get_args

from pydantic import BaseModel

from rollout.engine import Engine
from rollout.environment import Environment, Task, has_passages
from rollout.environments.plugins import (
    EnvironmentKind,
    _has_search,
    _load,
    _refuse_twice,
    environment_kind,
    make_task_source,
    tools_of,
)
from rollout.environments.wrappers.context import ContextEnvironment, found_passages, own_passages
from rollout.environments.wrappers.search import ACTION, SEARCH, SearchEnvironment
from rollout.episode.acting import PlainActing
from rollout.episode.config import AgentConfig
from rollout.episode.support import raising_user_errors, require_acting
from rollout.errors import Boundary, EpisodeError, UserError, boundary
from rollout.models import model_folder
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.codeact import Tool
from rollout.prompts.style import Style
from rollout.prompts.styles import new_style
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.tools.retrieval.service import Search

ENGINES = "stillhouse.engines"


class EngineSettings(Protocol):
    """What makes an engine of another package available by name: a frozen pydantic model that can start it.

    Besides ``type: Literal["<name>"]`` it has ``model`` or ``tokenizer``, which says whose tokenizer the engine speaks.
    """

    type: str

    async def start(self) -> Engine:
        """Bring the engine up."""
        ...


def engines() -> dict[str, type[BaseModel]]:
    """The settings of all engines by name. Raises `UserError` if another package's cannot be imported."""
    from rollout.engines.config import EngineConfig

    built_in = {get_args(settings.model_fields["type"].annotation)[0]: settings for settings in _members(EngineConfig)}
    added = _load(entry_points(group=ENGINES))
    _refuse_twice([*built_in, *added])
    return {**built_in, **added}


def make_environment(config: BaseModel, agent: AgentConfig | None = None, search: Search | None = None) -> Environment:
    """A new environment of these settings, for an agent that writes code one that runs it.

    ``search`` asks a retrieval service; the environment gets an action for it, unless it `has_own_search`.

    Raises:
        UserError: something that it needs is not installed, or no sandbox can be had for the agent's code.
    """
    kind = environment_kind(config)
    environment, tools = _with_tools(kind, kind.environment(config), config, agent, search)
    if agent is None or agent.style != "codeact":
        return environment
    from rollout.environments.wrappers.code import CodeActEnvironment
    from rollout.tools.sandbox.tiers import shared_sandbox

    sandbox = shared_sandbox(agent.sandbox)
    return CodeActEnvironment(environment, sandbox, tools, getattr(kind, "finish", None))


def require_playable(environment: Environment, config: BaseModel, agent: AgentConfig, *, with_search: bool) -> None:
    """Do what an episode does before its first completion, without an engine, a search service or a sandbox.

    Where no task can be had or begun here, because data is missing, only what needs none is checked.

    Args:
        environment: as `make_environment` gives it for ``config`` alone; closed here.
        config: of the environment.
        agent: who is to play.
        with_search: whether the agent gets a search.

    Raises:
        UserError: the agent cannot be prompted, or cannot act as its settings say.
    """
    try:
        style = make_style(agent, config, with_search=with_search)
        # Code needs no wrapper here: it can be copied where its environment can, and chooses from no list.
        search = _find_nothing if with_search else None
        environment, _ = _with_tools(environment_kind(config), environment, config, agent, search)
        task = None if isinstance(agent.acting, PlainActing) else _first_task(config)
        if task is not None and _begins(environment, task):
            with raising_user_errors(), boundary(Boundary.ENVIRONMENT):
                require_acting(environment, agent.acting, style)
    except EpisodeError:
        return  # a fault of the environment, which episodes put on their records
    finally:
        environment.close()


def _with_tools(
    kind: type[EnvironmentKind],
    environment: Environment,
    config: BaseModel,
    agent: AgentConfig | None,
    search: Search | None,
) -> tuple[Environment, tuple[Tool, ...]]:
    """The environment with passages and a search where the agent gets them, and the functions for code in it."""
    tools = tools_of(kind)
    if agent is not None and agent.passages:
        environment = _with_passages(environment, agent.passages, config, search)
    if search is not None and not _has_search(kind):
        environment, tools = SearchEnvironment(environment, search), (*tools, SEARCH)
    return environment, tools


def _with_passages(environment: Environment, k: int, config: BaseModel, search: Search | None) -> Environment:
    if has_passages(environment):
        return ContextEnvironment(environment, own_passages(k))
    if search is None:
        raise UserError(
            f"agent.passages is {k}, but {getattr(config, 'type', 'this environment')} has no corpus of its own; add a "
            "retrieval section, or set agent.passages to 0"
        )
    return ContextEnvironment(environment, found_passages(search))


def _find_nothing(query: str) -> str:
    return ""


def _first_task(config: BaseModel) -> Task | None:
    """Any task of these settings; None if their data is missing."""
    try:
        source = make_task_source(config)
        return next((task for split in source.splits() for task in source.tasks(split, 1)), None)
    except UserError:
        return None


def _begins(environment: Environment, task: Task) -> bool:
    """Whether a task can be begun. What keeps it from that is on the records of the episodes that fail of it."""
    try:
        with boundary(Boundary.ENVIRONMENT):
            environment.reset(task)
    except EpisodeError:
        return False
    return True


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


def _members(union: Any) -> tuple[type[BaseModel], ...]:
    """The classes of ``Annotated[A | B, ...]``."""
    return get_args(get_args(union)[0])
