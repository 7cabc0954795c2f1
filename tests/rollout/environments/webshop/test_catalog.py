"""The reader of WebShop's files, and its errors for unusable files."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollout.environments.webshop.catalog import Listing, OfficialFiles
from rollout.environments.webshop.store import Shop, open_shop, shop_in_memory
from rollout.errors import UserError

PRODUCTS, ATTRIBUTES, HUMAN = "items_shuffle_1000.json", "items_ins_v2_1000.json", "items_human_ins.json"


def item(asin: str = "B1", **changes: Any) -> dict[str, Any]:
    """A product in the official format, with unused keys."""
    return {
        "asin": asin,
        "name": "Blue Lamp",
        "full_description": "It shines.",
        "small_description": ["Bright ", "Small "],
        "pricing": "$1,019.50",
        "customization_options": {"Color": [{"value": " Blue/Red ", "image": None}], "Size": None},
        "category": "garden",
        "query": "Table Lamps ",
        "product_category": "Home › Lamps",
        "images": ["x"],
        "average_rating": 4.5,
        "seller_id": "",
        **changes,
    }


ATTRIBUTES_B1 = {"attributes": ["easy clean"], "instruction": "Find me lamps", "instruction_attributes": ["easy clean"]}
HUMAN_B1 = [
    {"instruction": "a lamp.", "instruction_attributes": ["easy clean"], "instruction_options": ["blue"]},
    {"instruction": "nothing asked", "instruction_attributes": [], "instruction_options": []},
]


def write(folder: Path, products: Any = None, attributes: Any = None, human: Any = None) -> OfficialFiles:
    contents = {
        PRODUCTS: [item()] if products is None else products,
        ATTRIBUTES: {"B1": ATTRIBUTES_B1} if attributes is None else attributes,
        HUMAN: {"B1": HUMAN_B1} if human is None else human,
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return OfficialFiles.find(str(folder), "1000")


def read(folder: Path, products: Any = None, attributes: Any = None, human: Any = None) -> list[Listing]:
    return list(write(folder, products, attributes, human).read())


def test_a_product_is_read_with_its_attributes_and_instructions(tmp_path: Path) -> None:
    (listing,) = read(tmp_path)
    product = listing.product
    assert (product.asin, product.title, product.bullets) == ("B1", "Blue Lamp", ("Bright ", "Small "))
    assert (product.prices, product.price_tag) == ((1019.5,), "$1019.5")
    assert product.options == {"color": ("blue | red",)}
    assert (product.query, product.attributes) == ("table lamps", ("easy clean",))
    assert listing.synthetic is not None
    assert listing.synthetic.options is None
    assert [task.options for task in listing.human] == [("blue",)]


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"pricing": ""}, "price_tag", "$100.0"),
        ({"pricing": None}, "price_tag", "$100.0"),
        ({"pricing": "$16.99$26.90"}, "price_tag", "$16.99 to $26.9"),
        ({"small_description": "One"}, "bullets", ("One",)),
        ({"customization_options": ""}, "options", {}),
    ],
)
def test_shapes_that_vary_between_products_are_understood(
    tmp_path: Path, changes: dict[str, Any], name: str, expected: object
) -> None:
    (listing,) = read(tmp_path, [item(**changes)])
    assert getattr(listing.product, name) == expected


def test_a_product_without_the_price_s_key_costs_what_one_without_a_price_costs(tmp_path: Path) -> None:
    bare = item()
    del bare["pricing"]
    assert read(tmp_path, [bare])[0].product.prices == (100.0,)


def test_the_first_product_with_a_repeated_id_is_kept_and_a_warning_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        listings = read(tmp_path, [item(), item(name="Other"), item("nan"), item("TOO-LONG-AN-ID")])
    assert [listing.product.title for listing in listings] == ["Blue Lamp"]
    assert "repeats the id of 1 products" in caplog.text


def test_gzipped_files_are_read_as_well(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / f"{PRODUCTS}.gz").write_bytes(gzip.compress((tmp_path / PRODUCTS).read_bytes()))
    (tmp_path / PRODUCTS).unlink()
    assert len(list(OfficialFiles.find(str(tmp_path), "1000").read())) == 1


def test_a_list_longer_than_a_block_is_read_whole(tmp_path: Path) -> None:
    long = [item(f"B{i}", full_description="x" * 900_000) for i in range(12)]
    assert [listing.product.asin for listing in read(tmp_path, long)] == [f"B{i}" for i in range(12)]


def test_a_missing_file_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"items_shuffle_1000.json .*is not in .*setup.sh"):
        OfficialFiles.find(str(tmp_path), "1000")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"products": {"a": 1}}, "should be a list of products"),
        ({"products": [{"asin": "B1"}]}, "product 1 of .* has no 'name'"),
        ({"products": [item(), 7]}, "product 2 of .* has no 'asin'"),
        ({"products": [item(pricing="ask us")]}, r"product 1 \(B1\) of .* has the price 'ask us'"),
        ({"attributes": []}, "should be an object keyed by product id"),
        ({"attributes": {"B1": {"instruction": "Find me lamps"}}}, "without instruction_attributes"),
        ({"attributes": {"B1": [1]}}, "should be an object"),
        ({"human": {"B1": [{"instruction": "x"}]}}, "is not as in WebShop's items_human_ins.json"),
    ],
)
def test_files_of_another_version_are_refused_in_a_sentence(
    tmp_path: Path, content: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        read(tmp_path, **content)


def test_files_that_are_cut_short_are_refused_in_a_sentence(tmp_path: Path) -> None:
    files = write(tmp_path, [item(f"B{i}") for i in range(50)])
    whole = files.products.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1], b"["):
        files.products.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged or cut short"):
            list(files.read())
    packed = gzip.compress(whole)
    files.products.unlink()
    files.products.with_suffix(".json.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match="damaged or cut short"):
        list(OfficialFiles.find(str(tmp_path), "1000").read())


def test_files_that_are_not_utf_8_are_refused_in_a_sentence(tmp_path: Path) -> None:
    files = write(tmp_path)
    files.products.write_bytes(b'[{"asin": "caf\xe9"}]')
    with pytest.raises(UserError, match="is not UTF-8"):
        list(files.read())


def make(folder: Path, files: OfficialFiles) -> Shop:
    return open_shop(folder, files.fingerprint(), files.read, 1)


def test_an_index_is_built_once_and_mapped_read_only(tmp_path: Path) -> None:
    files = write(tmp_path)
    make(tmp_path / "index", files)
    again = Shop(tmp_path / "index")
    assert again.product(0).asin == "B1"
    assert isinstance(again._postings.documents.base, np.memmap)
    assert not again._postings.documents.flags.writeable
    assert sorted(path.name for path in tmp_path.glob("*index*")) == [".index.lock", "index"]


def test_an_index_of_another_format_is_rebuilt_and_never_misread(tmp_path: Path) -> None:
    files = write(tmp_path)
    make(tmp_path / "index", files)
    manifest = tmp_path / "index" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": ', '"format": 9'))
    with pytest.raises(UserError, match="its format is 92 instead of 2"):
        Shop(tmp_path / "index")
    (tmp_path / "index").rename(tmp_path / "moved")
    assert make(tmp_path / "moved", files).num_products == 1
    assert Shop(tmp_path / "moved").num_products == 1


def test_an_index_of_other_files_is_rebuilt(tmp_path: Path) -> None:
    make(tmp_path / "index", write(tmp_path))
    changed = write(tmp_path, [item(), item("B2")])
    assert make(tmp_path / "index", changed).num_products == 2


@pytest.mark.parametrize("name", ["documents.npy", "products.bin", "manifest.json", "block_tops.npy"])
def test_a_damaged_index_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    files = write(tmp_path)
    make(tmp_path / "index", files)
    whole = (tmp_path / "index" / name).read_bytes()
    (tmp_path / "index" / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged .* delete that folder"):
        Shop(tmp_path / "index")


def test_an_index_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set index_dir"):
        make(tmp_path / "file" / "index", write(tmp_path))


def test_goals_have_a_limit_above_the_price_and_every_combination_of_options(tmp_path: Path) -> None:
    options = {"size": [{"value": "s"}, {"value": "m"}], "color": [{"value": "red"}]}
    files = write(tmp_path, [item(pricing="$15", customization_options=options)])
    shop = shop_in_memory(files.read(), files.fingerprint())
    texts = {shop.goal("synthetic", index).instruction for index in range(shop.num_goals("synthetic"))}
    limit = shop.goal("synthetic", 0).price_upper
    assert limit in (30.0, 40.0, 50.0)
    assert texts == {
        f"Find me lamps with color: red, and size: {size}, and price lower than {limit:.2f} dollars" for size in "sm"
    }
    assert shop.goal("human", 0).instruction.startswith("a lamp, and price lower than ")
