"""Reading ahead: all ranks together read every sequence once, and a resumed epoch gives the same rest."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.config import LearnerConfig
from learner.data.batching import Batch
from learner.data.reader import StepReader
from learner.data.streams import TrainingSequence
from learner.data.training_set import Data, load_data
from tests.learner.toys import toy_trajectory

EPISODES = [toy_trajectory(seed, turns=1 + seed % 7, k=3) for seed in range(30)]


def config(**changes: Any) -> LearnerConfig:
    base = {"epochs": 3, "batch_episodes": 4, "micro_batch_tokens": 200}
    return LearnerConfig.model_validate({**base, **changes})


DATA = load_data(config(order={"by": "complexity"}), EPISODES, 512, 64)


def tokens_of(batch: Batch) -> list[tuple[int, ...]]:
    """The sequences of a batch without padding; padding is 0, which no toy episode has."""
    rows = (
        np.split(batch.input_ids[0], np.cumsum(batch.sequence_lengths)) if batch.sequence_lengths else batch.input_ids
    )
    return [tuple(row[row > 0].tolist()) for row in rows if row.any()]


@given(
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from([{"by": "shuffled"}, {"by": "complexity", "pace_fraction": 0.0}]),
    st.integers(1, 9),
    st.integers(0, 2),
)
@settings(deadline=None, max_examples=25)
def test_all_ranks_together_read_every_sequence_once_per_epoch(
    world_size: int, packed: bool, order: dict[str, Any], batch_episodes: int, epoch: int
) -> None:
    settings = config(order=order, batch_episodes=batch_episodes)
    seen: list[tuple[int, ...]] = []
    passes = []
    for rank in range(world_size):
        reader = StepReader(settings, DATA, rank=rank, world_size=world_size, packed=packed)
        steps = list(reader.read(reader.plan(epoch)))
        passes.append([len(step.pending) for step in steps])
        seen += [tokens for step in steps for batch, counts in step.batches() if counts for tokens in tokens_of(batch)]
    assert sorted(seen) == sorted(episode.token_ids for episode in EPISODES)
    assert all(counts == passes[0] for counts in passes)


@given(st.integers(0, 7), st.integers(0, 4), st.sampled_from([{"by": "shuffled"}, {"by": "complexity"}]))
@settings(deadline=None, max_examples=15)
def test_a_resume_within_an_epoch_gives_the_same_remaining_steps(done: int, epoch: int, order: dict[str, Any]) -> None:
    def members(start: int) -> list[list[int]]:
        reader = StepReader(config(order=order), DATA, rank=0, world_size=2, packed=True)
        return [step.members for step in reader.read(reader.plan(epoch)[start:])]

    assert members(0)[done:] == members(done)


class Gated(Sequence[TrainingSequence]):
    """Sequences that record which of them were read."""

    def __init__(self, data: Data) -> None:
        self.inner, self.read, self.changed = data.sequences, set[int](), threading.Condition()

    def __len__(self) -> int:
        return len(self.inner)

    @overload
    def __getitem__(self, index: int) -> TrainingSequence: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainingSequence]: ...
    def __getitem__(self, index: int | slice) -> Any:
        assert isinstance(index, int)
        with self.changed:
            self.read.add(index)
            self.changed.notify_all()
        return self.inner[index]


def test_the_next_step_is_read_while_a_step_is_computed_but_not_the_one_after() -> None:
    sequences = Gated(DATA)
    reader = StepReader(config(), replace(DATA, sequences=sequences), rank=0, world_size=1, packed=True)
    steps = reader.plan(0)
    reading = reader.read(steps)
    next(reading)
    with sequences.changed:
        assert sequences.changed.wait_for(lambda: sequences.read >= {*steps[0], *steps[1]}, timeout=60)
    assert not sequences.read & set(steps[2])


class Broken(Gated):
    def __getitem__(self, index: Any) -> Any:
        raise OSError("the disk is gone")


def test_an_error_of_the_reading_thread_reaches_the_caller() -> None:
    reader = StepReader(config(), replace(DATA, sequences=Broken(DATA)), rank=0, world_size=1, packed=True)
    with pytest.raises(OSError, match="the disk is gone"):
        list(next(reader.read(reader.plan(0))).batches())
