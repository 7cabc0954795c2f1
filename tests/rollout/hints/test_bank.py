"""The hint bank: its files, their validation, and the merging of similar hints."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Indel

from rollout.errors import UserError
from rollout.hints.bank import VERSION_METADATA, Hint, HintBank, main, merge_hints, read_bank, write_bank

WORDS = st.lists(st.sampled_from("open the {container} before you take {object} heat it now then".split()), min_size=1)
HINTS = st.builds(
    Hint,
    category=st.sampled_from(["heat", "cool", ""]),
    text=WORDS.map(" ".join) | st.text(min_size=1).filter(lambda text: text.strip() and not set("{}") & set(text)),
    frequency=st.integers(1, 10**12),
    source=st.text(max_size=5),
    made_from=st.lists(st.text(max_size=5), max_size=3).map(tuple),
)
LINE = {"category": "heat", "text": "Open the {container} first.", "frequency": 2, "source": "household"}


@settings(max_examples=40, deadline=None)
@given(st.lists(HINTS, max_size=8).map(lambda hints: HintBank(tuple(hints))), st.sampled_from([".parquet", ".jsonl"]))
def test_a_bank_is_read_as_it_was_written(bank: HintBank, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"bank{suffix}"
        write_bank(bank, path)
        assert read_bank(path, max_characters=10**6) == bank
        assert [file.name for file in Path(folder).iterdir()] == [path.name]


@settings(max_examples=60, deadline=None)
@given(st.lists(HINTS, max_size=12), st.sampled_from([0.5, 0.85, 1.0]))
def test_merging_is_idempotent_and_leaves_no_similar_hints(hints: list[Hint], above: float) -> None:
    bank = merge_hints(hints, above)
    assert merge_hints(bank.hints, above) == bank
    for a, b in combinations(bank.hints, 2):
        if a.category == b.category:
            assert Indel.normalized_similarity(a.text.lower(), b.text.lower()) <= above
    assert sum(hint.frequency for hint in bank.hints) == sum(hint.frequency for hint in hints)


def test_similar_hints_are_merged_under_the_most_frequent_text() -> None:
    bank = merge_hints(
        [
            Hint(category="heat", text="Open the {container} before you take", frequency=2, made_from=("a",)),
            Hint(category="heat", text="open  the {container} before you take.", frequency=1, made_from=("b",)),
            Hint(category="heat", text="Open a {container} before you take it.", frequency=2, made_from=("c",)),
            Hint(category="cool", text="Open the {container} before you take.", frequency=9),
        ]
    )
    assert [(hint.category, hint.text, hint.frequency, hint.made_from) for hint in bank.hints] == [
        ("cool", "Open the {container} before you take.", 9, ()),
        ("heat", "Open the {container} before you take.", 5, ("a", "b", "c")),
    ]


def test_hints_of_a_category_are_sorted_by_frequency() -> None:
    hints = [
        Hint(category="heat", text=f"Number {word}", frequency=n) for n, word in enumerate("one two three".split(), 1)
    ]
    assert [hint.frequency for hint in HintBank(tuple(hints)).in_category("heat")] == [3, 2, 1]
    assert HintBank(tuple(hints)).in_category("cool") == ()


def lines(folder: Path, *rows: object) -> Path:
    path = folder / "bank.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_lines_written_by_hand_need_only_a_category_and_a_text(tmp_path: Path) -> None:
    bank = read_bank(lines(tmp_path, {"category": "heat", "text": "  use  the microwave"}, "", LINE))
    assert bank.hints == (Hint(category="heat", text="Use the microwave."), Hint.model_validate(LINE))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{"category": "heat", ', "line 2, is not JSON"),
        (LINE | {"text": "x" * 10_000}, "line 2: the hint has 10001 characters, at most 120 are allowed; shorten it"),
        (LINE | {"text": " "}, "line 2: text: a hint needs words; fix it there"),
        (LINE | {"text": "Use {tool} 1"}, r"line 2: text: \{tool\} is no placeholder that is known"),
        (LINE | {"text": "Use {object"}, r"line 2: text: \{ is no placeholder that is known"),
        (LINE | {"frequency": 0}, "line 2: frequency: .*greater than or equal to 1"),
        (LINE | {"weight": 1}, "line 2: weight: Extra inputs"),
        ({"text": "Look."}, "line 2: category: Field required"),
        ([], "line 2, is no JSON object"),
    ],
)
def test_an_invalid_line_is_reported_with_a_fix(tmp_path: Path, row: object, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as raised:
        read_bank(lines(tmp_path, LINE, row))
    assert "bank.jsonl" in str(raised.value)
    assert len(str(raised.value)) < 400


def test_a_bank_of_another_version_or_another_tool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has version 2, but this program reads version 1"):
        read_bank(lines(tmp_path, {"stillhouse_hint_bank": 2}, LINE))
    table = pa.Table.from_pylist([LINE])
    for metadata, complaint in [
        ({VERSION_METADATA: b"2"}, "has version 2"),
        ({}, "of another tool, not a hint bank"),
    ]:
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "bank.parquet")
        with pytest.raises(UserError, match=complaint):
            read_bank(tmp_path / "bank.parquet")


def test_a_file_that_is_not_a_bank_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bank.parquet").write_bytes(b"PAR1 and no more")
    for name, complaint in [("bank.parquet", "cut short or damaged"), ("no.jsonl", "no file"), ("b.txt", "ends in")]:
        with pytest.raises(UserError, match=complaint):
            read_bank(tmp_path / name)
    with pytest.raises(UserError, match=r"ends in \.parquet or \.jsonl"):
        write_bank(HintBank(), tmp_path / "bank.csv")


def test_a_parquet_file_with_a_damaged_byte_is_the_same_bank_or_refused(tmp_path: Path) -> None:
    path, bank = tmp_path / "bank.parquet", HintBank((Hint(category="heat", text="Use it.", made_from=("a",)),))
    write_bank(bank, path)
    content = path.read_bytes()
    for place in range(0, len(content), 11):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with suppress(UserError):
            assert read_bank(path) == bank, place


def test_a_bank_that_cannot_be_written_leaves_the_old_one_as_it_was(tmp_path: Path) -> None:
    bank = HintBank((Hint(category="heat", text="Old."),))
    write_bank(bank, tmp_path / "bank.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write_bank(HintBank(), tmp_path / "folder.jsonl")
    assert read_bank(tmp_path / "bank.jsonl") == bank
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bank.jsonl", "folder.jsonl"]


def test_the_command_converts_parquet_to_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bank = HintBank((Hint(category="heat", text="Öffne zuerst.", made_from=("a", "b")),))
    write_bank(bank, tmp_path / "a.parquet")
    assert main([str(tmp_path / "a.parquet"), str(tmp_path / "b.jsonl")]) == 0
    assert "Öffne" in (tmp_path / "b.jsonl").read_text(encoding="utf-8")
    assert main([str(tmp_path / "b.jsonl"), str(tmp_path / "c.parquet")]) == 0
    assert read_bank(tmp_path / "c.parquet") == bank
    assert main([str(tmp_path / "none.jsonl"), "x.jsonl"]) == 1
    assert "no file" in capsys.readouterr().err
