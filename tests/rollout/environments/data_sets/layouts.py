"""Writes rows in the file formats and folder layouts in which data sets are published."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]


def write(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows in the format that the name ends in: .parquet, .arrow, .jsonl, .json, .csv or .tsv; text also .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif name.endswith(".arrow"):
        table = pa.Table.from_pylist(list(rows))
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    else:
        data = _text(name, rows).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def save_to_disk(folder: Path, rows: Sequence[Row], split: str | None, shards: int = 1) -> Path:
    """Write the files of `datasets.Dataset.save_to_disk`."""
    names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    for i, name in enumerate(names):
        write(folder / name, rows[i::shards])
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))
    return folder


def save_dict_to_disk(folder: Path, splits: dict[str, Sequence[Row]]) -> Path:
    """Write the files of `datasets.DatasetDict.save_to_disk`."""
    for name, rows in splits.items():
        save_to_disk(folder / name, rows, name)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return folder


def _text(name: str, rows: Sequence[Row]) -> str:
    if name.endswith(".jsonl"):
        return "".join(json.dumps(row) + "\n" for row in rows)
    if name.endswith(".json"):
        return json.dumps(rows)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter="\t" if name.endswith(".tsv") else ",")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
