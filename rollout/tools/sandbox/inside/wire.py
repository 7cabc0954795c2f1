"""Frames of the channel: a 4-byte big-endian length followed by a JSON object in UTF-8."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

HEADER = struct.Struct(">I")


def encode(message: Mapping[str, object]) -> bytes:
    """Encode a frame. Lone surrogates, which UTF-8 cannot represent, become question marks.

    Raises:
        TypeError: a value cannot be represented in JSON.
        ValueError: a number cannot be represented in JSON, or a structure contains itself.
    """
    text = json.dumps(message, ensure_ascii=False, allow_nan=False)
    body = text.encode("utf-8", "replace")
    return HEADER.pack(len(body)) + body


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive the next frame and its file descriptors from a trusted sender.

    Raises:
        EOFError: the other side has closed the channel.
    """
    head, descriptors, _, _ = socket.recv_fds(channel, HEADER.size, 1)
    head += _receive_exactly(channel, HEADER.size - len(head), started=bool(head))
    body = _receive_exactly(channel, HEADER.unpack(head)[0], started=True)
    message: dict[str, Any] = json.loads(body)
    return message, descriptors


def _receive_exactly(channel: socket.socket, size: int, started: bool) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(min(size - len(parts), 1 << 16)) if started else b""
        if not part:
            raise EOFError("the worker has closed the channel")
        parts += part
    return bytes(parts)
