"""The WebShop environment against recordings of the original (data outside this repository)."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from rollout.environments.webshop.catalog import OfficialFiles
from rollout.environments.webshop.product import Goal
from rollout.environments.webshop.search.analysis import terms
from rollout.environments.webshop.session import Session
from rollout.environments.webshop.store import Shop, shop_in_memory

REPOSITORY = Path(__file__).parents[4]
DATA = REPOSITORY / os.environ.get("STILLHOUSE_TEST_DATA", "../shared/data") / "webshop"
RECORDINGS = ("transcripts.jsonl.gz", "search_top50.jsonl.gz", "items_shuffle_1000.json.gz")

pytestmark = pytest.mark.skipif(
    not all((DATA / name).is_file() for name in RECORDINGS), reason="no WebShop recordings: set STILLHOUSE_TEST_DATA"
)


@pytest.fixture(scope="module")
def shop() -> Shop:
    files = OfficialFiles.find(str(DATA), "1000")
    return shop_in_memory(files.read(), files.fingerprint())


def lines(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def episodes() -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]]:
    """The recorded episodes: the start, the steps, the end."""
    records = lines("transcripts.jsonl.gz")
    starts = [place for place, record in enumerate(records) if record["type"] == "episode"]
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        yield records[start], records[start + 1 : end - 1], records[end - 1]


def described(goal: Goal) -> dict[str, Any]:
    plain = [value for name, value in goal.options if name is None]
    return {
        "instruction_text": goal.instruction,
        "asin": goal.product.asin,
        "attributes": list(goal.attributes),
        "goal_options": plain or {name: value for name, value in goal.options if name is not None},
        "price_upper": goal.price_upper,
        "category": goal.product.category,
        "query": goal.product.query,
        "product_category": goal.product.product_category,
        "name": goal.product.title,
    }


def seen(session: Session) -> dict[str, Any]:
    return {
        "url": session.url,
        "text": session.observation("text"),
        "text_rich": session.observation("text_rich"),
        "available": {"has_search_bar": session.has_search_bar, "clickables": list(session.clickables())},
    }


@pytest.mark.parametrize(
    ("kind", "count", "digest"),
    [
        ("synthetic", 6910, "802458896663e37fa7c6a64d31c21d484c3b37288f9575d993b32785f79de5e1"),
        ("human", 13, "b34e64d90db15c8fcdf7672e1f9cda549d95aa15b2732fc8ae22ccc6face8162"),
    ],
)
def test_all_goals_read_as_in_the_original_and_come_in_its_order(
    shop: Shop, kind: str, count: int, digest: str
) -> None:
    texts = [shop.goal(kind, index).instruction for index in range(shop.num_goals(kind))]
    assert len(texts) == count
    assert sha256("\n".join(texts).encode()).hexdigest() == digest


def test_every_recorded_page_address_and_clickable_is_ours(shop: Shop) -> None:
    """Searches included, which is more than is asked: the ranking is the original's."""
    differences, num_steps = [], 0
    for first, steps, _ in episodes():
        goal = shop.goal(first["goal_kind"], first["goal_index"])
        session = Session(shop, goal, str(first["goal_index"]))
        ours = described(goal)
        if first["goal_kind"] == "human" and not goal.options:
            ours["goal_options"] = []
        if ours != {name: first["goal"][name] for name in ours}:
            differences.append(f"goal {first['goal_index']}")
        if seen(session) != {name: first["initial"][name] for name in ("url", "text", "text_rich", "available")}:
            differences.append(f"goal {first['goal_index']}: first page")
        for step in steps:
            num_steps += 1
            session.step(step["action"])
            if seen(session) != {name: step[name] for name in ("url", "text", "text_rich", "available")}:
                differences.append(f"goal {first['goal_index']} step {step['i']}: {step['action']!r}")
            if (session.reward is not None) != step["done"]:
                differences.append(f"goal {first['goal_index']} step {step['i']}: done")
    assert differences == []
    assert num_steps == 1284


def test_every_recorded_purchase_is_rewarded_part_by_part_as_in_the_original(shop: Shop) -> None:
    """Where the recording's type is not exact, its own type stands in: the rest of the reward does not depend on it."""
    differences, purchases = [], 0
    for first, steps, end in episodes():
        session = Session(shop, shop.goal(first["goal_kind"], first["goal_index"]), str(first["goal_index"]))
        for step in steps:
            session.step(step["action"])
        if session.reward is None or session.bought is None:
            assert not end["done"]
            continue
        purchases += 1
        reward, goal, parts = session.reward, session.goal, end["components"]
        kind = reward.type if end["r_type_exact"] else parts["r_type"]
        ours = {
            "bought": session.bought,
            "r_att": reward.attributes / len(goal.attributes),
            "r_option": reward.options / len(goal.options) if goal.options else None,
            "r_price": reward.price,
            "query_match": reward.query_match,
            "category_match": reward.category_match,
            "r_type": kind,
            "reward": pytest.approx(end["reward"]) if reward.type == 0 else reward.total / reward.type * kind,
        }
        theirs = {name: parts.get(name) for name in ("r_att", "r_option", "r_price", "query_match", "category_match")}
        theirs |= {"r_type": parts["r_type"], "reward": pytest.approx(end["reward"])}
        theirs["bought"] = (end["bought_asin"], end["bought_options"], end["bought_price"])
        if ours != theirs:
            differences.append((first["goal_index"], ours, theirs))
    assert differences == []
    assert purchases == 94


def test_searches_rank_and_score_as_the_original_index_does(shop: Shop) -> None:
    same, shared, num_queries = 0, 0.0, 0
    for record in lines("search_top50.jsonl.gz"):
        places, found = shop._postings.search(terms(record["query"]), 50)
        ours, theirs = [(shop.product(int(p)).asin, s) for p, s in zip(places, found, strict=True)], record["hits"]
        num_queries += 1
        same += [asin for asin, _ in ours[:10]] == [asin for asin, _ in theirs[:10]]
        shared += len({a for a, _ in ours[:10]} & {a for a, _ in theirs[:10]}) / max(1, len(theirs[:10]))
        shared += not theirs
        scores = dict(ours)
        assert all(abs(scores[asin] - score) < 1e-3 for asin, score in theirs if asin in scores)
    assert num_queries == 200
    assert same >= 0.95 * num_queries
    assert shared >= 0.999 * num_queries
