"""An environment with one more action, ``search[query]``, which asks the retrieval service."""

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
"""The action in words, for styles that write actions."""
NO_QUERY = "Write search[query] with the words to search for."

_ACTION = re.compile(r"\s*search\s*\[(?P<query>.*)\]\s*", re.DOTALL | re.IGNORECASE)


class SearchEnvironment(EnvironmentWrapper):
    """Another environment, where an agent may also search.

    What a search finds is the observation of its step. A service that fails ends the episode with an error of the
    boundary ``tool``: no agent should learn from an outage.

    Args:
        inner: the environment that does all other actions; one with a ``search[...]`` of its own loses it.
        search: asks the service; must not be called in its event loop, so a step must run in a thread.
    """

    blocking = True

    def __init__(self, inner: Environment, search: Search) -> None:
        super().__init__(inner)
        self._search = search
        self._over = False

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Raises what the environment raises."""
        self._over = False
        return super().reset(task)

    def step(self, action: str) -> Step:
        """Do one action.

        Raises:
            EpisodeError: of the boundary ``tool``, when the service has not answered any attempt.
        """
        match = _ACTION.fullmatch(action)
        if match is None or self._over:
            step = super().step(action)
            self._over = step.done
            return step
        query = match["query"].strip()
        return Step(self._search(query)) if query else Step(NO_QUERY, valid=False)

    def open_actions(self) -> tuple[str, ...]:
        """Those of the environment and the search; none if the environment does not list its own actions."""
        # A list with the search alone would be one of which no agent could ever finish a task.
        legal = legal_actions(self.inner)
        return open_actions(self.inner) if legal is None or self._over else (*legal.templates, SEARCH.action)

    @property
    def action_templates(self) -> tuple[str, ...]:
        """Those of the environment, if it says them, and the search."""
        templates = action_templates(self.inner)
        return (*templates, SEARCH.action) if templates else ()
