"""A wrapper that adds the action ``search[query]``, which queries the retrieval service."""

from __future__ import annotations

import re

from rollout.environment import Environment, Reset, Step, Task, action_templates, legal_actions, open_actions
from rollout.environments.wrappers.base import EnvironmentWrapper
from rollout.prompts.tool import Tool
from rollout.tools.retrieval.service import Search

SEARCH = Tool(
    "search", "looks up the passages of a corpus that fit a query best", "query (string)", "string", "search[{}]"
)
"""The action as a function for code."""
ACTION = (
    "Besides its own, this world has the action:\nsearch[query] looks up the passages of a corpus that fit a query best"
)
"""Description of the action for styles that write actions."""
NO_QUERY = "Write search[query] with the words to search for."

_ACTION = re.compile(r"\s*search\s*\[(?P<query>.*)\]\s*", re.DOTALL | re.IGNORECASE)


class SearchEnvironment(EnvironmentWrapper):
    """An environment with an additional search action.

    The search results are the observation of the step. If the service fails, the episode ends with an error of the
    boundary ``tool``, so that no agent learns from an outage.

    Args:
        inner: the environment that executes all other actions; its own ``search[...]`` is overridden.
        search: queries the service; must not be called in its event loop.
    """

    def __init__(self, inner: Environment, search: Search) -> None:
        super().__init__(inner)
        self._search = search
        self._over = False

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Exceptions of the environment propagate."""
        self._over = False
        return super().reset(task)

    def step(self, action: str) -> Step:
        """Execute an action.

        Raises:
            EpisodeError: all attempts to query the service failed (boundary ``tool``).
        """
        match = _ACTION.fullmatch(action)
        if match is None or self._over:
            step = super().step(action)
            self._over = step.done
            return step
        query = match["query"].strip()
        return Step(self._search(query)) if query else Step(NO_QUERY, valid=False)

    def open_actions(self) -> tuple[str, ...]:
        """Open actions of the environment and the search; empty if the environment does not list its actions."""
        # With the search as the only legal action, an agent could never finish a task.
        legal = legal_actions(self.inner)
        return open_actions(self.inner) if legal is None or self._over else (*legal.templates, SEARCH.action)

    @property
    def action_templates(self) -> tuple[str, ...]:
        """Action templates of the environment and the search; empty if the environment declares none."""
        templates = action_templates(self.inner)
        return (*templates, SEARCH.action) if templates else ()
