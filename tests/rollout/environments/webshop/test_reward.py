"""Rewards compared with values computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.environments.webshop.generator import Catalog
from rollout.environments.webshop.goods import OPTIONS
from rollout.environments.webshop.product import Goal, Product
from rollout.environments.webshop.reward import COLORS, RewardRule, reward_of

LAMP = Product(
    asin="B1",
    title="Brass Table Lamp",
    description="A lamp with a dimmer.",
    bullets=("Easy to clean", "Made by hand"),
    prices=(20.0,),
    options={},
    category="home",
    query="table lamps",
    product_category="Home › Light › Lamps",
    attributes=("easy clean",),
)


def goal(options: tuple[tuple[str | None, str], ...] = (), attributes: tuple[str, ...] = ("easy clean",)) -> Goal:
    return Goal("a lamp", LAMP, attributes, options, 30.0)


@pytest.mark.parametrize(
    ("wanted", "hits"),
    [
        (("easy clean",), 1),
        (("easy to clean",), 1),
        (("clean easy",), 1),
        (("eazy clean",), 1),  # 90 of 100
        (("eazi clean",), 0),  # 80 of 100
        (("made by hand",), 1),
        (("dimmer",), 1),
        (("brass",), 1),
        (("easy clean", "solid oak"), 1),
        (("water proof",), 0),
    ],
)
def test_an_attribute_is_found_by_likeness_or_in_the_texts(wanted: tuple[str, ...], hits: int) -> None:
    assert reward_of(goal(attributes=wanted), LAMP, 20, {}, "original").attributes == hits


@pytest.mark.parametrize(
    ("wanted", "bought", "original", "strict"),
    [
        (("color", "navy blue"), {"color": "navy blue"}, 1, 1),
        (("color", "navy blue"), {"color": "letter blue"}, 1, 0),
        (("color", "red"), {"color": "red"}, 1, 1),
        (("color", "red"), {"size": "red"}, 1, 0),
        (("size", "x-large"), {"size": "x-large"}, 1, 1),
        (("size", "x-large"), {"size": "large"}, 1, 0),
        (("size", "large"), {"size": "small"}, 0, 0),
        (("color", "black2626"), {"color": "black2626"}, 0, 1),
        (("shape", "rectangular"), {"shape": "rectangular"}, 0, 1),
        (("color", "brown | beige"), {"color": "brown | beige"}, 1, 1),
        ((None, "x large"), {"size": "x-large"}, 1, 1),
        ((None, "120ml"), {"color": "120ml"}, 1, 1),
        ((None, "dark blue"), {"color": "sky blue"}, 1, 0),
        (("color", "red"), {}, 0, 0),
    ],
)
def test_options_count_by_the_original_s_quirks_or_exactly(
    wanted: tuple[str | None, str], bought: dict[str, str], original: int, strict: int
) -> None:
    rules: tuple[RewardRule, ...] = ("original", "strict")
    assert [reward_of(goal((wanted,)), LAMP, 20, bought, rule).options for rule in rules] == [original, strict]


@pytest.mark.parametrize(("price", "affordable"), [(20, True), (30.0, True), (30.01, False)])
def test_the_price_may_reach_the_limit(price: float, affordable: bool) -> None:
    assert reward_of(goal(), LAMP, price, {}, "original").price is affordable


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, 1.0),
        ({"query": "other", "product_category": "x"}, 1.0),  # the titles still agree
        ({"query": "other", "product_category": "x", "title": "Oak Table For Two People"}, 1.0),
        ({"title": "A Lamp"}, 1.0),
        ({"title": "Rug"}, 0.0),
    ],
)
def test_the_type_follows_search_words_category_and_title(changes: dict[str, str], kind: float) -> None:
    assert reward_of(goal(), replace(LAMP, **changes), 20, {}, "original").type == kind  # type: ignore[arg-type]


def test_a_title_that_shares_little_halves_or_nearly_voids_the_reward() -> None:
    long = replace(LAMP, title="Lamp alpha beta gamma delta epsilon zeta", query="other", product_category="x")
    wanted = Goal("a lamp", long, ("easy clean",), (), 30.0)
    assert reward_of(wanted, replace(LAMP, product_category="y"), 20, {}, "original").type == 0.5
    longer = replace(long, title=f"{long.title} eta theta iota kappa lambda")
    assert reward_of(replace(wanted, product=longer), LAMP, 20, {}, "original").type == 0.1


def test_the_total_is_the_share_of_what_fits_times_the_type() -> None:
    wanted = goal((("size", "small"), ("color", "red")), ("easy clean", "solid oak"))
    reward = reward_of(wanted, LAMP, 99, {"size": "small"}, "original")
    assert reward.total == pytest.approx((1 + 1 + 0) / (2 + 2 + 1))


def test_in_the_generated_shop_every_option_can_be_bought_correctly_by_either_rule() -> None:
    rules: tuple[RewardRule, ...] = ("original", "strict")
    for name, values in OPTIONS.items():
        for value in values:
            wanted = goal(((name, value),))
            assert [reward_of(wanted, LAMP, 20, {name: value}, rule).options for rule in rules] == [1, 1], value


def test_any_product_of_the_kind_with_the_attributes_is_right() -> None:
    products = [Catalog().product(position) for position in range(200)]
    for bought in products:
        for wanted in products:
            if bought.query == wanted.query:
                reward = reward_of(Goal("", wanted, bought.attributes, (), 1e6), bought, 1, {}, "original")
                assert reward.total == 1.0


def test_colors_are_tested_in_alphabetical_order() -> None:
    assert sorted(set(COLORS)) == COLORS
