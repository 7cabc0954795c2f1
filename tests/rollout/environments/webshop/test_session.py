"""Actions and pages of a WebShop session."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.environments.webshop.catalog import Listing
from rollout.environments.webshop.pages import Line, Page
from rollout.environments.webshop.product import Goal, Product
from rollout.environments.webshop.session import Session, parse_action
from rollout.environments.webshop.store import Shop, shop_in_memory


def product(number: int) -> Product:
    options = {"color": ("red", 'wide "a"', "gr\u00fcn"), "size": ("small", "red")}
    return Product(
        asin=f"B{number}",
        title=f"Lamp {number}",
        description="It shines.",
        bullets=("Bright ", "Small"),
        prices=(9.5,) if number % 2 else (9.5, 12.0),
        options=options,
        category="home" if number < 3 else "garden",
        query="table lamps" if number < 5 else "desk lamps",
        product_category="Home › Lamps",
        attributes=("bright",),
    )


SHOP: Shop = shop_in_memory([Listing(product(number), None, ()) for number in range(60)], "test")
GOAL = Goal("a red lamp", product(1), ("bright",), (("color", "red"),), 20.0)


def visit(*actions: str) -> Session:
    session = Session(SHOP, GOAL)
    for action in actions:
        assert session.step(action).valid, action
    return session


def test_the_first_page_shows_the_instruction_and_a_search_bar() -> None:
    session = visit()
    assert session.observation("text") == "WebShop [SEP] Instruction: [SEP] a red lamp [SEP] Search"
    assert session.observation("text_rich") == "WebShop\nInstruction: \na red lamp\n[button] Search [button_]\n"
    assert (session.clickables(), session.has_search_bar) == (["search"], True)


def test_results_come_ten_a_page_and_the_next_page_is_always_offered() -> None:
    session = visit("search[lamp]")
    assert "Page 1 (Total results: 50)" in session.observation()
    assert len(session.clickables()) == 12
    for page in range(2, 7):
        session.step("click[next >]")
        assert f"Page {page} " in session.observation()
    assert session.clickables() == ["back to search", "< prev", "next >"]


def test_a_product_shows_options_price_and_buttons_in_order() -> None:
    session = visit("search[lamp 1]", "click[b1]")
    assert session.observation("text") == (
        'Instruction: [SEP] a red lamp [SEP] Back to Search [SEP] < Prev [SEP] color [SEP] red [SEP] wide "a" [SEP] '
        "gr\u00fcn [SEP] size [SEP] small [SEP] red [SEP] Lamp 1 [SEP] Price: $9.5 [SEP] Rating: N.A. [SEP] "
        "Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )
    menu = ["back to search", "< prev", "description", "features", "reviews", "buy now"]
    assert session.clickables() == [*menu, "red", 'wide "a"', "gr\u00fcn", "small"]


def test_the_last_of_equal_option_values_is_chosen_and_a_second_click_overwrites() -> None:
    session = visit("search[lamp 1]", "click[b1]", "click[red]", "click[small]", "click[buy now]")
    assert session.bought == ("B1", {"size": "small"}, 9.5)


def test_chosen_options_are_named_in_front_last_first_except_those_that_the_address_escapes() -> None:
    session = visit("search[lamp 1]", "click[b1]", "click[small]", 'click[wide "a"]', "click[gr\u00fcn]")
    assert session.observation().startswith("You have clicked small.\nInstruction:")
    assert "  [clicked button] small [clicked button_]\n" in session.observation()
    assert '  [button] wide "a" [button_]\n' in session.observation()


def test_a_search_word_in_double_quotes_marks_an_option_as_chosen() -> None:
    assert "You have clicked red." in visit('search["red" lamp 1]', "click[b1]").observation()


def test_visited_products_are_marked_until_one_goes_back_to_search() -> None:
    session = visit("search[lamp 1]", "click[b1]", "click[< prev]")
    assert "\n[clicked button] B1 [clicked button_]\n" in session.observation()
    session.step("click[back to search]")
    session.step("search[lamp 1]")
    assert "clicked button" not in session.observation()


def test_going_back_from_a_sub_page_keeps_options_and_from_a_product_drops_them() -> None:
    session = visit("search[lamp 1]", "click[b1]", "click[small]", "click[features]")
    assert session.observation("text").endswith("< Prev [SEP] Bright [SEP] Small")
    assert session.clickables() == ["back to search", "< prev"]
    session.step("click[< prev]")
    assert "You have clicked small." in session.observation()
    session.step("click[< prev]")
    session.step("click[b1]")
    assert "You have clicked" not in session.observation()


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("<q> table lamps", 5),
        ("<c> home", 3),
        ("<c> home and more", 3),
        ("<c>", 0),
        ("<a> bright", 0),
        ("<r>", 50),
        (" ", 0),
        ("the", 0),
        ("<q> nothing", 0),
    ],
)
def test_first_words_in_angle_brackets_search_by_field(query: str, total: int) -> None:
    assert f"(Total results: {total})" in visit(f"search[{query}]").observation()


@pytest.mark.parametrize(
    "action",
    [
        *("", "search", "search[]", "Search[lamp]", " search[lamp]", "search [lamp]", "click[search]", "click[b99]"),
        *("click[buy now]", "click[next >]", "buy now", "think[about it]", "\nsearch[lamp]"),
    ],
)
def test_anything_else_leaves_the_page_as_it_is(action: str) -> None:
    session = visit()
    reply = session.step(action)
    assert (reply.valid, reply.observation) == (False, visit().observation())


@pytest.mark.parametrize("action", ["search[Lamp] please", "search[lamp]\nclick[buy now]", "search[lamp]"])
def test_text_after_the_bracket_and_case_of_the_argument_do_not_matter(action: str) -> None:
    assert visit(action).observation() == visit("search[lamp]").observation()


def test_buying_ends_the_visit_with_thanks_and_the_score() -> None:
    session = visit("search[lamp 1]", "click[b1]", "click[red]", "click[buy now]")
    assert session.reward is not None
    assert session.reward.total == 1.0
    text = session.observation("text")
    assert text.startswith("Thank you for shopping with us! [SEP] Your code: [SEP] None")
    assert '{"size": "red"}' in text
    assert "Your score (min 0.0, max 1.0) [SEP] 1.0" in text
    assert session.clickables() == []
    assert not session.step("search[lamp]").valid


def test_the_price_of_a_range_is_drawn_once_and_lies_within_it() -> None:
    prices = {SHOP.price(position) for position in range(0, 60, 2)}
    assert len(prices) == 30
    assert all(9.5 <= price <= 12.0 for price in prices)


def test_strings_of_white_space_with_a_newline_are_not_shown() -> None:
    page = Page((Line(" \n "), Line("  "), Line("a\n b "), Line("")), "")
    assert page.text("text", frozenset()) == " [SEP] a\n b"
    assert page.text("text_rich", frozenset()) == "  \na\n b \n"


@given(st.text() | st.text(alphabet="[]a\n", max_size=12))
def test_actions_are_read_as_webshop_s_pattern_reads_them(action: str) -> None:
    match = re.match(r"(.+)\[(.+)\]", action)
    assert parse_action(action) == ((match[1], match[2].lower()) if match else (action, ""))


words = st.sampled_from(
    ["lamp", "b1", "red", "small", "buy now", "< prev", "next >", "features", "back to search", "<r>"]
)
actions = st.one_of(
    st.text(),
    st.builds("search[{}]".format, st.text() | words),
    st.builds("click[{}]".format, st.text() | words),
)


@given(st.lists(actions, max_size=12))
def test_any_text_is_answered_and_only_offered_clicks_are_valid(written: list[str]) -> None:
    session = Session(SHOP, GOAL)
    for action in written:
        offered, bought = session.clickables(), session.reward is not None
        reply = session.step(action)
        assert reply.observation
        if reply.valid:
            assert not bought
            assert action.startswith("search[") or any(action.lower().startswith(f"click[{o}]") for o in offered)
