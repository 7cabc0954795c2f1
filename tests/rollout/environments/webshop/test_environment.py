"""The WebShop environment: tasks, episodes and policies."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from rollout.environment import Environment, Task, TaskSource
from rollout.environments.generated import SPLITS
from rollout.environments.webshop.environment import (
    OfficialGoals,
    WebShopConfig,
    WebShopEnvironment,
    load_shop,
    webshop_tasks,
)
from rollout.environments.webshop.expert_policy import NO_MISTAKES, ErrorRates, WebShopExpert
from rollout.environments.webshop.generator import (
    Catalog,
    generate_goal,
    is_held_back_pair,
    is_held_back_product,
)
from rollout.environments.webshop.instructions import INSTRUCTIONS
from rollout.environments.webshop.plugin import WEBSHOP
from rollout.environments.webshop.random_policy import WebShopRandomPolicy
from rollout.errors import UserError
from rollout.scripted_policy import TextPolicy

ROOT = Path(__file__).parents[4]


def play(environment: Environment, task: Task, policy: TextPolicy, max_steps: int = 15) -> tuple[list[str], float]:
    """Run an episode and return all messages and the reward; every action must be valid."""
    reset = environment.reset(task)
    said, reward = [f"{reset.observation}\nYour task is to: {reset.instruction}."], 0.0
    for _ in range(max_steps):
        said.append(policy.respond(said[-1]))
        step = environment.step(said[-1].split("\nAction: ")[1])
        assert step.valid, said[-1]
        reward += step.reward
        said.append(step.observation)
        if step.done:
            assert step.success == (reward == 1.0)
            return said, reward
    return said, reward


def test_the_plugin_meets_the_interface() -> None:
    config = WebShopConfig()
    environment, tasks = WEBSHOP.make_environment(config), WEBSHOP.make_tasks(config)
    assert isinstance(environment, Environment)
    assert tuple(tasks.splits()) == SPLITS
    assert {"short", "full"} <= set(INSTRUCTIONS)
    with pytest.raises(RuntimeError, match="reset"):
        environment.step("search[lamp]")


@pytest.mark.parametrize("split", SPLITS)
def test_tasks_are_small_stable_and_their_ids_differ(split: str) -> None:
    source = webshop_tasks(WebShopConfig())
    tasks = source.tasks(split, 40, seed=5)
    assert tasks[:10] == source.tasks(split, 10, seed=5)
    assert len({task.id for task in tasks}) == 40
    assert tasks[0] != source.tasks(split, 1, seed=6)[0]
    assert pickle.loads(pickle.dumps(tasks)) == tasks
    assert all(json.loads(json.dumps(dict(task.payload))) == task.payload for task in tasks)


def test_tasks_are_the_same_in_another_process() -> None:
    code = (
        "from rollout.environments.webshop.environment import *\n"
        "from rollout.environments.webshop.generator import generate_goal\n"
        "print([generate_goal(t.payload).instruction for t in webshop_tasks(WebShopConfig()).tasks('train', 5)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    ours = [generate_goal(task.payload).instruction for task in webshop_tasks(WebShopConfig()).tasks("train", 5)]
    assert done.stdout.strip() == str(ours)


def test_splits_hold_out_products_and_pairs_of_type_and_attribute() -> None:
    source: TaskSource = webshop_tasks(WebShopConfig())
    goals = {split: [generate_goal(task.payload) for task in source.tasks(split, 200)] for split in SPLITS}

    def held_back(split: str) -> list[bool]:
        return [any(is_held_back_pair(g.product.query, said) for said in g.attributes) for g in goals[split]]

    assert not any(held_back("train"))
    assert not any(held_back("valid_seen"))
    assert all(held_back("valid_unseen"))
    assert not any(is_held_back_product(goal.product.asin) for goal in goals["train"])
    assert all(is_held_back_product(goal.product.asin) for goal in goals["valid_seen"])


def test_ids_of_products_differ_and_fit_webshop() -> None:
    for products in (100, 1000, 30_000):
        catalog = Catalog(products, seed=2)
        asins = {catalog._asin(position) for position in range(products)}
        assert len(asins) == products
        assert max(map(len, asins)) <= 10


@pytest.mark.parametrize("mode", ["text", "text_rich"])
@pytest.mark.parametrize("split", SPLITS)
def test_the_expert_wins_nearly_always_with_valid_actions_alone(split: str, mode: str) -> None:
    config = WebShopConfig.model_validate({"observation": mode})
    environment = WebShopEnvironment(config)
    rewards = [play(environment, task, WebShopExpert())[1] for task in webshop_tasks(config).tasks(split, 60, seed=1)]
    assert sum(reward == 1.0 for reward in rewards) >= 58


def test_an_expert_recovers_from_its_errors() -> None:
    clumsy = ErrorRates(wrong_offer=0.3, wrong_value=0.4, idle_reading=0.2)
    config = WebShopConfig(products=200, observation="text")
    environment, tasks = WebShopEnvironment(config), webshop_tasks(config).tasks("train", 60, seed=2)
    rewards, longer = [], 0
    for seed, task in enumerate(tasks):
        said, reward = play(environment, task, WebShopExpert(seed, clumsy), max_steps=40)
        plain, _ = play(environment, task, WebShopExpert(seed, NO_MISTAKES))
        rewards.append(reward)
        longer += len(said) > len(plain)
    assert sum(reward == 1.0 for reward in rewards) >= 55
    assert longer > 30


def test_thoughts_of_the_random_policy_are_true() -> None:
    """Claims about prices, option values, titles and features are true on the page."""
    config = WebShopConfig(products=200, observation="text")
    environment, claims = WebShopEnvironment(config), Counter[str]()
    for seed, task in enumerate(webshop_tasks(config).tasks("train", 60, seed=4)):
        policy, reset = WebShopRandomPolicy(seed), environment.reset(task)
        text = f"{reset.observation}\nYour task is to: {reset.instruction}."
        for _ in range(10):
            thought, _, action = policy.respond(text).partition("\nAction: ")
            claims.update(_true_claims(thought, text.split(" [SEP] ", 2)[-1], reset.instruction))
            step = environment.step(action)
            text = step.observation
            if step.done:
                break
    assert len(claims) == 4
    assert min(claims.values()) > 15


def _true_claims(thought: str, page: str, task: str) -> Iterator[str]:
    """Check each claim in ``thought`` on the page and yield its type."""
    if found := re.search(r"(B\d+) costs (\$[\d.]+)\. (It is too much)?", thought):
        limit = float(re.findall(r"lower than ([\d.]+)", task)[0])
        assert re.search(rf"{found[1]} \[SEP\] [^\[]+ \[SEP\] {re.escape(found[2])}(?!\d)", page)
        assert bool(found[3]) == (float(found[2][1:]) > limit)
        yield "price"
    if found := re.search(r"I need [a-z ]+: ([a-z0-9 -]+)\. It is not here", thought):
        assert found[1] not in page.split(" [SEP] ")
        yield "option"
    if found := re.search(r"I need ([a-z ]+)\. The (?:title does|features do) not say it", thought):
        assert found[1] not in page.partition("Price")[0]
        yield "not said"
    if found := re.search(r"The features say ([a-z ]+)\.", thought):
        assert f"It is {found[1]}." in page
        yield "said"


def test_buying_tells_the_parts_of_the_reward_once() -> None:
    config = WebShopConfig()
    environment, (task,) = WebShopEnvironment(config), webshop_tasks(config).tasks("train", 1)
    expert, text, steps = WebShopExpert(), environment.reset(task).observation, []
    goal = generate_goal(task.payload)
    text = f"{text}\nYour task is to: {goal.instruction}."
    while not steps or not steps[-1].done:
        steps.append(environment.step(expert.respond(text).rpartition("Action: ")[2]))
        text = steps[-1].observation
    assert all(step.scores == {} for step in steps[:-1])
    wanted = {"attributes": float(len(goal.attributes)), "options": float(len(goal.options))}
    assert steps[-1].scores == {"type": 1.0, "price": 1.0, **wanted}
    assert environment.step("click[buy now]").scores == {}


def test_the_random_policy_rarely_wins_and_always_acts_validly() -> None:
    config = WebShopConfig(observation="text", reward="strict")
    environment = WebShopEnvironment(config)
    tasks = webshop_tasks(config).tasks("train", 60)
    rewards = [play(environment, task, WebShopRandomPolicy(seed))[1] for seed, task in enumerate(tasks)]
    assert sum(reward == 1.0 for reward in rewards) <= 3


def test_policies_are_deterministic_for_a_seed() -> None:
    environment = WebShopEnvironment(WebShopConfig())
    (task,) = webshop_tasks(WebShopConfig()).tasks("train", 1)
    for make in (WebShopExpert, WebShopRandomPolicy):
        assert play(environment, task, make(3)) == play(environment, task, make(3))


def test_clicks_can_be_listed_and_all_of_them_are_valid() -> None:
    environment = WebShopEnvironment(WebShopConfig())
    (task,) = webshop_tasks(WebShopConfig()).tasks("train", 1)
    environment.reset(task)
    assert environment.admissible_actions() is None
    environment.step("search[lamp]")
    listed = environment.admissible_actions()
    assert listed is not None
    assert list(listed) == sorted(listed)
    for action in listed:
        environment.reset(task)
        environment.step("search[lamp]")
        assert environment.step(action).valid


def test_after_the_purchase_nothing_more_is_earned() -> None:
    environment = WebShopEnvironment(WebShopConfig())
    (task,) = webshop_tasks(WebShopConfig()).tasks("train", 1)
    play(environment, task, WebShopExpert())
    step = environment.step("search[lamp]")
    assert (step.done, step.success, step.reward, step.valid) == (True, True, 0.0, False)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"generator": 0}, "made by shop generator 0"),
        ({"products": 100}, "of another catalog"),
        ({"split": "test"}, "is damaged"),
        ({"index": None}, None),
    ],
)
def test_damaged_tasks_are_refused_in_a_sentence(changes: dict[str, object], sentence: str | None) -> None:
    (task,) = webshop_tasks(WebShopConfig()).tasks("train", 1)
    payload = {name: value for name, value in {**task.payload, **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=sentence or "index is missing"):
        WebShopEnvironment(WebShopConfig()).reset(replace(task, payload=payload))


def test_a_larger_catalog_is_built_on_disk_once(tmp_path: Path) -> None:
    config = WebShopConfig(products=6000, index_dir=str(tmp_path))
    environment = WebShopEnvironment(config)
    (task,) = webshop_tasks(config).tasks("train", 1)
    assert play(environment, task, WebShopExpert())[1] == 1.0
    assert load_shop(config) is load_shop(config)
    assert (tmp_path / "generated-1-6000-0" / "manifest.json").is_file()


@pytest.mark.parametrize(
    "settings", [{"products": 5}, {"data_dir": "x"}, {"reward": "other"}, {"goals": "all"}, {"unknown": 1}]
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WebShopConfig.model_validate(settings)


def official(folder: Path) -> WebShopConfig:
    """Three generated products in WebShop's own files."""
    catalog = Catalog()
    products = [catalog.product(position) for position in range(3)]
    items = [
        {
            "asin": product.asin,
            "name": product.title,
            "full_description": product.description,
            "small_description": list(product.bullets),
            "pricing": product.price_tag,
            "customization_options": {n: [{"value": v} for v in values] for n, values in product.options.items()},
            "category": product.category,
            "query": product.query,
            "product_category": product.product_category,
        }
        for product in products
    ]
    said = {
        product.asin: {
            "attributes": list(product.attributes),
            "instruction": f"Find me {product.attributes[0]} {product.query}",
            "instruction_attributes": [product.attributes[0]],
        }
        for product in products
    }
    for name, content in (("items_shuffle_1000", items), ("items_ins_v2_1000", said), ("items_human_ins", {})):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return WebShopConfig(source="official", data_dir=str(folder), goals="synthetic", index_dir=str(folder / "index"))


def test_episodes_run_on_official_files_as_on_generated_ones(tmp_path: Path) -> None:
    config = official(tmp_path)
    source = OfficialGoals(config)
    tasks = source.tasks("test", 100)
    assert source.tasks("test", 100, seed=1) != tasks
    assert tasks[0].payload["goal"] == 0
    rewards = [play(WebShopEnvironment(config), task, WebShopExpert())[1] for task in tasks]
    assert sum(rewards) / len(rewards) > 0.9
    with pytest.raises(UserError, match="dev is empty: there are .* choose the split test"):
        source.tasks("dev", 1)


def test_tasks_of_other_official_files_are_refused(tmp_path: Path) -> None:
    config = official(tmp_path)
    (task,) = OfficialGoals(config).tasks("test", 1)
    environment = WebShopEnvironment(config)
    with pytest.raises(ValueError, match="another catalog"):
        environment.reset(replace(task, payload={**task.payload, "catalogue": "x"}))
    with pytest.raises(ValueError, match="there is no goal 9999"):
        environment.reset(replace(task, payload={**task.payload, "goal": 9999}))
