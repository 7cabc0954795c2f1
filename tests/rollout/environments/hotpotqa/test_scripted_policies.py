"""The expert answers from what it reads alone; the random policy states only true facts and rarely answers."""

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
from rollout.environments.hotpotqa.reading import BridgeQuestion, ComparisonQuestion, read_question
from rollout.scripted_policy import TextPolicy

TURN = re.compile(r"Thought: (.+)\nAction: (.+)")
INVENTED = {*FIRST_NAMES, *LAST_NAMES, *PLACES}
WORD = re.compile(r"\w+")


def roll_out(task: Task, policy: TextPolicy, limit: int = 12) -> tuple[bool, str, list[tuple[str, str, str]]]:
    """Whether the answer was right, the first message, and (thought, action, observation) of each turn."""
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
    right = [roll_out(task, HotpotQAExpert(seed))[0] for seed, task in enumerate(tasks)]
    assert sum(right) / len(right) >= 0.97


def test_the_expert_uses_all_actions() -> None:
    episodes = [roll_out(task, HotpotQAExpert(0, NO_MISTAKES))[2] for task in HotpotQATasks().tasks("train", 150)]
    actions = [action.partition("[")[0] for turns in episodes for _, action, _ in turns]
    assert {"search", "lookup", "finish"} == set(actions)
    assert actions.count("lookup") > len(episodes) / 4
    assert sum("Could not find" in seen for turns in episodes for _, _, seen in turns) > len(episodes) / 20
    assert sum(len(turns) for turns in episodes) / len(episodes) < 5


def test_the_expert_uses_only_names_it_has_read() -> None:
    for task in HotpotQATasks().tasks("train", 60, seed=4):
        _, read, turns = roll_out(task, HotpotQAExpert(1))
        for thought, action, observation in turns:
            assert INVENTED.intersection(WORD.findall(f"{thought} {action}")) <= set(WORD.findall(read))
            read += observation


def test_facts_in_thoughts_are_true() -> None:
    """``The <noun> of <name> is <value>.`` agrees with the wiki, in thoughts of the expert and the random policy."""
    stated = 0
    for seed, task in enumerate(HotpotQATasks().tasks("train", 60, seed=5)):
        wiki, _ = generated_task(task.payload)
        truth = {
            f"The {noun} of {entity.name} is {value}."
            for entity in wiki.entities
            for noun, value in entity.facts.items()
        }
        for policy in (HotpotQAExpert(seed), RandomPolicy(seed)):
            for thought, _, _ in roll_out(task, policy)[2]:
                claims = re.findall(r"The [a-z ]+ of [A-Z][\w ]+ is [\w ]+\.", thought)
                assert set(claims) <= truth
                stated += len(claims)
    assert stated > 100


def test_an_expert_recovers_from_its_errors() -> None:
    clumsy = ErrorRates(random_step=0.0, wrong_name=0.4, wrong_words=0.5)
    longer, right = 0, 0
    tasks = HotpotQATasks().tasks("train", 60, seed=6)
    for seed, task in enumerate(tasks):
        won, _, turns = roll_out(task, HotpotQAExpert(seed, clumsy), limit=30)
        _, _, plain = roll_out(task, HotpotQAExpert(seed, NO_MISTAKES), limit=30)
        right += won
        longer += len(turns) > len(plain)
        assert turns[-1] == plain[-1] or not won
    assert right >= 57
    assert longer > 20


def test_without_errors_the_expert_is_the_same_for_every_seed() -> None:
    task = HotpotQATasks().tasks("train", 1)[0]
    assert roll_out(task, HotpotQAExpert(1, NO_MISTAKES)) == roll_out(task, HotpotQAExpert(2, NO_MISTAKES))


def test_the_random_policy_uses_no_held_out_combination() -> None:
    for seed, task in enumerate(HotpotQATasks().tasks("train", 60, seed=8)):
        for thought, _, _ in roll_out(task, RandomPolicy(seed))[2][1:]:
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


def test_the_random_policy_rarely_answers_correctly() -> None:
    tasks = HotpotQATasks().tasks("train", 150, seed=3)
    assert sum(roll_out(task, RandomPolicy(seed))[0] for seed, task in enumerate(tasks)) / len(tasks) <= 0.10


@pytest.mark.parametrize("hops", [2, 3, 4])
def test_every_generated_question_is_parsed(hops: int) -> None:
    for split in SPLITS:
        for task in HotpotQATasks(hops=hops).tasks(split, 120, seed=9):
            _, question = generated_task(task.payload)
            read = read_question(f"Question: {question.text}\nYour task is to: answer the question.")
            if isinstance(read, BridgeQuestion):
                keys = [fact.key for fact in read.facts]
                assert tuple(f"{a} > {b}" for a, b in pairwise(keys)) == question.combinations
            else:
                assert (f"{read.fact.key} {read.wanted}",) == question.combinations


def test_questions_worked_by_hand() -> None:
    river = {fact.noun: fact for fact in FACTS["river"]}
    town = {fact.noun: fact for fact in FACTS["town"]}
    chain = read_question("Question: How many kilometres long is the river of the town Old Osk?")
    assert chain == BridgeQuestion("Old Osk", (town["river"], river["length"]))
    assert chain.goal() == "the length of the river of Old Osk"
    pair = read_question("Question: Which river is shorter, Red Osk or Long Lull?")
    assert pair == ComparisonQuestion("Red Osk", "Long Lull", river["length"], "smaller")
    assert pair.goal() == "the smaller length of Red Osk and Long Lull"


def test_another_question_is_refused() -> None:
    with pytest.raises(ValueError, match="not a generated question"):
        HotpotQAExpert().respond("Question: Who wrote Hamlet?")
