"""Frames on the channel: four bytes of length, most significant first, then a JSON object in UTF-8."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

HEADER = struct.Struct(">I")


def encode(message: Mapping[str, object]) -> bytes:
    """One frame. Lone surrogates, which UTF-8 lacks, become question marks.

    Raises:
        TypeError: a value that JSON does not know.
        ValueError: a number that JSON does not know, or a structure that contains itself.
    """
    text = json.dumps(message, ensure_ascii=False, allow_nan=False)
    body = text.encode("utf-8", "replace")
    return HEADER.pack(len(body)) + body


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next frame from a sender that is trusted, with the file descriptors that came along.

    Raises:
        EOFError: the other side has gone.
    """
    head, descriptors, _, _ = socket.recv_fds(channel, HEADER.size, 1)
    head += _exactly(channel, HEADER.size - len(head), begun=bool(head))
    body = _exactly(channel, HEADER.unpack(head)[0], begun=True)
    message: dict[str, Any] = json.loads(body)
    return message, descriptors


def _exactly(channel: socket.socket, size: int, begun: bool) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(min(size - len(parts), 1 << 16)) if begun else b""
        if not part:
            raise EOFError("the worker has closed the channel")
        parts += part
    return bytes(parts)
