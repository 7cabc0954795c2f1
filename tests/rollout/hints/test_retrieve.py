"""Which hints an episode is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.environment import Reset
from rollout.errors import EpisodeError, UserError
from rollout.hints.asking import ChatSession
from rollout.hints.bank import Hint, HintBank
from rollout.hints.config import HintConfig
from rollout.hints.retrieve import HintRetriever, numbers_in

MakeChatSession = Callable[..., ChatSession]
RESET = Reset("You see a fridge 1, and a microwave 1.", "put a hot mug in fridge")
TEXTS = ["Take the {object}.", "Search the drawers.", "Use the microwave.", "Open the fridge.", "Do not wait."]
BANK = HintBank(
    (
        *(Hint(category="heat", text=text, frequency=9 - n) for n, text in enumerate(TEXTS)),
        Hint(category="cool", text="Use the fridge and the microwave.", frequency=99),
    )
)


async def chosen(k: int, chat: ChatSession | None = None, category: str = "heat", bank: HintBank = BANK) -> list[str]:
    config = HintConfig(k=k, retriever="lexical" if chat is None else "llm")
    return list(await HintRetriever(bank, config, chat).choose(category, RESET, "session"))


async def test_hints_that_share_words_come_first_then_the_most_frequent_of_the_type() -> None:
    assert await chosen(1) == [TEXTS[3]]
    assert await chosen(3) == [TEXTS[3], TEXTS[2], TEXTS[0]]
    assert await chosen(5) == [TEXTS[3], TEXTS[2], TEXTS[0], TEXTS[1], TEXTS[4]]


async def test_no_hint_of_another_type_fills_up() -> None:
    assert await chosen(3, category="cool") == ["Use the fridge and the microwave."]
    assert await chosen(3, category="clean") == []
    assert await chosen(0) == []


async def test_a_model_chooses_by_number_and_the_most_frequent_fill_up(answering: MakeChatSession) -> None:
    assert await chosen(3, answering('{"answer": [0, 5, 2, 5, 77]}')) == [TEXTS[4], TEXTS[1], TEXTS[0]]
    assert await chosen(2, answering('{"answer": [0, 2, 1]}')) == [TEXTS[1], TEXTS[0]]
    assert await chosen(2, answering("I choose 4, then -2.")) == [TEXTS[3], TEXTS[1]]


@pytest.mark.parametrize("answer", ["", "none of them", '{"answer": []}', '{"answer": ["a"]}', "99"])
async def test_an_answer_without_a_number_of_a_hint_leaves_it_to_the_words(
    answering: MakeChatSession, answer: str
) -> None:
    assert await chosen(3, answering(answer)) == await chosen(3)


async def test_hints_that_the_model_has_no_room_for_are_not_shown_to_it(answering: MakeChatSession) -> None:
    many = HintBank(
        tuple(Hint(category="heat", text=f"Advice number {n} is long.", frequency=99 - n) for n in range(90))
    )
    narrow = answering('{"answer": [90, 1]}', max_model_len=1000)
    assert await chosen(2, narrow, bank=many) == [many.hints[0].text, many.hints[1].text]
    assert await chosen(1, answering('{"answer": [90]}'), bank=many) == [many.hints[89].text]
    with pytest.raises(EpisodeError, match="more than the model takes"):
        await chosen(2, answering("1", max_model_len=60), bank=many)


def test_more_hints_than_the_bank_has_or_a_model_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(UserError, match="hints.k is 9, but the hint bank has 6 hints; set hints.k to at most 6"):
        HintRetriever(BANK, HintConfig(k=9))
    with pytest.raises(UserError, match="hints.retriever is llm, but no model"):
        HintRetriever(BANK, HintConfig(k=1, retriever="llm"))
    HintRetriever(HintBank(), HintConfig(k=0, retriever="llm"))


def test_numbers_are_read_from_json_and_else_from_any_text() -> None:
    assert numbers_in('Here: {"answer": [3, 1]} as 2 said') == [3, 1]
    assert numbers_in('{"answer": [3, "x1"]}') == [3, 1]
    assert numbers_in("9" * 5000) == []


HINTS = st.builds(
    Hint,
    category=st.sampled_from(["heat", "cool"]),
    text=st.lists(st.sampled_from("open take fridge hot mug {object}".split()), min_size=1, max_size=3).map(" ".join)
    | st.text(alphabet="\u0130ß !?é\n", min_size=1).filter(str.strip),
    frequency=st.integers(1, 3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(HINTS, max_size=9), st.integers(0, 9), st.text(), st.text())
def test_an_episode_gets_k_different_hints_of_its_type_or_all_there_are(
    hints: list[Hint], k: int, instruction: str, observation: str
) -> None:
    bank, k = HintBank(tuple(hints)), min(k, len(hints))

    def choose() -> tuple[str, ...]:
        return asyncio.run(HintRetriever(bank, HintConfig(k=k)).choose("heat", Reset(observation, instruction), "s"))

    texts = {hint.text for hint in bank.of_category("heat")}
    shown = choose()
    assert len(set(shown)) == len(shown) == min(k, len(texts))
    assert set(shown) <= texts
    assert choose() == shown
