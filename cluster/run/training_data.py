"""What a round is trained on: the request of a training, and the episodes that are fit to train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cluster.config.recipe import LearnerRole
from learner.config import STUDENT, LearnerConfig
from rollout.episode.filters import KeepConfig, why_dropped
from rollout.errors import UserError
from rollout.prompts.retokenize import Retokenizer
from rollout.prompts.tokenizer import ChatSettings
from rollout.trajectory import Trajectory
from rollout.trajectory.store import TrajectoryStore


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """One round of training, small enough to be sent to every rank.

    Attributes:
        stores: where the episodes are, oldest round first, those of other runs last.
        base_model: folder or hub name to start from; None trains from nothing, as ``learner.scratch`` says.
        num_threads: torch threads of each rank.
        keep: which of the teacher's are fit to train on; None leaves it to the learner.
        chat: chat template of the episodes.
        is_last: whether no later round continues from this one.
    """

    learner: LearnerRole
    run_dir: str
    round: int
    stores: tuple[str, ...]
    base_model: str | None
    num_threads: int
    keep: KeepConfig | None = None
    chat: ChatSettings = field(default_factory=ChatSettings)
    is_last: bool = True


class Selection:
    """The episodes of several stores that are fit to train on, and why others are not. No store is changed.

    Args:
        stores: read in this order, one row group in memory at a time.
        keep: asked about the teacher's episodes; None keeps all, and leaves it to the learner.

    Attributes:
        dropped: number of episodes that were read and dropped, by reason.
        unreadable: reason for each shard that was skipped, by path.
    """

    def __init__(self, stores: Sequence[str], keep: KeepConfig | None = None) -> None:
        self.stores = stores
        self.keep = keep
        self.dropped: Counter[str] = Counter()
        self.unreadable: dict[str, str] = {}

    def __iter__(self) -> Iterator[Trajectory]:
        for name in self.stores:
            store = TrajectoryStore(name, read_only=True)
            for trajectory in store.read():
                if reason := self.why_dropped(trajectory):
                    self.dropped[reason] += 1
                else:
                    yield trajectory
            causes = [str(summary.outcome.failure and summary.outcome.failure.cause) for summary in store.owed()]
            self.dropped.update(f"ended by a failure ({cause})" for cause in causes)
            self.unreadable |= {shard.path: shard.reason for shard in store.unreadable_shards()}

    def why_dropped(self, trajectory: Trajectory) -> str | None:
        """The reason against an episode; None if it is kept."""
        if self.keep is None or trajectory.identity.role != "teacher":
            return None
        return why_dropped(self.keep, trajectory)


def check_other_stores(names: Sequence[str], learner: LearnerConfig, keep: KeepConfig | None) -> None:
    """Raise `UserError` if a store of other runs cannot be read or has no episode to train on. Nothing is changed.

    It reads each store up to the first such episode.
    """
    for name in names:
        if problem := _problem_of(name, learner, keep):
            raise UserError(
                f"collect.also: {name} {problem}; name the folder of a store with episodes to train on, such as "
                "RUN_DIR/trajectories/teacher/round=000, or remove it."
            )


def _problem_of(name: str, learner: LearnerConfig, keep: KeepConfig | None) -> str:
    """Why a store has no episode to train on; empty if it has one."""
    selection = Selection((name,), keep)
    try:
        if not TrajectoryStore(name, read_only=True).exists():
            return "is not an existing folder"
        for episode in selection:
            if learner.keeps(episode.identity.role, episode.outcome.success):
                return ""
            selection.dropped[f"excluded by learner.keep={learner.keep}"] += 1
    except OSError as error:
        return f"cannot be read ({error})"
    causes = [f"{count:,} {reason}" for reason, count in selection.dropped.most_common()]
    causes += [f"{path}: {reason}" for path, reason in list(selection.unreadable.items())[:1]]
    return f"holds no episode to train on ({'; '.join(causes) or 'it is empty'})"


def translated(
    episodes: Iterable[Trajectory], learner: LearnerConfig, retokenizer: Retokenizer
) -> Iterator[Trajectory]:
    """The episodes, those of others than the student in its tokens; what the learner will not keep stays as it is."""
    for episode in episodes:
        role = episode.identity.role
        is_foreign = role != STUDENT and learner.keeps(role, episode.outcome.success)
        yield retokenizer.translate(episode) if is_foreign else episode


def with_one_template(episodes: Iterable[Trajectory], learner: LearnerConfig, digest: str) -> Iterator[Trajectory]:
    """The episodes. Those that the learner keeps must have the chat template that the checkpoint is saved with.

    Args:
        digest: of that template. Episodes of older versions recorded none, and are taken as they are.

    Raises:
        UserError: an episode has another template.
    """
    for episode in episodes:
        identity, recorded = episode.identity, episode.policy.template_digest
        if recorded not in ("", digest) and learner.keeps(identity.role, episode.outcome.success):
            raise UserError(
                f"the episode {episode.key.session} of the run {identity.run} was recorded with another chat template "
                "than the student is saved with, so it would be prompted in another way than it is trained; set "
                "agent.chat_template to the one of that run, or leave its episodes out"
            )
        yield episode
