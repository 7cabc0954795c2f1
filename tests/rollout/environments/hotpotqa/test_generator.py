"""Generated wikis are identical in every process and answer their questions; splits hold out names and combinations."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from rollout.environments.generated import SPLITS
from rollout.environments.hotpotqa.asking import is_held_back_combination
from rollout.environments.hotpotqa.facts import FACTS, REMARKS
from rollout.environments.hotpotqa.generator import (
    GeneratedWiki,
    HotpotQATasks,
    generate_wiki,
    generated_task,
)
from rollout.environments.hotpotqa.names import FIRST_NAMES, LAST_NAMES, PLACES, is_held_back_name
from rollout.environments.hotpotqa.wiki import sentences_of
from tests.rollout.processes import printed_by_two

COUNT = 120
SEEN = ("train", "valid_seen")


def wikis(split: str, count: int = 25) -> list[GeneratedWiki]:
    return [generate_wiki(split, 40, 0, world) for world in range(count)]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("hops", [2, 3])
def test_questions_use_combinations_of_their_split_only(split: str, hops: int) -> None:
    keys = {
        key
        for task in HotpotQATasks(hops=hops).tasks(split, COUNT)
        for key in generated_task(task.payload)[1].combinations
    }
    assert {is_held_back_combination(key) for key in keys} == {split == "valid_unseen"}
    assert len(keys) > 10


@pytest.mark.parametrize("split", SPLITS)
def test_names_belong_to_their_split_only(split: str) -> None:
    names = {entity.name for wiki in wikis(split) for entity in wiki.entities}
    assert {is_held_back_name(name) for name in names} == {split == "valid_unseen"}


def test_every_word_of_an_unseen_name_occurs_in_names_that_agents_train_on() -> None:
    def words(split: str) -> set[str]:
        return {word for wiki in wikis(split, 150) for entity in wiki.entities for word in entity.name.split()}

    assert words("valid_unseen") <= words("train")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("question_type", ["bridge", "comparison"])
def test_the_answer_follows_from_the_pages_that_the_question_names(split: str, question_type: str) -> None:
    """The answer of a bridge question is on its last page, and each page names the next one."""
    for task in HotpotQATasks(question_types=(question_type,)).tasks(split, 60):  # type: ignore[arg-type]
        wiki, question = generated_task(task.payload)
        text = {page.title: page.text for page in wiki.pages}
        name = {entity.title: entity.name for entity in wiki.entities}
        assert name[question.titles[0]] in question.text
        if question_type == "bridge":
            assert question.answer in text[question.titles[-1]]
            for here, there in pairwise(question.titles):
                assert name[there] in text[here]
        else:
            assert question.answer in ("yes", "no", *(name[title] for title in question.titles))
            assert all(name[title] in question.text for title in question.titles)


def test_yes_and_no_are_about_equally_frequent_answers() -> None:
    tasks = HotpotQATasks(question_types=("comparison",)).tasks("train", 400)
    answers = Counter(generated_task(task.payload)[1].answer for task in tasks)
    assert answers["yes"] + answers["no"] == pytest.approx(140, abs=40)
    assert answers["yes"] == pytest.approx(answers["no"], abs=35)


def test_a_sentence_states_one_fact_and_remarks_state_none() -> None:
    """Each sentence matches the pattern of its own fact only."""
    facts = [fact for of_kind in FACTS.values() for fact in of_kind]
    for fact in facts:
        sentence = fact.sentence.format(n="Black Osk", v="Tavin").removesuffix(".")
        assert {f.noun for f in facts if f.pattern.fullmatch(sentence)} == {fact.noun}
        assert fact.keyword in sentence
    for remark in (remark.removesuffix(".") for of_kind in REMARKS.values() for remark in of_kind):
        assert not [fact for fact in facts if fact.pattern.fullmatch(remark)]


def test_titles_are_unique_and_shared_names_differ_by_kind() -> None:
    shared = 0
    for wiki in wikis("train", 40):
        titles = [page.title for page in wiki.pages]
        assert len(set(titles)) == len(titles)
        names = Counter(entity.name for entity in wiki.entities)
        for entity in wiki.entities:
            assert entity.title in (entity.name, f"{entity.name} ({entity.kind})")
            if names[entity.name] > 1:
                shared += 1
                assert entity.title != entity.name
    assert shared > 20


def test_some_pages_are_longer_than_a_search_shows_so_lookup_is_needed() -> None:
    beyond = [len(sentences_of(page.text)) > 5 for wiki in wikis("train") for page in wiki.pages]
    assert 0.3 < sum(beyond) / len(beyond) < 1


def test_no_name_is_a_common_word() -> None:
    parts = {*FIRST_NAMES, *LAST_NAMES, *PLACES}
    assert len(parts) == len(FIRST_NAMES) + len(LAST_NAMES) + len(PLACES)
    words = " ".join(fact.sentence for facts in FACTS.values() for fact in facts).lower().split()
    assert not {part.lower() for part in parts} & set(words)


def test_another_process_generates_the_same_wikis() -> None:
    code = (
        "from rollout.environments.hotpotqa.generator import *;"
        "from rollout.environments.generated import SPLITS; import hashlib;"
        "made = [generated_task(t.payload) for s in SPLITS for t in HotpotQATasks().tasks(s, 10)];"
        "print(hashlib.sha256(repr([(w.pages, q) for w, q in made]).encode()).hexdigest())"
    )
    one, other = printed_by_two(code)
    assert one == other != ""


def test_fewer_tasks_are_a_prefix_of_more_and_seeds_differ() -> None:
    source = HotpotQATasks()
    assert source.tasks("train", 3) == source.tasks("train", 9)[:3]
    one, other = (generated_task(source.tasks("train", 1, seed)[0].payload) for seed in (0, 1))
    assert one[0].pages != other[0].pages
    assert one[1] != other[1]


def test_tasks_can_share_a_wiki() -> None:
    made = [generated_task(t.payload) for t in HotpotQATasks(questions_per_world=3).tasks("train", 6)]
    assert [made[0][0] is wiki for wiki, _ in made] == [True] * 3 + [False] * 3
    assert len({question.text for _, question in made}) == 6


def test_titles_of_a_large_wiki_are_unique() -> None:
    pages = generate_wiki("train", 8000, 0, 0).pages
    assert len(pages) == len({page.title for page in pages}) >= 8000


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"generator": 99}, "HotpotQA generator 99"),
        ({"seed": "x"}, "payload is damaged"),
        ({"question_type": "riddle"}, "no question type 'riddle'"),
    ],
)
def test_a_damaged_task_is_refused(change: dict[str, object], sentence: str) -> None:
    payload = {**HotpotQATasks().tasks("train", 1)[0].payload, **change}
    with pytest.raises(ValueError, match=sentence):
        generated_task(payload)  # type: ignore[arg-type]


def test_an_unknown_split_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="valid_unseen"):
        HotpotQATasks().tasks("test", 1)
