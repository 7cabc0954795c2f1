"""Published question sets load as downloaded; each has one invented row in its real layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rollout.environments.hotpotqa.datasets import QuestionFiles
from tests.rollout.environments.data_sets.layouts import Row, write

HOTPOT: Row = {
    "question": "Where does the mill of Osk stand?",
    "answer": "by the Osk",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": [["Mill", 0]],
    "context": [["Mill", ["It stands by the Osk."]]],
}
COLUMNAR = {
    **HOTPOT,
    "id": "5a",
    "supporting_facts": {"title": ["Mill"], "sent_id": [0]},
    "context": {"title": ["Mill"], "sentences": [["It stands by the Osk."]]},
}
MUSIQUE: Row = {
    "id": "2hop__1_2",
    "paragraphs": [{"idx": 0, "title": "Mill", "paragraph_text": "By the Osk.", "is_supporting": True}],
    "question": "Where?",
    "question_decomposition": [{"id": 1, "question": "Mill >> place", "answer": "the Osk"}],
    "answer": "the Osk",
    "answer_aliases": ["Osk"],
    "answerable": True,
}
TRIVIA: Row = {
    "question": "Which river drives the mill?",
    "question_id": "tc_9001",
    "question_source": "http://example.org/",
    "entity_pages": {"title": ["Mill"], "wiki_context": ["Long text."]},
    "search_results": {"title": ["Mill"], "search_context": ["Long text."]},
    "answer": {
        "aliases": ["The Osk", "River Osk"],
        "normalized_aliases": ["osk", "river osk"],
        "matched_wiki_entity_name": "",
        "normalized_matched_wiki_entity_name": "",
        "normalized_value": "osk",
        "type": "WikipediaEntity",
        "value": "The Osk",
    },
}
TRIVIA_OFFICIAL: Row = {
    "Answer": {
        "Aliases": ["The Osk", "River Osk"],
        "MatchedWikiEntityName": "Osk",
        "NormalizedAliases": ["osk", "river osk"],
        "NormalizedValue": "osk",
        "Type": "WikipediaEntity",
        "Value": "The Osk",
    },
    "EntityPages": [{"DocSource": "TagMe", "Filename": "Mill.txt", "Title": "Mill"}],
    "Question": "Which river drives the mill?",
    "QuestionId": "tc_9001",
    "QuestionSource": "http://example.org/",
    "SearchResults": [],
}
TRIVIA_ANSWERS = ["The Osk", "River Osk", "osk", "river osk"]
POPQA: Row = {
    "id": 4222362,
    "subj": "Tavin Orlo",
    "prop": "occupation",
    "obj": "miller",
    "subj_id": 1850297,
    "prop_id": 22,
    "obj_id": 2834605,
    "s_aliases": '["T. Orlo"]',
    "o_aliases": '["mill owner"]',
    "s_uri": "http://www.wikidata.org/entity/Q0",
    "o_uri": "http://www.wikidata.org/entity/Q1",
    "s_wiki_title": "Tavin Orlo",
    "o_wiki_title": "Miller",
    "s_pop": 142,
    "o_pop": 25692,
    "question": "What is Tavin Orlo's occupation?",
    "possible_answers": '["miller", "mill owner", "M\\u00fcller"]',
}
POPQA_ANSWERS = ["miller", "mill owner", "Müller"]
NQ: Row = {"question": "when was the mill built", "answer": ["1472", "December 1472"]}
SEARCH_R1: Row = {
    "id": "train_0",
    "question": "who built the mill?",
    "golden_answers": ["Tavin Orlo", "Orlo"],
    "data_source": "nq",
    "prompt": [{"role": "user", "content": "Answer the given question. Question: who built the mill?\n"}],
    "ability": "fact-reasoning",
    "reward_model": {"ground_truth": {"target": ["Tavin Orlo", "Orlo"]}, "style": "rule"},
    "extra_info": {"index": 0, "split": "train"},
    "metadata": None,
}

QUESTION_EXPORTS: Sequence[tuple[str, Any, str, str, list[Row], str, list[str]]] = [
    (
        "HotpotQA",
        "hotpotqa",
        "hotpot_train_v1.1.json",
        "train",
        [{**HOTPOT, "_id": "5a"}],
        "Where does the mill of Osk stand?",
        ["by the Osk"],
    ),
    (
        "hotpotqa/hotpot_qa",
        "hotpotqa",
        "distractor/validation-00000-of-00001.parquet",
        "dev",
        [COLUMNAR],
        "Where does the mill of Osk stand?",
        ["by the Osk"],
    ),
    (
        "FlashRAG hotpotqa",
        "hotpotqa",
        "dev.jsonl",
        "dev",
        [{"id": "dev_0", "question": "Where?", "golden_answers": ["the Osk"], "metadata": {"type": "comparison"}}],
        "Where?",
        ["the Osk"],
    ),
    (
        "2WikiMultihopQA",
        "2wikimultihopqa",
        "dev.json",
        "dev",
        [{**HOTPOT, "_id": "8813", "evidences": [["Mill", "river", "Osk"]], "entity_ids": "Q1_Q2"}],
        "Where does the mill of Osk stand?",
        ["by the Osk"],
    ),
    (
        "xanhho/2WikiMultihopQA",
        "2wikimultihopqa",
        "dev.parquet",
        "dev",
        [{key: v if isinstance(v, str) else json.dumps(v) for key, v in HOTPOT.items()} | {"_id": "8813"}],
        "Where does the mill of Osk stand?",
        ["by the Osk"],
    ),
    (
        "framolfese/2WikiMultihopQA",
        "2wikimultihopqa",
        "data/validation-00000-of-00001.parquet",
        "dev",
        [COLUMNAR],
        "Where does the mill of Osk stand?",
        ["by the Osk"],
    ),
    ("MuSiQue", "musique", "musique_ans_v1.0_dev.jsonl", "dev", [MUSIQUE], "Where?", ["the Osk", "Osk"]),
    (
        "bdsaglam/musique",
        "musique",
        "musique_ans_v1.0_train.jsonl.gz",
        "train",
        [MUSIQUE],
        "Where?",
        ["the Osk", "Osk"],
    ),
    ("Bamboogle", "bamboogle", "bamboogle.csv", "test", [{"Question": "Who?", "Answer": "Orlo"}], "Who?", ["Orlo"]),
    (
        "chiayewken/bamboogle",
        "bamboogle",
        "data/test-00000-of-00001.parquet",
        "test",
        [{"Question": "Who?", "Answer": "Orlo"}],
        "Who?",
        ["Orlo"],
    ),
    ("NQ-open", "nq", "NQ-open.dev.jsonl", "dev", [NQ], "when was the mill built", ["1472", "December 1472"]),
    (
        "google-research-datasets/nq_open",
        "nq",
        "nq_open/validation-00000-of-00001.parquet",
        "dev",
        [NQ],
        "when was the mill built",
        ["1472", "December 1472"],
    ),
    (
        "FlashRAG nq",
        "nq",
        "nq/test.jsonl",
        "test",
        [{"id": "test_0", "question": "when was it built", "golden_answers": ["1472", "December 1472"]}],
        "when was it built",
        ["1472", "December 1472"],
    ),
    ("Search-R1", "nq", "train.parquet", "train", [SEARCH_R1], "who built the mill?", ["Tavin Orlo", "Orlo"]),
    (
        "Search-R1 without its questions",
        "nq",
        "test.parquet",
        "test",
        [{k: v for k, v in SEARCH_R1.items() if k in ("prompt", "reward_model", "data_source")}],
        "Answer the given question. Question: who built the mill?",
        ["Tavin Orlo", "Orlo"],
    ),
    (
        "mandarjoshi/trivia_qa",
        "triviaqa",
        "rc.nocontext/validation-00000-of-00001.parquet",
        "dev",
        [TRIVIA],
        "Which river drives the mill?",
        TRIVIA_ANSWERS,
    ),
    (
        "TriviaQA",
        "triviaqa",
        "unfiltered-web-dev.json",
        "dev",
        [{"Data": [TRIVIA_OFFICIAL], "Domain": "unfiltered", "Split": "dev", "VerifiedEval": False, "Version": 1.0}],
        "Which river drives the mill?",
        TRIVIA_ANSWERS,
    ),
    ("PopQA", "popqa", "popQA.tsv", "test", [POPQA], "What is Tavin Orlo's occupation?", POPQA_ANSWERS),
    ("akariasai/PopQA", "popqa", "test.tsv", "test", [POPQA], "What is Tavin Orlo's occupation?", POPQA_ANSWERS),
    (
        "a Parquet mirror of PopQA",
        "popqa",
        "data/test-00000-of-00001.parquet",
        "test",
        [POPQA],
        "What is Tavin Orlo's occupation?",
        POPQA_ANSWERS,
    ),
]


@pytest.mark.parametrize(
    ("source", "file", "split", "rows", "question", "answers"),
    [export[1:] for export in QUESTION_EXPORTS],
    ids=[export[0] for export in QUESTION_EXPORTS],
)
def test_a_published_question_set_loads_as_downloaded(
    tmp_path: Path, source: Any, file: str, split: str, rows: list[Row], question: str, answers: list[str]
) -> None:
    path = write(tmp_path / file, rows)
    if "Data" in rows[0]:
        path.write_text(json.dumps(rows[0]))
    data = QuestionFiles(source, str(tmp_path))
    assert list(data.splits()) == [split]
    (task,) = data.tasks(split, 10)
    assert task.payload["question"] == question
    assert str(task.payload["answers"]).split("\n") == answers
    assert task.split == split
    name, file_path = str(task.payload["id"]), data.find_file(str(task.payload["file"]))
    assert data.load(file_path)[name].text == question


def test_answers_of_2wiki_include_the_aliases_of_its_entities(tmp_path: Path) -> None:
    write(tmp_path / "dev.json", [{**HOTPOT, "_id": "1", "answer_id": "Q7"}, {**HOTPOT, "_id": "2", "answer_id": None}])
    aliases = [{"Q_id": "Q7", "aliases": ["at the Osk"], "demonyms": ["Oskish"]}, {"Q_id": "Q8", "aliases": []}]
    (tmp_path / "id_aliases.json").write_text("\n".join(map(json.dumps, aliases)))
    source = QuestionFiles("2wikimultihopqa", str(tmp_path))
    answers = {task.id.rpartition("/")[2]: task.payload["answers"] for task in source.tasks("dev", 9)}
    assert answers == {"1": "by the Osk\nat the Osk\nOskish", "2": "by the Osk"}


def test_a_question_of_trivia_qa_that_occurs_twice_is_asked_once(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", [TRIVIA, TRIVIA])
    assert [task.id for task in QuestionFiles("triviaqa", str(path)).tasks("train", 9)] == [
        "hotpotqa/triviaqa/train/tc_9001"
    ]
