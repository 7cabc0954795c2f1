"""File locks hold between processes, name their holder, and end with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rollout.errors import UserError
from rollout.storage.locks import LockHeldError, build_lock, lock_file

ROOT = Path(__file__).parents[3]
HOLD = (
    "import os, sys; from pathlib import Path; from rollout.storage.locks import lock_file\n"
    "with lock_file(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()\n"
)


@contextmanager
def other_process(lock: Path, code: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its stdin is closed."""
    command = [sys.executable, "-c", code, str(lock)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_that_another_process_holds_is_refused_by_its_number(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with other_process(lock) as process:
        for timeout_s in (0.0, 0.05):
            with pytest.raises(LockHeldError, match=f"process {process.pid} holds"), lock_file(lock, timeout_s):
                pass
        process.communicate()
        with lock_file(lock):
            assert lock.read_text() == str(os.getpid())


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with other_process(lock) as process:
        process.kill()
        process.wait()
        with lock_file(lock):
            pass


def test_a_lock_is_free_once_its_process_is_dead_though_a_fork_of_it_lives(tmp_path: Path) -> None:
    """Forked workers inherit descriptors; a lock that lives in one of them would block the restart of a run."""
    fork = HOLD.replace("    print", "    if not os.fork(): sys.stdin.read(); raise SystemExit\n    print")
    lock = tmp_path / "lock"
    with other_process(lock, fork) as process:
        process.kill()
        process.wait()
        with lock_file(lock, timeout_s=60):
            pass


def test_a_second_block_of_the_same_process_is_refused(tmp_path: Path) -> None:
    with lock_file(tmp_path / "lock"), pytest.raises(LockHeldError), lock_file(tmp_path / "lock"):
        pass
    with lock_file(tmp_path / "lock"):
        pass


def test_a_block_may_end_in_another_thread_than_it_began_in(tmp_path: Path) -> None:
    block = lock_file(tmp_path / "lock")
    block.__enter__()
    thread = threading.Thread(target=block.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    with lock_file(tmp_path / "lock"):
        pass


def test_a_failure_in_the_block_releases_the_lock_and_keeps_the_file(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock_file(tmp_path / "lock"):
        raise KeyError("a bug")
    assert (tmp_path / "lock").exists()
    with lock_file(tmp_path / "lock"):
        pass


def test_a_builder_waits_for_the_one_before_it(tmp_path: Path) -> None:
    target = tmp_path / "new" / "index"
    target.parent.mkdir()
    with other_process(target.with_name(".index.lock")) as process:
        with (
            pytest.raises(UserError, match=f"process {process.pid} has been building .*index for"),
            build_lock(target, 0.05),
        ):
            pass
        entered = threading.Event()

        def build() -> None:
            with build_lock(target):
                entered.set()

        thread = threading.Thread(target=build)
        thread.start()
        assert not entered.wait(0.3)
        process.communicate()
        assert entered.wait(60)
        thread.join()
    assert [path.name for path in target.parent.iterdir()] == [".index.lock"]
