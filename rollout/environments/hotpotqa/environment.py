"""The encyclopaedia as an environment: generated worlds, or questions of official files over a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from pydantic import Field, model_validator

from rollout.environment import Payload, Reset, Step, Task, TaskSource
from rollout.environments.hotpotqa.datasets import DataSet, QuestionFiles
from rollout.environments.hotpotqa.generator import (
    FEWEST_PAGES,
    HotpotQATasks,
    QuestionType,
    generated_task,
)
from rollout.environments.hotpotqa.questions import LoadedQuestion, load_questions, merge_pages
from rollout.environments.hotpotqa.scores import Scores, best_scores
from rollout.environments.hotpotqa.wiki import FIRST_OBSERVATION, Wiki, page_of, sentences_of
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel
from rollout.tools.retrieval.build import open_or_build
from rollout.tools.retrieval.index import RetrievalIndex

INSTRUCTION = "answer the question"
OWN, POOLED = "own", "pooled"
_KEPT_POOLS = 2


class HotpotQAConfig(FrozenModel):
    """Which questions, and over which pages."""

    type: Literal["hotpotqa"] = "hotpotqa"
    source: Literal["generated", DataSet] = "generated"
    """Our own generated encyclopaedias, or the official files of a data set."""
    pages: int = Field(40, ge=FEWEST_PAGES, le=1_000_000)
    """About how many pages a generated encyclopaedia has."""
    question_types: tuple[QuestionType, ...] = Field(("bridge", "comparison"), min_length=1)
    """Of generated questions, in turn."""
    hops: int = Field(2, ge=2, le=4)
    """How many facts a generated bridge question goes along."""
    questions_per_world: int = Field(1, ge=1)
    """How many generated tasks in a row share an encyclopaedia."""
    data: str | None = None
    """Folder with the official question files, or one file."""
    corpus: str = OWN
    """What is searched: ``own`` (the paragraphs that come with the question), ``pooled`` (those of the whole file), or
    a title/text dump (.jsonl, .jsonl.gz, .parquet, a folder of them) or its index."""
    index_dir: str | None = None
    """Where the index of a dump is kept; None is below ``$STILLHOUSE_CACHE``, else ``~/.cache/stillhouse``."""
    lower_first_letter: bool = False
    """Read ``Search[...]`` as ``search[...]``, as ReAct's notebook does; the rules themselves do not."""

    @model_validator(mode="after")
    def _check(self) -> HotpotQAConfig:
        if self.source == "generated" and (self.data is not None or self.corpus != OWN):
            raise ValueError(
                "data and corpus are of official questions; set source to their data set or leave them out"
            )
        if self.source != "generated" and self.data is None:
            raise ValueError(f"source: {self.source} needs data: the folder or file with its questions")
        if self.source == "bamboogle" and self.corpus in (OWN, POOLED):
            raise ValueError("bamboogle comes without paragraphs; set corpus to a title/text dump or its index")
        if self.index_dir is not None and self.corpus in (OWN, POOLED):
            raise ValueError("index_dir is for the index of a dump; set corpus to the dump or leave index_dir out")
        return self

    @property
    def builds_index(self) -> bool:
        """Whether an environment builds an index where there is none (`cluster.run.playable`)."""
        return self.source != "generated" and self.corpus not in (OWN, POOLED)


@dataclass(slots=True)
class _Play:
    """An episode being played."""

    wiki: Wiki
    answers: Sequence[str]
    scores: Scores | None = None
    last_observation: str = ""


