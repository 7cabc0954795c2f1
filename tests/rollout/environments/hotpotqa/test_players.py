"""The expert answers from what it reads alone; the random player speaks the truth and has no aim."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from rollout.environment import Task
from rollout.environments.generated import SPLITS
from rollout.environments.hotpotqa.asking import is_held_back_combination
from rollout.environments.hotpotqa.environment import HotpotQAConfig, HotpotQAEnvironment
from rollout.environments.hotpotqa.expert_policy import NO_MISTAKES, ErrorRates, HotpotQAExpert
from rollout.environments.hotpotqa.facts import FACTS
from rollout.environments.hotpotqa.generator import HotpotQATasks, generated_task
from rollout.environments.hotpotqa.names import FIRST_NAMES, LAST_NAMES, PLACES
from rollout.environments.hotpotqa.random_policy import RandomPolicy
from rollout.environments.hotpotqa.reading import Chain, Pair, read_question
from rollout.scripted_policy import TextPolicy

TURN = re.compile(r"Thought: (.+)\nAction: (.+)")
INVENTED = {*FIRST_NAMES, *LAST_NAMES, *PLACES}
WORD = re.compile(r"\w+")


def play(task: Task, policy: TextPolicy, limit: int = 12) -> tuple[bool, str, list[tuple[str, str, str]]]:
    """Whether it answered rightly, the first message, and (thought, action, observation) of each turn."""
    environment = HotpotQAEnvironment(HotpotQAConfig())
    reset = environment.reset(task)
    first = text = f"{reset.observation}\nYour task is to: {reset.instruction}."
    turns = []
    for _ in range(limit):
        match = TURN.fullmatch(policy.respond(text))
        assert match
        step = environment.step(match.group(2))
        assert step.valid
        text = step.observation
        turns.append((match.group(1), match.group(2), text))
        if step.done:
            return step.success, first, turns
    return False, first, turns


@pytest.mark.parametrize("hops", [2, 3])
@pytest.mark.parametrize("split", SPLITS)
def test_the_expert_answers_nearly_always(split: str, hops: int) -> None:
    tasks = HotpotQATasks(hops=hops).tasks(split, 100, seed=3)
    right = [play(task, HotpotQAExpert(seed))[0] for seed, task in enumerate(tasks)]
    assert sum(right) / len(right) >= 0.97


def test_the_expert_needs_all_kinds_of_actions() -> None:
    episodes = [play(task, HotpotQAExpert(0, NO_MISTAKES))[2] for task in HotpotQATasks().tasks("train", 150)]
    actions = [action.partition("[")[0] for turns in episodes for _, action, _ in turns]
    assert {"search", "lookup", "finish"} == set(actions)
    assert actions.count("lookup") > len(episodes) / 4
    assert sum("Could not find" in seen for turns in episodes for _, _, seen in turns) > len(episodes) / 20
    assert sum(len(turns) for turns in episodes) / len(episodes) < 5


def test_the_expert_uses_only_names_it_has_read() -> None:
    for task in HotpotQATasks().tasks("train", 60, seed=4):
        _, read, turns = play(task, HotpotQAExpert(1))
        for thought, action, observation in turns:
            assert INVENTED.intersection(WORD.findall(f"{thought} {action}")) <= set(WORD.findall(read))
            read += observation


def test_what_players_say_is_so_is_so() -> None:
    """``The <noun> of <name> is <value>.`` agrees with the encyclopaedia, in expert and random play."""
    said = 0
    for seed, task in enumerate(HotpotQATasks().tasks("train", 60, seed=5)):
        world, _ = generated_task(task.payload)
        truth = {
            f"The {noun} of {thing.name} is {value}." for thing in world.things for noun, value in thing.facts.items()
        }
        for policy in (HotpotQAExpert(seed), RandomPolicy(seed)):
            for thought, _, _ in play(task, policy)[2]:
                claims = re.findall(r"The [a-z ]+ of [A-Z][\w ]+ is [\w ]+\.", thought)
                assert set(claims) <= truth
                said += len(claims)
    assert said > 100


def test_an_expert_that_erred_finds_its_way_back() -> None:
    clumsy = ErrorRates(random_step=0.0, wrong_name=0.4, wrong_words=0.5)
    in_vain, right = 0, 0
    tasks = HotpotQATasks().tasks("train", 60, seed=6)
    for seed, task in enumerate(tasks):
        won, _, turns = play(task, HotpotQAExpert(seed, clumsy), limit=30)
        _, _, plain = play(task, HotpotQAExpert(seed, NO_MISTAKES), limit=30)
        right += won
        in_vain += len(turns) > len(plain)
        assert turns[-1] == plain[-1] or not won
    assert right >= 57
    assert in_vain > 20


def test_without_mistakes_the_expert_is_the_same_for_every_seed() -> None:
    task = HotpotQATasks().tasks("train", 1)[0]
    assert play(task, HotpotQAExpert(1, NO_MISTAKES)) == play(task, HotpotQAExpert(2, NO_MISTAKES))


def test_the_random_player_follows_no_combination_that_is_held_back() -> None:
    for seed, task in enumerate(HotpotQATasks().tasks("train", 60, seed=8)):
        for thought, _, _ in play(task, RandomPolicy(seed))[2][1:]:
            if not thought.startswith("I want "):
                continue
            nouns = thought.removeprefix("I want the ").partition(".")[0].split(" of the ")
            if nouns[0].partition(" ")[0] in ("smaller", "greater", "same"):
                continue
            for noun, via in pairwise([*nouns[:-1], nouns[-1].partition(" of ")[0]]):
                keys = [
                    f"{fact.key} > {then.key}"
                    for facts in FACTS.values()
                    for fact in facts
                    if fact.noun == via and fact.leads_to
                    for then in FACTS[fact.leads_to]
                    if then.noun == noun
                ]
                assert not all(is_held_back_combination(key) for key in keys), thought


def test_the_random_player_rarely_answers_rightly() -> None:
    tasks = HotpotQATasks().tasks("train", 150, seed=3)
    assert sum(play(task, RandomPolicy(seed))[0] for seed, task in enumerate(tasks)) / len(tasks) <= 0.10


@pytest.mark.parametrize("hops", [2, 3, 4])
def test_every_question_that_is_asked_is_understood(hops: int) -> None:
    for split in SPLITS:
        for task in HotpotQATasks(hops=hops).tasks(split, 120, seed=9):
            _, question = generated_task(task.payload)
            read = read_question(f"Question: {question.text}\nYour task is to: answer the question.")
            if isinstance(read, Chain):
                keys = [fact.key for fact in read.facts]
                assert tuple(f"{a} > {b}" for a, b in pairwise(keys)) == question.combinations
            else:
                assert (f"{read.fact.key} {read.wanted}",) == question.combinations


def test_a_question_is_understood_as_worked_by_hand() -> None:
    river = {fact.noun: fact for fact in FACTS["river"]}
    town = {fact.noun: fact for fact in FACTS["town"]}
    chain = read_question("Question: How many kilometres long is the river of the town Old Osk?")
    assert chain == Chain("Old Osk", (town["river"], river["length"]))
    assert chain.goal() == "the length of the river of Old Osk"
    pair = read_question("Question: Which river is shorter, Red Osk or Long Lull?")
    assert pair == Pair("Red Osk", "Long Lull", river["length"], "smaller")
    assert pair.goal() == "the smaller length of Red Osk and Long Lull"


def test_another_question_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="no question about a generated encyclopaedia"):
        HotpotQAExpert().respond("Question: Who wrote Hamlet?")
