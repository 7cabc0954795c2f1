"""Settings from YAML files and from ``key=value``."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.config.settings import parse_override, set_value
from rollout.errors import UserError


@pytest.mark.parametrize(
    ("override", "parsed"),
    [
        (" a.b = 1e-3", ("a.b", 1e-3)),
        ("a=[1, {b: x=y}]", ("a", [1, {"b": "x=y"}])),
        ("a=", ("a", None)),
    ],
)
def test_a_value_is_yaml(override: str, parsed: tuple[str, Any]) -> None:
    assert parse_override(override) == parsed


@pytest.mark.parametrize("override", ["rounds", "=1", "a..b=1", ".a=1", "a.=1"])
def test_another_form_is_refused_with_the_way_to_write_it(override: str) -> None:
    with pytest.raises(UserError, match="is no setting; write it like this"):
        parse_override(override, "write it like this")


@pytest.mark.parametrize("value", ["[1", "{a: 1, a: 2}", "!!python/object/apply:os.getcwd []"])
def test_a_value_that_is_no_safe_yaml_is_one_sentence(value: str) -> None:
    with pytest.raises(UserError, match=r"^the value of a\.b is not YAML: .*") as caught:
        parse_override(f"a.b={value}")
    assert "\n" not in str(caught.value)


def test_values_are_set_in_sections_that_may_be_missing_and_in_lists() -> None:
    settings: dict[str, Any] = {"a": None, "terms": [{"weight": 1}, 2]}
    for key in ("a.b.c", "terms.0.weight", "terms.1", "new"):
        set_value(settings, key, 7)
    assert settings == {"a": {"b": {"c": 7}}, "terms": [{"weight": 7}, 7], "new": 7}


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("seed.sub.more", "seed.sub: is a value, not a section; set it as seed.sub=VALUE"),
        ("terms.2", "terms.2: the list has 1 entries; give a number from 0 to 0"),
        ("terms.x.weight", "terms.x: the list has 1 entries"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_sentence(key: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        set_value({"seed": {"sub": 1}, "terms": [{}]}, key, 7)
