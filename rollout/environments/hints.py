"""Hint rules of environments by name."""

from __future__ import annotations

from typing import Any

from rollout.environments.plugins import ENVIRONMENTS, find_plugin
from rollout.hints.rules import DEFAULT_RULES, RuleBook


def hint_rules(environment: str) -> RuleBook[Any]:
    """Load the hint rules of an environment; default rules if it has none or is not installed.

    Raises:
        UserError: the rules cannot be imported.
    """
    if environment not in ENVIRONMENTS.names():
        return DEFAULT_RULES
    rules: RuleBook[Any] | None = find_plugin(environment).load("hint_rules")
    return DEFAULT_RULES if rules is None else rules
