"""Behind ``stillhouse check-environment``: an environment by name, its settings, and what the check says in lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from cluster.config.errors import bullet_list, sentences
from cluster.config.load import RecipeYaml
from rollout.errors import UserError


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
        _set(settings, override)
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        wrong = sentences(error, model)
        text = wrong[0] if len(wrong) == 1 else f"{len(wrong)} mistakes:{bullet_list(wrong)}"
        raise UserError(f"environment {name}: {text}") from error


def _set(settings: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise UserError(f"{override!r} is no setting; write key=value, for example source=official.")
    try:
        value = yaml.load(text, RecipeYaml)
    except yaml.YAMLError as error:
        raise UserError(f"the value of {dotted} is not YAML: {' '.join(str(error).split())}") from error
    section: Any = settings
    for key in keys[:-1]:
        section = section.setdefault(key, {})
        if not isinstance(section, Mapping):
            raise UserError(f"{dotted}: {key} is a value, not a section; set it as {key}=VALUE.")
    section[keys[-1]] = value
