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
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace

from cluster.run.directory import RunDirectory
from cluster.run.episodes import EpisodeRequest
from cluster.run.failed_episodes import KILLS_WORKERS, FailedEpisode, IncompleteError
from cluster.run.steps.step import EpisodeStep
from rollout.episode.config import EpisodePolicy
from rollout.errors import Cause
from rollout.trajectory import Key, Trajectory, is_owed

SETUP_FAILURES = 3
"""Identical failures by a wrong setting after which a step ends: it would fail in all its episodes."""

RollOut = Callable[[Sequence[EpisodeRequest]], AsyncGenerator[Trajectory, None]]
"""Produces episodes; yields the summary of each one (`cluster.runtime.rollout_pool.Pool.rollout`)."""


class Attempts:
    """Attempts at the missing episodes of one step.

    Args:
        stored: summaries of the episodes of ``step`` that are stored.
    """

    def __init__(
        self, step: EpisodeStep, stored: Iterable[Trajectory], run: RunDirectory, policy: EpisodePolicy
    ) -> None:
        self.title = step.title
        self.requests = {request.key: request for request in step.requests}
        self.completed = {summary.key: summary.counts.steps for summary in stored}
        """Number of turns of each completed episode."""
        self.failed = step.failed(run)
        self.policy = policy
        self.owed, self.tombstones = self.failed.owed(), self.failed.tombstones()
        self.setup_failures: dict[str, set[Key]] = defaultdict(set)
        """Episodes that failed by a wrong setting, by message."""

    def missing(self) -> list[EpisodeRequest]:
        """Requests that are neither completed nor given up."""
        return [
            replace(request, retries=self.owed[key].attempts if key in self.owed else 0)
            for key, request in self.requests.items()
            if key not in self.completed and key not in self.tombstones
        ]

    def given_up(self) -> list[Trajectory]:
        """Summaries of the episodes that are given up."""
        return [episode.summary() for episode in self.tombstones.values()]

    async def summaries(self, roll_out: RollOut) -> AsyncGenerator[Trajectory, None]:
        """Try all missing episodes, and those that failed again; yields completed and failed episodes as they end.

        Raises:
            IncompleteError: several episodes failed by the same wrong setting.
        """
        for retry in range(self.policy.max_retries + 1):
            if not (missing := self.missing()):
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
        self, roll_out: RollOut, missing: Sequence[EpisodeRequest], failed: dict[Key, Trajectory]
    ) -> AsyncGenerator[Trajectory, None]:
        """One attempt at each missing episode, up to a number of failures in a row."""
        in_a_row = 0
        async with aclosing(roll_out(missing)) as results:
            async for summary in results:
                yield summary
                if not is_owed(summary):
                    in_a_row = 0
                    self.completed[summary.key] = summary.counts.steps
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
        if not self.completed:
            return False
        longest = max(self.completed, key=lambda key: self.completed[key])
        async with aclosing(roll_out([self.requests[longest]])) as results:
            return all([not is_owed(summary) async for summary in results])

    async def _record(self, failed: dict[Key, Trajectory], is_healthy: bool) -> None:
        for key, summary in failed.items():
            if failure := summary.outcome.failure:
                before = self.owed.get(key)
                attempts, counted = (before.attempts, before.counted) if before else (0, 0)
                if is_healthy:
                    counted = self.policy.max_attempts if failure.type == KILLS_WORKERS else counted + 1
                self.owed[key] = FailedEpisode(summary.identity, failure, attempts + 1, counted)
        self.owed = {key: episode for key, episode in self.owed.items() if key not in self.completed}
        for key in [key for key, episode in self.owed.items() if episode.counted >= self.policy.max_attempts]:
            self.tombstones[key] = self.owed.pop(key)
        await asyncio.to_thread(self.failed.write, self.owed, self.tombstones)
