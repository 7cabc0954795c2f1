"""A guarded child process answers, is killed when it hangs, and is replaced when it has died."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.child_process import ChildProcess

SCRIPT = """
import json, os, sys, time
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request.get("hang"):
        time.sleep(600)
    if request.get("noise"):
        print("no JSON", flush=True)
        continue
    if "exit" in request:
        print("its last words", file=sys.stderr, flush=True)
        os._exit(request["exit"])
    print(json.dumps({"pid": os.getpid(), "environment": sorted(os.environ), **request}), flush=True)
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[ChildProcess]:
    (tmp_path / "script.py").write_text(SCRIPT)
    child = ChildProcess(tmp_path / "script.py", "the script", start_timeout_s=60, keep_stderr=True)
    yield child
    child.stop()


def ask(child: ChildProcess, **request: Any) -> Any:
    return child.ask(request, timeout_s=60)


def test_one_process_answers_request_after_request(child: ChildProcess) -> None:
    first, second = ask(child, text="grün" * 100_000), ask(child, text="two")
    assert (first["text"], second["text"]) == ("grün" * 100_000, "two")
    assert first["pid"] == second["pid"] != os.getpid()


def test_it_sees_no_secrets(child: ChildProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    assert "SOME_API_KEY" not in ask(child)["environment"]


def test_a_child_that_hangs_is_killed_and_replaced(child: ChildProcess) -> None:
    before = ask(child)["pid"]
    with pytest.raises(TimeoutError, match=r"the script gave no answer within 0\.2 s"):
        child.ask({"hang": True}, timeout_s=0.2)
    assert not Path(f"/proc/{before}").exists()
    assert ask(child)["pid"] != before


def test_a_child_that_dies_is_reported_with_its_last_words_and_replaced(child: ChildProcess) -> None:
    with pytest.raises(ChildProcessError, match="the process of the script ended with code 3: its last words"):
        ask(child, exit=3)
    assert ask(child)["pid"]


def test_an_answer_that_is_no_json_is_an_error_of_the_child(child: ChildProcess) -> None:
    with pytest.raises(ChildProcessError, match="answered something that is no JSON: b'no JSON'"):
        ask(child, noise=True)
    assert ask(child)["pid"]


def test_a_child_that_cannot_start_is_an_error_at_the_first_request(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match="the process of the script ended"):
        ChildProcess(tmp_path / "absent.py", "the script", start_timeout_s=60).ask({}, timeout_s=60)


def test_a_stopped_child_starts_again(child: ChildProcess) -> None:
    child.start()
    before = ask(child)["pid"]
    child.stop()
    assert ask(child)["pid"] != before
