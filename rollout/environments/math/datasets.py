"""Task sources over data sets of math problems: GSM8K, MATH, AIME, SVAMP, OlympiadBench and files in their formats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rollout.environment import Task
from rollout.environments.data_sets.columns import Columns, check_total, field_of, rows_of
from rollout.environments.data_sets.splits import Split, choose, find_splits
from rollout.environments.math.formats import FORMATS, SUBJECTS, family_of, read_problem
from rollout.errors import UserError
from rollout.storage.rows import Row, file_format

_IDS = ("id", "unique_id", "_id", "test_index")


@dataclass(frozen=True, slots=True)
class DataSet:
    """A task source over the files of a data set; payloads contain problem and answer.

    Attributes:
        source: name of the data set in `FORMATS`.
        data_dir: folder of the data set, or one of its files, in a layout of `find_splits`.
        columns: columns of problem and answer; None uses those of the format.
    """

    source: str
    data_dir: str
    columns: Columns | None = None

    def splits(self) -> Sequence[str]:
        """Names of the splits. Raises `UserError` if the data is missing."""
        return sorted({split.name for split in self._splits()})

    def has_split(self, split: str) -> bool:
        """Whether `tasks` finds a split by this name, which may also mean one of `splits` (``dev``, ``validation``)."""
        return choose(self._splits(), split, self._base) is not None

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """Up to ``count`` problems of ``split``, shuffled by ``seed``; fewer if the split has fewer.

        Raises:
            UserError: the data or the split is missing, a row is damaged, or its columns are not known.
        """
        found = choose(self._splits(), split, self._base)
        if found is None:
            raise UserError(f"there is no split {split!r} in {self.data_dir}; choose one of {', '.join(self.splits())}")
        tasks, places, total = list[Task](), dict[str, str](), 0
        for number, (place, row) in enumerate(_named_rows(found)):
            task = self._task(found.name, number, place, row)
            if task.id in places:
                raise UserError(f"{place} has the same id as {places[task.id]} ({task.id}); remove one of them")
            total += len(str(task.payload["problem"]))
            check_total(total, place)
            places[task.id] = place
            tasks.append(task)
        if not tasks:
            raise UserError(f"{found.place} has no problems; expected {FORMATS[self.source].wanted}")
        Random(seed).shuffle(tasks)
        return tasks[:count]

    @property
    def _base(self) -> Path:
        return Path(self.data_dir).expanduser()

    def _splits(self) -> list[Split]:
        base, form = self._base, FORMATS[self.source]
        found = _merge_subjects(find_splits(base)) if self.source == "math" else find_splits(base)
        if not found:
            what = "does not exist" if not base.exists() else "has no data file"
            raise UserError(f"{base} {what}; {form.title} is expected there: {form.wanted}")
        return found

    def _task(self, split: str, number: int, place: str, row: Row) -> Task:
        form = FORMATS[self.source]
        if self.columns is not None and self.columns.id is not None:
            name = str(field_of(row, self.columns.id, place))
        else:
            name = next((str(row[key]) for key in _IDS if row.get(key) is not None), str(number))
        problem, answer = read_problem(form, row, place, self.columns)
        payload = {"problem": problem, "answer": answer}
        if "level" in row:
            payload["level"] = str(row["level"])
        return Task(f"math/{self.source}/{split}/{name}", "math", split, family_of(form, row, self.source), payload)


def _named_rows(split: Split) -> Iterator[tuple[str, Row]]:
    """Yield each row with its location in words. A problem in a .json file of its own is named by the file's path."""
    before: Path | None = None
    for file, place, row in rows_of(split.files):
        if split.folder is not None and file_format(file) == ".json" and file != before:
            row = {"id": file.relative_to(split.folder).with_suffix("").as_posix(), **row}
        before = file
        yield place, row


def _merge_subjects(splits: Sequence[Split]) -> list[Split]:
    """Join the splits of one name that lie in the folders of MATH's subjects, as mirrors of it have them."""
    named = defaultdict[str, list[Split]](list)
    for split in splits:
        named[split.name].append(split)
    return [joined for group in named.values() for joined in _joined(group)]


def _joined(group: list[Split]) -> list[Split]:
    folders = {split.place.parent for split in group}
    are_subjects = SUBJECTS.issuperset(folder.name for folder in folders)
    if len(folders) < max(2, len(group)) or not are_subjects or len({folder.parent for folder in folders}) > 1:
        return group
    problem = next((split.problem for split in group if split.problem), "")
    return [Split(group[0].name, tuple(file for split in group for file in split.files), None, problem)]
