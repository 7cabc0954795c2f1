"""What a recipe can name: built-in environments and engines, and those that other packages add by entry point.

An entry point of the group ``stillhouse.environments`` names an `EnvironmentPlugin`, one of ``stillhouse.engines`` a
class of `EngineSettings`, one of ``stillhouse.tools`` a `Tool`. Its name is what a recipe says. Nothing is imported
before it is named.
"""

from __future__ import annotations

from pydantic import BaseModel

from rollout.engine import Engine
from rollout.engines.config import start_engine
from rollout.environment import Environment, Task, has_passages
from rollout.environments.plugin import EnvironmentPlugin
from rollout.environments.plugins import make_task_source, plugin_of
from rollout.environments.wrappers.context import ContextEnvironment, found_passages, own_passages
from rollout.environments.wrappers.search import ACTION, SEARCH, SearchEnvironment
from rollout.episode.acting import PlainActing
from rollout.episode.config import AgentConfig
from rollout.episode.support import check_acting, reraising_user_errors
from rollout.errors import Boundary, EpisodeError, UserError, boundary
from rollout.models import model_folder
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.style import Style
from rollout.prompts.styles import new_style
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.prompts.tool import TOOLS, Tool
from rollout.tools.retrieval.service import Search


def make_environment(config: BaseModel, agent: AgentConfig | None = None, search: Search | None = None) -> Environment:
    """A new environment of these settings, for an agent that writes code one that runs it.

    ``search`` asks a retrieval service; the environment gets an action for it, unless it `has_own_search`.

    Raises:
        UserError: something that it needs is not installed, or no sandbox can be had for the agent's code.
    """
    plugin = plugin_of(config)
    environment, tools = _with_tools(plugin, plugin.make_environment(config), config, agent, search)
    if agent is None or agent.style != "codeact":
        return environment
    from rollout.environments.wrappers.code import CodeActEnvironment
    from rollout.tools.sandbox.tiers import shared_sandbox

    sandbox = shared_sandbox(agent.sandbox)
    return CodeActEnvironment(environment, sandbox, (*tools, *tools_of(agent)), plugin.finish)


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
        environment, _ = _with_tools(plugin_of(config), environment, config, agent, search)
        task = None if isinstance(agent.acting, PlainActing) else _first_task(config)
        if task is not None and _begins(environment, task):
            with reraising_user_errors(), boundary(Boundary.ENVIRONMENT):
                check_acting(environment, agent.acting, style)
    except EpisodeError:
        return  # a fault of the environment, which episodes put on their records
    finally:
        environment.close()


def _with_tools(
    plugin: EnvironmentPlugin,
    environment: Environment,
    config: BaseModel,
    agent: AgentConfig | None,
    search: Search | None,
) -> tuple[Environment, tuple[Tool, ...]]:
    """The environment with passages and a search where the agent gets them, and the functions for code in it."""
    tools = plugin.load_tools()
    if agent is not None and agent.passages:
        environment = _with_passages(environment, agent.passages, config, search)
    if search is not None and not plugin.has_search:
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


def tools_of(agent: AgentConfig) -> tuple[Tool, ...]:
    """The functions of other packages that the code of an agent may call.

    Raises:
        UserError: one cannot be imported.
    """
    return tuple(TOOLS.load(name) for name in agent.tools)


async def make_engine(config: BaseModel, agent: AgentConfig | None = None) -> Engine:
    """Start an engine; a scripted one writes in the style of ``agent``, by default in ReAct's.

    Raises:
        UserError: a model or setting cannot work.
    """
    return await start_engine(config, agent.style if agent else "react")


def make_style(agent: AgentConfig, environment: BaseModel, *, with_search: bool = False) -> Style:
    """The prompt style of an agent in an environment, which tells of the search if there is one.

    Raises:
        UserError: the environment has no such instructions, too few examples, or none that fit the style.
    """
    plugin = plugin_of(environment)
    texts, examples = plugin.load_instructions(), plugin.load_examples()
    if agent.instructions not in texts:
        raise UserError(
            f"agent.instructions {agent.instructions!r} is not known to this environment; "
            f"choose one of {', '.join(texts)}"
        )
    if agent.examples > len(examples):
        raise UserError(
            f"agent.examples is {agent.examples}, but this environment comes with {len(examples)}; ask for fewer"
        )
    instructions, added = texts[agent.instructions], with_search and not plugin.has_search
    if added and agent.style != "codeact":
        instructions = f"{instructions}\n{ACTION}"
    return new_style(
        agent.style,
        instructions,
        examples,
        shown=agent.examples,
        tools=plugin.load_tools(),
        added_tools=(*((SEARCH,) if added else ()), *tools_of(agent)),
        answer=plugin.finish,
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
