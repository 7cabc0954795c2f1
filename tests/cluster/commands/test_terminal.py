"""Output to terminals of other encodings, to pipes whose reader has gone, and to full disks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.commands.terminal import ERROR_HANDLER, system_sentence

ROOT = Path(__file__).parents[3]


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in which ``$STILLHOUSE`` is the command."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "STILLHOUSE": f"{sys.executable} -m cluster.cli", **environment}
    command = ["bash", "-o", "pipefail", "-c", script]
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16", "shift_jis"])
def test_every_text_can_be_written_in_every_encoding(encoding: str) -> None:
    text = "success 51 % – 100 % · ≤ 3 × 4 … \udcff \U0001f600"
    written = text.encode(encoding, ERROR_HANDLER).decode(encoding)
    assert "success 51 %" in written
    assert "\\udcff" in written


def test_similar_characters_stand_for_those_that_ascii_lacks() -> None:
    assert "51 % – 100 % · ≤ 3 × 4…".encode("ascii", ERROR_HANDLER) == b"51 % - 100 % - <= 3 x 4..."


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_table_is_printed_on_a_terminal_without_utf_8(environment: dict[str, str]) -> None:
    done = shell("$STILLHOUSE run smoke --dry-run", **environment)
    assert done.returncode == 0, done.stderr
    assert "This recipe fits" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        ("$STILLHOUSE list recipes | head -1", {0, 1}),  # the pipe may hold all of the output before head ends
        ("$STILLHOUSE list recipes | true", {1}),
        ("$STILLHOUSE --help | true", {1}),
        ("$STILLHOUSE list recipes >&-", {0}),
        ("$STILLHOUSE list nothing 2>&-", {2}),
    ],
)
def test_a_reader_that_has_gone_causes_no_message(script: str, codes: set[int]) -> None:
    done = shell(script)
    assert done.returncode in codes
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_stored_is_one_sentence() -> None:
    done = shell("$STILLHOUSE list recipes > /dev/full")
    assert done.returncode == 2
    assert done.stderr == "stillhouse: the output cannot be written (no space left on device); write it elsewhere.\n"


def test_what_the_system_refuses_is_one_sentence_and_other_errors_are_not_ours_to_word() -> None:
    long = OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "x" * 300)
    sentence = system_sentence(long)
    assert sentence is not None
    assert "file name too long" in sentence
    assert len(sentence) < 300
    assert system_sentence(FileNotFoundError(errno.ENOENT, "gone", "x")) is None
    assert system_sentence(ConnectionRefusedError(errno.ECONNREFUSED, "refused")) is None
