"""Finds the splits of a data set: files, shards, folders, and folders of `datasets.save_to_disk`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rollout.errors import UserError
from rollout.storage.rows import file_format, file_stem

SPLITS = ("train", "dev", "test")
_WORDS = {
    "train": ("train", "training", "trainset"),
    "dev": ("dev", "devset", "development", "val", "valid", "validation"),
    "test": ("test", "testing", "testset"),
}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words}
_SHARD = re.compile(r"(?:(?P<name>.+?)[-_.])?(?P<index>\d{4,5})-of-(?P<total>\d{4,5})(?:-[0-9a-f]{6,40})?")
_METADATA = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json", "id_aliases.json")
"""Files beside the data that hold no tasks."""
_TRANSPARENT = ("data",)
_MAX_DEPTH, _MAX_FILES, _MAX_METADATA_BYTES = 8, 200_000, 1 << 20


@dataclass(frozen=True, slots=True)
class Split:
    """A split of a data set.

    Attributes:
        name: name of the split, which is part of the ids of its tasks.
        files: its files in order.
        folder: the folder that holds nothing but this split; None if single files make it up.
        problem: why it cannot be read; empty if it can.
    """

    name: str
    files: tuple[Path, ...]
    folder: Path | None = None
    problem: str = ""

    @property
    def place(self) -> Path:
        """The folder or file that a message names."""
        return self.folder or self.files[0]


def canonical(name: str) -> str | None:
    """``train``, ``dev`` or ``test`` for a name that means it, such as ``validation``; None for other names."""
    return _SPLIT_OF.get(name.strip().lower())


def split_in(name: str) -> str | None:
    """The split that occurs as a word in the name of a file, such as ``dev`` in ``my_dev_50``; None if none does.

    Raises:
        UserError: two splits occur.
    """
    found = {split for word in re.split(r"[^a-z]+", name.lower()) if (split := canonical(word))}
    if len(found) > 1:
        raise UserError(f"the name {name} has two splits, {' and '.join(sorted(found))}; rename it to the one it holds")
    return next(iter(found), None)


def find_splits(base: Path) -> list[Split]:
    """The splits below a folder, or the split that a file is; empty if there is no data.

    A plain file or folder gives its name to its split. Shards (``validation-00000-of-00001.parquet``) and folders of
    `datasets.save_to_disk` give the word before the number or the saved split, as ``train``, ``dev`` or ``test``.
    Several splits may have one name; `choose` then refuses it.

    Raises:
        UserError: a folder is too deep or too large, or its metadata is damaged.
    """
    if base.is_file():
        match = _SHARD.fullmatch(file_stem(base))
        name = match["name"] or "data" if match else file_stem(base)
        return [Split(canonical(name) or name if match else name, (base,))] if name else []
    return _of_folder(base, 0) if base.is_dir() else []


def choose(splits: Sequence[Split], name: str, base: Path) -> Split | None:
    """The split called ``name``, or else the only file called so or the only split that means the same.

    A plain file or folder in ``base`` itself comes first, before shards and folders of folders.

    Raises:
        UserError: several splits match, or the split is incomplete.
    """
    meaning = canonical(name)
    candidates = (
        [split for split in splits if split.name == name and split.place.parent == base and _is_plain(split)],
        [split for split in splits if split.name == name],
        [Split(name, (f,)) for split in splits if split.folder is None for f in split.files if file_stem(f) == name],
        [split for split in splits if meaning and canonical(split.name) == meaning],
        [split for split in splits if meaning and meaning == _word(split.name)],
    )
    found = next((matching for matching in candidates if matching), [])
    if len(found) > 1:
        places = ", ".join(str(split.place.relative_to(base)) for split in found[:8])
        raise UserError(
            f"{base} has the split {name!r} in several places ({places}), which are not merged; set the path to one "
            "of these folders or files"
        )
    if found and found[0].problem:
        raise UserError(found[0].problem)
    return found[0] if found else None


def _is_plain(split: Split) -> bool:
    """Whether a split has the name of its folder or of its file."""
    return split.name == (split.folder.name if split.folder else file_stem(split.files[0]))


def _word(name: str) -> str | None:
    try:
        return split_in(name)
    except UserError:
        return None


def _of_folder(folder: Path, depth: int) -> list[Split]:
    if depth > _MAX_DEPTH:
        raise UserError(f"{folder} is more than {_MAX_DEPTH} folders deep; set the path to the folder of the data set")
    if (folder / "dataset_dict.json").is_file():
        return [_saved(folder / name, name) for name in _saved_splits(folder / "dataset_dict.json")]
    if (folder / "state.json").is_file() and any(folder.glob("*.arrow")):
        return [_saved(folder, "")]
    listed = _listed(folder)
    found = list(_of_files([path for path in listed if path.is_file()]))
    for inner in (path for path in listed if path.is_dir()):
        found += _of_subfolder(inner, depth + 1)
    return found


def _of_subfolder(folder: Path, depth: int) -> list[Split]:
    """Splits of a folder in the folder of a data set.

    The folder is a split if its name is one. It is descended into if it is called ``data``, or if splits are named
    below it. Else all its files are one split with its name.
    """
    if (folder / "state.json").is_file() and any(folder.glob("*.arrow")):
        return [_saved(folder, folder.name)]
    files = _files_below(folder, depth)
    if not files:
        return []
    inner = _of_folder(folder, depth)
    named = [split for split in inner if canonical(split.name) or _word(split.name)]
    if canonical(folder.name):
        others = sorted({split.name for split in inner if canonical(split.name) not in (None, canonical(folder.name))})
        problem = f"{folder} is named as one split, but has files of {', '.join(others)}; move them" if others else ""
        shards = [split.problem for split in inner if split.problem]
        return [Split(folder.name, files, folder, problem or next(iter(shards), ""))]
    if named or folder.name in _TRANSPARENT:
        return named or inner
    return [Split(folder.name, files, folder)]


def _of_files(files: Iterable[Path]) -> Iterator[Split]:
    """Group shards; every other file is a split."""
    shards = list[tuple[re.Match[str], Path]]()
    for path in files:
        match = _SHARD.fullmatch(file_stem(path))
        if match:
            shards.append((match, path))
        elif file_stem(path) and path.name not in _METADATA:
            yield Split(file_stem(path), (path,))
    shards.sort(key=lambda item: (*_series(item[0]), int(item[0]["index"]), item[1].name))
    for (name, total), group in groupby(shards, key=lambda item: _series(item[0])):
        numbered = list(group)
        paths = tuple(path for _, path in numbered)
        problem = _incomplete(name, total, [int(match["index"]) for match, _ in numbered])
        yield Split(canonical(name) or name, paths, problem=problem and f"{paths[0].parent}: {problem}")


def _series(match: re.Match[str]) -> tuple[str, int]:
    return match["name"] or "data", int(match["total"])


def _incomplete(name: str, total: int, indices: Sequence[int]) -> str:
    """What is wrong with the numbers of shards."""
    if missing := sorted(set(range(min(total, _MAX_FILES))) - set(indices)):
        return f"shard {missing[0]} of the {total} shards of {name} is missing; download the rest"
    if len(indices) > total:
        return f"there are {len(indices)} files for the {total} shards of {name}; keep one of each"
    return ""


def _saved_splits(file: Path) -> list[str]:
    names = _metadata(file).get("splits")
    if not isinstance(names, list) or not all(map(_is_name, names)):
        raise UserError(f"{file} lists no splits; save the data set again with `save_to_disk`")
    return names


def _saved(folder: Path, name: str) -> Split:
    """A folder of `datasets.save_to_disk`: ``state.json`` lists its files."""
    state = folder / "state.json"
    content = _metadata(state) if state.is_file() else {}
    listed = content.get("_data_files")
    names = [str(item.get("filename")) for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    written = name or (content["_split"] if isinstance(content.get("_split"), str) else "") or folder.name
    files = tuple(folder / item for item in names if _is_name(item) and (folder / item).is_file())
    problem = ""
    if not names or len(files) < len(names):
        gone = sorted(set(names) - {file.name for file in files})
        problem = f"{folder} lacks {', '.join(gone[:3]) or 'state.json'}; copy or save the data set again"
    return Split(canonical(written) or written, files, folder, problem)


def _is_name(value: object) -> bool:
    """Whether a value of a metadata file names something in the same folder."""
    return isinstance(value, str) and value != ".." and Path(value).name == value


def _metadata(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content = json.loads(opened.read(_MAX_METADATA_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({error}); save the data set again with `save_to_disk`") from error
    return content if isinstance(content, dict) else {}


def _files_below(folder: Path, depth: int) -> tuple[Path, ...]:
    """All data files below a folder, sorted by path."""
    if depth > _MAX_DEPTH:
        raise UserError(f"{folder} is more than {_MAX_DEPTH} folders deep; set the path to the folder of the data set")
    found = list[Path]()
    for path in _listed(folder):
        if path.is_dir():
            found += _files_below(path, depth + 1)
        elif file_format(path) and path.name not in _METADATA:
            found.append(path)
    if len(found) > _MAX_FILES:
        raise UserError(f"{folder} has more than {_MAX_FILES:,} files; set the path to the folder of the data set")
    return tuple(sorted(found))


def _listed(folder: Path) -> list[Path]:
    """Visible files and folders in a folder."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error}); check its permissions") from error
