"""Retrieval of the hints of an episode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.environment import Reset
from rollout.errors import EpisodeError, UserError
from rollout.hints.bank import Hint, HintBank
from rollout.hints.chat import ChatSession
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


async def test_hints_of_other_types_are_never_added() -> None:
    assert await chosen(3, category="cool") == ["Use the fridge and the microwave."]
    assert await chosen(3, category="clean") == []
    assert await chosen(0) == []


async def test_a_model_chooses_by_number_and_the_most_frequent_hints_are_added(scripted_chat: MakeChatSession) -> None:
    assert await chosen(3, scripted_chat('{"answer": [0, 5, 2, 5, 77]}')) == [TEXTS[4], TEXTS[1], TEXTS[0]]
    assert await chosen(2, scripted_chat('{"answer": [0, 2, 1]}')) == [TEXTS[1], TEXTS[0]]
    assert await chosen(2, scripted_chat("I choose 4, then -2.")) == [TEXTS[3], TEXTS[1]]


@pytest.mark.parametrize("answer", ["", "none of them", '{"answer": []}', '{"answer": ["a"]}', "99"])
async def test_an_answer_without_a_valid_number_falls_back_to_lexical_retrieval(
    scripted_chat: MakeChatSession, answer: str
) -> None:
    assert await chosen(3, scripted_chat(answer)) == await chosen(3)


async def test_hints_beyond_the_context_of_the_model_are_not_shown_to_it(scripted_chat: MakeChatSession) -> None:
    many = HintBank(
        tuple(Hint(category="heat", text=f"Advice number {n} is long.", frequency=99 - n) for n in range(90))
    )
    narrow = scripted_chat('{"answer": [90, 1]}', max_model_len=1000)
    assert await chosen(2, narrow, bank=many) == [many.hints[0].text, many.hints[1].text]
    assert await chosen(1, scripted_chat('{"answer": [90]}'), bank=many) == [many.hints[89].text]
    with pytest.raises(EpisodeError, match="exceed the context of 60 tokens"):
        await chosen(2, scripted_chat("1", max_model_len=60), bank=many)


def test_a_bank_that_is_too_small_or_a_missing_model_is_refused_at_once() -> None:
    with pytest.raises(UserError, match="hints.k is 9, but the hint bank has 6 hints; set hints.k to at most 6"):
        HintRetriever(BANK, HintConfig(k=9))
    with pytest.raises(UserError, match="hints.retriever is llm, but no model"):
        HintRetriever(BANK, HintConfig(k=1, retriever="llm"))
    HintRetriever(HintBank(), HintConfig(k=0, retriever="llm"))


def test_numbers_are_parsed_from_json_or_from_any_text() -> None:
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
def test_an_episode_gets_k_distinct_hints_of_its_type_or_all_of_them(
    hints: list[Hint], k: int, instruction: str, observation: str
) -> None:
    bank, k = HintBank(tuple(hints)), min(k, len(hints))

    def choose() -> tuple[str, ...]:
        return asyncio.run(HintRetriever(bank, HintConfig(k=k)).choose("heat", Reset(observation, instruction), "s"))

    texts = {hint.text for hint in bank.in_category("heat")}
    shown = choose()
    assert len(set(shown)) == len(shown) == min(k, len(texts))
    assert set(shown) <= texts
    assert choose() == shown
