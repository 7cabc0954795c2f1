"""A player that can do more than it knows: what it lacks, hints have to tell it.

It plays as the expert does, but has never heard that things can be cleaned, heated and cooled: it brings them as they
are, and fails. Where a hint speaks of it, it does it. An agent trained on its episodes is what hint distillation
(arXiv 2510.01375) starts from: a base agent that fails for want of knowledge, and can follow advice.
"""

from __future__ import annotations

import re
from dataclasses import replace

from rollout.environments.household.belief_state import VERBS, ParsedTask, read_task
from rollout.environments.household.expert_policy import HouseholdExpert
from rollout.environments.household.game import TaskType

_HINT = re.compile(r"^Hint: (.+)$", re.MULTILINE)


class HouseholdNovice(HouseholdExpert):
    """Plays one household episode."""

    def _understand(self, first_message: str) -> ParsedTask:
        wish = read_task(first_message)
        verb = VERBS.get(wish.task_type)
        if verb is None or any(verb in hint for hint in _HINT.findall(first_message)):
            return wish
        return replace(wish, task_type=TaskType.PLACE)
