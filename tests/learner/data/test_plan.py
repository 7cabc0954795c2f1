"""Plans: every sequence once per epoch, steps with equal trained tokens, and ranks with equal work."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from learner.data.batching import packed_length, padded_length
from learner.data.plan import divide, micro_batches, plan_figures, plan_steps

LENGTHS = st.lists(st.integers(1, 900), min_size=1, max_size=60)


def episodes(count: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths and trained tokens like those of household episodes: 60 to 2000 tokens, a quarter of them trained."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.normal(np.log(430), 0.6, count)).clip(60, 2000).astype(np.int64)
    return lengths, (lengths * rng.uniform(0.2, 0.32, count)).astype(np.int64)


def steps_of(
    lengths: NDArray[np.int64],
    trained: NDArray[np.int64],
    *,
    seed: int = 0,
    keep_order: bool = False,
    **size: int | None,
) -> list[list[int]]:
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(lengths))]
    sizes: dict[str, int | None] = {"batch_episodes": None, "batch_tokens": None, **size}
    return plan_steps(order, trained, lengths, keep_order=keep_order, seed=(seed, 0), **sizes)


@given(LENGTHS, st.integers(0, 9), st.booleans(), st.integers(1, 7), st.booleans())
@settings(deadline=None)
def test_an_epoch_contains_every_episode_once_in_as_many_steps_as_the_mean_size_gives(
    numbers: list[int], seed: int, by_tokens: bool, size: int, keep_order: bool
) -> None:
    lengths = np.array(numbers, np.int64)
    trained = np.maximum(1, lengths // 4)
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(lengths))]
    steps = plan_steps(
        order,
        trained,
        lengths,
        batch_episodes=None if by_tokens else size,
        batch_tokens=size * 300 if by_tokens else None,
        keep_order=keep_order,
        seed=(seed, 0),
    )
    flat = [index for step in steps for index in step]
    assert sorted(flat) == list(range(len(lengths)))
    assert not keep_order or flat == order
    assert all(steps)
    wanted = lengths.sum() / (size * 300) if by_tokens else len(lengths) / size
    assert len(steps) == min(len(lengths), max(1, round(wanted)))


@given(st.lists(st.integers(1, 900), min_size=30, max_size=200), st.integers(1, 6), st.booleans())
@settings(deadline=None)
def test_steps_differ_by_at_most_twice_the_trained_tokens_of_the_longest_episode(
    numbers: list[int], size: int, keep_order: bool
) -> None:
    trained = np.array(numbers, np.int64)
    totals = [
        trained[step].sum() for step in steps_of(trained, trained, keep_order=keep_order, batch_episodes=5 * size)
    ]
    assert max(totals) - min(totals) <= 2 * trained.max()


@pytest.mark.parametrize("size", [{"batch_episodes": 4}, {"batch_episodes": 16}, {"batch_tokens": 2500}])
def test_a_token_of_a_short_episode_weighs_as_much_as_one_of_a_long_episode(size: dict[str, int]) -> None:
    """With token_mean, a token weighs 1 / (trained tokens of its step). The ratio was 3.2 with length-sorted steps."""
    lengths, trained = episodes(600)
    weight = np.zeros(600)
    for step in steps_of(lengths, trained, **size):
        weight[step] = 1 / trained[step].sum()
    by_length = np.array_split(np.argsort(lengths), 4)
    short, long = (np.average(weight[part], weights=trained[part]) for part in (by_length[0], by_length[-1]))
    assert short / long == pytest.approx(1.0, abs=0.03)
    assert weight.max() / weight.min() < 1.25


def test_steps_depend_on_the_seed_only() -> None:
    lengths, trained = episodes(200)
    assert steps_of(lengths, trained, batch_episodes=4) == steps_of(lengths, trained, batch_episodes=4)
    assert steps_of(lengths, trained, batch_episodes=4) != steps_of(lengths, trained, batch_episodes=4, seed=1)


@given(LENGTHS, st.integers(1, 70))
@settings(deadline=None)
def test_groups_differ_by_at_most_their_largest_item(numbers: list[int], count: int) -> None:
    sizes = np.array(numbers, np.int64)
    totals = [int(sizes[group].sum()) for group in divide(range(len(sizes)), sizes, count)]
    assert max(totals) - min(totals) <= sizes.max()
    assert sum(totals) == sizes.sum()


@given(LENGTHS, st.integers(1, 9), st.integers(64, 3000), st.booleans())
@settings(deadline=None)
def test_ranks_share_a_step_without_overlap_and_get_equally_many_micro_batches_within_the_limit(
    numbers: list[int], world_size: int, limit: int, packed: bool
) -> None:
    lengths = np.array(numbers, np.int64)
    step = list(range(len(lengths)))
    ranks = micro_batches(step, lengths, world_size, limit, packed=packed)
    assert sorted(i for groups in ranks for group in groups for i in group) == step
    assert len(ranks) == world_size
    assert len({len(groups) for groups in ranks}) == 1
    for group in (group for groups in ranks for group in groups if len(group) > 1):
        longest = max(padded_length(int(lengths[i])) for i in group)
        assert (packed_length(int(lengths[group].sum())) if packed else longest * len(group)) <= limit


@given(LENGTHS, st.integers(1, 9), st.booleans())
@settings(deadline=None)
def test_no_pass_is_empty_if_a_step_has_enough_sequences_for_the_limit(
    numbers: list[int], world_size: int, packed: bool
) -> None:
    """With a limit that fits two of the longest, n sequences fit n // world_size passes per rank, or one."""
    lengths = np.array(numbers, np.int64)
    limit = 2 * padded_length(int(lengths.max()))
    ranks = micro_batches(range(len(lengths)), lengths, world_size, limit, packed=packed)
    passes = world_size * len(ranks[0])
    assert passes <= len(lengths) + world_size
    if passes <= len(lengths):
        assert all(group for groups in ranks for group in groups)


