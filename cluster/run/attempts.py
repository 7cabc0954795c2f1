"""Attempts at the episodes of a step in one start of a run: failed episodes are tried again, and in the end given up.

    missing ──▶ pool ──▶ completed
       ▲          └────▶ failed ──▶ a finished episode again (control) ──▶ owed, or given up
       └────────────────────────────────────────────────────────────────────┘

An attempt that failed counts against its task only if right after it a finished episode of the step is completed again.
Then only the task explains the failure; a task that killed its workers is given up at once. If the control fails too,
the engine, a tool or the host is to blame, and the episode is owed for as long as it takes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cluster.run.directory import RunDirectory
from cluster.run.episodes import EpisodeRequest, EpisodeRequests, Requests
from cluster.run.failed_episodes import KILLS_WORKERS, FailedEpisode, IncompleteError
from cluster.run.steps.step import EpisodeStep
from rollout.episode.config import EpisodePolicy
from rollout.errors import Cause
from rollout.trajectory import Key, Trajectory, is_owed
from rollout.trajectory.arrow import key_table

SETUP_FAILURES = 3
"""Identical failures by a wrong setting after which a step ends: it would fail in all its episodes."""

RollOut = Callable[[Requests], AsyncGenerator[Trajectory, None]]
"""Produces episodes; yields the summary of each one (`cluster.runtime.rollout_pool.Pool.rollout`)."""


class Completed:
    """The completed episodes of a step, in a byte for each of its requests.

    Attributes:
        count: their number.
        longest: place of the request whose episode has the most turns; None without any.
    """

    def __init__(self, requests: EpisodeRequests) -> None:
        self.requests = requests.keys
        self.count = 0
        self.longest: int | None = None
        self._is_completed = np.zeros(len(requests), np.bool_)
        self._most_turns = -1

    def add(self, place: int, turns: int) -> None:
        """Add an episode that was not added before."""
        self._is_completed[place] = True
        self.count += 1
        if turns > self._most_turns:
            self._most_turns, self.longest = turns, place

    def add_all(self, places: NDArray[np.int64], turns: NDArray[np.int64]) -> None:
        """Add many."""
        if len(places):
            row = int(np.argmax(turns))
            self.add(int(places[row]), int(turns[row]))
            self._is_completed[places] = True
            self.count += len(places) - 1

    def keys(self, among: Iterable[Key]) -> set[Key]:
        """Those of some keys whose episodes are completed."""
        keys = list(among)
        places = self.requests.places(key_table(keys))
        return {key for key, place in zip(keys, places, strict=True) if place >= 0 and self._is_completed[place]}

    def missing(self, given_up: Iterable[Key]) -> NDArray[np.int64]:
        """Places of the requests that are neither completed nor given up, in their order."""
        is_missing = ~self._is_completed
        places = self.requests.places(key_table(given_up))
        is_missing[places[places >= 0]] = False
        return np.flatnonzero(is_missing)


class MissingRequests:
    """The requests at some places; remembers the places of those that are made until their episode ends.

    Attributes:
        place_of: places of requests that were made, by key.
        retries: failed attempts so far, by key.
    """

    def __init__(self, requests: EpisodeRequests, places: NDArray[np.int64], retries: Mapping[Key, int]) -> None:
        self.requests = requests
        self.places = places
        self.retries = retries
        self.place_of: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[EpisodeRequest]:
        for place in self.places:
            request = self.requests[int(place)]
            self.place_of[request.key] = int(place)
            yield replace(request, retries=self.retries.get(request.key, 0))


class Attempts:
    """Attempts at the missing episodes of one step.

    Args:
        completed: the episodes of ``step`` that are stored; those that are completed are added.
    """

    def __init__(self, step: EpisodeStep, completed: Completed, run: RunDirectory, policy: EpisodePolicy) -> None:
        self.title = step.title
        self.requests = step.requests
        self.completed = completed
        self.failed = step.failed(run)
        self.policy = policy
        self.owed, self.tombstones = self.failed.owed(), self.failed.tombstones()
        self.setup_failures: dict[str, set[Key]] = defaultdict(set)
        """Episodes that failed by a wrong setting, by message."""

    def missing(self) -> MissingRequests:
        """Requests that are neither completed nor given up."""
        retries = {key: episode.attempts for key, episode in self.owed.items()}
        return MissingRequests(self.requests, self.completed.missing(self.tombstones), retries)

    def given_up(self) -> list[Trajectory]:
        """Summaries of the episodes that are given up."""
        return [episode.summary() for episode in self.tombstones.values()]

    async def summaries(self, roll_out: RollOut) -> AsyncGenerator[Trajectory, None]:
        """Try all missing episodes, and those that failed again; yields completed and failed episodes as they end.

        Raises:
            IncompleteError: several episodes failed by the same wrong setting.
        """
        for retry in range(self.policy.max_retries + 1):
            if not len(missing := self.missing()):
                break
            if retry:
                await asyncio.sleep(self.policy.retry_wait_s * 2 ** (retry - 1))
            failed: dict[Key, Trajectory] = {}
            try:
                async with aclosing(self._once(roll_out, missing, failed)) as results:
                    async for summary in results:
                        yield summary
                is_healthy = bool(failed) and await self._control(roll_out)
            except Exception:
                await self._record(failed, is_healthy=False)
                raise
            await self._record(failed, is_healthy)

    async def _once(
        self, roll_out: RollOut, missing: MissingRequests, failed: dict[Key, Trajectory]
    ) -> AsyncGenerator[Trajectory, None]:
        """One attempt at each missing episode, up to a number of failures in a row."""
        in_a_row = 0
        async with aclosing(roll_out(missing)) as results:
            async for summary in results:
                yield summary
                place = missing.place_of.pop(summary.key)
                if not is_owed(summary):
                    in_a_row = 0
                    self.completed.add(place, summary.counts.steps)
                    continue
                in_a_row += 1
                failed[summary.key] = summary
                self._check_setup(summary)
                if in_a_row >= self.policy.max_failures_in_a_row:
                    return

    def _check_setup(self, summary: Trajectory) -> None:
        failure = summary.outcome.failure
        if failure is None or failure.cause is not Cause.SETUP:
            return
        self.setup_failures[failure.message].add(summary.key)
        if len(self.setup_failures[failure.message]) >= SETUP_FAILURES:
            raise IncompleteError(f"{self.title}: {failure.message} ({SETUP_FAILURES} episodes failed by this).")

    async def _control(self, roll_out: RollOut) -> bool:
        """Whether the longest episode that was completed is completed again. The store keeps its first version."""
        if self.completed.longest is None:
            return False
        async with aclosing(roll_out([self.requests[self.completed.longest]])) as results:
            return all([not is_owed(summary) async for summary in results])

    async def _record(self, failed: dict[Key, Trajectory], is_healthy: bool) -> None:
        for key, summary in failed.items():
            if failure := summary.outcome.failure:
                before = self.owed.get(key)
                attempts, counted = (before.attempts, before.counted) if before else (0, 0)
                if is_healthy:
                    counted = self.policy.max_attempts if failure.type == KILLS_WORKERS else counted + 1
                self.owed[key] = FailedEpisode(summary.identity, failure, attempts + 1, counted)
        completed = self.completed.keys(self.owed)
        self.owed = {key: episode for key, episode in self.owed.items() if key not in completed}
        for key in [key for key, episode in self.owed.items() if episode.counted >= self.policy.max_attempts]:
            self.tombstones[key] = self.owed.pop(key)
        await asyncio.to_thread(self.failed.write, self.owed, self.tombstones)
