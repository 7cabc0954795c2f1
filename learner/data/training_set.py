"""The training set: sequences in a temporary file, and the counts in memory from which batches are planned."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learner.config import ComplexityOrder, LearnerConfig
from learner.data.curriculum import complexity
from learner.data.sequence_file import SequenceFile
from learner.data.streams import TrainingSequence, selects, to_sequence
from rollout.errors import UserError
from rollout.trajectory import Segment, Trajectory


@dataclass(frozen=True, slots=True)
class Data:
    """The training set; the same on every rank.

    Attributes:
        sequences: sequences with at least one token to train on, read by index.
        lengths: ``[num_sequences]`` number of tokens.
        term_counts: ``[num_sequences, S]`` sum of each loss term's weights over each sequence.
        trained_tokens: ``[num_sequences]`` number of tokens that at least one term trains on.
        complexities: ``[num_sequences]`` complexity of the curriculum; 0 without one.
        num_skipped: number of episodes that ``keep`` excludes or that have no token to train on.
        truncated_episodes: number of episodes that ``keep`` includes and that were truncated.
        truncated_tokens: number of tokens that were removed from them.
        truncated_trained_tokens: number of these that would have been trained.
        episodes: `Key.session` of each sequence's episode.
        digest: SHA-256 of token ids, weights and teacher scores of all sequences.
        notes: sentences on what may be wrong with the data.
    """

    sequences: Sequence[TrainingSequence]
    lengths: NDArray[np.int64]
    term_counts: NDArray[np.float64]
    trained_tokens: NDArray[np.int64]
    complexities: NDArray[np.float64]
    num_skipped: int
    truncated_episodes: int
    truncated_tokens: int
    truncated_trained_tokens: int
    episodes: tuple[str, ...]
    digest: str
    notes: tuple[str, ...]


def load_data(
    config: LearnerConfig,
    trajectories: Iterable[Trajectory],
    max_positions: int,
    vocabulary: int | None = None,
    folder: Path | None = None,
) -> Data:
    """Convert trajectories to training data. They are read one at a time, and only counts stay in memory.

    Args:
        max_positions: the model's maximum sequence length in tokens.
        vocabulary: the model's number of token ids; None does not check them.
        folder: where a temporary file holds the sequences of a large training set.

    Raises:
        UserError: there is nothing to train on, a term needs teacher scores that a token does not have, the scores are
            of several teachers, an id is beyond the vocabulary, or the disk is full.
    """
    limit = min(config.max_sequence_tokens or max_positions, max_positions)
    weight_names = list(dict.fromkeys(term.weight_name for term in config.terms))
    sequences, counts, teachers, read = SequenceFile(weight_names, folder), _Counts(config), _Teachers(config), 0
    for trajectory in trajectories:
        read += 1
        if not config.keeps(trajectory.identity.role, trajectory.outcome.success):
            continue
        sequence = to_sequence(trajectory, weight_names, drop=config.drop, max_tokens=limit, seed=config.seed)
        counts.add_truncation(sequence)
        if sequence.trains:
            _check_ids(sequence, trajectory, vocabulary)
            _check_scored(config, sequence)
            teachers.add(sequence, trajectory)
            counts.add(sequence, trajectory.key.session)
            sequences.append(sequence)
    if not counts.lengths:
        streams = ", ".join(dict.fromkeys(term.stream for term in config.terms))
        raise UserError(
            f"none of {read} trajectories has tokens to train on with keep={config.keep} and streams {streams}; "
            "collect more, or change learner.keep or learner.terms."
        )
    sequences.finish()
    return counts.data(sequences, read, teachers.notes)


class _Counts:
    """The counts of a training set, as it is read."""

    def __init__(self, config: LearnerConfig) -> None:
        self._config = config
        self.lengths = array("q")
        self._trained_tokens = array("q")
        self._terms, self._complexities = array("d"), array("d")
        self._truncated = [0, 0, 0]
        self._episodes: list[str] = []

    def add_truncation(self, sequence: TrainingSequence) -> None:
        found = (bool(sequence.truncated_tokens), sequence.truncated_tokens, sequence.truncated_trained_tokens)
        self._truncated = [total + count for total, count in zip(self._truncated, found, strict=True)]

    def add(self, sequence: TrainingSequence, episode: str) -> None:
        self._episodes.append(episode)
        order, weights = self._config.order, sequence.weights
        self.lengths.append(len(sequence))
        self._terms.extend(float(weights[term.weight_name].sum(dtype=np.float64)) for term in self._config.terms)
        self._trained_tokens.append(int(np.any(list(weights.values()), axis=0).sum()))
        self._complexities.append(complexity(sequence, order) if isinstance(order, ComplexityOrder) else 0.0)

    def data(self, sequences: SequenceFile, read: int, notes: tuple[str, ...]) -> Data:
        episodes, tokens, trained = self._truncated
        return Data(
            sequences=sequences,
            lengths=np.array(self.lengths, np.int64),
            term_counts=np.array(self._terms).reshape(len(self.lengths), -1),
            trained_tokens=np.array(self._trained_tokens, np.int64),
            complexities=np.array(self._complexities),
            num_skipped=read - len(self.lengths),
            truncated_episodes=episodes,
            truncated_tokens=tokens,
            truncated_trained_tokens=trained,
            episodes=tuple(self._episodes),
            digest=sequences.digest,
            notes=notes,
        )


class _Teachers:
    """Checks that the scores of all episodes are of one teacher, and compares their numbers of entries."""

    def __init__(self, config: LearnerConfig) -> None:
        self._streams = {term.stream for term in config.terms if term.signal == "top_k_tail"}
        self._first: dict[str, str] = {}
        self._sizes: dict[int, str] = {}

    def add(self, sequence: TrainingSequence, trajectory: Trajectory) -> None:
        if not self._streams or sequence.teacher is None:
            return
        self._sizes.setdefault(sequence.teacher.token_ids.shape[1], trajectory.key.session)
        for segment in trajectory.segments:
            if segment.teacher is not None and segment.teacher.model and self._trains(segment):
                self._first.setdefault(segment.teacher.model, trajectory.key.session)
        if len(self._first) > 1:
            (one, at), (other, there) = self._first.items()
            raise UserError(
                f"the episodes {at} and {there} have scores of different teachers, {one} and {other}, so a term would "
                "mix two targets; score all episodes with one teacher, or leave out the stores of the other one."
            )

    def _trains(self, segment: Segment) -> bool:
        return any(selects(segment, stream) for stream in self._streams)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence if the numbers of entries differ by more than the taken token that some engines add."""
        if not self._sizes or max(self._sizes) <= min(self._sizes) + 1:
            return ()
        (few, at), (many, there) = min(self._sizes.items()), max(self._sizes.items())
        return (
            f"the teacher's scores have {few} entries a token in the episode {at} and {many} in {there}; "
            "with fewer entries a term learns less about the rest of the vocabulary",
        )


def _check_ids(sequence: TrainingSequence, trajectory: Trajectory, vocabulary: int | None) -> None:
    wrong = sequence.token_ids[(sequence.token_ids < 0) | (sequence.token_ids >= (vocabulary or np.inf))]
    if len(wrong):
        raise UserError(
            f"the episode {trajectory.key.session} of the run {trajectory.identity.run} has the token id {wrong[0]}, "
            f"but the student has {vocabulary} ids, so it was recorded with another tokenizer; train a student with "
            "that tokenizer, name it in learner.teacher_tokenizer, or collect again."
        )


def _check_scored(config: LearnerConfig, sequence: TrainingSequence) -> None:
    scored = np.zeros(len(sequence), bool)
    if sequence.teacher is not None:
        for position, size in zip(sequence.teacher.positions, sequence.teacher.sizes, strict=True):
            scored[position : position + (size if config.teacher_tokenizer else 1)] = True
    for term in config.terms:
        if term.signal == "top_k_tail" and np.any((sequence.weights[term.weight_name] > 0) & ~scored):
            raise UserError(
                f"{term.divergence} on stream {term.stream!r} needs teacher scores on each of its tokens; "
                "collect with top_logprobs above 0, or use cross_entropy there."
            )
