"""Words, stems and ranking."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.shop.analysis import STOP_WORDS, terms, words
from rollout.shop.bm25 import Postings, coded_lengths, length_codes, length_norms, saturation, term_key
from rollout.shop.build import build_shop
from rollout.shop.catalogue import Listing
from rollout.shop.product import Product
from rollout.shop.stemmer import stem
from rollout.shop.store import Shop, shop_in_memory


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *(("caresses", "caress"), ("ponies", "poni"), ("cats", "cat"), ("agreed", "agre"), ("feed", "feed")),
        *(("plastered", "plaster"), ("motoring", "motor"), ("sing", "sing"), ("hopping", "hop"), ("falling", "fall")),
        *(
            ("filing", "file"),
            ("happy", "happi"),
            ("sky", "sky"),
            ("relational", "relat"),
            ("vietnamization", "vietnam"),
        ),
        *(("triplicate", "triplic"), ("hopefulness", "hope"), ("adjustable", "adjust"), ("adoption", "adopt")),
        *(("controll", "control"), ("rate", "rate"), ("cease", "ceas"), ("is", "is"), ("as", "as")),
        *(("possibly", "possibl"), ("technology", "technolog"), ("biology", "biologi"), ("39x59in", "39x59in")),
    ],
)
def test_words_are_cut_to_porter_s_stems(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("men's t-shirt, 3.5 oz.", ["men's", "t", "shirt", "3.5", "oz"]),
        ("1,000 a.b a.1 color:red _ _x 5;6", ["1,000", "a.b", "a", "1", "color:red", "_x", "5;6"]),
        ("café “crème” don’t", ["café", "crème", "don’t"]),
        ("漢字 ひら カタカナ", ["漢", "字", "ひ", "ら", "カタカナ"]),
        ("warm 🔥🔥 ★", ["warm", "🔥", "🔥", "★"]),
        ("❤️x", ["❤️", "x"]),
        ("", []),
        ("... -- !", []),
    ],
)
def test_text_is_cut_into_words_as_unicode_says(text: str, expected: list[str]) -> None:
    assert list(words(text)) == expected


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_fast_way_for_ascii_cuts_as_the_general_one(text: str) -> None:
    assert list(words(text.lower())) == [word for word in words(f"{text.lower()} é") if word != "é"]


def test_possessives_and_stop_words_are_dropped_and_case_does_not_matter() -> None:
    assert terms("The Women's coats AND jackets") == ["women", "coat", "jacket"]
    assert terms(" ".join(STOP_WORDS)) == []


@given(st.text())
def test_any_text_has_terms(text: str) -> None:
    assert all(term not in ("the",) for term in terms(text))


def test_lengths_are_exact_up_to_a_few_dozen_and_then_keep_four_bits() -> None:
    lengths = np.array([0, 1, 39, 40, 41, 42, 100, 105, 1000, 100_000])
    assert coded_lengths()[length_codes(lengths)].tolist() == [0, 1, 39, 40, 40, 42, 96, 104, 984, 98328]


def product(asin: str, title: str) -> Product:
    return Product(asin, title, "", ("",), (1.0,), {}, "home", "thing", "a › b", ("x",))


def listings(titles: list[str]) -> list[Listing]:
    return [Listing(product(f"P{i:03}", title), None, ()) for i, title in enumerate(titles)]


def make_shop(titles: list[str]) -> Shop:
    return shop_in_memory(listings(titles), "test")


def test_better_and_rarer_matches_come_first_and_ties_go_by_id() -> None:
    shop = make_shop(["red lamp", "red red lamp", "blue lamp", "green chair", "blue lamp"])
    assert shop.search("blue lamp")[:2] == [2, 4]
    assert shop.search("red")[0] == 1
    assert shop.search("nothing here fits") == []
    assert shop.search("") == []


def plain_search(documents: list[list[str]], query: list[str], count: int) -> list[int]:
    """The formula, document by document."""
    lengths = np.array([len(document) for document in documents])
    norms = length_norms(float(lengths.mean()))[length_codes(lengths)]
    frequencies = Counter(term for document in documents for term in set(document))
    scores = []
    for place, document in enumerate(documents):
        score = 0.0
        for term, times in Counter(query).items():
            tf = document.count(term)
            if tf:
                df = frequencies[term]
                idf = np.float32(math.log(1 + (len(documents) - df + 0.5) / (df + 0.5)))
                factor = saturation(np.array([tf], np.uint16), norms[place : place + 1])[0]
                score += float(np.float32(times) * idf * factor)
        scores.append((-float(np.float32(score)), place))
    return [place for score, place in sorted(scores) if score < 0][:count]


letters = st.lists(st.sampled_from("bcdfgh"), max_size=12)


@given(st.lists(letters, min_size=1, max_size=40), letters, st.integers(1, 6))
def test_skipping_what_cannot_win_never_changes_the_result(
    documents: list[list[str]], query: list[str], count: int
) -> None:
    if not any(documents):
        return
    assert postings_of(documents).search(query, count)[0].tolist() == plain_search(documents, query, count)


@pytest.mark.parametrize("seed", range(8))
def test_rare_and_common_words_together_are_ranked_as_if_all_were_read(seed: int) -> None:
    rng = random.Random(seed)
    words_by_share = [(f"w{number}", 0.6 / 2**number) for number in range(8)]
    documents = [[word for word, share in words_by_share if rng.random() < share] or ["w9"] for _ in range(600)]
    for _ in range(10):
        query = rng.choices([word for word, _ in words_by_share], k=4)
        assert postings_of(documents).search(query, 3)[0].tolist() == plain_search(documents, query, 3)


def postings_of(documents: list[list[str]]) -> Postings:
    lengths = np.array([len(document) for document in documents])
    norms = length_norms(float(lengths.mean()))[length_codes(lengths)]
    lists = sorted({term for document in documents for term in document}, key=term_key)
    rows = [
        [(place, document.count(term)) for place, document in enumerate(documents) if term in document]
        for term in lists
    ]
    places = np.array([place for row in rows for place, _ in row], np.int32)
    factors = saturation(np.array([tf for row in rows for _, tf in row], np.uint16), norms[places])
    starts = np.cumsum([0, *(len(row) for row in rows)])
    return Postings(
        keys=np.array([term_key(term) for term in lists], np.uint64),
        starts=starts,
        documents=places,
        factors=factors,
        tops=np.maximum.reduceat(factors, starts[:-1]),
        ranks=np.arange(len(documents), dtype=np.int32),
    )


@pytest.mark.parametrize("block", [1, 8, 50])
def test_a_shop_built_in_several_blocks_is_the_same_as_in_one(tmp_path: Path, block: int) -> None:
    titles = [f"{'red' if i % 3 else 'blue'} lamp {i % 7}" for i in range(50)]
    build_shop(tmp_path, listings(titles), "test", total=0, block=block)
    for query in ("red lamp", "3", "lamp 5 blue"):
        assert Shop(tmp_path).search_scored(query) == make_shop(titles).search_scored(query)
