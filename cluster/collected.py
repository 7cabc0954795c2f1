"""Whether what was collected can be trained on; a sentence where it cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cluster.plan import Work
from learner.config import LearnerConfig
from rollout.errors import UserError


def require_complete(works: Sequence[Work]) -> None:
    """Raise `UserError` unless every episode that the recipe asks for is there."""
    for work in works:
        if missing := work.missing():
            raise UserError(
                f"{work.title}: {len(missing)} of {len(work.requests)} episodes are missing in {work.stage.store}; "
                "collect them first, with `stillhouse rollout` or `stillhouse run` on the same run directory."
            )


def require_trainable(works: Sequence[Work], learner: LearnerConfig) -> None:
    """Raise `UserError` if the learner would find nothing to learn from: no success, and it keeps nothing else."""
    if learner.keep == "all":
        return
    outcomes = [summary.outcome for work in works for summary in work.summaries()]
    if any(outcome.success for outcome in outcomes):
        return
    failures = Counter(f"{o.failure.boundary}: {o.failure.type}: {o.failure.message}" for o in outcomes if o.failure)
    why = "".join(f" {count} ended by an error, mostly {text!r}." for text, count in failures.most_common(1))
    folder = works[0].stage.store if works else "the run directory"
    raise UserError(
        f"The teacher solved none of {len(outcomes)} tasks, so there is nothing to learn from.{why} All episodes are "
        f"kept in {folder}: look at them with `stillhouse view`, then take a better teacher or easier tasks, or set "
        "learner.keep to all."
    )
