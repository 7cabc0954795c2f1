"""A policy that lacks knowledge which hints can supply.

It acts as the expert does, but does not know that objects can be cleaned, heated and cooled: it delivers them unchanged
and fails. When a hint names the change, it makes the change. An agent trained on its episodes is the starting point of
hint distillation (arXiv 2510.01375): a base agent that fails for lack of knowledge and can follow hints.
"""

from __future__ import annotations

import re
from dataclasses import replace

from rollout.environments.household.belief_state import ParsedTask, read_task
from rollout.environments.household.expert_policy import HouseholdExpert
from rollout.environments.household.game import VERBS, TaskType

_HINT = re.compile(r"^Hint: (.+)$", re.MULTILINE)


class HouseholdNovice(HouseholdExpert):
    """Acts in one household episode."""

    def _understand(self, first_message: str) -> ParsedTask:
        task = read_task(first_message)
        verb = VERBS.get(task.task_type)
        if verb is None or any(verb in hint for hint in _HINT.findall(first_message)):
            return task
        return replace(task, task_type=TaskType.PLACE)
