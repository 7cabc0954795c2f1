"""A bank of hints, stored as a Parquet file or as JSON lines that can be edited by hand.

    python -m rollout.hints.bank BANK OUT        converts one into the other, according to the file extensions

Writes are atomic.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError, field_validator
from rapidfuzz import process
from rapidfuzz.distance import Indel

from rollout.errors import UserError
from rollout.frozen_model import FrozenModel
from rollout.hints.wording import normalize, unknown_placeholders
from rollout.storage.atomic import atomic_write_bytes
from rollout.storage.rows import Row, read_rows
from rollout.trajectory.store import UNREADABLE

BANK_VERSION = 1
VERSION_METADATA = b"stillhouse.hint_bank"
"""Parquet metadata key of the format version, a decimal number."""
HEADER = "stillhouse_hint_bank"
"""Key of the format version in the first line of a JSON lines file; a file without it has the current version."""
_MAX_MADE_FROM = 8
_SCHEMA = pa.schema(
    [
        pa.field("category", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("frequency", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("made_from", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
    ],
    metadata={VERSION_METADATA: str(BANK_VERSION).encode()},
)


class Hint(FrozenModel):
    """One hint, a single sentence."""

    category: str
    """Task type that the hint applies to."""
    text: str
    """The sentence, normalized (`rollout.hints.wording.normalize`), with known placeholders only."""
    frequency: int = Field(1, ge=1, le=10**15)
    """Number of episodes that produced it."""
    source: str = ""
    """Environment of these episodes."""
    made_from: tuple[str, ...] = ()
    """Ids of some of the tasks whose episodes produced it."""

    @field_validator("text", mode="before")
    @classmethod
    def _normalize(cls, text: object) -> object:
        return normalize(text) if isinstance(text, str) else text

    @field_validator("text")
    @classmethod
    def _check_placeholders(cls, text: str) -> str:
        if not text:
            raise ValueError("a hint needs words")
        if unknown := unknown_placeholders(text):
            raise ValueError(f"{unknown[0]} is no placeholder that is known")
        return text


@dataclass(frozen=True)
class HintBank:
    """Hints of all task types. Within a type, the most frequent come first."""

    hints: tuple[Hint, ...] = ()

    def __len__(self) -> int:
        return len(self.hints)

    def in_category(self, category: str) -> tuple[Hint, ...]:
        """The hints of one task type, the most frequent first."""
        return self.by_category.get(category, ())

    @cached_property
    def by_category(self) -> dict[str, tuple[Hint, ...]]:
        """The hints by task type."""
        found: dict[str, list[Hint]] = {}
        for hint in sorted(self.hints, key=_order):
            found.setdefault(hint.category, []).append(hint)
        return {category: tuple(hints) for category, hints in found.items()}


def merge_hints(hints: Iterable[Hint], dedupe_above: float = 0.85) -> HintBank:
    """Build a bank in which hints of one category with a similarity above ``dedupe_above`` are merged.

    A merged hint has the most frequent text and the sum of the frequencies. The similarity of two lower-cased texts is
    twice the length of their longest common subsequence, divided by the sum of their lengths. The function is
    idempotent.
    """
    kept: list[Hint] = []
    for category_hints in HintBank(tuple(_merge_equal(hints))).by_category.values():
        kept += _merge_similar(category_hints, dedupe_above)
    return HintBank(tuple(sorted(kept, key=_order)))


def read_bank(path: str | Path, max_characters: int = 120) -> HintBank:
    """Read a bank from a ``.parquet`` or ``.jsonl`` file, without merging hints.

    Raises:
        UserError: the file is missing, damaged or of another version, or a row is not a valid hint or too long.
    """
    place = Path(path).expanduser()
    if place.suffix == ".parquet":
        rows = _parquet_rows(place)
    elif place.suffix == ".jsonl":
        rows = _jsonl_rows(place)
    else:
        raise UserError(f"{place} is not a hint bank: name a file that ends in .parquet or .jsonl")
    return HintBank(tuple(_hint(row, place, where, max_characters) for where, row in rows))


def write_bank(bank: HintBank, path: str | Path) -> None:
    """Write a ``.parquet`` or ``.jsonl`` file, atomically replacing an existing one.

    Raises:
        UserError: the file has another extension, or cannot be written.
    """
    place = Path(path).expanduser()
    if place.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"a hint bank cannot be written to {place}: name a file that ends in .parquet or .jsonl")
    rows = [hint.model_dump(mode="json") for hint in bank.hints]
    content = _parquet(rows) if place.suffix == ".parquet" else _json_lines(rows)
    try:
        atomic_write_bytes(place, content)
    except OSError as error:
        raise UserError(f"the hint bank {place} cannot be written ({error}); choose another path") from error


def _parquet(rows: list[Row]) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), stream, write_page_checksum=True)
    return bytes(stream.getvalue())


def _json_lines(rows: list[Row]) -> bytes:
    lines = [json.dumps(row, ensure_ascii=False) for row in ({HEADER: BANK_VERSION}, *rows)]
    return "".join(f"{line}\n" for line in lines).encode()


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        with path.open("rb") as file:
            table = pq.read_table(file, page_checksum_verification=True)
            rows = table.to_pylist()
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; check the path") from error
    except UNREADABLE as error:
        raise UserError(
            f"the hint bank {path} is cut short or damaged ({error}); copy it or create it again"
        ) from error
    version = (table.schema.metadata or {}).get(VERSION_METADATA, b"")
    if not version.isdigit():
        raise UserError(
            f"{path} is a Parquet file of another tool, not a hint bank; convert its rows to a .jsonl file with the "
            f"fields {', '.join(_SCHEMA.names)}"
        )
    _check_version(int(version), path)
    return ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _jsonl_rows(path: Path) -> Iterator[tuple[str, Row]]:
    for place, row in read_rows(path):
        if HEADER in row:
            _check_version(row[HEADER], path)
        else:
            yield place, row


def _check_version(version: object, path: Path) -> None:
    if version != BANK_VERSION:
        raise UserError(
            f"the hint bank {path} has version {version}, but this program reads version {BANK_VERSION}; "
            "use the Stillhouse version that wrote it, or let a run build a new bank"
        )


def _hint(row: Row, path: Path, place: str, max_characters: int) -> Hint:
    try:
        hint = Hint.model_validate(row)
    except ValidationError as error:
        raise UserError(f"{path}, {place}: {first_error(error)}; fix it there, or remove the row") from error
    if len(hint.text) > max_characters:
        raise UserError(
            f"{path}, {place}: the hint has {len(hint.text)} characters, at most {max_characters} are allowed; "
            "shorten it, or set hints.max_hint_characters higher"
        )
    return hint


def first_error(error: ValidationError) -> str:
    """The first error of a validation in words."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, "))))


