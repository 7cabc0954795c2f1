"""Demonstrations for every prompt style, with the expert's state and with actions as code."""

from __future__ import annotations

from functools import cache

from rollout.environments.demonstrate import demonstrate
from rollout.environments.hotpotqa.environment import HotpotQAConfig, HotpotQAEnvironment
from rollout.environments.hotpotqa.expert_policy import NO_MISTAKES, HotpotQAExpert
from rollout.environments.hotpotqa.generator import HotpotQATasks
from rollout.environments.hotpotqa.reading import BeliefState, ParsedQuestion, read_question
from rollout.prompts.codeact import as_code
from rollout.prompts.example import Demonstration, State
from rollout.prompts.tool import Tool

EXAMPLE_TASKS = (20, 1)
"""Indices of the generated training tasks used as examples: a bridge and a comparison question."""

TOOLS = (
    Tool(
        "search",
        "opens the page of a title and gives its first sentences, or similar titles if there is none",
        "title (string)",
        "string",
        "search[{}]",
    ),
    Tool(
        "lookup",
        "gives the next sentence of the open page that holds these words",
        "words (string)",
        "string",
        "lookup[{}]",
    ),
)
"""The actions as functions for code; ``finish`` is final_answer."""


class StateKeeper:
    """Tracks the state that an agent can write down in one episode: goal, opened pages and relevant facts."""

    def __init__(self) -> None:
        self._known = BeliefState()
        self._question: ParsedQuestion | None = None
        self._opened: list[str] = []

    def __call__(self, observation: str) -> State:
        """Update the state from the first user message or an observation, and return it."""
        if self._question is None:
            self._question = read_question(observation)
        else:
            self._known.read("", observation)
        # The observation of a page starts with its title; nothing else identifies the open page.
        page = next((name for name, noun in self._known.facts if observation.startswith(name)), None)
        if page and page not in self._opened:
            self._opened.append(page)
        needed = {fact.noun for fact in self._question.facts}
        found = [f"{noun} of {name}: {value}" for (name, noun), value in self._known.facts.items() if noun in needed]
        return (
            ("goal", self._question.goal()),
            ("pages opened", ", ".join(self._opened)),
            ("found", ", ".join(found)),
        )


@cache
def hotpotqa_demonstrations() -> tuple[Demonstration, ...]:
    """Expert episodes on fixed tasks, identical in every process."""
    tasks = HotpotQATasks().tasks("train", max(EXAMPLE_TASKS) + 1)
    environment = HotpotQAEnvironment(HotpotQAConfig())
    return tuple(
        demonstrate(environment, tasks[i], HotpotQAExpert(error_rates=NO_MISTAKES), state=StateKeeper(), code=as_code)
        for i in EXAMPLE_TASKS
    )