class HotpotQAEnvironment:
    """Plays ReAct's question answering: search, lookup and finish; the reward is exact match, and F1 is a score.

    Raises:
        UserError: the configured corpus is missing or damaged.
    """

    action_templates = ("search[{}]", "lookup[{}]", "finish[{}]")

    def __init__(self, config: HotpotQAConfig) -> None:
        self._config = config
        self._play: _Play | None = None
        self._question = ""
        self._pages: RetrievalIndex | None = None
        self._corpus = None
        if config.builds_index:
            self._corpus = _open_corpus(config.corpus, config.index_dir)

    def reset(self, task: Task) -> Reset:
        """Start ``task``. Raises `ValueError` if its data is missing or damaged."""
        if self._config.source == "generated":
            made, question = generated_task(task.payload)
            pages, text, answers = RetrievalIndex.from_documents(made.pages), question.text, [question.answer]
        else:
            pages, text, answers = self._official(task.payload)
        self._play = _Play(Wiki(pages), answers)
        self._question, self._pages = text, pages
        return Reset(observation=f"{FIRST_OBSERVATION}Question: {text}", instruction=INSTRUCTION)

    def step(self, action: str) -> Step:
        """Do one action; ``finish[...]`` ends the episode, and nothing changes after it."""
        play = self._playing()
        if play.scores is not None:
            return Step(play.last_observation, done=True, success=play.scores.exact_match == 1, valid=False)
        if self._config.lower_first_letter:
            action = action.strip()
            action = action[:1].lower() + action[1:]
        reply = play.wiki.do(action)
        if reply.answer is None:
            play.last_observation = reply.observation
            return Step(reply.observation, valid=reply.understood)
        play.scores = best_scores(reply.answer, play.answers)
        reward = play.scores.exact_match
        play.last_observation = f"Episode finished, reward = {int(reward)}\n"
        scores = {"f1": play.scores.f1}
        return Step(play.last_observation, reward, True, reward == 1, scores=scores, answer=reply.answer)

    def admissible_actions(self) -> None:
        """None: they cannot be listed, since any title may be searched for."""

    def fork(self) -> HotpotQAEnvironment:
        """A copy of the reader; the pages are shared."""
        play, twin = self._playing(), copy(self)
        twin._play = replace(play, wiki=play.wiki.copy())
        return twin

    def passages(self, k: int) -> list[str]:
        """The pages that share most words with the question, the best first, as they would be read."""
        if self._pages is None:
            return []
        (hits,) = self._pages.search([self._question], k)
        return [" ".join(sentences_of(page_of(hit.text))) for hit in hits]

    def close(self) -> None:
        self._play = None

    def _playing(self) -> _Play:
        if self._play is None:
            raise RuntimeError("reset must come before the first step")
        return self._play

    def _official(self, payload: Payload) -> tuple[RetrievalIndex, str, list[str]]:
        """Pages, question and accepted answers of a task."""
        text, answers = str(payload.get("question") or ""), str(payload.get("answers") or "").split("\n")
        if not text or not answers[0]:
            raise ValueError("the task has no question or no answer; make the tasks again from the data set")
        if self._corpus is not None:
            return self._corpus, text, answers
        files = QuestionFiles(self._config.source, self._config.data or "")  # type: ignore[arg-type]  # not generated
        path = files.find_file(str(payload.get("file") or ""))
        try:
            if self._config.corpus == POOLED:
                return _pool(str(path)), text, answers
            question = load_questions(path)[str(payload.get("id"))]
        except UserError as error:
            raise ValueError(str(error)) from error
        except KeyError as error:
            raise ValueError(f"{path} has no question {error}; make the tasks again from the data set") from error
        return _index_of(question, str(path)), text, answers


def question_tasks(config: HotpotQAConfig) -> TaskSource:
    """The source of tasks that ``config`` asks for."""
    if config.source == "generated":
        return HotpotQATasks(config.pages, config.question_types, config.hops, config.questions_per_world)
    return QuestionFiles(config.source, config.data or "")


@lru_cache(maxsize=_KEPT_POOLS)
def _open_corpus(corpus: str, index_dir: str | None) -> RetrievalIndex:
    return open_or_build(corpus, index_dir)


@lru_cache(maxsize=_KEPT_POOLS)
def _pool(path: str) -> RetrievalIndex:
    """All paragraphs of a file."""
    pages = merge_pages((page.title, page.text) for q in load_questions(path).values() for page in q.pages)
    if not pages:
        raise UserError(
            f"the questions in {path} come without paragraphs; set corpus to a title/text dump or its index"
        )
    return RetrievalIndex.from_documents(pages)


def _index_of(question: LoadedQuestion, path: str) -> RetrievalIndex:
    if not question.pages:
        raise ValueError(
            f"question {question.id!r} in {path} comes without paragraphs; set corpus to a title/text dump or its index"
        )
    return RetrievalIndex.from_documents(question.pages)
