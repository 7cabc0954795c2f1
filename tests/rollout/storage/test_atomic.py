"""Atomic writes: a file or folder appears as a whole or not at all; a full disk is one sentence."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from rollout.errors import UserError
from rollout.storage.atomic import atomic_write, atomic_write_text, remove_leftovers


def fail_half_way(target: Path, error: Exception) -> None:
    with atomic_write(target) as temporary:
        temporary.mkdir()
        (temporary / "half").write_text("half")
        raise error


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_written_appears_at_the_end_of_the_block(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "new" / "place"
    with atomic_write(target) as temporary:
        if kind == "folder":
            temporary.mkdir()
        (temporary / "part" if kind == "folder" else temporary).write_text("all")
        assert not target.exists()
    assert (target / "part" if kind == "folder" else target).read_text() == "all"
    assert list(target.parent.iterdir()) == [target]


def test_an_older_file_is_replaced_and_outlives_a_failure(tmp_path: Path) -> None:
    target = tmp_path / "state"
    for text in ("old", "new"):
        with atomic_write(target) as temporary:
            temporary.write_text(text)
    with pytest.raises(KeyError):
        fail_half_way(target, KeyError("a bug"))
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_a_sentence_and_leaves_nothing_behind(tmp_path: Path, error: Exception) -> None:
    target = tmp_path / "round=000"
    with pytest.raises(UserError, match=r"No space is left for .*round=000: free some.*same command"):
        fail_half_way(target, error)
    assert list(tmp_path.iterdir()) == []


def write_folder(target: Path, text: str, *, replace_folder: bool) -> None:
    with atomic_write(target, replace_folder=replace_folder) as temporary:
        temporary.mkdir()
        (temporary / text).write_text(text)


def test_a_folder_is_replaced_only_on_request_and_nothing_of_it_remains(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write_folder(target, "old", replace_folder=False)
    with pytest.raises(OSError, match="not empty"):
        write_folder(target, "new", replace_folder=False)
    assert [path.name for path in target.iterdir()] == ["old"]
    write_folder(target, "new", replace_folder=True)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_to_a_folder_is_replaced_and_what_it_points_to_is_kept(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("precious")
    target = tmp_path / "index"
    target.symlink_to("elsewhere")
    write_folder(target, "new", replace_folder=True)
    assert not target.is_symlink()
    assert (tmp_path / "elsewhere" / "precious").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "index"]


def test_a_replacement_that_fails_keeps_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "index"
    write_folder(target, "old", replace_folder=True)
    with pytest.raises(FileNotFoundError), atomic_write(target, replace_folder=True):
        pass  # nothing was written
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_text_is_written_as_utf_8(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "new" / "report.md", "grün\n")
    assert (tmp_path / "new" / "report.md").read_bytes() == "grün\n".encode()


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_file_modes_follow_the_umask_even_if_a_library_makes_its_files_private(
    tmp_path: Path, kind: str, umask: int
) -> None:
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "target") as temporary:
            if kind == "folder":
                (temporary / "deep").mkdir(parents=True)
            file = temporary / "deep" / "weights" if kind == "folder" else temporary
            file.touch(mode=0o600)
        made = tmp_path / "target" / "deep" / "weights" if kind == "folder" else tmp_path / "target"
        assert stat.S_IMODE(made.stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]


def test_what_killed_writers_left_of_one_target_is_deleted(tmp_path: Path) -> None:
    for name in (".out.0123abcd.tmp", ".out.bad-steps.0123abcd.tmp", ".other.0123abcd.tmp", "out"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".out.abcd0123.tmp").mkdir()
    remove_leftovers(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".other.0123abcd.tmp",
        ".out.bad-steps.0123abcd.tmp",
        "out",
    ]
