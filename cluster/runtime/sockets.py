"""Folders for Unix sockets, whose paths may have 107 bytes. Ray and vLLM make theirs below TMPDIR."""

from __future__ import annotations

import os
import tempfile

from rollout.errors import UserError

MAX_PATH_BYTES = 107
SHORT_FOLDER = "/tmp"
RAY_SUFFIX = len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
VLLM_SUFFIX = len("/01234567-0123-0123-0123-0123456789ab")
SUFFIXES = {"RAY_TMPDIR": RAY_SUFFIX, "VLLM_RPC_BASE_PATH": VLLM_SUFFIX}
"""Bytes that are appended to the folder that each variable names; without the variable, it is TMPDIR."""


def socket_changes(environment: dict[str, str] | None = None) -> dict[str, str]:
    """Environment variables that keep the paths of sockets short enough where TMPDIR is too long for them.

    Raises:
        UserError: the user has set one of them to a folder that is too long.
    """
    given = dict(os.environ) if environment is None else environment
    folder = given.get("TMPDIR") or tempfile.gettempdir()
    changes: dict[str, str] = {}
    for name, suffix in SUFFIXES.items():
        longest = MAX_PATH_BYTES - suffix
        if given.get(name) and len(os.fsencode(given[name])) > longest:
            raise UserError(
                f"{name} has {len(os.fsencode(given[name]))} bytes, but the paths of sockets below it leave room for "
                f"{longest}; set it to a shorter folder, or unset it."
            )
        if not given.get(name) and len(os.fsencode(folder)) > longest:
            if not os.access(SHORT_FOLDER, os.W_OK):
                raise UserError(
                    f"TMPDIR has {len(os.fsencode(folder))} bytes, but the paths of sockets below it leave room for "
                    f"{longest}; set it to a shorter folder."
                )
            changes[name] = SHORT_FOLDER
    return changes


def shorten_socket_paths() -> None:
    """Apply `socket_changes` to this process and those that it starts. Raises `UserError` as that does."""
    os.environ.update(socket_changes())
