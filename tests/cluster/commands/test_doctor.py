"""The doctor lists each check with its state and its fix, and imports no large package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.commands.doctor import (
    Check,
    State,
    disk,
    import_check,
    main_path_works,
    print_checks,
    run_checks,
    shared_memory,
)
from cluster.commands.doctor import test_data as data_check

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return run_checks()


def test_every_part_of_the_main_path_is_checked(checks: list[Check]) -> None:
    names = {check.name for check in checks}
    assert {
        "python",
        "torch build",
        "vllm",
        "memory",
        "disk",
        "compiler",
        "model household-teacher",
        "model math-base-student",
        "sandbox",
        "test data",
    } <= names
    assert any(name.startswith("gpu") for name in names)


def test_every_check_that_is_not_ok_has_a_fix(checks: list[Check]) -> None:
    assert [check.name for check in checks if check.state is not State.OK and not check.fix] == []


def test_the_main_path_works_unless_a_check_is_broken() -> None:
    fine, optional = Check("a", State.OK, "there"), Check("b", State.NOTE, "missing", "install it")
    assert main_path_works([fine, optional])
    assert not main_path_works([fine, Check("c", State.BROKEN, "missing", "install it")])


def test_a_package_that_cannot_be_imported_is_broken_with_the_last_line_of_its_error() -> None:
    check = import_check("surely_not_a_package")
    assert check.state is State.BROKEN
    assert "No module named" in check.found
    assert import_check("json").state is State.OK


def test_test_data_depends_on_the_environment_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STILLHOUSE_TEST_DATA", str(tmp_path))
    assert data_check().state is State.OK
    monkeypatch.setenv("STILLHOUSE_TEST_DATA", str(tmp_path / "nowhere"))
    assert data_check().state is State.NOTE
    assert "is not a folder" in data_check().found


def test_disk_and_shared_memory_are_measured_at_the_given_path(tmp_path: Path) -> None:
    assert str(tmp_path) in disk(tmp_path).found
    assert shared_memory(tmp_path / "nowhere").state is State.OK


def test_checks_are_printed_one_per_line_with_the_fix_below() -> None:
    printed: list[str] = []
    print_checks([Check("a", State.OK, "there"), Check("bcd", State.NOTE, "missing", "install it")], printed.append)
    assert printed == ["ok      a    there", "note    bcd  missing", "             -> install it"]


def test_no_large_package_is_imported() -> None:
    heavy = "{'torch', 'ray', 'vllm', 'transformers', 'deepspeed'}"
    code = (
        f"import sys; from cluster.commands.doctor import run_checks; run_checks(); print({heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
