"""The worker's end of the channel to an interpreter. The other end is hostile, so all input is validated.

Frames are bounded in size and time and must match one of two schemas. Each carries the id of its call, which is random
and new for each call. Any other input ends the interpreter. Nothing is unpickled or evaluated.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from rollout.frozen_model import FrozenModel
from rollout.tools.sandbox.errors import ChannelBrokenError, ChannelTimeoutError
from rollout.tools.sandbox.inside.wire import HEADER, encode

_GREETING_BYTES = 4096
_CREDENTIALS = struct.Struct("3i")
_READ_BYTES = 1 << 18

TextName = Literal["stdout", "value", "error", "final_answer"]
TEXT_NAMES: tuple[TextName, ...] = get_args(TextName)


class _Frame(FrozenModel):
    model_config = ConfigDict(strict=True)

    id: str = Field(max_length=64)


class ResultFrame(_Frame):
    """The interpreter reports that the code has ended."""

    type: Literal["result"]
    stdout: str
    value: str | None
    error: str | None
    final_answer: str | None
    timed_out: bool
    cut: list[TextName] = Field(max_length=8)


class CallFrame(_Frame):
    """Code calls a function of the worker. ``arguments`` is JSON text: ``[[positional], {named}]``."""

    type: Literal["call"]
    name: str = Field(max_length=200)
    arguments: str


_FRAME: TypeAdapter[ResultFrame | CallFrame] = TypeAdapter(
    Annotated[ResultFrame | CallFrame, Field(discriminator="type")]
)


def parse(body: bytes) -> ResultFrame | CallFrame:
    """Parse a frame. Raises `ChannelBrokenError` if ``body`` is not a valid one."""
    try:
        return _FRAME.validate_json(body)
    except ValidationError:
        raise ChannelBrokenError("it wrote to its result channel what is no result") from None


class Channel:
    """Sends and receives frames over a stream socket.

    Args:
        connection: a stream socket; the channel takes ownership.
        limit_bytes: size of the largest frame that is accepted.
    """

    def __init__(self, connection: socket.socket, limit_bytes: int) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._limit = limit_bytes
        self._read = bytearray()

    def send(self, message: Mapping[str, object], deadline: float) -> None:
        """Send a frame by ``deadline`` (of `time.monotonic`).

        Raises:
            ChannelBrokenError: the other side has closed the channel.
            ChannelTimeoutError: the other side does not read.
        """
        rest = memoryview(encode(message))
        while rest:
            try:
                rest = rest[self._socket.send(rest, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
            except OSError:
                raise ChannelBrokenError("it has closed its result channel") from None

    def send_descriptor(self, message: Mapping[str, object], descriptor: int) -> None:
        """Send a short frame together with a file descriptor. Raises `ChannelBrokenError`."""
        try:
            socket.send_fds(self._socket, [encode(message)], [descriptor])
        except OSError:
            raise ChannelBrokenError("it has closed its result channel") from None

    def receive(self, deadline: float) -> ResultFrame | CallFrame:
        """Receive the next frame.

        Raises:
            ChannelBrokenError: the other side has closed the channel, or the frame is invalid.
            ChannelTimeoutError: the frame is not complete by ``deadline``.
        """
        (size,) = HEADER.unpack(self._read_exactly(HEADER.size, deadline))
        if size > self._limit:
            raise ChannelBrokenError("it wrote to its result channel what is no result")
        return parse(bytes(self._read_exactly(size, deadline)))

    def has_pending_input(self) -> bool:
        """Whether unread input has arrived or the other side has closed the channel."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(self._read or poll.poll(0))

    def receive_startup(self, deadline: float) -> tuple[bytes, int]:
        """Receive the first message of a new process, and its process id as reported by the kernel.

        Raises:
            ChannelBrokenError: the other side has closed the channel.
            ChannelTimeoutError: no message arrives by ``deadline``.
        """
        self._wait(select.POLLIN, deadline)
        space = socket.CMSG_SPACE(_CREDENTIALS.size)
        message, ancillary, _, _ = self._socket.recvmsg(_GREETING_BYTES, space)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and message:
                return message[HEADER.size :], int(_CREDENTIALS.unpack(data)[0])
        raise ChannelBrokenError("it ended before it began")

    def close(self) -> None:
        self._socket.close()

    def _read_exactly(self, size: int, deadline: float) -> bytearray:
        while len(self._read) < size:
            self._wait(select.POLLIN, deadline)
            try:
                part = self._socket.recv(_READ_BYTES)
            except OSError:
                part = b""
            if not part:
                raise ChannelBrokenError("it ended without a result")
            self._read += part
        taken = self._read[:size]
        del self._read[:size]
        return taken

    def _wait(self, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        left_ms = (deadline - time.monotonic()) * 1000
        if left_ms <= 0 or not poll.poll(left_ms):
            raise ChannelTimeoutError


def channel_pair(limit_bytes: int) -> tuple[Channel, socket.socket]:
    """Create a channel and the socket for its other side."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return Channel(ours, limit_bytes), theirs
