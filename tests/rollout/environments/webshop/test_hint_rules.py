"""Each WebShop rule detects its mistake and no other."""

from __future__ import annotations

import pytest

from rollout.environments.hints import hint_rules
from rollout.environments.webshop import hint_rules as rules
from rollout.environments.webshop.hint_rules import HINTS, WebShopEpisode, read_episode
from tests.rollout.hints.episodes import visit

Turn = tuple[str | None, str]
WISH = "find a coffee mug that is leak proof with color: red, and pack: pair, and price lower than 30.00 dollars"
HEAD = f"Instruction: [SEP] {WISH} [SEP] Back to Search [SEP]"
RESULTS = f"{HEAD} Page 1 (Total results: 1) [SEP] Next > [SEP] B10 [SEP] Dal coffee mug, leak proof and light [SEP] $9"
ITEM = (
    f"{HEAD} < Prev [SEP] color [SEP] red [SEP] black [SEP] pack [SEP] pair [SEP] Dal coffee mug, leak proof and "
    "stackable [SEP] Price: $9 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
)
PLAIN_ITEM = ITEM.replace("leak proof and ", "").replace("red [SEP] black", "teal [SEP] black")
THANKS = "Thank you for shopping with us! [SEP] Your code:"
SEARCH: Turn = ("search[coffee mug leak proof]", RESULTS)
OPEN: Turn = ("click[b10]", ITEM)
RED: Turn = ("click[red]", ITEM)
PAIR: Turn = ("click[pair]", ITEM)
BUY: Turn = ("click[Buy Now]", THANKS)
BOUGHT = {"type": 1.0, "price": 1.0}


def shopper(*turns: Turn, **scores: float) -> WebShopEpisode:
    judged = BOUGHT | scores if BUY in turns else {}
    return read_episode(visit(WISH, *turns, scores=judged))


@pytest.mark.parametrize(
    ("rule", "made", "not_made"),
    [
        ("never_searched", [("click[search]", RESULTS)], [SEARCH]),
        ("never_opened", [SEARCH, SEARCH], [SEARCH, OPEN]),
        ("never_opened", [SEARCH, ("click[next >]", RESULTS)], [("look", THANKS)]),
        ("never_bought", [SEARCH, OPEN], [SEARCH, OPEN, BUY]),
        ("never_bought", [SEARCH, OPEN, RED], [SEARCH, SEARCH]),
        ("wrong_options", [SEARCH, OPEN, RED, BUY], [SEARCH, OPEN, RED, PAIR, BUY]),
        ("wrong_options", [SEARCH, OPEN, PAIR, ("click[black]", ITEM), BUY], [SEARCH, OPEN]),
        ("unconfirmed_attribute", [SEARCH, ("click[b10]", PLAIN_ITEM), BUY], [SEARCH, OPEN, BUY]),
        ("incomplete_query", [("search[mug]", RESULTS)], [("search[mug]", RESULTS), SEARCH]),
        ("not_on_page", [SEARCH, ("click[b11]", RESULTS)], [SEARCH, OPEN, RED, BUY]),
    ],
)
def test_a_rule_finds_its_mistake_and_no_other(rule: str, made: list[Turn], not_made: list[Turn]) -> None:
    assert len(list(HINTS[rule](shopper(*made)))) == 1
    assert list(HINTS[rule](shopper(*not_made))) == []


def test_a_purchase_of_a_wrong_type_or_too_high_a_price_gives_a_hint() -> None:
    turns = [SEARCH, OPEN, RED, PAIR, BUY]
    for rule, part in [("wrong_product_type", "type"), ("too_expensive", "price")]:
        assert len(list(HINTS[rule](shopper(*turns, **{part: 0.0})))) == 1
        assert list(HINTS[rule](shopper(*turns))) == []


def test_options_are_told_apart_by_placeholder_and_by_what_was_done_about_them() -> None:
    def said(*turns: Turn) -> list[str]:
        return list(HINTS["wrong_options"](shopper(SEARCH, *turns, BUY)))

    assert said(OPEN, PAIR) == ["Click the {color} that is asked for before you click buy now."]
    assert said(OPEN, PAIR, ("click[black]", ITEM)) == [
        "Choose exactly the {color} that is asked for and no other one."
    ]
    assert said(("click[b10]", PLAIN_ITEM), ("click[pair]", PLAIN_ITEM)) == [
        "Leave an {item} that does not offer the {color} that is asked for."
    ]
    assert said(OPEN, RED) == ["Click the {attribute} that is asked for before you click buy now."]


def test_what_was_chosen_of_a_product_is_forgotten_with_the_next_one() -> None:
    assert len(list(HINTS["wrong_options"](shopper(SEARCH, OPEN, RED, PAIR, OPEN, BUY)))) == 2


def test_names_of_the_visit_become_placeholders_and_short_values_stay() -> None:
    names = rules.names_of(shopper(SEARCH, OPEN))
    assert names == {
        "coffee mug": "{item}",
        "b10": "{item}",
        "leak proof": "{attribute}",
        "red": "{color}",
        "pair": "{attribute}",
    }
    shoes = read_episode(
        visit("find a house slipper that is foldable with shoe size: 9, and price lower than 30.00 dollars")
    )
    assert "9" not in rules.names_of(shoes)


def test_both_ways_of_writing_a_page_are_read() -> None:
    rich = "\n".join(
        f"[button] {part} [button_]" if part in ("Buy Now", "red") else part for part in ITEM.split(" [SEP] ")
    )
    assert list(HINTS["wrong_options"](shopper(SEARCH, ("click[b10]", rich), RED, PAIR, BUY))) == []


def test_a_failed_visit_gives_hints_for_its_department() -> None:
    hints = hint_rules("webshop").write(visit(WISH, SEARCH, OPEN, BUY, scores=BOUGHT | {"type": 0.5}), 4, 120)
    assert {hint.category for hint in hints} == {"kitchen"}
    assert [hint.text.split()[0] for hint in hints] == ["Open", "Click", "Click"]


def test_two_mistakes_of_one_wording_are_one_hint() -> None:
    scented = visit(WISH.replace("color: red", "scent: cedar"), SEARCH, OPEN, BUY, scores=BOUGHT)
    assert len(list(HINTS["wrong_options"](read_episode(scented)))) == 2
    assert [hint.text.split()[2] for hint in hint_rules("webshop").write(scented, 4, 120)] == ["{attribute}"]
