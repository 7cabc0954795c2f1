"""Shards are plain Parquet files: other tools open them, and what they write can be read again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rollout.trajectory import Cause, Failure, Outcome, StopReason, Trajectory
from rollout.trajectory.arrow import to_table, trajectory_schema
from rollout.trajectory.store import TrajectoryStore
from tests.rollout.trajectory.stores import episode, shards

FAILURE = Failure("environment", "ValueError", "no such door", Cause.AGENT)
WRITTEN = [
    episode("a"),
    replace(episode("b"), outcome=Outcome(0.0, False, StopReason.ERROR, FAILURE, {"f1": 0.5})),
    replace(episode("c"), segments=()),
]


@pytest.fixture
def store(tmp_path: Path) -> TrajectoryStore:
    written = TrajectoryStore(tmp_path / "store")
    written.write(WRITTEN[:2])
    written.write(WRITTEN[2:])
    return written


def types_in(type_: pa.DataType) -> Iterator[pa.DataType]:
    yield type_
    for number in range(type_.num_fields):
        yield from types_in(type_.field(number).type)


def test_the_columns_are_flat_and_have_no_maps() -> None:
    types = [inner for field in trajectory_schema() for inner in types_in(field.type)]
    assert not any(map(pa.types.is_map, types))
    nested = [field.name for field in trajectory_schema() if pa.types.is_nested(field.type)]
    assert nested == ["scores", "segments"]
    assert not any(pa.types.is_struct(field.type) for field in trajectory_schema().field("segments").type.value_type)


def test_pyarrow_reads_a_store_as_one_table(tmp_path: Path, store: TrajectoryStore) -> None:
    table = pq.read_table(tmp_path / "store")
    assert table["task"].to_pylist() == ["a", "b", "c"]
    assert table["failure_cause"].to_pylist() == [None, "agent", None]
    assert table["scores"].to_pylist() == [[], [{"name": "f1", "value": 0.5}], []]
    assert [len(segments) for segments in table["segments"].to_pylist()] == [2, 2, 0]


def test_datasets_loads_a_store(tmp_path: Path, store: TrajectoryStore) -> None:
    loaded = load(tmp_path)
    assert [row["task"] for row in loaded] == ["a", "b", "c"]
    assert loaded[1]["failure_message"] == "no such door"
    assert loaded[0]["segments"][1]["teacher_token_ids"] == [[3, 4], [5]]
    assert loaded[0]["segments"][0]["teacher_token_ids"] is None


def test_a_dataset_that_was_filtered_and_saved_is_a_store_again(tmp_path: Path, store: TrajectoryStore) -> None:
    (tmp_path / "solved").mkdir()
    load(tmp_path).filter(lambda row: row["success"]).to_parquet(tmp_path / "solved" / "x.parquet")
    assert list(TrajectoryStore(tmp_path / "solved", read_only=True).read()) == [WRITTEN[0], WRITTEN[2]]


def load(folder: Path) -> Any:
    """The shards of ``store`` as a data set of Hugging Face."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    files = str(folder / "store" / "*.parquet")
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "cache"))


def change_segments(table: pa.Table, change: Any) -> pa.Table:
    """Replace the fields of all segments; ``change`` gets and returns a dict of arrays."""
    [column] = table["segments"].chunks
    fields = {field.name: column.values.field(field.name) for field in column.values.type}
    changed = change(fields)
    struct = pa.StructArray.from_arrays(list(changed.values()), list(changed))
    position = table.schema.names.index("segments")
    return table.set_column(position, "segments", pa.ListArray.from_arrays(column.offsets, struct))


def add_column(table: pa.Table) -> pa.Table:
    return table.append_column("note", pa.array(["x"] * len(table)))


def reorder(table: pa.Table) -> pa.Table:
    return table.select(table.schema.names[::-1])


def add_field(table: pa.Table) -> pa.Table:
    return change_segments(table, lambda fields: {"note": pa.array(["x"] * len(fields["kind"])), **fields})


def reorder_fields(table: pa.Table) -> pa.Table:
    return change_segments(table, lambda fields: dict(reversed(fields.items())))


def widen(table: pa.Table) -> pa.Table:
    """Large strings and lists with 64 bits, as polars writes them."""
    wide = {"text": pa.large_string(), "token_ids": pa.large_list(pa.int64())}
    table = change_segments(table, lambda f: {name: f[name].cast(wide.get(name, f[name].type)) for name in f})
    return table.set_column(0, "run", table["run"].cast(pa.large_string()))


@pytest.mark.parametrize("change", [add_column, reorder, add_field, reorder_fields, widen])
@pytest.mark.parametrize("metadata", [True, False])
def test_added_reordered_and_wider_columns_are_not_damage(tmp_path: Path, change: Any, metadata: bool) -> None:
    table = change(to_table(WRITTEN))
    pq.write_table(table if metadata else table.replace_schema_metadata(None), tmp_path / "0-x.parquet")
    store = TrajectoryStore(tmp_path)
    assert list(store.read()) == WRITTEN
    assert list(store.summaries()) == [replace(one, segments=()) for one in WRITTEN]
    assert store.keys() == {one.key for one in WRITTEN}
    store.write([episode("d")])
    store.compact()
    assert list(store.read()) == [*WRITTEN, episode("d")]
    assert pq.read_schema(shards(tmp_path)[0]).equals(trajectory_schema())


@pytest.mark.parametrize("name", trajectory_schema().names)
def test_a_missing_column_is_damage(tmp_path: Path, name: str) -> None:
    assert_damaged(tmp_path, to_table(WRITTEN).drop_columns(name))


@pytest.mark.parametrize("name", [field.name for field in trajectory_schema().field("segments").type.value_type])
def test_a_missing_field_of_segments_is_damage(tmp_path: Path, name: str) -> None:
    def drop(fields: dict[str, pa.Array]) -> dict[str, pa.Array]:
        return {other: values for other, values in fields.items() if other != name}

    assert_damaged(tmp_path, change_segments(to_table(WRITTEN), drop))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("segments", pa.array(["x"] * 3)),
        ("segments", pa.array([[]] * 3)),
        ("reward", pa.array(["high"] * 3)),
        ("reward", pa.array([1.0, None, 1.0])),
        ("scores", pa.array([None] * 3)),
        ("round", pa.array([0.5] * 3)),
    ],
)
def test_a_column_of_another_type_is_damage(tmp_path: Path, name: str, values: pa.Array) -> None:
    table = to_table(WRITTEN)
    assert_damaged(tmp_path, table.set_column(table.schema.names.index(name), name, values))


def assert_damaged(folder: Path, table: pa.Table) -> None:
    pq.write_table(table, folder / "0-x.parquet")
    store = TrajectoryStore(folder, read_only=True)
    for read in (store.read, store.summaries, store.keys):
        found: list[Trajectory | object] = list(read())
        assert found == []
    [shard] = store.unreadable_shards()
    assert "its columns are not those of trajectory schema 3" in shard.reason or "damaged" in shard.reason