@pytest.mark.parametrize("limit", [2048, 4096])
def test_packs_use_97_percent_of_their_slots_and_give_8_ranks_equal_work_without_dummy_passes(limit: int) -> None:
    lengths, trained = episodes(2000)
    steps = steps_of(lengths, trained, batch_tokens=20_000)
    figures = plan_figures(steps, lengths, 8, limit, packed=True)
    assert figures.used_share >= 0.99
    assert figures.balance >= 0.95
    assert figures.dummy_passes == 0


@pytest.mark.parametrize("size", [{"batch_episodes": 16}, {"batch_episodes": 64}, {"batch_tokens": 10_000}])
@pytest.mark.parametrize("world_size", [1, 2, 8])
def test_steps_of_usual_sizes_need_no_dummy_passes(size: dict[str, int], world_size: int) -> None:
    lengths, trained = episodes(600)
    for packed in (False, True):
        figures = plan_figures(steps_of(lengths, trained, **size), lengths, world_size, 2048, packed=packed)
        assert figures.dummy_passes == 0
        assert figures.used_share >= (0.97 if packed else 0.85)


def test_the_figures_of_a_plan_count_padding_and_passes() -> None:
    """Two ranks with sequences of 100, 90 and 20 tokens: 2 x 128 and 64 positions padded, 104 and 112 packed."""
    lengths = np.array([100, 90, 20])
    padded, packed = (plan_figures([[0, 1, 2]], lengths, 2, 300, packed=packed) for packed in (False, True))
    assert packed.used_share == pytest.approx(210 / (104 + 112))
    assert packed.balance == pytest.approx(108 / 112)
    assert (packed.passes, packed.dummy_passes) == (2, 0)
    assert padded.used_share == pytest.approx(210 / (256 + 64))
    assert (padded.passes, padded.dummy_passes) == (2, 0)


def test_a_step_with_fewer_sequences_than_ranks_has_dummy_passes() -> None:
    lengths = np.array([100, 200, 300])
    for packed in (False, True):
        ranks = micro_batches([0, 1, 2], lengths, 4, 2048, packed=packed)
        assert sorted(len(group) for groups in ranks for group in groups) == [0, 1, 1, 1]
