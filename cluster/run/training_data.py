"""What a round is trained on: the request of a training, and the episodes that are fit to train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cluster.config.recipe import LearnerRole
from learner.config import STUDENT, LearnerConfig
from rollout.episode.filters import KeepConfig, why_dropped
from rollout.prompts.retokenize import Retokenizer
from rollout.trajectory import Trajectory
from rollout.trajectory.store import TrajectoryStore


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """One round of training, small enough to be sent to every rank.

    Attributes:
        stores: where the episodes are, oldest round first.
        base_model: folder or hub name to start from; None trains from nothing, as ``learner.scratch`` says.
        num_threads: torch threads of each rank.
        keep: which of the teacher's are fit to train on; None leaves it to the learner.
    """

    learner: LearnerRole
    run_dir: str
    round: int
    stores: tuple[str, ...]
    base_model: str | None
    num_threads: int
    keep: KeepConfig | None = None


class Selection:
    """The episodes of several stores that are fit to train on, and why others are not.

    Args:
        stores: read in this order, one shard in memory at a time.
        keep: asked about the teacher's episodes; None keeps all, and leaves it to the learner.
    """

    def __init__(self, stores: Sequence[str], keep: KeepConfig | None = None) -> None:
        self.stores = stores
        self.keep = keep
        self.dropped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Trajectory]:
        for store in self.stores:
            for trajectory in TrajectoryStore(store).read():
                if reason := self.why_dropped(trajectory):
                    self.dropped[reason] += 1
                else:
                    yield trajectory

    def why_dropped(self, trajectory: Trajectory) -> str | None:
        """The reason against an episode; None if it is kept."""
        if self.keep is None or trajectory.identity.role != "teacher":
            return None
        return why_dropped(self.keep, trajectory)


def translated(
    episodes: Iterable[Trajectory], learner: LearnerConfig, retokenizer: Retokenizer
) -> Iterator[Trajectory]:
    """The episodes, those of others than the student in its tokens; what the learner will not keep stays as it is."""
    for episode in episodes:
        role = episode.identity.role
        is_foreign = role != STUDENT and learner.keeps(role, episode.outcome.success)
        yield retokenizer.translate(episode) if is_foreign else episode
