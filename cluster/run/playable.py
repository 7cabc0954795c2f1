"""Checks before anything starts that the recipe's agents can act in its environments."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing

from pydantic import BaseModel

from cluster.config.environments import parts_of
from cluster.config.recipe import Recipe
from cluster.run.phases import PHASES
from rollout.episode.acting import PlainActing
from rollout.episode.config import AgentConfig
from rollout.errors import UserError
from rollout.factory import make_environment, make_style, require_playable


def check_agents(recipe: Recipe, phases: Collection[str] = PHASES) -> None:
    """Raise `UserError` if an agent that acts in one of the phases cannot act in one of the environments."""
    for error in agent_errors(recipe, phases):
        raise UserError(error)


def agent_errors(recipe: Recipe, phases: Collection[str] = PHASES) -> Iterator[str]:
    """Yield one sentence for each agent setting that does not work in one of the recipe's environments.

    Only agents that act in one of ``phases`` are checked.

    Starts no engine, service or sandbox and builds no index. Environments that cannot be created on this machine, or
    whose config has a true property ``builds_index``, are skipped: workers check all environments before their engines
    start.
    """
    changed = recipe.evaluate is not None and recipe.evaluate.acting is not None
    agents: dict[str, AgentConfig] = {}
    if "rollout" in phases or ("evaluate" in phases and not changed):
        agents["agent"] = recipe.agent
    if "evaluate" in phases and changed:
        agents["evaluate"] = recipe.evaluated_agent()
    for section, agent in agents.items():
        for part in parts_of(recipe.environment):
            try:
                _require(part.environment, agent, with_search=recipe.retrieval is not None)
            except UserError as error:
                yield str(error).replace("agent.acting", f"{section}.acting")


def _require(config: BaseModel, agent: AgentConfig, *, with_search: bool) -> None:
    make_style(agent, config, with_search=with_search)
    needs_no_environment = isinstance(agent.acting, PlainActing) and not agent.passages
    if needs_no_environment or getattr(config, "builds_index", False):
        return
    try:
        environment = make_environment(config)
    except UserError:
        return
    with closing(environment):
        require_playable(environment, config, agent, with_search=with_search)
