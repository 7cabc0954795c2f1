"""Task sources over question files, with the official names of files and download instructions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rollout.environment import Payload, Task
from rollout.environments.data_sets.columns import Columns
from rollout.environments.data_sets.splits import SPLITS, Split, canonical, choose, find_splits, split_in
from rollout.environments.hotpotqa.questions import LoadedQuestion, load_questions
from rollout.errors import UserError
from rollout.storage.rows import FORMATS, file_format

DataSet = Literal["hotpotqa", "2wikimultihopqa", "musique", "bamboogle", "nq", "triviaqa", "popqa"]
WITHOUT_PARAGRAPHS: tuple[DataSet, ...] = ("bamboogle", "nq", "triviaqa", "popqa")
"""Data sets whose questions are asked over a corpus."""

_FILES: Mapping[DataSet, Mapping[str, str]] = {
    "hotpotqa": {
        "train": "hotpot_train_v1.1.json",
        "dev": "hotpot_dev_distractor_v1.json",
        "dev_fullwiki": "hotpot_dev_fullwiki_v1.json",
    },
    "2wikimultihopqa": {"train": "train.json", "dev": "dev.json"},
    "musique": {"train": "musique_ans_v1.0_train.jsonl", "dev": "musique_ans_v1.0_dev.jsonl"},
    "bamboogle": {"test": "bamboogle.csv"},
    "nq": {"train": "NQ-open.train.jsonl", "dev": "NQ-open.dev.jsonl"},
    "triviaqa": {"train": "unfiltered-web-train.json", "dev": "unfiltered-web-dev.json"},
    "popqa": {"test": "popQA.tsv"},
}
_HOW_TO_GET: Mapping[DataSet, str] = {
    "hotpotqa": "it is on the data set's page, hotpotqa.github.io (CC BY-SA 4.0)",
    "2wikimultihopqa": "it is linked from the repository Alab-NII/2wikimultihop on GitHub (Apache-2.0)",
    "musique": "the script download_data.sh of the repository StonyBrookNLP/musique on GitHub gets it (CC BY 4.0)",
    "bamboogle": "the repository ofirpress/self-ask on GitHub links a sheet; save it as CSV under this name (MIT)",
    "nq": "it is in the folder nq_open of the repository google-research-datasets/natural-questions on GitHub, or the "
    "data set google-research-datasets/nq_open on the Hugging Face hub (CC BY-SA 3.0)",
    "triviaqa": "it is on the data set's page, nlp.cs.washington.edu/triviaqa, or the data set mandarjoshi/trivia_qa "
    "on the Hugging Face hub",
    "popqa": "it is in the repository AlexTMallen/adaptive-retrieval on GitHub, or the data set akariasai/PopQA on the "
    "Hugging Face hub (MIT)",
}
_ENDINGS = ("", ".gz", ".bz2")


@dataclass(frozen=True, slots=True)
class QuestionFiles:
    """A task source over the question files of a data set.

    Attributes:
        data_set: the data set that the files belong to.
        data: a folder with the official files or in a layout of `find_splits`, or a single file, which is then the only
            split.
        columns: columns of question and answer; None uses those of known data sets.
    """

    data_set: DataSet
    data: str
    columns: Columns | None = None

    def splits(self) -> Sequence[str]:
        """Splits whose files exist. Raises `UserError` if there is none."""
        path = self._path()
        if path.is_file():
            return (_split_of(path),)
        names = {split.name for split in self._found()}
        if not names:
            raise self._missing_error(next(iter(_FILES[self.data_set])))
        order = [*SPLITS, *_FILES[self.data_set]]
        return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))

    def has_split(self, split: str) -> bool:
        """Whether `tasks` finds a split by this name, which may also mean one of `splits` (``dev``, ``validation``)."""
        return self._choose(split) is not None

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """Up to ``count`` questions of ``split``, shuffled by ``seed``; fewer if the files have fewer.

        Raises:
            UserError: a file is missing or damaged, its columns are not known, or the split is unknown.
        """
        found = self._choose(split)
        if found is None:
            raise self._unknown_error(split)
        tasks, places = list[Task](), dict[str, Path]()
        for file in found.files:
            for question in self.load(file).values():
                if question.id in places:
                    raise UserError(
                        f"{file}: the id {question.id!r} is also in {places[question.id]}; give each question its own"
                    )
                places[question.id] = file
                tasks.append(self._task(found.name, file, question))
        random.Random(f"{self.data_set}/{seed}").shuffle(tasks)
        return tasks[:count]

    def find_file(self, name: str) -> Path:
        """Path of the file named in a task's payload."""
        path = self._path()
        return path if path.is_file() else path / name

    def load(self, file: Path) -> Mapping[str, LoadedQuestion]:
        """The questions of one file by id. Rows without an id are numbered within the file; `load_questions`."""
        return load_questions(file, self.columns, self.split_files(file).index(file))

    def split_files(self, file: Path) -> Sequence[Path]:
        """All files of the split that a file belongs to."""
        found = [] if self._path().is_file() else self._found()
        return next((split.files for split in found if file in split.files), (file,))

    def _task(self, split: str, file: Path, question: LoadedQuestion) -> Task:
        base = self._path()
        payload: Payload = {
            "question": question.text,
            "answers": "\n".join(answer.replace("\n", " ") for answer in question.answers),
            "file": file.name if base.is_file() else file.relative_to(base).as_posix(),
            "id": question.id,
        }
        return Task(f"hotpotqa/{self.data_set}/{split}/{question.id}", "hotpotqa", split, question.type, payload)

    def _path(self) -> Path:
        return Path(self.data).expanduser()

    def _found(self) -> list[Split]:
        """The splits of a folder: the official files, or if there is none those of `find_splits`."""
        found = {split: self._official(split) for split in _FILES[self.data_set]}
        if official := [Split(split, (file,)) for split, file in found.items() if file]:
            return official
        return [replace(split, name=canonical(split.name) or split.name) for split in find_splits(self._path())]

    def _choose(self, split: str) -> Split | None:
        path = self._path()
        if not path.is_file():
            return choose(self._found(), split, path) if self.splits() else None
        only = _split_of(path)
        return Split(only, (path,)) if split == only or canonical(split) == only else None

    def _official(self, split: str) -> Path | None:
        """The split's file under its official name or with another supported file extension."""
        official = _FILES[self.data_set][split]
        stem = official.rpartition(".")[0]
        names = [official, *(stem + other for other in FORMATS)]
        candidates = (self._path() / (name + ending) for name in names for ending in _ENDINGS)
        return next((path for path in candidates if path.is_file()), None)

    def _unknown_error(self, split: str) -> UserError:
        path, known, official = self._path(), self.splits(), _FILES[self.data_set]
        if path.is_file():
            return UserError(f"{path} is one file; its only split is {known[0]!r}, not {split!r}")
        if any(name in official for name in known):
            if split in official:
                return self._missing_error(split)
            known = list(dict.fromkeys((*official, *known)))
        return UserError(f"{self.data_set} has no split {split!r}; choose one of {', '.join(known)}")

    def _missing_error(self, split: str) -> UserError:
        expected = self._path() / _FILES[self.data_set][split]
        return UserError(
            f"the {self.data_set} questions of split {split!r} are expected at {expected} (or .gz, .parquet): "
            f"{_HOW_TO_GET[self.data_set]}; or set data to the file or folder that you have"
        )


def _split_of(path: Path) -> str:
    """Split name of a single file; ``test`` if its name has none."""
    if not file_format(path):
        raise UserError(f"{path} is no question file; use {', '.join(FORMATS)}, plain or compressed")
    return split_in(path.name) or "test"
