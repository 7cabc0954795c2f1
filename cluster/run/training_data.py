"""Whether what was collected can be trained on; a sentence where it cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cluster.config.recipe import Recipe
from cluster.run.plan import Plan, Work
from learner.config import STUDENT, LearnerConfig
from rollout.episode.filters import KeepConfig, why_dropped
from rollout.errors import UserError
from rollout.prompts.retokenize import Retokenizer
from rollout.trajectory import StopReason, Trajectory
from rollout.trajectory.store import TrajectoryStore


def require_complete(works: Sequence[Work]) -> None:
    """Raise `UserError` unless every episode that the recipe asks for is there."""
    for work in works:
        if missing := work.missing():
            raise UserError(
                f"{work.title}: {len(missing)} of {len(work.requests)} episodes are missing in {work.stage.store}; "
                "collect them first, with `stillhouse rollout` or `stillhouse run` on the same run directory."
            )


def to_train_on(recipe: Recipe, plan: Plan, round: int) -> list[Work]:
    """What ``round`` is trained on, oldest round first; of what was scored, the scored episodes."""
    collect = recipe.collect
    oldest = 0 if collect.max_age_rounds is None else max(0, round + 1 - collect.max_age_rounds)
    found = []
    for past in plan.rounds[oldest : round + 1]:
        scored = {work.stage.scored: work for work in past.scorings}
        collected = [work for work in past.collections if work.role in collect.train_on]
        found += [scored.get(work.stage.store, work) for work in collected]
    return found


def require_trainable(works: Sequence[Work], recipe: Recipe) -> None:
    """Raise `UserError` if the learner would find nothing to learn from."""
    learner = recipe.learner
    if learner is None or recipe.collect.also:
        return
    summaries = [summary for work in works for summary in work.summaries()]
    if any(learner.keeps(summary.identity.role, summary.outcome.success) for summary in summaries):
        return
    outcomes = [summary.outcome for summary in summaries]
    failures = Counter(f"{o.failure.boundary}: {o.failure.type}: {o.failure.message}" for o in outcomes if o.failure)
    why = "".join(f" {count} ended by an error, mostly {text!r}." for text, count in failures.most_common(1))
    folder = works[0].stage.store if works else "the run directory"
    raise UserError(
        f"The teacher solved none of {len(outcomes)} tasks, so there is nothing to learn from.{why} All episodes are "
        f"kept in {folder}: look at them with `stillhouse view`, then take a better teacher or easier tasks, or set "
        "learner.keep to all."
    )


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
        outcome = trajectory.outcome
        if outcome.failure is not None and outcome.stop_reason is not StopReason.ERROR:
            return "not scored"  # the play had an end of its own, so what failed came after it
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
