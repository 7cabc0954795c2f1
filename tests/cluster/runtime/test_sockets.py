"""A TMPDIR that is too long for the paths of sockets is replaced for them."""

from __future__ import annotations

import os

import pytest

from cluster.runtime.sockets import MAX_PATH_BYTES, RAY_SUFFIX, VLLM_SUFFIX, shorten_socket_paths, socket_changes
from rollout.errors import UserError

ROOM = MAX_PATH_BYTES - RAY_SUFFIX


@pytest.mark.parametrize(
    ("environment", "changes"),
    [
        ({"TMPDIR": "/tmp"}, {}),
        ({"TMPDIR": "/" + "x" * (ROOM - 1)}, {}),
        ({"TMPDIR": "/" + "x" * ROOM}, {"RAY_TMPDIR": "/tmp"}),
        ({"TMPDIR": "/" + "é" * (ROOM // 2 + 1)}, {"RAY_TMPDIR": "/tmp"}),
        ({"TMPDIR": "/" + "x" * 105}, {"RAY_TMPDIR": "/tmp", "VLLM_RPC_BASE_PATH": "/tmp"}),
        ({"TMPDIR": "/" + "x" * 105, "RAY_TMPDIR": "/short"}, {"VLLM_RPC_BASE_PATH": "/tmp"}),
    ],
)
def test_only_what_is_too_long_is_replaced(environment: dict[str, str], changes: dict[str, str]) -> None:
    assert socket_changes(environment) == changes


@pytest.mark.parametrize(("name", "suffix"), [("RAY_TMPDIR", RAY_SUFFIX), ("VLLM_RPC_BASE_PATH", VLLM_SUFFIX)])
def test_a_folder_that_the_user_chose_is_refused_if_it_is_too_long(name: str, suffix: int) -> None:
    with pytest.raises(
        UserError, match=rf"{name} has 120 bytes.*room for {MAX_PATH_BYTES - suffix}; set it to a shorter"
    ):
        socket_changes({"TMPDIR": "/tmp", name: "/" + "x" * 119})


def test_without_a_short_folder_that_can_be_written_tmpdir_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.runtime.sockets.SHORT_FOLDER", "/proc/nowhere")
    with pytest.raises(UserError, match="TMPDIR has 106 bytes.*set it to a shorter folder"):
        socket_changes({"TMPDIR": "/" + "x" * 105})


def test_the_changes_reach_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/" + "x" * 105)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in ("RAY_TMPDIR", "VLLM_RPC_BASE_PATH"):
        os.environ.pop(name, None)
    shorten_socket_paths()
    assert os.environ["RAY_TMPDIR"] == os.environ["VLLM_RPC_BASE_PATH"] == "/tmp"
