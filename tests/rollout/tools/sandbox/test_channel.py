"""The channel to an interpreter: valid frames are read, all other input is refused."""

from __future__ import annotations

import json
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.tools.sandbox.channel import Channel, ResultFrame, parse
from rollout.tools.sandbox.errors import ChannelBrokenError, ChannelTimeoutError
from rollout.tools.sandbox.inside.wire import encode, receive

RESULT = {
    "type": "result",
    "id": "a",
    "stdout": "out",
    "value": None,
    "error": None,
    "final_answer": None,
    "timed_out": False,
    "cut": ["stdout"],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def pair(limit_bytes: int = 10_000) -> tuple[Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    return Channel(ours, limit_bytes), theirs


def test_a_result_is_read() -> None:
    channel, theirs = pair()
    with theirs:
        theirs.sendall(encode(RESULT))
        frame = channel.receive(time.monotonic() + 5)
    channel.close()
    assert isinstance(frame, ResultFrame)
    assert frame.stdout == "out"


def test_frames_may_arrive_in_pieces_or_together() -> None:
    channel, theirs = pair()
    data = encode(RESULT) * 2
    with theirs:
        theirs.sendall(data[:7])
        with pytest.raises(ChannelTimeoutError):
            channel.receive(time.monotonic() + 0.05)
        assert channel.has_pending_input()
    channel.close()
    channel, theirs = pair()
    with theirs:
        theirs.sendall(data)
        assert channel.receive(time.monotonic() + 5) == channel.receive(time.monotonic() + 5)
        assert not channel.has_pending_input()
    channel.close()


@pytest.mark.parametrize(
    "change",
    [
        {"timed_out": "false"},
        {"stdout": None},
        {"stdout": 5},
        {"id": "x" * 65},
        {"cut": ["everything"]},
        {"cut": ["stdout"] * 9},
        {"extra": 1},
        {"type": "call"},
        {"type": ["result"]},
    ],
)
def test_anything_but_the_exact_shape_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ChannelBrokenError):
        parse(json.dumps({**RESULT, **change}).encode())


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_are_refused_and_have_no_other_effect(body: bytes) -> None:
    with pytest.raises(ChannelBrokenError):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"type":"result","id":' + b"9" * 100_000 + b"}",
        b'{"type":"result","id":"\\ud800"}',
        b'{"type":"result","id":"a","stdout":NaN}',
        b"\xff\xfe",
        b"",
        b"\x80\x04\x95cos\nsystem\n",
    ],
)
def test_input_that_breaks_parsers_is_refused(body: bytes) -> None:
    with pytest.raises(ChannelBrokenError):
        parse(body)


def test_a_frame_beyond_the_limit_is_refused_by_its_length_alone() -> None:
    channel, theirs = pair(limit_bytes=100)
    with theirs:
        theirs.sendall((101).to_bytes(4, "big"))
        with pytest.raises(ChannelBrokenError):
            channel.receive(time.monotonic() + 5)
    channel.close()


def test_sending_to_a_side_that_does_not_read_ends_at_the_deadline() -> None:
    channel, theirs = pair()
    with theirs, pytest.raises(ChannelTimeoutError):
        channel.send({"code": "x" * 10_000_000}, time.monotonic() + 0.1)
    channel.close()


def test_a_closed_channel_is_detected() -> None:
    channel, theirs = pair()
    theirs.close()
    assert channel.has_pending_input()
    with pytest.raises(ChannelBrokenError):
        channel.receive(time.monotonic() + 5)
    with pytest.raises(ChannelBrokenError):
        channel.send({"a": 1}, time.monotonic() + 5)
    channel.close()


@given(st.text(st.characters()))
def test_any_text_survives_a_round_trip(text: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(encode({"code": text}))
        message, descriptors = receive(theirs)
    assert message == {"code": text.encode("utf-8", "replace").decode()}
    assert descriptors == []
