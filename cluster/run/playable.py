"""Checks of a recipe's agents against its environments, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from pydantic import BaseModel

from cluster.config.environments import parts_of
from cluster.config.recipe import Recipe
from rollout.episode.acting import PlainActing
from rollout.episode.config import AgentConfig
from rollout.errors import UserError
from rollout.factory import make_environment, make_style, require_playable


def check_agents(recipe: Recipe) -> None:
    """Raises `UserError` if an agent of the recipe cannot play in one of its environments."""
    for mistake in unplayable(recipe):
        raise UserError(mistake)


def unplayable(recipe: Recipe) -> Iterator[str]:
    """What keeps the recipe's agents from playing in its environments, a sentence each.

    No engine, service or sandbox is started, and no index is built. An environment that cannot be made on this machine,
    or whose settings say by a property ``builds_index`` that it may build an index first, is left to the workers, which
    check all of them before their engines start.
    """
    changed = recipe.evaluate is not None and recipe.evaluate.acting is not None
    agents = {"agent": recipe.agent, **({"evaluate": recipe.evaluated_agent()} if changed else {})}
    for section, agent in agents.items():
        for part in parts_of(recipe.environment):
            try:
                _require(part.environment, agent, with_search=recipe.retrieval is not None)
            except UserError as error:
                yield str(error).replace("agent.acting", f"{section}.acting")


def _require(config: BaseModel, agent: AgentConfig, *, with_search: bool) -> None:
    make_style(agent, config, with_search=with_search)
    asks_little = isinstance(agent.acting, PlainActing) and not agent.passages
    if asks_little or getattr(config, "builds_index", False):
        return
    try:
        environment = make_environment(config)
    except UserError:
        return
    with closing(environment):
        require_playable(environment, config, agent, with_search=with_search)
