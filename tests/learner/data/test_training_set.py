"""Selection of episodes for training, what is counted, and what is refused when it is read."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from learner.config import LearnerConfig
from learner.data.reader import StepReader
from learner.data.training_set import Data, load_data
from rollout.errors import UserError
from rollout.trajectory import Author, Kind, TopK, Trajectory
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


CE = [{"stream": "generated", "divergence": "cross_entropy"}]
KL = [{"stream": "generated", "divergence": "forward_kl"}]


def test_truncated_episodes_and_their_tokens_are_counted_and_trained_ones_separately() -> None:
    """The episodes have 50 tokens of context left; a failed episode is not kept, so it is not counted."""
    episodes = [toy_trajectory(seed, turns=turns) for seed, turns in enumerate((1, 4, 6))]
    data = load([*episodes, toy_trajectory(9, turns=9, success=False)], terms=CE, max_sequence_tokens=50)
    beyond = [episode.token_ids[50:] for episode in episodes]
    assert [len(tokens) > 0 for tokens in beyond] == [False, True, True]
    whole = load(episodes, terms=CE)
    assert data.truncated_episodes == 2
    assert data.truncated_tokens == sum(map(len, beyond))
    assert data.truncated_trained_tokens == whole.trained_tokens.sum() - data.trained_tokens.sum() > 0
    assert (whole.truncated_episodes, whole.truncated_tokens, whole.truncated_trained_tokens) == (0, 0, 0)


def test_an_episode_without_a_token_to_train_on_is_skipped_and_none_left_is_an_error() -> None:
    prompt_only = {"terms": CE, "max_sequence_tokens": 12}
    with pytest.raises(UserError, match="none of 1 trajectories has tokens to train on"):
        load([toy_trajectory(0)], **prompt_only)
    bare = toy_trajectory(0)
    masked = dataclasses.replace(bare, segments=tuple(s for s in bare.segments if s.author is not Author.MODEL))
    assert load([masked, toy_trajectory(1)], terms=CE).num_skipped == 1


@pytest.mark.parametrize("wrong", [64, 1_000_000, -1])
def test_an_id_beyond_the_vocabulary_is_refused_with_the_episode_and_the_id(wrong: int) -> None:
    episode = toy_trajectory(3)
    segments = list(episode.segments)
    segments[5] = dataclasses.replace(segments[5], token_ids=(wrong, *segments[5].token_ids[1:]))
    broken = dataclasses.replace(episode, segments=tuple(segments))
    config = LearnerConfig.model_validate({"epochs": 1, "batch_episodes": 1})
    with pytest.raises(UserError, match=f"teacher/0/task-3/0 .* has the token id {wrong}, but the student has 64 ids"):
        load_data(config, [toy_trajectory(1), broken], 512, vocabulary=64)


def scored_by(model: str, seed: int, k: int = 4) -> Trajectory:
    episode = toy_trajectory(seed, k=k)
    segments = [
        s if s.teacher is None else dataclasses.replace(s, teacher=dataclasses.replace(s.teacher, model=model))
        for s in episode.segments
    ]
    return dataclasses.replace(episode, segments=tuple(segments))


def test_scores_of_different_teachers_are_refused_unless_no_term_uses_them() -> None:
    episodes = [scored_by("large", 0), scored_by("", 1), scored_by("small", 2)]
    with pytest.raises(UserError, match=r"task-0/0 and .*task-2/0 have scores of different teachers, large and small"):
        load(episodes, terms=KL)
    assert len(load(episodes, terms=CE).sequences) == len(load(episodes[:2], terms=KL).sequences) + 1 == 3


def test_scores_with_different_numbers_of_entries_are_reported() -> None:
    assert load([toy_trajectory(0, k=4), toy_trajectory(1, k=5)], terms=KL).notes == ()
    (note,) = load([toy_trajectory(0, k=4), toy_trajectory(1, k=9)], terms=KL).notes
    assert "4 entries a token in the episode teacher/0/task-0/0 and 9 in teacher/0/task-1/0" in note


def test_the_digest_changes_with_ids_weights_and_scores_only() -> None:
    def digest(*episodes: Trajectory, **changes: Any) -> str:
        return load(list(episodes), **{"terms": KL, **changes}).digest

    one, two = toy_trajectory(0, k=4), toy_trajectory(1, k=4)
    renamed = dataclasses.replace(one, identity=dataclasses.replace(one.identity, run="other"))
    assert digest(one, two) == digest(renamed, two) == digest(one, two, batch_episodes=7)
    others = [digest(two, one), digest(one), digest(toy_trajectory(0, k=5), two)]
    reweighted = digest(one, two, terms=[{"stream": "act", "divergence": "forward_kl"}])
    assert len({digest(one, two), reweighted, *others}) == 5


def test_the_complexity_of_the_curriculum_is_computed_while_reading() -> None:
    episodes = [toy_trajectory(seed, turns=turns) for seed, turns in enumerate((5, 2))]
    data = load(episodes, order={"by": "complexity"})
    assert data.complexities.tolist() == [t.num_tokens(Kind.REASON, Kind.ACT) for t in episodes]
    with pytest.raises(UserError, match="top_logprobs"):
        load(episodes, order={"by": "complexity", "gamma": 1.0})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_100_000_episodes_are_read_planned_and_collated_in_256_mib(tmp_path: Path) -> None:
    """The growth of this process, whose libraries are loaded."""
    base = [toy_trajectory(seed) for seed in range(50)]
    process, config = psutil.Process(), LearnerConfig.model_validate({"epochs": 1, "batch_episodes": 50, "terms": CE})
    load_data(config, base, 512, 64, tmp_path)
    before = process.memory_info().rss
    data = load_data(config, itertools.islice(itertools.cycle(base), 100_000), 512, 64, tmp_path)
    reader = StepReader(config, data, rank=0, world_size=2, packed=True)
    tokens = sum(b.input_ids.size for s in itertools.islice(reader.read(reader.plan(0)), 500) for b, _ in s.batches())
    assert tokens > 500_000
    assert len(data.sequences) == 100_000
    growth = process.memory_info().rss - before
    print(f"{growth / 2**20:.0f} MiB")
    assert growth < 256 * 2**20
