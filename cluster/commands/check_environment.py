"""Implementation of ``stillhouse check-environment``: checks an environment and formats the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from cluster.config.errors import validated
from cluster.config.settings import parse_override, set_value


def check(name: str, overrides: Sequence[str], episodes: int, seed: int) -> tuple[list[str], bool]:
    """Check an environment against the interface.

    Returns:
        Lines to print, one per violation, and whether all requirements are met.

    Raises:
        UserError: if the environment does not exist, a setting is wrong, or its data is missing.
    """
    from rollout.environments.conformance.check import check_environment, check_other_process, check_settings
    from rollout.environments.conformance.contract import Requirement
    from rollout.environments.plugins import find_plugin

    plugin = find_plugin(name)
    counts: Counter[str] = Counter()
    # The rest of the check needs a config, which cannot be built if the settings are not a model.
    violations = check_settings(plugin)
    if not violations:
        config = read_settings(plugin.config_model(), name, overrides)
        violations = check_environment(plugin, config, episodes, seed, counts)
        violations = violations or check_other_process(name, config, seed)
    if violations:
        return [str(violation) for violation in violations], False
    counted = ", ".join(f"{counts[what]:,} {what}" for what in ("splits", "tasks", "episodes", "steps"))
    return [f"{name}: all {len(Requirement)} requirements are met ({counted}, seed {seed})"], True


def read_settings(model: type[BaseModel], name: str, overrides: Sequence[str]) -> BaseModel:
    """The config of an environment from overrides ``key.sub=value`` with YAML values.

    Raises:
        UserError: if an override does not have this form, or a setting is wrong.
    """
    settings: dict[str, Any] = {"type": name}
    for override in overrides:
        set_value(settings, *parse_override(override, "write key=value, for example source=official"))
    return validated(model, settings, f"environment {name}")
