"""ReAct's rules of search, lookup and finish, on a small corpus."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.environments.hotpotqa.wiki import Wiki, page_of, sentences_of
from rollout.tools.retrieval.documents import Document
from rollout.tools.retrieval.index import RetrievalIndex

MILL = (
    "The mill stands by J. Osk. It grinds corn. Corn is stored\nTwo words\nThe third paragraph. It has wheels.\n"
    "  \nMore corn comes late. Corn, again."
)
PAGES = RetrievalIndex.from_documents(
    [
        Document("0", "Old Mill", MILL),
        Document("1", "Osk", "Osk may refer to:\nOsk (river)\nOsk (town)"),
        Document("2", "Osk (river)", "The Osk is a river."),
        Document("3", "Osk (town)", "Osk is a town on the river Osk."),
        Document("4", "It's a Mill", "A song about a mill and a miller."),
        Document("5", "Empty", ""),
        Document("6", "Twice", "Twice may refer to:\nTwice as much"),
        Document("7", "[Twice]", "In brackets stands a page."),
    ]
)


@pytest.fixture
def wiki() -> Wiki:
    return Wiki(PAGES)


def test_search_shows_the_first_five_sentences_each_followed_by_a_full_stop(wiki: Wiki) -> None:
    assert wiki.do("search[Old Mill]").observation == (
        "The mill stands by J. Osk. It grinds corn. Corn is stored. The third paragraph."
    )
    assert wiki.do("search[old mill]") == wiki.do("  search[OLD_MILL]\n")


def test_paragraphs_of_two_words_are_dropped_and_the_last_sentence_of_a_paragraph_has_two_full_stops() -> None:
    assert page_of(MILL).count("\n") == 3
    assert sentences_of(page_of(MILL))[4:] == [
        "The third paragraph.",
        "It has wheels..",
        "More corn comes late.",
        "Corn, again..",
    ]


def test_a_search_for_a_missing_page_lists_similar_titles(wiki: Wiki) -> None:
    found = wiki.do("search[mills of Osk]").observation
    assert found.startswith("Could not find mills of Osk. Similar: [")
    assert found.endswith("].")
    assert '"It\'s a Mill"' in found  # as Python writes lists
    assert wiki.do("search[zebra]").observation == "Could not find zebra. Similar: []."


def test_the_title_of_a_disambiguation_page_is_searched_for_in_brackets(wiki: Wiki) -> None:
    found = wiki.do("search[osk]").observation
    assert found.startswith("Could not find [osk]. Similar: [")
    assert "'Osk (river)'" in found
    assert wiki.do("search[Twice]").observation == "In brackets stands a page.."


def test_lookup_steps_through_the_sentences_that_contain_a_word(wiki: Wiki) -> None:
    wiki.do("search[Old Mill]")
    assert [wiki.do("lookup[corn]").observation for _ in range(6)] == [
        "(Result 1 / 4) It grinds corn.",
        "(Result 2 / 4) Corn is stored.",
        "(Result 3 / 4) More corn comes late.",
        "(Result 4 / 4) Corn, again..",
        "No more results.\n",
        "No more results.\n",
    ]


def test_another_word_or_another_case_restarts_the_lookup(wiki: Wiki) -> None:
    wiki.do("search[Old Mill]")
    shown = [wiki.do(f"lookup[{word}]").observation[:14] for word in ("corn", "corn", "Corn", "wheels", "corn")]
    assert shown == ["(Result 1 / 4)", "(Result 2 / 4)", "(Result 1 / 4)", "(Result 1 / 1)", "(Result 1 / 4)"]


def test_a_copy_has_its_own_lookup_state(wiki: Wiki) -> None:
    wiki.search("Old Mill")
    shown = wiki.lookup("corn")
    copy = wiki.copy()
    assert copy.lookup("corn") == wiki.lookup("corn") != shown
    copy.search("Osk (river)")
    assert wiki.lookup("corn").startswith("(Result 3 /")


def test_a_failed_search_keeps_page_and_lookup_and_a_new_page_resets_the_lookup(wiki: Wiki) -> None:
    wiki.do("search[Old Mill]")
    wiki.do("lookup[corn]")
    wiki.do("search[zebra]")
    assert wiki.do("lookup[corn]").observation == "(Result 2 / 4) Corn is stored."
    wiki.do("search[Old Mill]")
    assert wiki.do("lookup[corn]").observation == "(Result 1 / 4) It grinds corn."


def test_without_a_page_there_is_nothing_to_look_up(wiki: Wiki) -> None:
    assert wiki.do("lookup[corn]").observation == "No more results.\n"
    assert wiki.do("search[Empty]").observation == ""


def test_finish_returns_the_answer_and_think_gets_a_fixed_reply(wiki: Wiki) -> None:
    assert wiki.do("finish[ yes] ]").answer == " yes] "
    assert wiki.do("finish[]").answer == ""
    assert wiki.do("think[of corn]").observation == "Nice thought."


@pytest.mark.parametrize("action", ["", "look", "Search[Old Mill]", "search [Old Mill]", "search[Old Mill] now", "[x]"])
def test_everything_else_is_an_invalid_action(wiki: Wiki, action: str) -> None:
    reply = wiki.do(f" {action}\n")
    assert (reply.observation, reply.understood) == (f"Invalid action: {action}", False)


@given(st.lists(st.one_of(st.text(), st.sampled_from(["search", "lookup", "finish", "think"]).flatmap(
    lambda name: st.text().map(lambda text: f"{name}[{text}]")
)), max_size=6))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_every_text_gets_a_reply(actions: list[str]) -> None:
    wiki = Wiki(PAGES)
    for action in actions:
        reply = wiki.do(action)
        assert isinstance(reply.observation, str)
        assert reply.understood or reply.observation == f"Invalid action: {action.strip()}"
