"""Reader of WebShop's files: products, their attributes, and synthetic and human instructions.

Products are read one at a time, so that the file of all 1.18 million (about 5 GB) needs little memory.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TextIO

from rollout.environments.webshop.product import Product
from rollout.errors import UserError

CatalogName = Literal["1000", "all"]
"""The official catalog of 1,000 products, or all 1.18 million products."""

_FILES: Mapping[CatalogName, tuple[tuple[str, ...], ...]] = {
    "1000": (
        ("items_shuffle_1000.json",),
        ("items_ins_v2_1000.json",),
        ("items_human_ins.json", "items_human_ins_1000.json"),
    ),
    "all": (("items_shuffle.json",), ("items_ins_v2.json",), ("items_human_ins.json",)),
}
_HOW_TO_GET = "WebShop's setup.sh (github.com/princeton-nlp/WebShop) downloads it; then set data_dir to its data folder"
_NEEDED = ("asin", "name", "full_description", "small_description", "category", "query", "product_category")
_NO_PRICE = 100.0
_CHUNK_CHARACTERS = 1 << 22
_NOT_A_DIGIT = re.compile(r"[^\d.]")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction for a product. ``options`` are values without names; None means every combination of options."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A product with its human and synthetic instructions."""

    product: Product
    synthetic: Instruction | None
    human: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class OfficialFiles:
    """Paths of the three files of a catalog."""

    products: Path
    attributes: Path
    human: Path

    @classmethod
    def find(cls, data_dir: str | None, catalog: CatalogName) -> OfficialFiles:
        """Find the files in ``data_dir`` (default: ``$WEBSHOP_DATA``, else ``~/.cache/webshop``), plain or gzipped.

        Raises:
            UserError: a file is missing.
        """
        folder = Path(data_dir or os.environ.get("WEBSHOP_DATA") or "~/.cache/webshop").expanduser()
        return cls(*(_find(folder, names) for names in _FILES[catalog]))

    def fingerprint(self) -> str:
        """A digest of the sizes of the files and of their first and last bytes."""
        digest = sha256()
        for path in (self.products, self.attributes, self.human):
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                digest.update(f"{size}/".encode() + file.read(1 << 20))
                file.seek(max(0, size - (1 << 20)))
                digest.update(file.read())
        return digest.hexdigest()[:16]

    def read(self) -> Iterator[Listing]:
        """Yield all products in file order. Products with a repeated id are dropped, as in WebShop.

        Raises:
            UserError: a file is cut short, is not UTF-8, or has another format.
        """
        attributes, human = _read_object(self.attributes), _read_object(self.human)
        seen: set[str] = set()
        repeated = 0
        for number, item in enumerate(_read_list(self.products), start=1):
            product = _product(item, attributes, self.products, number)
            if product.asin == "nan" or len(product.asin) > 10:
                continue
            if product.asin in seen:
                repeated += 1
                continue
            seen.add(product.asin)
            yield Listing(product, _synthetic(attributes, product, self.attributes), _human(human, product, self.human))
        if repeated:
            log.warning("%s repeats the id of %d products; the first of each is kept", self.products.name, repeated)


