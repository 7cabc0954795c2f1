"""``stillhouse check-environment``: its output, its exit codes, and bad input."""

from __future__ import annotations

import re

import pytest

from cluster.cli import main


def ended(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        main(["check-environment", *arguments])
    return end.value.code


def test_an_environment_that_meets_all_requirements_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("household", "size=small", "--episodes", "4", "--seed", "3") == 0
    pattern = r"household: all \d+ requirements are met \(3 splits, 6 tasks, 4 episodes, [1-9][\d,]* steps, seed 3\)\n"
    assert re.fullmatch(pattern, capsys.readouterr().out)


def test_a_nested_setting_reaches_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("math", "sandbox.memory_mib=128") == 2
    assert "sandbox is read with python: sandbox only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["houshold"], "there is no environment 'houshold'; did you mean household?"),
        (["household", "sise=small"], "environment household: sise: there is no such setting; did you mean size?"),
        (["household", "size=huge"], "environment household: size: must be 'small'"),
        (["household", "size"], "'size' is no setting; write key=value"),
        (["household", "size=[small"], "the value of size is not YAML"),
        (["math", "python=off", "python.tier=auto"], "python: is a value, not a section"),
    ],
)
def test_bad_input_is_one_line_with_exit_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(*arguments) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert len(err.splitlines()) == 1
