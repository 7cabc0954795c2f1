"""Settings from YAML files and from ``key=value``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.config.settings import dump_yaml, parse_override, parse_yaml, read_settings, set_value
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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[
            (word, word)
            for word in ("yes", "no", "on", "off", "y", "N", "Yes", "1:30", "190:20:30", "0b11", "2024-01-01", "=")
        ],
        *[("true", True), ("False", False), ("null", None), ("~", None), ("", None)],
        *[("0200", 200), ("-010", -10), ("+7", 7), ("00", 0), ("0o17", 15), ("0x1F", 31)],
        *[("1e-3", 1e-3), ("1E3", 1000.0), (".5", 0.5), ("1.", 1.0), ("0200.5", 200.5), (".inf", float("inf"))],
        ("{a: &x [1], b: *x}", {"a": [1], "b": [1]}),
        ("{a: &x {c: 1}, b: {<<: *x, d: 2}}", {"a": {"c": 1}, "b": {"c": 1, "d": 2}}),
    ],
)
def test_scalars_are_read_by_yaml_1_2_and_written_so_that_every_reader_agrees(text: str, value: object) -> None:
    assert parse_override(f"a={text}") == ("a", value)
    assert parse_yaml(dump_yaml({"a": value})) == yaml.safe_load(dump_yaml({"a": value})) == {"a": value}


CHAIN = "[&a0 [1], " + ", ".join(f"&a{i} [*a{i - 1}]" for i in range(1, 2000)) + "]"
LAUGHS = "[&a0 [x,x,x,x,x,x,x,x,x], " + ", ".join(f"&a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)) + "]"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested more than 50 levels"),
        ("{a: " * 51 + "1" + "}" * 51, "nested more than 50 levels"),
        ("- " * 60 + "1", "nested more than 50 levels"),
        (CHAIN, "nested more than 50 levels"),
        (LAUGHS, "more than 50,000 values"),
        ("&a [*a]", "stands inside|more than 50,000 values"),
        ("{b: &a {c: *a}}", "more than 50,000 values"),
        ("x" * 300_000, "at most 262,144"),
        ("9" * 5000, "limit"),
        *[
            (f"!!{tag} 1", "the tag")
            for tag in ("int", "bool", "timestamp", "binary", "float", "set", "python/name:os.system")
        ],
    ],
)
def test_yaml_that_is_too_large_deep_or_endless_is_refused_in_one_sentence(
    text: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        parse_override(f"a={text}")
    assert "\n" not in str(caught.value)
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=reason):
        read_settings(file)


@pytest.mark.parametrize(
    "content", [b"", b"- a", b"3", b"{1: 2}", b"{null: 2}", b"a: \xff", b"a: 1\n---\nb: 1", b"\0", b"? [x]\n: 1"]
)
def test_a_file_that_holds_no_settings_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"recipe\.yaml") as caught:
        read_settings(tmp_path / "recipe.yaml")
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("seed: 1", encoding="utf-8-sig")
    assert read_settings(tmp_path / "recipe.yaml") == {"seed": 1}


def test_a_key_with_very_many_parts_is_refused() -> None:
    with pytest.raises(UserError, match="is no setting"):
        parse_override(".".join(["a"] * 5000) + "=1")


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
