"""Plans: which sequences form an optimizer step, and which of them each rank computes in each forward pass.

Steps do not depend on the number of ranks. Every rank computes the whole plan, so no messages are needed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.data.batching import packed_length, padded_length

_WINDOW_STEPS = 16
"""Number of steps that are balanced against each other. More would be more even, but less random."""
_FILLED_SHARE = 0.75
"""Least share of its row that a sequence fills in a padded micro-batch of several rows."""


def plan_steps(
    order: Sequence[int],
    trained_tokens: NDArray[np.int64],
    lengths: NDArray[np.int64],
    *,
    batch_episodes: int | None,
    batch_tokens: int | None,
    keep_order: bool,
    seed: tuple[int, ...],
) -> list[list[int]]:
    """Divide an epoch into optimizer steps with about equally many trained tokens.

    A mean over the tokens of a step gives a token the weight 1 / (trained tokens of its step). With equal steps, tokens
    of short and of long episodes have equal weight. Steps of an epoch differ by at most two times the trained tokens of
    its longest episode, usually by much less. No step is empty.

    Args:
        order: sequence indices of the epoch; an index may occur more than once.
        trained_tokens: number of trained tokens of each sequence of the training set, at least 1.
        lengths: number of tokens of each sequence of the training set.
        batch_episodes: mean number of episodes per step; None if ``batch_tokens`` is given.
        batch_tokens: mean number of tokens per step.
        keep_order: steps follow ``order``. Otherwise windows of 16 steps do, and steps within a window are as equal as
            possible.
        seed: seed of the shuffle of the steps within a window.

    Returns:
        The sequence indices of each step.
    """
    size = len(order) / batch_episodes if batch_episodes else lengths[order].sum() / (batch_tokens or 1)
    num_steps = min(len(order), max(1, round(float(size))))
    if keep_order:
        return _cut(order, trained_tokens, [1] * num_steps)
    windows = np.array_split(np.arange(num_steps), -(-num_steps // _WINDOW_STEPS))
    steps: list[list[int]] = []
    random = np.random.default_rng(seed)
    for window, count in zip(
        _cut(order, trained_tokens, [len(part) for part in windows]), map(len, windows), strict=True
    ):
        balanced = divide(window, trained_tokens, count)
        steps += [balanced[i] for i in random.permutation(count)]
    return steps


def _cut(order: Sequence[int], sizes: NDArray[np.int64], shares: Sequence[int]) -> list[list[int]]:
    """Cut ``order`` into runs whose sizes are proportional to ``shares``; a run has at least its share of items."""
    ends = np.cumsum(sizes[order])
    middles = ends - sizes[order] / 2
    wanted = np.searchsorted(middles, ends[-1] * np.cumsum(shares) / sum(shares))
    parts, start, left = [], 0, sum(shares)
    for share, end in zip(shares, wanted, strict=True):
        left -= share
        stop = min(max(int(end), start + share), len(order) - left)
        parts.append([int(i) for i in order[start:stop]])
        start = stop
    return parts


def divide(items: Iterable[int], sizes: NDArray[np.int64], count: int) -> list[list[int]]:
    """Divide items into ``count`` groups of about equal size, by putting the largest first into the smallest group.

    Groups differ by at most the largest item. With at least ``count`` items, none is empty.
    """
    groups: list[list[int]] = [[] for _ in range(count)]
    heap = [(0, number) for number in range(count)]
    for item in sorted(items, key=lambda index: -int(sizes[index])):
        total, number = heap[0]
        groups[number].append(item)
        heapq.heapreplace(heap, (total + int(sizes[item]), number))
    return groups


def micro_batches(
    step: Sequence[int], lengths: NDArray[np.int64], world_size: int, micro_batch_tokens: int, *, packed: bool
) -> list[list[list[int]]]:
    """Divide a step into the micro-batches of each rank.

    A micro-batch has at most ``micro_batch_tokens`` tokens, padding included; a longer sequence is one by itself. Every
    rank gets the same number, because FSDP2 and ZeRO-3 gather weights in every pass, and about the same number of
    tokens. A micro-batch is empty only if the step has too few sequences: fewer than ranks, or so long ones that the
    limit leaves no other choice.

    Returns:
        For each rank, the sequence indices of its micro-batches, largest first.
    """
    if not packed:
        return _deal(_rows(step, lengths, world_size, micro_batch_tokens), _padded_sizes(lengths), world_size)
    shares = divide(step, lengths, world_size)
    ranks = _packs(shares, lengths, micro_batch_tokens)
    if all(pack for packs in ranks for pack in packs):
        return ranks
    # A rank has too few sequences. Equal numbers come first: divide them into packs, then the packs among the ranks.
    count = world_size
    while not _fit(packs := divide(step, lengths, count), lengths, micro_batch_tokens):
        count += world_size
    return _deal(packs, lambda pack: int(lengths[pack].sum()), world_size)


def _packs(shares: Sequence[Sequence[int]], lengths: NDArray[np.int64], limit: int) -> list[list[list[int]]]:
    """Divide the share of each rank into equally many packs, as few as the limit allows."""
    count = max(1, *(-(-int(lengths[share].sum()) // limit) for share in shares))
    while True:
        ranks = [divide(share, lengths, count) for share in shares]
        if all(_fit(packs, lengths, limit) for packs in ranks):
            return ranks
        count += 1


def _fit(packs: Iterable[Sequence[int]], lengths: NDArray[np.int64], limit: int) -> bool:
    return all(len(pack) <= 1 or packed_length(int(lengths[pack].sum())) <= limit for pack in packs)


def _rows(step: Sequence[int], lengths: NDArray[np.int64], world_size: int, limit: int) -> list[list[int]]:
    """Padded micro-batches, longest sequences first, in a multiple of ranks.

    A sequence joins a micro-batch only if it fills most of its row, because padding costs more than another pass. It
    joins anyway if a rank would have no sequence otherwise.
    """
    for filled in (_FILLED_SHARE, 0.0):
        groups = _split(_grouped(step, lengths, limit, filled), lengths, world_size)
        if len(groups) % world_size == 0:
            break
    return groups + [[]] * (-len(groups) % world_size)


def _grouped(step: Sequence[int], lengths: NDArray[np.int64], limit: int, filled: float) -> list[list[int]]:
    groups: list[list[int]] = []
    for index in sorted(step, key=lambda i: -int(lengths[i])):
        longest = padded_length(int(lengths[groups[-1][0]])) if groups else 0
        if groups and longest * (len(groups[-1]) + 1) <= limit and lengths[index] >= filled * longest:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _split(groups: list[list[int]], lengths: NDArray[np.int64], world_size: int) -> list[list[int]]:
    """Halve the largest groups, as long as that is possible, until their number is a multiple of ranks."""
    while len(groups) % world_size and any(len(group) > 1 for group in groups):
        largest = max((group for group in groups if len(group) > 1), key=_padded_sizes(lengths))
        groups.remove(largest)
        groups += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    return groups


def _padded_sizes(lengths: NDArray[np.int64]) -> Callable[[list[int]], int]:
    return lambda group: len(group) * max((padded_length(int(lengths[i])) for i in group), default=0)


def _deal(groups: list[list[int]], size: Callable[[list[int]], int], world_size: int) -> list[list[list[int]]]:
    """Give every rank as many groups, the largest ones first to the ranks with the least work."""
    ranks: list[list[list[int]]] = [[] for _ in range(world_size)]
    work = [0] * world_size
    by_size = sorted(groups, key=size, reverse=True)
    for start in range(0, len(by_size), world_size):
        free = sorted(range(world_size), key=work.__getitem__)
        for rank, group in zip(free, by_size[start : start + world_size], strict=True):
            ranks[rank].append(group)
            work[rank] += size(group)
    return ranks


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """How well a plan uses the ranks.

    Attributes:
        used_share: fraction of the computed positions that hold a token; the rest is padding.
        balance: computed positions of a mean rank over those of the largest, as a mean over steps.
        dummy_passes: number of forward passes without a sequence.
        passes: number of all forward passes.
    """

    used_share: float
    balance: float
    dummy_passes: int
    passes: int


def plan_figures(
    steps: Iterable[Sequence[int]],
    lengths: NDArray[np.int64],
    world_size: int,
    micro_batch_tokens: int,
    *,
    packed: bool,
) -> PlanFigures:
    """Measure the micro-batches of ``steps`` without computing them."""
    size = (lambda group: packed_length(int(lengths[group].sum()))) if packed else _padded_sizes(lengths)
    used = computed = dummies = passes = 0
    balances = []
    for step in steps:
        ranks = micro_batches(step, lengths, world_size, micro_batch_tokens, packed=packed)
        work = [sum(size(group) for group in groups) for groups in ranks]
        used, computed = used + int(lengths[step].sum()), computed + sum(work)
        balances.append(sum(work) / world_size / max(work))
        passes += world_size * len(ranks[0])
        dummies += sum(not group for groups in ranks for group in groups)
    return PlanFigures(used / computed, float(np.mean(balances)), dummies, passes)