def _order(hint: Hint) -> tuple[str, int, str]:
    return hint.category, -hint.frequency, hint.text


def _merge(first: Hint, other: Hint) -> Hint:
    tasks = sorted({*first.made_from, *other.made_from})[:_MAX_MADE_FROM]
    return first.model_copy(update={"frequency": first.frequency + other.frequency, "made_from": tuple(tasks)})


def _merge_equal(hints: Iterable[Hint]) -> Iterable[Hint]:
    """Merge hints of one category whose texts are equal up to case."""
    found: dict[tuple[str, str], Hint] = {}
    for hint in sorted(hints, key=_order):
        key = hint.category, hint.text.lower()
        found[key] = _merge(found[key], hint) if key in found else hint
    return found.values()


def _merge_similar(hints: Iterable[Hint], above: float) -> Iterable[Hint]:
    """Merge hints of one category whose similarity exceeds ``above``."""
    kept: dict[str, Hint] = {}
    for hint in hints:
        text = hint.text.lower()
        best = process.extractOne(text, list(kept), scorer=Indel.normalized_similarity, score_cutoff=above)
        if best is not None and best[1] > above:
            kept[best[0]] = _merge(kept[best[0]], hint)
        else:
            kept[text] = hint
    return kept.values()


def main(arguments: list[str]) -> int:
    """Convert a bank to the other file format."""
    if len(arguments) != 2:
        print("usage: python -m rollout.hints.bank BANK OUT (.parquet or .jsonl each)", file=sys.stderr)
        return 2
    try:
        bank = read_bank(arguments[0], max_characters=sys.maxsize)
        write_bank(bank, arguments[1])
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(bank)} hints in {arguments[1]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
