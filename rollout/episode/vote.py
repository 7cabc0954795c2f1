"""Which of several tried actions becomes the agent's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rollout.environment import Step


def outcome(step: Step) -> tuple[bool, str]:
    """What a step is compared by: the answer that it gave, else what was observed.

    An answer's observation would tell which candidates are right, and a vote must not know that.
    """
    return (False, step.observation) if step.answer is None else (True, step.answer.strip())


def vote(tried: Sequence[Step | None]) -> int:
    """The number of the winner among candidates; None stands for one that wrote no action.

    The most frequent outcome of the valid steps wins, and of several that are as frequent the one that occurs first;
    its first candidate is given. Without a valid step it is the first that was tried, so that its error is told, and if
    none was tried the first of all.

    Source: Agent Distillation (arXiv 2505.17612), whose own code compares printed text only, so that answers which
    print nothing are all alike there.
    """
    valid = [number for number, step in enumerate(tried) if step is not None and step.valid]
    if not valid:
        return next((number for number, step in enumerate(tried) if step is not None), 0)
    outcomes = [outcome(step) for number in valid if (step := tried[number]) is not None]
    # Counter keeps the order of first occurrence, and so does most_common among equals.
    winner, _ = Counter(outcomes).most_common(1)[0]
    return valid[outcomes.index(winner)]
