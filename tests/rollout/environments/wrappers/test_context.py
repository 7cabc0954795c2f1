"""Tasks that begin with passages: those of the environment's own corpus, or of the retrieval service."""

from __future__ import annotations

import pytest

from rollout.environments.hotpotqa.environment import HotpotQAConfig
from rollout.environments.math.config import MathConfig
from rollout.environments.plugins import make_task_source
from rollout.episode.config import AgentConfig
from rollout.errors import UserError
from rollout.factory import make_environment
from rollout.tools.retrieval.documents import Hit

COT = AgentConfig(style="cot", max_steps=1, passages=3)


def test_pages_of_hotpotqa_precede_the_question_on_one_line_each() -> None:
    config = HotpotQAConfig()
    plain, reading = make_environment(config), make_environment(config, COT)
    told = 0
    for task in make_task_source(config).tasks("train", 10):
        alone, with_pages = plain.reset(task), reading.reset(task)
        assert with_pages.instruction == alone.instruction
        pages, _, rest = with_pages.observation.partition("\nInteract with Wikipedia")
        assert f"Interact with Wikipedia{rest}" == alone.observation
        assert len(pages.split("\n")) == 3
        name = alone.observation.strip().rstrip("?").split()[-1]
        told += name in pages
    assert told >= 8, "pages are those that the question names"


def test_passages_do_not_change_the_episode() -> None:
    config = HotpotQAConfig()
    (task,) = make_task_source(config).tasks("train", 1)
    plain, reading = make_environment(config), make_environment(config, COT)
    plain.reset(task)
    reading.reset(task)
    for action in ("lookup[river]", "search[Nothing]", "finish[Old Nodisk]"):
        assert reading.step(action) == plain.step(action)


def test_without_a_corpus_the_retrieval_service_receives_the_text_of_the_task() -> None:
    asked: list[str] = []

    def search(query: str) -> str:
        asked.append(query)
        return Hit("1", "Adding", "One and one is two.", 1.0).text

    config = MathConfig()
    environment = make_environment(config, COT, search)
    (task,) = make_task_source(config).tasks("train", 1)
    reset = environment.reset(task)
    problem = make_environment(config).reset(task)
    assert reset.observation == f"One and one is two.\n{problem.observation}"
    assert asked == [f"{problem.observation}\n{problem.instruction}"]
    with pytest.raises(UserError, match=r"agent.passages is 3, but math has no corpus of its own; add a retrieval"):
        make_environment(config, COT)
