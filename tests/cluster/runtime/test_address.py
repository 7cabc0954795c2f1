"""Every wrong address of a cluster is one sentence, soon."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from cluster.runtime.address import check_address, check_dashboard, require_cluster
from cluster.runtime.ray_jobs import require_answer
from rollout.errors import UserError


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        *[("", "it is empty"), ("  ", "it is empty"), ("head", "it has no port"), ("head:", "it has no port")],
        *[("AUTO", "it has no port"), ("Local", "it has no port"), (" auto", "it has no port")],
        *[
            ("head:abc", "the port abc"),
            ("head:0", "the port 0"),
            ("head:65536", "the port 65536"),
            ("head:-1", "the port"),
        ],
        *[
            ("head:6379/x", "the port"),
            ("head:+6379", "the port"),
            ("head:６３７９", "the port"),
            ("head:6379 ", "the port"),
        ],
        *[
            ("head:63790000000000000000000", "the port"),
            (":6379", "it has no host"),
            ("-head:6379", "no name of a host"),
        ],
        *[
            ("a b:6379", "no name of a host"),
            ("me@head:6379", "no name of a host"),
            ("head/x:6379", "no name of a host"),
        ],
        *[("::1:6379", "stands in brackets"), ("[::1]", "the port"), ("[head]:6379", "no IPv6 address")],
        *[("http://head:8265", "URL of a dashboard"), ("https://head", "URL of a dashboard"), ("http://", "URL of")],
        *[("ray://head:10001", "ray:// is not supported"), ("tcp://head:1", "tcp:// is not supported")],
        ("head:6379\nhead:6379", "no"),
    ],
)
def test_an_address_of_another_form_is_one_sentence(address: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"{reason}.*give HOST:PORT") as caught:
        check_address(address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", [None, "auto", "local", "head:6379", "10.0.0.5:6379", "[::1]:6379", "a_b.c-d:1024"])
def test_the_right_forms_are_accepted(address: str | None) -> None:
    check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *("", "head:8265", "http://", "http://:8265", "http://head:abc", "http://head:0", "http://head:99999"),
        *("http://[::1", "http://he ad:8265", "http://head\n:1", "ray://head:10001", "ftp://head"),
    ],
)
def test_what_is_no_url_of_a_dashboard_is_one_sentence(address: str) -> None:
    with pytest.raises(UserError, match="give one such as http://HEAD:8265") as caught:
        check_dashboard(address)
    assert "\n" not in str(caught.value)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a listener that never answers. Ray replaces 127.0.0.1 by another address of this machine."""
    with socket.create_server(("", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def website() -> Iterator[int]:
    """The port of a web server."""
    server = HTTPServer(("", 0), BaseHTTPRequestHandler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_port_where_nothing_listens_is_told() -> None:
    with pytest.raises(UserError, match="nothing listens there.*correct --address"):
        require_cluster(f"127.0.0.1:{closed_port()}")


def test_a_host_that_does_not_exist_is_told() -> None:
    with pytest.raises(UserError, match="no Ray cluster at nowhere.invalid:6379"):
        require_cluster("nowhere.invalid:6379")


def test_a_listener_that_never_answers_is_given_up(silent: int) -> None:
    with pytest.raises(UserError, match=r"no answer within 0.5 s"):
        require_cluster(f"127.0.0.1:{silent}", timeout_s=0.5)
    with pytest.raises(UserError, match=r"no answer within 0.5 s"):
        require_answer(f"http://127.0.0.1:{silent}", timeout_s=0.5)


def test_another_service_is_no_cluster(website: int) -> None:
    with pytest.raises(UserError, match="another service listens there"):
        require_cluster(f"127.0.0.1:{website}")


def test_auto_obeys_an_address_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port()}")
    with pytest.raises(UserError, match=r"no Ray cluster at auto \(nothing listens there\)"):
        require_cluster("auto")


def test_a_dashboard_where_nothing_listens_is_told() -> None:
    with pytest.raises(UserError, match="no Ray dashboard answers at .*check host, port"):
        require_answer(f"http://127.0.0.1:{closed_port()}")
