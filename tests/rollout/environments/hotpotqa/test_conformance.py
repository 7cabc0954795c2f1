"""The environment on official HotpotQA questions, which are not part of this repository."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from rollout.environments.hotpotqa.environment import (
    HotpotQAConfig,
    HotpotQAEnvironment,
    make_tasks,
)
from rollout.environments.hotpotqa.questions import load_questions

DATA = Path(__file__).parents[4] / os.environ.get("STILLHOUSE_TEST_DATA", "../shared/data") / "hotpotqa"
DISTRACTOR = DATA / "distractor_dev_50.json.gz"
SIMPLIFIED = DATA / "dev_simplified.json.gz"

pytestmark = pytest.mark.skipif(
    not (DISTRACTOR.is_file() and SIMPLIFIED.is_file()), reason="no HotpotQA questions: set STILLHOUSE_TEST_DATA"
)


def records() -> dict[str, dict[str, Any]]:
    with gzip.open(DISTRACTOR, "rt", encoding="utf-8") as file:
        return {record["_id"]: record for record in json.load(file)}


@pytest.mark.parametrize("corpus", ["own", "pooled"])
def test_every_supporting_page_is_reached_by_search_and_the_answer_wins(corpus: str) -> None:
    config = HotpotQAConfig(source="hotpotqa", data=str(DISTRACTOR), corpus=corpus)
    environment, known = HotpotQAEnvironment(config), records()
    tasks = make_tasks(config).tasks("dev", 1000)
    reached = 0
    for task in tasks:
        record = known[str(task.payload["id"])]
        text = {title: "".join(sentences).strip() for title, sentences in record["context"]}
        assert record["question"].strip() in environment.reset(task).observation
        for title in {title for title, _ in record["supporting_facts"]}:
            for wording in (title, title.lower(), title.upper()):
                beginning = environment.step(f"search[{wording}]").observation.split(". ")[0].rstrip(".")
                assert beginning
                assert text[title].startswith(beginning)
            reached += 1
        step = environment.step(f"finish[{record['answer']}]")
        assert (step.success, step.reward) == (True, 1)
    assert (len(tasks), reached) == (50, 100)


def test_a_supporting_page_is_among_the_similar_titles_if_a_word_is_missing() -> None:
    """One word of the title is left out; all 492 paragraphs are searched."""
    config = HotpotQAConfig(source="hotpotqa", data=str(DISTRACTOR), corpus="pooled")
    environment = HotpotQAEnvironment(config)
    environment.reset(make_tasks(config).tasks("dev", 1)[0])
    titles = {title for record in records().values() for title, _ in record["supporting_facts"] if " " in title}
    found = []
    for title in titles:
        words = title.split()
        for i in range(len(words)):
            wording = " ".join(words[:i] + words[i + 1 :])
            found.append(repr(title) in environment.step(f"search[{wording}]").observation)
    assert len(found) > 200
    assert sum(found) / len(found) > 0.95


def test_all_questions_of_the_simplified_development_set_are_read() -> None:
    assert len(load_questions(SIMPLIFIED)) == 7355
