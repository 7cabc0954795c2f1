"""What training writes appears whole or not at all; a full disk is one sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rollout.errors import UserError
from rollout.storage.atomic import atomic_write


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
