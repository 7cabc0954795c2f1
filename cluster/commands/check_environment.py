"""Behind ``stillhouse check-environment``: an environment by name, its settings, and what the check says in lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from cluster.config.errors import validated
from cluster.config.settings import parse_override, set_value


def check(name: str, overrides: Sequence[str], episodes: int, seed: int) -> tuple[list[str], bool]:
    """What to say, one line a breach, and whether all promises hold.

    Raises:
        UserError: there is no such environment, a setting is wrong, or what it asks for is not there.
    """
    from rollout.environments.conformance.check import check_environment, check_other_process, check_settings
    from rollout.environments.conformance.contract import Requirement
    from rollout.environments.plugins import find_plugin

    plugin = find_plugin(name)
    counts: Counter[str] = Counter()
    # Settings that are no model cannot be filled in, and all the rest of the check needs them.
    breaches = check_settings(plugin)
    if not breaches:
        config = read_settings(plugin.config_model(), name, overrides)
        breaches = check_environment(plugin, config, episodes, seed, counts)
        breaches = breaches or check_other_process(name, config, seed)
    if breaches:
        return [str(breach) for breach in breaches], False
    looked_at = ", ".join(f"{counts[what]:,} {what}" for what in ("splits", "tasks", "episodes", "steps"))
    return [f"{name}: all {len(Requirement)} promises hold ({looked_at}, seed {seed})"], True


def read_settings(model: type[BaseModel], name: str, overrides: Sequence[str]) -> BaseModel:
    """The settings of an environment from ``key.sub=value``, the values being YAML.

    Raises:
        UserError: an override has not that form, or a setting is wrong.
    """
    settings: dict[str, Any] = {"type": name}
    for override in overrides:
        set_value(settings, *parse_override(override, "write key=value, for example source=official"))
    return validated(model, settings, f"environment {name}")
