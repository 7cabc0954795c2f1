"""The doctor names each thing with its state, says how to mend what is missing, and loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.commands.doctor import (
    Check,
    State,
    disk,
    examine,
    import_check,
    print_checks,
    shared_memory,
    works,
)
from cluster.commands.doctor import test_data as data_check

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return examine()


def test_every_part_of_the_main_path_is_looked_at(checks: list[Check]) -> None:
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


def test_whatever_is_not_well_says_how_to_mend_it(checks: list[Check]) -> None:
    assert [check.name for check in checks if check.state is not State.OK and not check.fix] == []


def test_it_works_unless_something_is_broken() -> None:
    fine, optional = Check("a", State.OK, "there"), Check("b", State.NOTE, "missing", "install it")
    assert works([fine, optional])
    assert not works([fine, Check("c", State.BROKEN, "missing", "install it")])


def test_a_package_that_cannot_be_imported_is_broken_with_its_last_line() -> None:
    check = import_check("surely_not_a_package")
    assert check.state is State.BROKEN
    assert "No module named" in check.found
    assert import_check("json").state is State.OK


def test_test_data_is_a_note_that_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STILLHOUSE_TEST_DATA", str(tmp_path))
    assert data_check().state is State.OK
    monkeypatch.setenv("STILLHOUSE_TEST_DATA", str(tmp_path / "nowhere"))
    assert data_check().state is State.NOTE
    assert "is no folder" in data_check().found


def test_disk_and_shared_memory_are_measured_where_asked(tmp_path: Path) -> None:
    assert str(tmp_path) in disk(tmp_path).found
    assert shared_memory(tmp_path / "nowhere").state is State.OK


def test_checks_are_printed_one_a_line_with_the_mending_below() -> None:
    printed: list[str] = []
    print_checks([Check("a", State.OK, "there"), Check("bcd", State.NOTE, "missing", "install it")], printed.append)
    assert printed == ["ok      a    there", "note    bcd  missing", "             -> install it"]


def test_nothing_heavy_is_loaded() -> None:
    heavy = "{'torch', 'ray', 'vllm', 'transformers', 'deepspeed'}"
    code = f"import sys; from cluster.commands.doctor import examine; examine(); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
