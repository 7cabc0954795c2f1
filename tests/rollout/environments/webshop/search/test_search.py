"""Words, stems and ranking."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.environments.webshop.build import build_shop
from rollout.environments.webshop.catalog import Listing
from rollout.environments.webshop.product import Product
from rollout.environments.webshop.search.analysis import STOP_WORDS, terms, words
from rollout.environments.webshop.search.bm25 import (
    BLOCK,
    Postings,
    block_row,
    coded_lengths,
    is_long,
    length_codes,
    length_norms,
    saturation,
    term_key,
)
from rollout.environments.webshop.search.stemmer import stem
from rollout.environments.webshop.store import Shop, shop_in_memory


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
def test_words_are_reduced_to_porter_s_stems(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_stems_of_made_up_words_are_those_of_nltk() -> None:
    """nltk 3.10.4: ``PorterStemmer(mode=PorterStemmer.MARTIN_EXTENSIONS)`` gives stems of the same digest."""
    rng = random.Random(0)
    endings = (
        "sses ies s eed ed ing at bl iz ational tional enci anci izer bli alli entli eli ousli ization ation ator "
        "alism iveness fulness ousness aliti iviti biliti logi icate ative alize iciti ical ful ness al ance ence er "
        "ic able ible ant ement ment ent ion sion ou ism ate iti ous ive ize e ll y"
    ).split()
    made_up = (
        "".join([*rng.choices("aeiouybcdlstnrz", k=rng.randint(1, 5)), *rng.choices(endings, k=rng.randint(0, 3))])
        for _ in range(20_000)
    )
    digest = sha256("\n".join(map(stem, made_up)).encode()).hexdigest()
    assert digest == "9d22d3b77290c70d0de113748f8c1266cad0304f01458c665cb9829571ba1d27"


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
        ("a" * 300, ["a" * 255, "a" * 45]),
    ],
)
def test_text_is_split_at_unicode_word_breaks(text: str, expected: list[str]) -> None:
    assert list(words(text)) == expected


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_fast_path_for_ascii_splits_like_the_general_one(text: str) -> None:
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


def plain_search(
    documents: list[list[str]], query: list[str], count: int, ids: Sequence[str] | None = None
) -> list[tuple[int, float]]:
    """Positions and scores of an exhaustive search."""
    lengths = np.array([len(document) for document in documents])
    norms = length_norms(float(lengths.mean()))[length_codes(lengths)]
    scores = np.zeros(len(documents))
    for term, times in Counter(query).items():
        tf = np.array([document.count(term) for document in documents], np.uint16)
        df = np.count_nonzero(tf)
        idf = np.float32(math.log(1 + (len(documents) - df + 0.5) / (df + 0.5)))
        scores += np.float32(times) * idf * saturation(tf, norms)
    rounded = scores.astype(np.float32)
    found = np.flatnonzero(scores).tolist()
    ranked = sorted(found, key=lambda place: (-rounded[place], ids[place] if ids else place))
    return [(place, float(rounded[place])) for place in ranked[:count]]


def found(postings: Postings, query: list[str], count: int) -> list[tuple[int, float]]:
    places, scores = postings.search(query, count)
    return list(zip(places.tolist(), scores.tolist(), strict=True))


letters = st.lists(st.sampled_from("bcdfgh"), max_size=12)


@given(st.lists(letters, min_size=1, max_size=40), letters, st.integers(1, 6))
def test_a_search_finds_what_scoring_every_document_finds(
    documents: list[list[str]], query: list[str], count: int
) -> None:
    if any(documents):
        assert found(postings_of(documents), query, count) == plain_search(documents, query, count)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_skipping_blocks_that_cannot_win_never_changes_order_or_score(seed: int, alike: bool) -> None:
    """Rare and common words in more blocks than the first read, with and without similar adjacent documents."""
    rng = random.Random(seed)
    shares = {f"w{number}": 0.6 / 2**number for number in range(12)}
    documents = [
        [word for word, share in shares.items() for _ in range(3) if rng.random() < share] or ["w99"]
        for _ in range(20 * BLOCK + seed)
    ]
    if alike:
        documents.sort()
    postings = postings_of(documents)
    for count in (1, 3, 50, 3000):
        query = rng.choices(list(shares), k=4)
        assert found(postings, query, count) == plain_search(documents, query, count)


@settings(max_examples=30)
@given(st.lists(letters, min_size=1, max_size=30), letters, st.randoms(use_true_random=False))
def test_a_shop_ranks_as_scoring_every_product_does_with_ties_by_id(
    documents: list[list[str]], query: list[str], rng: random.Random
) -> None:
    documents = [*documents, *documents]  # ties
    ids = [f"P{number:02}" for number in rng.sample(range(100), len(documents))]
    kinds = rng.choices(["lamp", "rug"], k=len(documents))
    shop = shop_in_memory(
        [
            Listing(Product(asin, " ".join(document), "", (), (1.0,), {}, "home", kind, "a", ("x",)), None, ())
            for asin, document, kind in zip(ids, documents, kinds, strict=True)
        ],
        "test",
    )
    expected = plain_search(documents, query, 20, ids) if any(documents) else []
    places, scores = shop._postings.search(terms(" ".join(query)), 20)
    assert list(zip(places, scores, strict=True)) == expected
    assert shop.search(" ".join(query), 20) == [place for place, _ in expected]


def test_block_bounds_are_tight_and_block_starts_are_correct() -> None:
    documents = np.flatnonzero(np.random.default_rng(0).random(10 * BLOCK) < 0.1).astype(np.int32)
    factors = np.random.default_rng(1).random(len(documents)).astype(np.float32)
    tops, starts = block_row(documents, factors, 10 * BLOCK)
    for block in range(10):
        mine = slice(starts[block], starts[block + 1])
        assert set(documents[mine] // BLOCK) == {block}
        assert 0 <= tops[block] / 255 * factors.max() - factors[mine].max() < 1 / 255


def test_a_catalog_without_a_single_word_is_built_and_finds_nothing() -> None:
    shop = make_shop(["", "the"])
    assert (shop.num_products, shop.search("the lamp")) == (2, [])


def postings_of(documents: list[list[str]]) -> Postings:
    lengths = np.array([len(document) for document in documents])
    norms = length_norms(float(lengths.mean()))[length_codes(lengths)]
    lists: dict[str, list[tuple[int, int]]] = {}
    for place, document in enumerate(documents):
        for term, times in Counter(document).items():
            lists.setdefault(term, []).append((place, times))
    terms_in_order = sorted(lists, key=term_key)
    postings = [posting for term in terms_in_order for posting in lists[term]]
    places = np.array([place for place, _ in postings], np.int32)
    factors = saturation(np.array([tf for _, tf in postings], np.uint16), norms[places])
    starts = np.cumsum([0, *(len(lists[term]) for term in terms_in_order)])
    long = np.flatnonzero(is_long(np.diff(starts), len(documents)))
    spans = [slice(starts[term], starts[term + 1]) for term in long]
    rows = [block_row(places[span], factors[span], len(documents)) for span in spans]
    return Postings(
        keys=np.array([term_key(term) for term in terms_in_order], np.uint64),
        starts=starts,
        documents=places,
        factors=factors,
        tops=np.maximum.reduceat(factors, starts[:-1]),
        rows=np.array([long.tolist().index(n) if n in long else -1 for n in range(len(lists))], np.int32),
        block_tops=np.array([tops for tops, _ in rows], np.uint8),
        block_starts=np.array([begins for _, begins in rows], np.int32),
        places=np.arange(len(documents), dtype=np.int32),
        ranks=np.arange(len(documents), dtype=np.int32),
    )


@pytest.mark.parametrize("block", [1, 8, 50])
def test_a_shop_built_in_several_blocks_is_the_same_as_in_one(tmp_path: Path, block: int) -> None:
    titles = [f"{'red' if i % 3 else 'blue'} lamp {i % 7}" for i in range(50)]
    build_shop(tmp_path, listings(titles), "test", total=0, block=block)
    for query in ("red lamp", "3", "lamp 5 blue"):
        ours, theirs = (shop._postings.search(terms(query), 50) for shop in (Shop(tmp_path), make_shop(titles)))
        assert [column.tolist() for column in ours] == [column.tolist() for column in theirs]


@pytest.mark.parametrize("block", [1, 8, 60])
def test_every_list_ascends_however_many_are_sorted_at_once(tmp_path: Path, block: int) -> None:
    """Products of the same length are adjacent in the index, so their numbers differ from the input order."""
    titles = [f"lamp {i % 4} {'red ' * (i * 7 % 5)}{i % 9}" for i in range(60)]
    build_shop(tmp_path, listings(titles), "test", total=0, block=block)
    postings = Shop(tmp_path)._postings
    assert postings.places.tolist() != sorted(postings.places.tolist())
    for start, end in pairwise(postings.starts.tolist()):
        assert (np.diff(postings.documents[start:end]) > 0).all()
