"""Generated problems are reproducible and correct, and held-out plots never occur in training."""

from __future__ import annotations

from collections import Counter

import pytest

from rollout.environments.generated import SPLITS
from rollout.environments.math.code_problems import PROBLEMS
from rollout.environments.math.generator import (
    CODE_FAMILIES,
    WORD_FAMILIES,
    MathTasks,
    Problem,
    generate_problem,
    is_held_back,
)
from rollout.environments.math.sentences import Sentence
from rollout.environments.math.stories import FAMILIES, PRICE, sentences
from rollout.environments.math.word_problems import Plot
from tests.rollout.processes import printed_by_two

ALL = (*WORD_FAMILIES, *CODE_FAMILIES)
COUNT = 400


def problems(split: str) -> list[Problem]:
    return [generate_problem(task.payload) for task in MathTasks(ALL).tasks(split, COUNT)]


def test_plots_of_the_unseen_split_never_occur_in_the_others() -> None:
    plots = {split: {problem.plot for problem in problems(split)} for split in SPLITS}
    assert plots["train"] & plots["valid_seen"]
    assert not (plots["train"] | plots["valid_seen"]) & plots["valid_unseen"]
    assert all(is_held_back(plot) for plot in plots["valid_unseen"])
    assert not any(is_held_back(plot) for plot in plots["train"] | plots["valid_seen"])


def test_every_family_has_held_out_and_other_plots() -> None:
    for family in CODE_FAMILIES:
        sides = Counter(is_held_back(problem.key) for problem in PROBLEMS if problem.family == family)
        assert 0 < sides[True] < sides[False]
    for family in WORD_FAMILIES:
        steps, questions = FAMILIES[family].steps, FAMILIES[family].questions
        plots = [Plot(family, (a, b), q).key for a in steps for b in steps for q in questions]
        assert 0 < sum(map(is_held_back, plots)) < len(plots) / 2


def test_valid_seen_repeats_no_problem_of_train() -> None:
    train, seen = ({problem.text for problem in problems(split)} for split in ("train", "valid_seen"))
    assert len(train) > 0.98 * COUNT
    assert len(train & seen) < 0.02 * COUNT


def test_answers_are_whole_and_word_problems_have_one_to_four_steps_and_often_distractors() -> None:
    made = [p for p in problems("train") if p.plot.partition("/")[0] in WORD_FAMILIES]
    steps = Counter(len(problem.plot.split("/")) - 2 for problem in made)
    assert sorted(steps) == [1, 2, 3, 4]
    assert all(0 < int(problem.answer) <= 5000 for problem in made)
    with_distractors = sum("years old" in p.text or "birds" in p.text or "houses" in p.text for p in made)
    assert len(made) / 4 < with_distractors < len(made)


def test_problems_worked_by_hand() -> None:
    """Some generated texts, with answers calculated here in plain Python."""
    made = {p.text: p.answer for p in [*problems("train"), *problems("valid_seen")]}
    for text, answer in WORKED.items():
        assert made.get(text) == answer


WORKED = {
    "Hana earns 9 dollars an hour. Hana works 5 days of 8 hours. The street has 59 houses. Hana spends 35 dollars on "
    "fuel. Hana wants a bike for 400 dollars. How many dollars does Hana still need?": str(400 - (5 * 8 * 9 - 35)),
    "Pia has 17 beads. Dan has 4 times as many beads as Pia. Nora has 10 fewer beads than Dan. How many beads does "
    "Nora have?": str(17 * 4 - 10),
    "What is the sum of all numbers from 15 to 175 that can be divided by 6?": str(6 * (29 * 30 // 2 - 2 * 3 // 2)),
}


def test_no_sentence_matches_a_template_of_another_meaning() -> None:
    """All templates that match a written sentence have the same meaning."""
    words = {"p": "Ann", "q": "Ben", "r": "Cora", "t": "dollars", "v": "hours"}
    templates = sentences()
    for sentence in templates:
        slots = {**words, **dict.fromkeys(sentence.ranges, "7")}
        text = sentence.write(slots)
        meanings = {(s.sets, s.formula) for s in templates if s.read(text) is not None}
        assert meanings == {(sentence.sets, sentence.formula)}, text


def test_a_written_sentence_is_parsed_back() -> None:
    slots = {"t": "pens", "a": "12"}
    assert PRICE.read(PRICE.write(slots)) == slots
    assert PRICE.read("The pens cost many dollars each.") is None
    twice = Sentence("{p} and {p} walk {a:1:9} miles.")
    assert twice.read("Ann and Ann walk 3 miles.") == {"p": "Ann", "a": "3"}
    assert twice.read("Ann and Ben walk 3 miles.") is None


def test_a_sum_with_an_unknown_first_value_is_written_without_it() -> None:
    sentence = Sentence("{p} buys {a:1:9}.", "the bill is", "[the bill is] + {a} * 2")
    assert sentence.calculation({"p": "Ann", "a": "4"}, {}) == "4 * 2"
    assert sentence.calculation({"p": "Ann", "a": "4"}, {"the bill is": "10"}) == "10 + 4 * 2"
    with pytest.raises(KeyError):
        Sentence("{a:1:9} off.", "the bill is", "[the bill is] - {a}").calculation({"a": "4"}, {})


def test_another_process_generates_the_same_problems() -> None:
    code = (
        "from rollout.environments.math.generator import *; import hashlib;"
        "made = [generate_problem(t.payload) for t in MathTasks((*WORD_FAMILIES, *CODE_FAMILIES)).tasks('train', 40)];"
        "print(hashlib.sha256(repr(made).encode()).hexdigest())"
    )
    one, other = printed_by_two(code)
    assert one == other != ""


def test_fewer_tasks_are_a_prefix_of_more_and_seeds_differ() -> None:
    source = MathTasks()
    assert source.tasks("train", 3) == source.tasks("train", 9)[:3]
    one, other = (generate_problem(source.tasks("train", 1, seed)[0].payload) for seed in (0, 1))
    assert one != other
    assert [task.task_type for task in source.tasks("train", 6)] == [*WORD_FAMILIES, WORD_FAMILIES[0]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"generator": 99}, "math generator 99"), ({"family": "geometry"}, "geometry"), ({"split": "test"}, "test")],
)
def test_a_damaged_task_is_refused(change: dict[str, str | int], sentence: str) -> None:
    payload = {**MathTasks().tasks("train", 1)[0].payload, **change}
    with pytest.raises(ValueError, match=sentence):
        generate_problem(payload)


def test_an_unknown_split_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="valid_unseen"):
        MathTasks().tasks("test", 1)
