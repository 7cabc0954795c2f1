"""What a round is trained on: the request of a training, and the episodes that are fit to train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cluster.config.recipe import LearnerRole
from learner.config import STUDENT, LearnerConfig
from rollout.episode.filters import KeepConfig, why_dropped
from rollout.errors import UserError
from rollout.prompts.retokenize import Retokenizer
from rollout.trajectory import Trajectory
from rollout.trajectory.store import TrajectoryStore


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """One round of training, small enough to be sent to every rank.

    Attributes:
        stores: where the run's own episodes are, oldest round first.
        base_model: folder or hub name to start from; None trains from nothing, as ``learner.scratch`` says.
        num_threads: torch threads of each rank.
        keep: which of the teacher's are fit to train on; None leaves it to the learner.
        also: stores of other runs that are trained on as well.
    """

    learner: LearnerRole
    run_dir: str
    round: int
    stores: tuple[str, ...]
    base_model: str | None
    num_threads: int
    keep: KeepConfig | None = None
    also: tuple[str, ...] = ()


class Selection:
    """The episodes of several stores that are fit to train on, and why others are not. No store is changed.

    Args:
        stores: read in this order, one row group in memory at a time.
        keep: asked about the teacher's episodes; None keeps all, and leaves it to the learner.
        also: stores that the user names, read after the others. Each must exist and have an episode to train on.

    Attributes:
        dropped: number of episodes that were read and dropped, by reason.
        unreadable: reason for each shard that was skipped, by path.
    """

    def __init__(self, stores: Sequence[str], keep: KeepConfig | None = None, also: Sequence[str] = ()) -> None:
        self.stores = stores
        self.keep = keep
        self.also = also
        self.dropped: Counter[str] = Counter()
        self.unreadable: dict[str, str] = {}

    def __iter__(self) -> Iterator[Trajectory]:
        """Yield the episodes. Raises `UserError` if a store of ``also`` is missing or has no episode to train on."""
        for name in self.stores:
            yield from self._kept(TrajectoryStore(name, read_only=True))
        for name in self.also:
            yield from self._kept_of_other(name)

    def _kept_of_other(self, name: str) -> Iterator[Trajectory]:
        store, dropped, is_empty = TrajectoryStore(name, read_only=True), self.dropped.copy(), True
        try:
            for trajectory in self._kept(store) if store.exists() else ():
                is_empty = False
                yield trajectory
        except OSError as error:
            raise UserError(f"collect.also: {name} cannot be read ({error}); correct it or remove it.") from error
        if is_empty:
            raise _useless(name, store, self.dropped - dropped)

    def _kept(self, store: TrajectoryStore) -> Iterator[Trajectory]:
        for trajectory in store.read():
            if reason := self.why_dropped(trajectory):
                self.dropped[reason] += 1
            else:
                yield trajectory
        self.unreadable |= {shard.path: shard.reason for shard in store.unreadable_shards()}

    def why_dropped(self, trajectory: Trajectory) -> str | None:
        """The reason against an episode; None if it is kept."""
        if self.keep is None or trajectory.identity.role != "teacher":
            return None
        return why_dropped(self.keep, trajectory)


def check_other_stores(names: Sequence[str], learner: LearnerConfig, keep: KeepConfig | None) -> None:
    """Raise `UserError` if a store of other runs is missing or has no episode to train on. Nothing is changed.

    It reads each store up to the first such episode.
    """
    for name in names:
        selection = Selection((), keep, (name,))
        if not any(learner.keeps(episode.identity.role, episode.outcome.success) for episode in selection):
            excluded = f"learner.keep={learner.keep} excludes what is left"
            raise _useless(name, TrajectoryStore(name, read_only=True), selection.dropped, excluded)


def _useless(name: str, store: TrajectoryStore, dropped: Counter[str], *reasons: str) -> UserError:
    """The error of a store without an episode to train on."""
    if not store.exists():
        problem = "does not exist or is not a folder"
    else:
        causes = [f"{count:,} {reason}" for reason, count in dropped.most_common()]
        causes += [*reasons, *(f"{shard.path}: {shard.reason}" for shard in store.unreadable_shards()[:1])]
        problem = f"has no episode to train on ({'; '.join(causes) or 'it has no episodes'})"
    return UserError(
        f"collect.also: {name} {problem}; name the folder of a store with episodes, such as "
        "RUN_DIR/trajectories/teacher/round=000, or remove it."
    )


def translated(
    episodes: Iterable[Trajectory], learner: LearnerConfig, retokenizer: Retokenizer
) -> Iterator[Trajectory]:
    """The episodes, those of others than the student in its tokens; what the learner will not keep stays as it is."""
    for episode in episodes:
        role = episode.identity.role
        is_foreign = role != STUDENT and learner.keeps(role, episode.outcome.success)
        yield retokenizer.translate(episode) if is_foreign else episode
