"""The form of a turn whose action the environment allows or at least understands."""

from __future__ import annotations

from typing import Literal

from rollout.environment import Environment, action_forms, class_name, legal_actions
from rollout.errors import UserError
from rollout.grammar import ANY_ACTION, Choice


def allowed_actions(environment: Environment, to: Literal["admissible", "grammar"]) -> Choice:
    """What an action can be in the environment as it is now.

    Raises:
        UserError: the environment lists no actions, and is to.
    """
    if to == "grammar":
        forms = action_forms(environment)
        return Choice(forms=forms) if forms else ANY_ACTION
    legal = legal_actions(environment)
    if legal is None or not (legal.choices or legal.forms):
        raise UserError(
            f"agent.acting is constrained to admissible actions, but {class_name(environment)} does not list its "
            "actions; set agent.acting.to to grammar"
        )
    return legal
