"""Task sources over official question files, with their expected names and download instructions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rollout.environment import Payload, Task
from rollout.environments.hotpotqa.questions import LoadedQuestion, load_questions
from rollout.errors import UserError
from rollout.storage.rows import file_format

DataSet = Literal["hotpotqa", "2wikimultihopqa", "musique", "bamboogle"]

_FILES: Mapping[DataSet, Mapping[str, str]] = {
    "hotpotqa": {
        "train": "hotpot_train_v1.1.json",
        "dev": "hotpot_dev_distractor_v1.json",
        "dev_fullwiki": "hotpot_dev_fullwiki_v1.json",
    },
    "2wikimultihopqa": {"train": "train.json", "dev": "dev.json"},
    "musique": {"train": "musique_ans_v1.0_train.jsonl", "dev": "musique_ans_v1.0_dev.jsonl"},
    "bamboogle": {"test": "bamboogle.csv"},
}
_HOW_TO_GET: Mapping[DataSet, str] = {
    "hotpotqa": "it is on the data set's page, hotpotqa.github.io (CC BY-SA 4.0)",
    "2wikimultihopqa": "it is linked from the repository Alab-NII/2wikimultihop on GitHub (Apache-2.0)",
    "musique": "the script download_data.sh of the repository StonyBrookNLP/musique on GitHub gets it (CC BY 4.0)",
    "bamboogle": "the repository ofirpress/self-ask on GitHub links a sheet; save it as CSV under this name (MIT)",
}
_ENDINGS = ("", ".gz", ".bz2")
_OTHER_FORMATS = (".jsonl", ".json", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class QuestionFiles:
    """A task source over the question files of a data set.

    Attributes:
        data_set: the data set that the files belong to.
        data: a folder with the official files, or a single file, which is then the only split.
    """

    data_set: DataSet
    data: str

    def splits(self) -> Sequence[str]:
        """Splits whose files exist. Raises `UserError` if there is none."""
        path = self._path()
        if path.is_file():
            return (_split_of(path),)
        found = [split for split in _FILES[self.data_set] if self._find(split)]
        if not found:
            raise self._missing_error(next(iter(_FILES[self.data_set])))
        return found

    def tasks(self, split: str, count: int, seed: int = 0) -> Sequence[Task]:
        """Up to ``count`` questions of ``split``, shuffled by ``seed``; fewer if the file has fewer.

        Raises:
            UserError: the file is missing or damaged, or the split is unknown.
        """
        file = self._file(split)
        questions = list(load_questions(file).values())
        random.Random(f"{self.data_set}/{seed}").shuffle(questions)
        return [self._task(split, file.name, question) for question in questions[:count]]

    def find_file(self, name: str) -> Path:
        """Path of the file named in a task's payload."""
        path = self._path()
        return path if path.is_file() else path / name

    def _task(self, split: str, file: str, question: LoadedQuestion) -> Task:
        payload: Payload = {
            "question": question.text,
            "answers": "\n".join(answer.replace("\n", " ") for answer in question.answers),
            "file": file,
            "id": question.id,
        }
        return Task(f"hotpotqa/{self.data_set}/{split}/{question.id}", "hotpotqa", split, question.type, payload)

    def _path(self) -> Path:
        return Path(self.data).expanduser()

    def _file(self, split: str) -> Path:
        known = self.splits()
        path = self._path()
        if path.is_file():
            if split not in known:
                raise UserError(f"{path} is one file; its only split is {known[0]!r}, not {split!r}")
            return path
        if split not in _FILES[self.data_set]:
            raise UserError(f"{self.data_set} has no split {split!r}; choose one of {', '.join(_FILES[self.data_set])}")
        found = self._find(split)
        if found is None:
            raise self._missing_error(split)
        return found

    def _find(self, split: str) -> Path | None:
        """The split's file under its official name or with another supported file extension."""
        official = _FILES[self.data_set][split]
        stem = official.rpartition(".")[0]
        names = [official, *(stem + other for other in _OTHER_FORMATS)]
        candidates = (self._path() / (name + ending) for name in names for ending in _ENDINGS)
        return next((path for path in candidates if path.is_file()), None)

    def _missing_error(self, split: str) -> UserError:
        expected = self._path() / _FILES[self.data_set][split]
        return UserError(
            f"the {self.data_set} questions of split {split!r} are expected at {expected} (or .gz, .parquet): "
            f"{_HOW_TO_GET[self.data_set]}; or set data to the file or folder that you have"
        )


def _split_of(path: Path) -> str:
    """Split name of a single file."""
    if not file_format(path):
        raise UserError(f"{path} is no question file; use .json, .jsonl, .csv or .parquet, plain or compressed")
    return next((split for split in ("train", "dev", "test") if split in path.name.lower()), "test")