def _find(folder: Path, names: Sequence[str]) -> Path:
    for name in (f"{name}{ending}" for name in names for ending in ("", ".gz")):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{names[0]} (or {names[0]}.gz) is not in {folder}: {_HOW_TO_GET}")


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    """Open a text file; a damaged download raises `UserError`."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile, json.JSONDecodeError) as error:
        raise UserError(f"{path} is damaged or cut short ({error}); download it again") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start} of a block); download it again, or convert it"
        ) from error


def _read_object(path: Path) -> dict[str, Any]:
    with _open(path) as file:
        content = json.load(file)
    if not isinstance(content, dict):
        raise UserError(f"{path} should be an object keyed by product id; is it another of WebShop's files?")
    return content


def _read_list(path: Path) -> Iterator[Any]:
    """Yield the members of a JSON list, read block by block."""
    decoder, damaged = json.JSONDecoder(), f"{path} is damaged or cut short; download it again"
    with _open(path) as file:
        text = file.read(_CHUNK_CHARACTERS).lstrip()
        if not text.startswith("["):
            raise UserError(f"{path} should be a list of products; is it another of WebShop's files?")
        place = 1
        while True:
            place = _skip(text, place)
            if text[place : place + 1] == "]":
                return
            try:
                item, end = decoder.raw_decode(text, place)
            except json.JSONDecodeError as error:
                end = len(text)
                if end - place > 64 * _CHUNK_CHARACTERS:
                    raise UserError(damaged) from error
            if end >= len(text):  # a number or an object may continue in the next block
                more = file.read(_CHUNK_CHARACTERS)
                if not more:
                    raise UserError(damaged)
                text, place = text[place:] + more, 0
                continue
            yield item
            place = end


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\n", "\r", "\t", ","):
        place += 1
    return place


def _product(item: Any, attributes: Mapping[str, Any], path: Path, number: int) -> Product:
    missing = [name for name in _NEEDED if name not in item] if isinstance(item, dict) else list(_NEEDED)
    if missing:
        raise UserError(
            f"product {number} of {path} has no {missing[0]!r}: this is not WebShop's product file, or one of another "
            "version; download items_shuffle.json or items_shuffle_1000.json again"
        )
    asin = str(item["asin"])
    bullets = item["small_description"] if isinstance(item["small_description"], list) else [item["small_description"]]
    known = attributes.get(asin, {})
    return Product(
        asin=asin,
        title=str(item["name"]),
        description=str(item["full_description"]),
        bullets=tuple(map(str, bullets)),
        prices=_prices(item.get("pricing"), f"product {number} ({asin}) of {path}"),
        options=_options(item.get("customization_options")),
        category=str(item["category"]),
        query=str(item["query"]).lower().strip(),
        product_category=str(item["product_category"]),
        attributes=tuple(known.get("attributes", ("DUMMY_ATTR",)) if isinstance(known, dict) else ()),
    )


def _prices(pricing: Any, where: str) -> tuple[float, ...]:
    """One price or two; products without a price cost 100 dollars, as in WebShop."""
    if not pricing:
        return (_NO_PRICE,)
    try:
        prices = tuple(float(_NOT_A_DIGIT.sub("", part)) for part in str(pricing).split("$")[1:])
    except ValueError:
        prices = ()
    if not prices:
        raise UserError(f"{where} has the price {pricing!r}; write it as $9.99, or leave it empty")
    return prices[:2]


def _options(listed: Any) -> dict[str, tuple[str, ...]]:
    return {
        name.lower(): tuple(value["value"].strip().replace("/", " | ").lower() for value in values)
        for name, values in (listed or {}).items()
        if values is not None
    }


def _synthetic(attributes: Mapping[str, Any], product: Product, path: Path) -> Instruction | None:
    known = attributes.get(product.asin, {})
    if not isinstance(known, dict):
        raise UserError(f"{product.asin} of {path} should be an object; is it WebShop's items_human_ins.json?")
    if known.get("instruction") is None:
        return None
    if not known.get("instruction_attributes"):
        raise UserError(
            f"{product.asin} of {path} has an instruction without instruction_attributes: the file is of another "
            "version; download items_ins_v2.json or items_ins_v2_1000.json"
        )
    return Instruction(known["instruction"], tuple(known["instruction_attributes"]))


def _human(human: Mapping[str, Any], product: Product, path: Path) -> tuple[Instruction, ...]:
    known = human.get(product.asin, ())
    try:
        instructions = [
            Instruction(w["instruction"], tuple(w["instruction_attributes"]), tuple(w["instruction_options"]))
            for w in known
        ]
    except (KeyError, TypeError) as error:
        raise UserError(f"{product.asin} of {path} is not as in WebShop's items_human_ins.json: {error}") from error
    return tuple(instruction for instruction in instructions if instruction.attributes)
