"""Selection of episodes for training, and the check that terms have the teacher scores that they need."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from learner.config import LearnerConfig
from learner.data import Data, load_data
from rollout.errors import UserError
from rollout.trajectory import Author, TopK, Trajectory
from tests.learner.toys import toy_trajectory


def episode_of(role: str, seed: int, *, success: bool, k: int = 0) -> Trajectory:
    base = toy_trajectory(seed, success=success, k=k)
    return dataclasses.replace(base, identity=dataclasses.replace(base.identity, role=role))


EPISODES = [
    episode_of(role, seed, success=success)
    for seed, (role, success) in enumerate((r, s) for r in ("teacher", "student") for s in (True, False))
]


def load(episodes: list[Trajectory], **changes: Any) -> Data:
    settings = {"epochs": 1, "batch_episodes": 1, **changes}
    return load_data(LearnerConfig.model_validate(settings), episodes, 512)


@pytest.mark.parametrize(
    ("keep", "kept"), [("success", [0, 2]), ("success_or_student", [0, 2, 3]), ("all", [0, 1, 2, 3])]
)
def test_keep_may_include_failed_episodes_of_the_student_or_of_all_roles(keep: str, kept: list[int]) -> None:
    data = load(EPISODES, keep=keep)
    assert [s.token_ids.tolist() for s in data.sequences] == [list(EPISODES[i].token_ids) for i in kept]
    assert data.num_skipped == len(EPISODES) - len(kept)


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd", "uld"])
def test_every_token_of_a_distillation_term_needs_teacher_scores(divergence: str) -> None:
    """An episode without scores and one with a single unscored token are rejected."""
    terms = [{"stream": "reason", "divergence": divergence}]
    assert load([toy_trajectory(0, k=4)], terms=terms).trained_tokens[0] > 0
    whole = toy_trajectory(0, k=4)
    segments = list(whole.segments)
    at = next(i for i, s in enumerate(segments) if s.kind == "reason")
    scores = segments[at].teacher
    assert scores is not None
    holed = TopK((*scores.token_ids[:-1], ()), (*scores.logprobs[:-1], ()), scores.tail_mass)
    segments[at] = dataclasses.replace(segments[at], teacher=holed)
    for episode in (toy_trajectory(0), dataclasses.replace(whole, segments=tuple(segments))):
        with pytest.raises(UserError, match=f"{divergence} on stream 'reason' needs teacher scores"):
            load([episode], terms=terms)


def test_term_counts_are_numbers_of_tokens_or_of_spans() -> None:
    terms = [
        {"stream": stream, "divergence": "cross_entropy", "reduction": reduction}
        for stream, reduction in (("reason", "token_mean"), ("reason", "span_mean"), ("generated", "span_mean"))
    ]
    episodes = [toy_trajectory(seed, turns=turns) for seed, turns in enumerate((2, 5))]
    data = load(episodes, terms=terms)
    written = [[s for s in episode.segments if s.author is Author.MODEL] for episode in episodes]
    reason = [sum(len(s.token_ids) for s in segments if s.kind == "reason") for segments in written]
    expected = [[reason[0], 2, 6], [reason[1], 5, 15]]
    assert np.allclose(data.term_counts, expected, atol=1e-5)


def test_the_random_stream_depends_on_the_learners_seed() -> None:
    terms = [{"stream": "random", "divergence": "cross_entropy"}]
    one, same, other = (load([toy_trajectory(0)], terms=terms, seed=seed).sequences[0] for seed in (1, 1, 2))
    assert np.array_equal(one.weights["random"], same.weights["random"])
    assert not np.array_equal(one.weights["random"], other.weights["random"])
