"""The form of a turn whose action the environment allows or at least understands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rollout.environment import Environment
from rollout.errors import UserError
from rollout.grammar import ANY_ACTION, Choice


def allowed_actions(environment: Environment, to: Literal["admissible", "grammar"]) -> Choice:
    """What an action can be in the environment as it is now.

    Raises:
        UserError: the environment lists no actions, and is to.
    """
    if to == "grammar":
        forms = tuple(getattr(environment, "action_forms", ()))
        return Choice(forms=forms) if forms else ANY_ACTION
    listed = environment.admissible_actions()
    forms = _open_actions(environment)
    if not listed and not forms:
        raise UserError(
            f"agent.acting is constrained to admissible actions, but {type(environment).__name__} does not list its "
            "actions; set agent.acting.to to grammar"
        )
    return Choice(tuple(dict.fromkeys(listed or ())), forms)


def _open_actions(environment: Environment) -> tuple[str, ...]:
    function = getattr(environment, "open_actions", None)
    forms: Sequence[str] = function() if function is not None else ()
    return tuple(forms)
