"""The actions that constrained acting allows in the current state of an environment."""

from __future__ import annotations

from typing import Literal

from rollout.environment import Environment, action_templates, class_name, legal_actions
from rollout.errors import UserError
from rollout.grammar import ANY_ACTION, Choice


def allowed_actions(environment: Environment, to: Literal["admissible", "grammar"]) -> Choice:
    """Actions that are allowed in the current state of the environment.

    Raises:
        UserError: ``to`` is ``admissible`` and the environment does not list its actions.
    """
    if to == "grammar":
        templates = action_templates(environment)
        return Choice(templates=templates) if templates else ANY_ACTION
    legal = legal_actions(environment)
    if legal is None or not (legal.choices or legal.templates):
        raise UserError(
            f"agent.acting is constrained to admissible actions, but {class_name(environment)} does not list its "
            "actions; set agent.acting.to to grammar"
        )
    return legal
