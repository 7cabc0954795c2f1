"""An environment with one more action, ``search[query]``, which asks the retrieval service."""

from __future__ import annotations

import re

from rollout.environment import Environment, Reset, Step, Task, fork_of
from rollout.prompts.codeact import Tool
from rollout.tools.retrieval.service import Search

SEARCH = Tool(
    "search", "looks up the passages of a corpus that fit a query best", "query (string)", "string", "search[{}]"
)
"""The action as a function for code."""
ACTION = (
    "Besides its own, this world has the action:\nsearch[query] looks up the passages of a corpus that fit a query best"
)
"""The action in words, for styles that write actions."""
NO_QUERY = "Write search[query] with the words to search for."

_ACTION = re.compile(r"\s*search\s*\[(?P<query>.*)\]\s*", re.DOTALL | re.IGNORECASE)


class SearchEnvironment:
    """Another environment, where an agent may also search (`rollout.environment.Environment`).

    What a search finds is the observation of its step. A service that fails ends the episode with an error of the
    boundary ``tool``: no agent should learn from an outage.

    Args:
        world: the environment that does all other actions; one with a ``search[...]`` of its own loses it.
        search: asks the service; must not be called in its event loop, so a step must run in a thread.
    """

    blocking = True

    def __init__(self, world: Environment, search: Search) -> None:
        self._world = world
        self._search = search
        self._over = False

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Raises what the world raises."""
        self._over = False
        return self._world.reset(task)

    def step(self, action: str) -> Step:
        """Do one action.

        Raises:
            EpisodeError: of the boundary ``tool``, when the service has not answered any attempt.
        """
        match = _ACTION.fullmatch(action)
        if match is None or self._over:
            step = self._world.step(action)
            self._over = step.done
            return step
        query = match["query"].strip()
        return Step(self._search(query)) if query else Step(NO_QUERY, valid=False)

    def admissible_actions(self) -> None:
        """None: there is no end of queries."""
        return

    @property
    def action_forms(self) -> tuple[str, ...]:
        """Those of the world, if it says them, and the search."""
        forms = getattr(self._world, "action_forms", ())
        return (*forms, SEARCH.action) if forms else ()

    def fork(self) -> SearchEnvironment:
        """A copy with a copy of the world. Raises `UserError` if that has none."""
        twin = SearchEnvironment(fork_of(self._world), self._search)
        twin._over = self._over
        return twin

    def close(self) -> None:
        self._world.close()
