"""Creates environments, engines and prompt builders from configs.

Besides the built-in ones, other packages add objects by entry points: the group ``stillhouse.environments`` has
`EnvironmentPlugin` records, ``stillhouse.engines`` subclasses of `EngineSettings`, ``stillhouse.tools`` `Tool` records.
A recipe uses the names of the entry points. An object is imported when a recipe names it.
"""

from __future__ import annotations

from pydantic import BaseModel

from rollout.concurrency import close_or_warn
from rollout.engine import Engine
from rollout.engines.config import start_engine
from rollout.environment import Environment, Task, has_passages
from rollout.environments.hosts.hosted import EnvironmentHosts
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


def make_environment(
    config: BaseModel,
    agent: AgentConfig | None = None,
    search: Search | None = None,
    hosts: EnvironmentHosts | None = None,
) -> Environment:
    """Create an environment; for an agent that writes code, one that runs the code.

    Args:
        config: config of the environment.
        agent: config of the agent; None adds no wrapper for an agent.
        search: queries a retrieval service. The environment gets a search action unless it `has_own_search`.
        hosts: processes for environments of ``config``; None creates the environment in this process. What the agent
            adds (code, search, passages) is always in this process.

    Raises:
        EpisodeError, InfrastructureError, TimeoutError: a host failed.
        UserError: a requirement is not installed, or no sandbox for the agent's code works on this machine.
    """
    plugin = plugin_of(config)
    made = plugin.make_environment(config) if hosts is None else hosts.create()
    environment, tools = _with_tools(plugin, made, config, agent, search)
    if agent is None or agent.style != "codeact":
        return environment
    from rollout.environments.wrappers.code import CodeActEnvironment
    from rollout.tools.sandbox.tiers import shared_sandbox

    return CodeActEnvironment(environment, shared_sandbox(agent.sandbox), (*tools, *tools_of(agent)), plugin.finish)


def require_playable(environment: Environment, config: BaseModel, agent: AgentConfig, *, with_search: bool) -> None:
    """Check that episodes can run, without an engine, a search service or a sandbox.

    Performs the steps of an episode before its first completion. If no task can be loaded or started because data is
    missing, only the checks that need no task are made.

    Args:
        environment: result of `make_environment` for ``config`` alone; it is closed here. If that fails, a warning is
            logged.
        config: config of the environment.
        agent: config of the agent.
        with_search: whether the agent gets a search.

    Raises:
        UserError: the agent cannot be prompted, or cannot act as its config requires.
    """
    try:
        style = make_style(agent, config, with_search=with_search)
        # No CodeActEnvironment is needed: it can be forked if its environment can, and it lists no actions.
        search = (lambda query: "") if with_search else None
        environment, _ = _with_tools(plugin_of(config), environment, config, agent, search)
        task = None if isinstance(agent.acting, PlainActing) else _first_task(config)
        if task is not None and _can_start(environment, task):
            with reraising_user_errors(), boundary(Boundary.ENVIRONMENT):
                check_acting(environment, agent.acting, style)
    except EpisodeError:
        return  # an environment error; episodes record it
    finally:
        close_or_warn(environment)


def _with_tools(
    plugin: EnvironmentPlugin,
    environment: Environment,
    config: BaseModel,
    agent: AgentConfig | None,
    search: Search | None,
) -> tuple[Environment, tuple[Tool, ...]]:
    """Add passages and search to an environment if the agent gets them; also return the functions for code."""
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


def _first_task(config: BaseModel) -> Task | None:
    """Any task of a config; None if its data is missing."""
    try:
        source = make_task_source(config)
        return next((task for split in source.splits() for task in source.tasks(split, 1)), None)
    except UserError:
        return None


def _can_start(environment: Environment, task: Task) -> bool:
    """Whether a task can be started. Episodes that cannot start record the error."""
    try:
        with boundary(Boundary.ENVIRONMENT):
            environment.reset(task)
    except EpisodeError:
        return False
    return True


def tools_of(agent: AgentConfig) -> tuple[Tool, ...]:
    """Load the functions of other packages that the agent's code may call.

    Raises:
        UserError: a function cannot be imported.
    """
    return tuple(TOOLS.load(name) for name in agent.tools)


async def make_engine(config: BaseModel, agent: AgentConfig | None = None) -> Engine:
    """Start an engine; a scripted engine writes in the style of ``agent``, ReAct by default.

    Raises:
        UserError: the model or a setting is invalid.
    """
    return await start_engine(config, agent.style, agent.chat) if agent else await start_engine(config)


def make_style(agent: AgentConfig, environment: BaseModel, *, with_search: bool = False) -> Style:
    """Create the prompt style of an agent in an environment; its instructions describe the search if there is one.

    Raises:
        UserError: the environment does not have these instructions, enough examples, or examples for the style.
    """
    plugin = plugin_of(environment)
    texts, examples = plugin.load_instructions(), plugin.load_examples()
    if agent.instructions not in texts:
        raise UserError(
            f"agent.instructions {agent.instructions!r} do not exist in this environment; "
            f"choose one of {', '.join(texts)}"
        )
    if agent.examples > len(examples):
        raise UserError(
            f"agent.examples is {agent.examples}, but this environment has {len(examples)}; set it to at most that"
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
    """Create the prompt builder of an agent, with the tokenizer of the engine.

    Raises:
        UserError: the tokenizer or its chat template cannot be used, or the style cannot be created.
    """
    return PromptBuilder(tokenizer_of(engine, agent), make_style(agent, environment, with_search=with_search))


def tokenizer_of(engine: BaseModel, agent: AgentConfig | None = None) -> Tokenizer:
    """Load the tokenizer of an engine, with the chat template of ``agent``.

    Raises:
        UserError: the engine's config names no tokenizer, the model has none, or there is no such template.
    """
    model = getattr(engine, "tokenizer", None) or getattr(engine, "model", None)
    if not isinstance(model, str):
        raise UserError("the engine names no tokenizer; set its tokenizer to the folder or hub name of its model")
    return load_tokenizer(model_folder(model), agent.chat if agent else None)
