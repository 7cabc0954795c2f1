"""The HotpotQA environment: generated wikis, or official questions over a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from rollout.environment import Payload, Reset, Step, Task, TaskSource, started
from rollout.environments.data_sets.columns import Columns
from rollout.environments.hotpotqa.datasets import WITHOUT_PARAGRAPHS, DataSet, QuestionFiles
from rollout.environments.hotpotqa.generator import (
    MIN_PAGES,
    HotpotQATasks,
    QuestionType,
    generated_task,
)
from rollout.environments.hotpotqa.questions import LoadedQuestion, merge_pages
from rollout.environments.hotpotqa.scores import Scores, best_scores
from rollout.environments.hotpotqa.wiki import FIRST_OBSERVATION, Wiki, page_of, sentences_of
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel, reject
from rollout.tools.retrieval.build import open_or_build
from rollout.tools.retrieval.index import RetrievalIndex

INSTRUCTION = "answer the question"
OWN, POOLED = "own", "pooled"
_MAX_CACHED_INDEXES = 2


class HotpotQAConfig(FrozenModel):
    """Selects the questions and the pages that are searched."""

    type: Literal["hotpotqa"] = "hotpotqa"
    source: Literal["generated", DataSet] = "generated"
    """Generated wikis, or the official files of a data set."""
    pages: int = Field(40, ge=MIN_PAGES, le=1_000_000)
    """Approximate number of pages of a generated wiki."""
    question_types: tuple[QuestionType, ...] = Field(("bridge", "comparison"), min_length=1)
    """Types of generated questions, used in turn."""
    hops: int = Field(2, ge=2, le=4)
    """Number of facts in the chain of a generated bridge question."""
    questions_per_world: int = Field(1, ge=1)
    """Number of consecutive generated tasks that share a wiki."""
    data: str | None = None
    """Folder with the official question files or with files as published elsewhere, or a single file."""
    columns: Columns | None = None
    """Columns of question and answer in files of another layout; None uses those of known data sets."""
    corpus: str = OWN
    """Pages to search: ``own`` (the paragraphs of the question), ``pooled`` (the paragraphs of the whole split), or the
    path of a title/text dump (.jsonl, .jsonl.gz, .parquet, or a folder of them) or of its index."""
    index_dir: str | None = None
    """Folder for the index of a dump; None selects ``$STILLHOUSE_CACHE``, or ``~/.cache/stillhouse`` if it is unset."""
    lower_first_letter: bool = False
    """Accept ``Search[...]`` as ``search[...]``, like the notebook of ReAct; its environment itself does not."""

    @model_validator(mode="after")
    def _check(self) -> HotpotQAConfig:
        reject(
            (
                self.source == "generated" and (self.data is not None or self.corpus != OWN),
                "data and corpus are for official questions; set source to their data set or leave them out",
            ),
            (
                self.source == "generated" and self.columns is not None,
                "columns is for question files; set source to their data set or leave columns out",
            ),
            (
                self.source != "generated" and self.data is None,
                f"source: {self.source} needs data: the folder or file with its questions",
            ),
            (
                self.source in WITHOUT_PARAGRAPHS and self.corpus in (OWN, POOLED),
                f"{self.source} has no paragraphs; set corpus to a title/text dump or its index",
            ),
            (
                self.index_dir is not None and self.corpus in (OWN, POOLED),
                "index_dir is for the index of a dump; set corpus to the dump or leave index_dir out",
            ),
        )
        return self

    @property
    def builds_index(self) -> bool:
        """Whether an environment builds a missing index (`cluster.run.playable`)."""
        return self.source != "generated" and self.corpus not in (OWN, POOLED)


@dataclass(slots=True)
class _Episode:
    """State of the running episode."""

    wiki: Wiki
    answers: Sequence[str]
    scores: Scores | None = None
    last_observation: str = ""


class HotpotQAEnvironment:
    """Question answering with ReAct's actions search, lookup and finish. The reward is exact match; F1 is a score.

    Raises:
        UserError: the configured corpus is missing or damaged.
    """

    action_templates = ("search[{}]", "lookup[{}]", "finish[{}]")

    def __init__(self, config: HotpotQAConfig) -> None:
        self._config = config
        self._episode: _Episode | None = None
        self._question = ""
        self._pages: RetrievalIndex | None = None
        self._corpus = _open_corpus(config.corpus, config.index_dir) if config.builds_index else None

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Raises `ValueError` if its data is missing or damaged."""
        if self._config.source == "generated":
            wiki, question = generated_task(task.payload)
            pages, text, answers = RetrievalIndex.from_documents(wiki.pages), question.text, [question.answer]
        else:
            pages, text, answers = self._official(task.payload)
        self._episode = _Episode(Wiki(pages), answers)
        self._question, self._pages = text, pages
        return Reset(observation=f"{FIRST_OBSERVATION}Question: {text}", instruction=INSTRUCTION)

    def step(self, action: str) -> Step:
        """Execute an action. ``finish[...]`` ends the episode; later actions have no effect."""
        episode = started(self._episode)
        if episode.scores is not None:
            return Step(episode.last_observation, done=True, success=episode.scores.exact_match == 1, valid=False)
        if self._config.lower_first_letter:
            action = action.strip()
            action = action[:1].lower() + action[1:]
        reply = episode.wiki.do(action)
        if reply.answer is None:
            episode.last_observation = reply.observation
            return Step(reply.observation, valid=reply.understood)
        episode.scores = best_scores(reply.answer, episode.answers)
        reward = episode.scores.exact_match
        episode.last_observation = f"Episode finished, reward = {int(reward)}\n"
        f1 = {"f1": episode.scores.f1}
        return Step(episode.last_observation, reward, True, reward == 1, scores=f1, answer=reply.answer)

    def admissible_actions(self) -> None:
        """Return None: any title may be searched for, so the actions cannot be listed."""

    def fork(self) -> HotpotQAEnvironment:
        """Copy the episode; the pages are shared."""
        episode, clone = started(self._episode), copy(self)
        clone._episode = replace(episode, wiki=episode.wiki.copy())
        return clone

    def passages(self, k: int) -> list[str]:
        """The ``k`` pages that match the question best, best first, with the text that a search would show."""
        if self._pages is None:
            return []
        (hits,) = self._pages.search([self._question], k)
        return [" ".join(sentences_of(page_of(hit.text))) for hit in hits]

    def close(self) -> None:
        self._episode = None

    def _official(self, payload: Payload) -> tuple[RetrievalIndex, str, list[str]]:
        """Pages, question and accepted answers of an official task."""
        text, answers = str(payload.get("question") or ""), str(payload.get("answers") or "").split("\n")
        if not text or not answers[0]:
            raise ValueError("the task has no question or no answer; make the tasks again from the data set")
        if self._corpus is not None:
            return self._corpus, text, answers
        config = self._config
        files = QuestionFiles(config.source, config.data or "", config.columns)  # type: ignore[arg-type]  # not generated
        path = files.find_file(str(payload.get("file") or ""))
        try:
            if config.corpus == POOLED:
                return _pooled_index(files, path), text, answers
            question = files.load(path)[str(payload.get("id"))]
        except UserError as error:
            raise ValueError(str(error)) from error
        except KeyError as error:
            raise ValueError(f"{path} has no question {error}; make the tasks again from the data set") from error
        return _index_of(question, str(path)), text, answers


def make_tasks(config: HotpotQAConfig) -> TaskSource:
    """Create the task source that ``config`` selects."""
    if config.source == "generated":
        return HotpotQATasks(config.pages, config.question_types, config.hops, config.questions_per_world)
    return QuestionFiles(config.source, config.data or "", config.columns)


_open_corpus = lru_cache(maxsize=_MAX_CACHED_INDEXES)(open_or_build)


@lru_cache(maxsize=_MAX_CACHED_INDEXES)
def _pooled_index(source: QuestionFiles, file: Path) -> RetrievalIndex:
    """Index of all paragraphs of the split that a file belongs to."""
    questions = (question for part in source.split_files(file) for question in source.load(part).values())
    pages = merge_pages((page.title, page.text) for question in questions for page in question.pages)
    if not pages:
        raise UserError(f"the questions in {file} have no paragraphs; set corpus to a title/text dump or its index")
    return RetrievalIndex.from_documents(pages)


def _index_of(question: LoadedQuestion, path: str) -> RetrievalIndex:
    if not question.pages:
        raise ValueError(
            f"question {question.id!r} in {path} has no paragraphs; set corpus to a title/text dump or its index"
        )
    return RetrievalIndex.from_documents(question.pages)
