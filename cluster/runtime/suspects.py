"""Finds episodes that kill their workers, among all those that a dying worker was playing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from cluster.run.episodes import EpisodeRequest
from cluster.runtime.slot import RestartBudget
from rollout.trajectory import Key

SUSPECT_DEATHS = 2
"""Deaths after which an episode is played without another suspect on the same worker."""


class Suspects:
    """Counts the deaths of workers by the episodes that they were playing.

    A random death affects each episode once at most, so episodes of two deaths are suspects. Suspects are played one at
    a time on a worker, after the other requests. If a worker dies with exactly one suspect, and other episodes are
    completed, only this episode explains its deaths.

    Attributes:
        others_complete: whether an episode was completed since the last one that was blamed.
    """

    def __init__(self) -> None:
        self.others_complete = False
        self._deaths: Counter[tuple[str, Key]] = Counter()
        self._charged: dict[tuple[str, Key], list[RestartBudget]] = defaultdict(list)

    def blame(self, requests: Sequence[EpisodeRequest], budget: RestartBudget) -> EpisodeRequest | None:
        """Count the death of a worker that was playing ``requests``.

        Deaths that an episode explains are refunded to the budgets of their workers.

        Returns:
            The episode that explains it; None if there is no single one.
        """
        for request in requests:
            self._deaths[_id(request)] += 1
            self._charged[_id(request)].append(budget)
        suspects = [request for request in requests if self.is_suspect(request)]
        if len(suspects) != 1 or not self.others_complete:
            return None
        self.others_complete = False
        for charged in self._charged.pop(_id(suspects[0])):
            charged.refund()
        return suspects[0]

    def is_suspect(self, request: EpisodeRequest) -> bool:
        """Whether an episode may not be played together with another suspect."""
        return self._deaths[_id(request)] >= SUSPECT_DEATHS

    def clear(self, request: EpisodeRequest) -> None:
        """The episode has ended; it kills no worker."""
        self.others_complete = True
        self._deaths.pop(_id(request), None)
        self._charged.pop(_id(request), None)


def _id(request: EpisodeRequest) -> tuple[str, Key]:
    return request.spec.store, request.key
