"""The HotpotQA environment: rewards, corpora, and invalid configs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.environment import Environment, Step, Task
from rollout.environments.hotpotqa.environment import (
    HotpotQAConfig,
    HotpotQAEnvironment,
    make_tasks,
)
from rollout.environments.hotpotqa.generator import HotpotQATasks
from rollout.environments.hotpotqa.plugin import HOTPOTQA
from rollout.errors import UserError

ROWS = [
    {
        "_id": f"q{i}",
        "question": f"Where is mill {i}?",
        "answer": f"on river {i}",
        "type": "bridge",
        "supporting_facts": [[f"Mill {i}", 0]],
        "context": [[f"Mill {i}", [f"Mill {i} stands on river {i}."]], ["Corn", ["Corn is ground in mills."]]],
    }
    for i in range(3)
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(ROWS))
    return path


def official(data: Path, **settings: Any) -> HotpotQAConfig:
    return HotpotQAConfig.model_validate({"source": "hotpotqa", "data": str(data), **settings})


def started(config: HotpotQAConfig, **change: Any) -> HotpotQAEnvironment:
    """An environment reset to question q1, or to the first generated task."""
    environment = HotpotQAEnvironment(config)
    split = "train" if config.source == "generated" else "dev"
    tasks = {str(task.payload.get("id")): task for task in make_tasks(config).tasks(split, 3)}
    task = tasks.get("q1") or next(iter(tasks.values()))
    environment.reset(Task(task.id, task.environment, task.split, task.task_type, {**task.payload, **change}))
    return environment


def test_the_first_observation_is_that_of_react_followed_by_the_question() -> None:
    environment = HotpotQAEnvironment(HotpotQAConfig())
    reset = environment.reset(HotpotQATasks().tasks("train", 1)[0])
    first, question = reset.observation.split("\n")
    assert first == "Interact with Wikipedia using search[], lookup[], and finish[]."
    assert question.startswith("Question: ")
    assert question.endswith("?")
    assert reset.instruction == "answer the question"


@pytest.mark.parametrize(
    ("answer", "reward", "f1"),
    [("On the river 1!", 1, 1), ("the river 1", 0, 0.8), ("on river 2", 0, 2 / 3), ("", 0, 0)],
)
def test_the_reward_is_exact_match_and_f1_is_a_score(data: Path, answer: str, reward: int, f1: float) -> None:
    environment = started(official(data))
    step = environment.step(f"finish[{answer}]")
    assert step.scores == {"f1": pytest.approx(f1)}
    assert replace(step, scores={}, answer=None) == Step(
        f"Episode finished, reward = {reward}\n", reward, True, reward == 1
    )


def test_after_the_answer_nothing_changes(data: Path) -> None:
    environment = started(official(data))
    environment.step("finish[on river 1]")
    for action in ("finish[wrong]", "search[Mill 1]"):
        assert environment.step(action) == Step("Episode finished, reward = 1\n", 0, True, True, False)


def test_any_accepted_answer_counts(data: Path) -> None:
    assert started(official(data), answers="on river 1\nriver one").step("finish[river one]").success


def test_an_invalid_action_gets_a_reply_and_is_marked(data: Path) -> None:
    environment = started(official(data))
    assert environment.step("go to mill") == Step("Invalid action: go to mill", valid=False)
    assert environment.step("Search[Mill 1]").valid is False
    assert started(official(data, lower_first_letter=True)).step(" Search[Mill 1]").observation.startswith("Mill 1")


def test_own_searches_the_pages_of_the_question_and_pooled_those_of_the_file(data: Path) -> None:
    assert started(official(data)).step("search[Mill 2]").observation.startswith("Could not find Mill 2. Similar: [")
    assert started(official(data, corpus="pooled")).step("search[mill 2]").observation == "Mill 2 stands on river 2.."


def test_a_dump_or_its_index_is_the_corpus_of_questions_without_paragraphs(tmp_path: Path) -> None:
    (tmp_path / "bamboogle.csv").write_text("Question,Answer\nWhere is the weir?,on the Osk\n")
    (tmp_path / "wiki.jsonl").write_text('{"title": "Weir", "text": "It is on the Osk."}\n')
    settings = {
        "source": "bamboogle",
        "data": str(tmp_path),
        "corpus": str(tmp_path / "wiki.jsonl"),
        "index_dir": str(tmp_path / "index"),
    }
    for corpus in (settings["corpus"], settings["index_dir"]):
        given_index = {"index_dir": None} if corpus == settings["index_dir"] else {}
        config = HotpotQAConfig.model_validate({**settings, "corpus": corpus, **given_index})
        environment = HotpotQAEnvironment(config)
        environment.reset(make_tasks(config).tasks("test", 1)[0])
        assert environment.step("search[weir]").observation == "It is on the Osk.."
        assert environment.step("finish[on Osk]").success


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": "q9"}, "has no question 'q9'; make the tasks again"),
        ({"answers": ""}, "has no question or no answer"),
        ({"question": None}, "has no question or no answer"),
    ],
)
def test_a_damaged_task_is_refused(data: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        started(official(data), **change)


def test_missing_data_is_a_value_error_at_reset(data: Path) -> None:
    config = official(data)
    task = make_tasks(config).tasks("dev", 1)[0]
    data.unlink()
    with pytest.raises(ValueError, match="there is no file"):
        HotpotQAEnvironment(config).reset(task)


def test_questions_without_paragraphs_need_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text(json.dumps([{"_id": "q1", "question": "Where?", "answer": "here"}]))
    for corpus in ("own", "pooled"):
        with pytest.raises(ValueError, match="no paragraphs; set corpus to a title/text dump"):
            started(official(path, corpus=corpus))


def test_a_missing_corpus_is_reported_when_the_environment_is_created(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no corpus at"):
        HotpotQAEnvironment(official(data, corpus=str(tmp_path / "absent.jsonl")))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data": "x"}, "data and corpus are for official questions"),
        ({"source": "musique"}, "source: musique needs data"),
        ({"source": "bamboogle", "data": "x"}, "bamboogle has no paragraphs; set corpus"),
        ({"source": "musique", "data": "x", "index_dir": "y"}, "index_dir is for the index of a dump"),
        ({"pages": 3}, "greater than or equal to 20"),
        ({"question_types": []}, "at least 1 item"),
        ({"wiki": 1}, "Extra inputs"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        HotpotQAConfig.model_validate(settings)


def test_the_plugin_provides_config_environment_tasks_and_examples() -> None:
    config = HOTPOTQA.config_model()()
    environment = HOTPOTQA.make_environment(config)
    assert isinstance(environment, Environment)
    assert config.type == "hotpotqa"
    assert set(HOTPOTQA.load_instructions()) == {"short", "full"}
    assert all(example.turns[-1].action.startswith("finish[") for example in HOTPOTQA.load_examples())
    assert HOTPOTQA.make_tasks(config).splits() == ("train", "valid_seen", "valid_unseen")
    with pytest.raises(RuntimeError, match="reset must come before"):
        environment.step("search[x]")


@given(st.lists(st.one_of(st.text(), st.text().map(lambda text: f"search[{text}]")), max_size=5))
@settings(max_examples=60, deadline=None)
def test_every_text_gets_a_reply_and_only_finish_ends_the_episode(actions: list[str]) -> None:
    environment = HotpotQAEnvironment(HotpotQAConfig())
    environment.reset(HotpotQATasks().tasks("train", 1)[0])
    for action in actions:
        step = environment.step(action)
        assert isinstance(step.observation, str)
        assert step.done == (action.strip().startswith("finish[") and action.strip().endswith("]"))
        if step.done:
            break
    assert environment.admissible_actions() is None
