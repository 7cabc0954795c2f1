"""Failures of OpenAI-compatible endpoints: what is retried, what is a wrong setting, and that no secret is shown."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import logging
import pickle
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rollout.engine import Sampling
from rollout.engines.openai_engine import EndpointError, OpenAIConfig, OpenAIEngine, probe_endpoint, start
from rollout.errors import Boundary, Cause, EngineUnavailable, EpisodeError, SetupError, UserError, boundary, cause_of
from tests.rollout.engines.servers import Dialect, Server, owned_by, serving

KEY = "sk-do-not-tell-0123"
OK = (200, {}, {"choices": [{"text": "ok", "finish_reason": "stop"}]})
SAMPLING = Sampling(max_tokens=4)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_TEST_KEY", KEY)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Dialect({"text": "ok", "finish_reason": "stop"}, models=owned_by("me"))) as server:
        yield server


def config(url: str, tokenizer: str, **settings: Any) -> OpenAIConfig:
    defaults = {"model": "big", "api_key_env": "STILLHOUSE_TEST_KEY", "max_retries": 0}
    return OpenAIConfig(base_url=url, tokenizer=tokenizer, **defaults | settings)


@asynccontextmanager
async def engine(url: str, tokenizer: str, **settings: Any) -> AsyncIterator[OpenAIEngine]:
    started = await start(config(url, tokenizer, **settings))
    yield started
    await started.close()


async def failure(server: Server, tokenizer: str, **settings: Any) -> Exception:
    """The error of one completion."""
    async with engine(server.url, tokenizer, **settings) as client:
        with pytest.raises((EndpointError, UserError)) as raised:
            await client.generate([7], SAMPLING, "s")
    return raised.value


HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1>nginx</body></html>"


@pytest.mark.parametrize(
    ("status", "body", "cause", "said"),
    [
        (401, {"error": {"message": "Incorrect API key provided"}}, Cause.SETUP, "Set STILLHOUSE_TEST_KEY to a key"),
        (401, b"", Cause.SETUP, "answered 401. Set STILLHOUSE_TEST_KEY"),
        (403, {"detail": "Forbidden"}, Cause.SETUP, "Forbidden. Set STILLHOUSE_TEST_KEY"),
        (404, {"error": {"message": "The model `big` does not exist.", "code": 404}}, Cause.SETUP, "it serves big"),
        (404, {"error": {"message": 'model "big" not found, try pulling it first'}}, Cause.SETUP, "it serves big"),
        (404, {"error": {"code": "DeploymentNotFound", "message": "not here"}}, Cause.SETUP, "it serves big"),
        (400, {"error": {"message": "Model Not Exist"}}, Cause.SETUP, "it serves big"),
        (400, {"message": "Invalid model: big", "code": "1500"}, Cause.SETUP, "it serves big"),
        (404, {"detail": "Not Found"}, Cause.SETUP, "Correct base_url"),
        (404, b"404 page not found", Cause.SETUP, "404 page not found. Correct base_url"),
        (405, HTML, Cause.SETUP, "Correct base_url"),
        (301, b"", Cause.SETUP, "a redirect. Correct base_url"),
        (
            400,
            {"error": {"message": "This model's maximum context length is 99 tokens."}},
            Cause.SETUP,
            "max_model_len",
        ),
        (400, {"error": {"code": "context_length_exceeded", "message": "?"}}, Cause.SETUP, "max_model_len"),
        (422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 99"}, Cause.SETUP, "max_model_len"),
        (400, {"error": {"message": "the request exceeds the available context size"}}, Cause.SETUP, "max_model_len"),
        (413, b"", Cause.SETUP, "max_model_len"),
        (500, {"error": "the input length exceeds the context length"}, Cause.SETUP, "max_model_len"),
        (402, {"error": {"message": "Insufficient Balance"}}, Cause.ENGINE, "Insufficient Balance"),
        (429, {"error": {"message": "Rate limit reached"}}, Cause.ENGINE, "429: Rate limit reached"),
        (500, b"Internal Server Error", Cause.ENGINE, "500: Internal Server Error"),
        (502, HTML, Cause.ENGINE, "502: 502 Bad Gateway"),
        (503, {"error": {"message": "Loading model", "code": 503}}, Cause.ENGINE, "Loading model"),
        (529, {}, Cause.ENGINE, "529"),
        (
            400,
            {"error": {"message": "filtered", "code": "content_filter"}},
            Cause.ENGINE,
            r"filtered \(content_filter\)",
        ),
        (418, b"\xff\xfe", Cause.ENGINE, "418"),
        (200, {"error": {"message": "upstream is down", "code": 502}}, Cause.ENGINE, "502: upstream is down"),
        (200, {"error": {"message": "no such key", "code": 401}}, Cause.SETUP, "401: no such key"),
        (200, {"error": "boom"}, Cause.ENGINE, "500: boom"),
        (200, {"error": None, "choices": []}, Cause.ENGINE, "no choices"),
        (200, {"choices": None}, Cause.ENGINE, "no choices"),
        (200, {"hello": "world"}, Cause.ENGINE, "no choices"),
        (200, HTML, Cause.ENGINE, r"something else than JSON \(502 Bad Gateway\)"),
        (200, b"", Cause.ENGINE, r"something else than JSON \(nothing\)"),
        (200, b'{"choices": [{"text": "\xff"}]}', Cause.ENGINE, "something else than JSON"),
        (200, b'{"choices": [{"te', Cause.ENGINE, "something else than JSON"),
        (200, b"[" * 100_000, Cause.ENGINE, "something else than JSON"),
        (200, b"[1, 2]", Cause.ENGINE, "something else than JSON"),
        (200, {"choices": {"text": "x"}}, Cause.ENGINE, "malformed at choices"),
        (200, {"choices": [7]}, Cause.ENGINE, r"malformed at choices\.0"),
        (200, {"choices": [{"text": 7}]}, Cause.ENGINE, r"malformed at choices\.0\.text"),
        (200, {"choices": [{"text": "a", "token_ids": ["x"]}]}, Cause.ENGINE, "malformed at"),
        (200, {"choices": [{"text": "a", "token_ids": [-1]}]}, Cause.ENGINE, "malformed at"),
        (200, {"choices": [{"message": {"content": {"text": "x"}}}]}, Cause.ENGINE, "malformed at"),
    ],
)
async def test_a_failure_has_its_cause_and_a_clear_message(
    status: int, body: Any, cause: Cause, said: str, server: Server, tokenizer_only: str
) -> None:
    server.replies = [(status, {}, body)]
    error = await failure(server, tokenizer_only)
    assert cause_of(error, Boundary.ENGINE) is cause
    assert isinstance(error, SetupError) is (cause is Cause.SETUP)
    with pytest.raises(type(error), match=said):
        raise error
    assert server.url in str(error)
    assert len(str(error)) < 700
    assert "\n" not in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 529])
async def test_a_failure_that_may_pass_is_retried(status: int, server: Server, tokenizer_only: str) -> None:
    server.replies = [(status, {"Retry-After": "0.01"}, b"busy")] * 2 + [OK]
    async with engine(server.url, tokenizer_only, max_retries=2) as client:
        assert (await client.generate([7], SAMPLING, "s")).text == "ok"
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (429, {"Retry-After": "3600"}, {"error": {"message": "quota"}}),
        (503, {"Retry-After": "inf"}, b""),
        (429, {"Retry-After": email.utils.formatdate(time.time() + 7200, usegmt=True)}, b""),
        (429, {}, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}),
        (402, {}, {"error": {"message": "Insufficient Balance"}}),
    ],
)
async def test_an_endpoint_that_asks_to_wait_for_long_is_not_asked_again(
    status: int, headers: dict[str, str], body: Any, server: Server, tokenizer_only: str
) -> None:
    server.replies = [(status, headers, body)]
    assert isinstance(await failure(server, tokenizer_only, max_retries=5), EngineUnavailable)
    assert len(server.bodies) == 1


async def test_a_byte_order_mark_is_skipped(server: Server, tokenizer_only: str) -> None:
    server.replies = [(200, {}, b'\xef\xbb\xbf{"choices": [{"text": "ok", "finish_reason": "stop"}]}')]
    async with engine(server.url, tokenizer_only) as client:
        assert (await client.generate([7], SAMPLING, "s")).text == "ok"


async def test_a_strange_retry_after_falls_back_to_backoff(server: Server, tokenizer_only: str) -> None:
    server.replies = [(503, {"Retry-After": "soon"}, b""), OK]
    async with engine(server.url, tokenizer_only, max_retries=1) as client:
        assert (await client.generate([7], SAMPLING, "s")).text == "ok"


async def test_a_connection_that_is_closed_early_is_retried(tokenizer_only: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.readuntil(b"\r\n\r\n"))
        if len(calls) == 2:
            body = b'{"choices": [{"text": "ok", "finish_reason": "stop"}]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        writer.close()

    calls: list[bytes] = []
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    async with listening, engine(url, tokenizer_only, max_retries=1) as client:
        assert (await client.generate([7], SAMPLING, "s")).text == "ok"
    assert len(calls) == 2


async def test_an_endpoint_that_never_answers_is_unavailable_after_the_time_limit(tokenizer_only: str) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        async with engine(url, tokenizer_only, timeout_s=0.1) as client:
            with pytest.raises(EngineUnavailable, match=r"did not answer within 0\.1 s"):
                await client.generate([7], SAMPLING, "s")
        with pytest.raises(EngineUnavailable, match="did not answer"):
            await probe_endpoint(config(url, tokenizer_only, timeout_s=0.1))


async def test_an_answer_that_never_ends_is_cut_off_by_time(server: Server, tokenizer_only: str) -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(200):
            time.sleep(0.02)
            yield b" "

    server.replies = [(200, {}, drip())]
    async with engine(server.url, tokenizer_only, timeout_s=0.3) as client:
        with pytest.raises(EngineUnavailable, match="did not answer within"):
            await client.generate([7], SAMPLING, "s")


@pytest.mark.parametrize("status", [200, 500])
async def test_a_huge_answer_is_not_read_to_its_end(status: int, server: Server, tokenizer_only: str) -> None:
    block = b" " * 2**20
    server.replies = [(status, {"Connection": "close"}, (block for _ in range(512)))]
    error = await failure(server, tokenizer_only, timeout_s=60.0)
    assert ("more than" in str(error)) is (status == 200)
    assert server.sent_bytes < 100 * 2**20


async def test_a_compressed_answer_is_read_up_to_its_limit(server: Server, tokenizer_only: str) -> None:
    bomb = gzip.compress(b" " * 64 * 2**20, compresslevel=1)
    server.replies = [(200, {"Content-Encoding": "gzip"}, bomb)]
    assert "more than" in str(await failure(server, tokenizer_only))
    assert server.headers[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("{root}", "/v1/completions"),
        ("{root}/", "/v1/completions"),
        ("{root}/v1", "/v1/completions"),
        ("{root}/v1/", "/v1/completions"),
        ("{root}/v1//", "/v1/completions"),
        ("{root}/v1/completions", "/v1/completions"),
        ("{root}/v1/chat/completions", "/v1/completions"),
        (" {root}/v1 ", "/v1/completions"),
    ],
)
async def test_the_address_may_be_written_with_or_without_its_version(
    written: str, path: str, server: Server, tokenizer_only: str
) -> None:
    async with engine(written.format(root=server.root), tokenizer_only) as client:
        assert (await client.generate([7], SAMPLING, "s")).text == "ok"
    assert server.targets == [path]


async def test_below_a_path_the_version_is_tried_if_it_is_missing(tokenizer_only: str) -> None:
    with serving(Dialect({"text": "ok", "finish_reason": "stop"}, prefix="/llm/v1")) as server:
        async with engine(f"{server.root}/llm", tokenizer_only) as client:
            for _ in range(2):
                await client.generate([7], SAMPLING, "s")
    assert server.targets == ["/llm/completions", "/llm/v1/completions", "/llm/v1/completions"]


async def test_an_azure_deployment_gets_its_version_and_key(tokenizer_only: str) -> None:
    dialect = Dialect({"text": "ok", "finish_reason": "stop"}, prefix="/openai/deployments/big")
    with serving(dialect) as server:
        url = f"{server.url}?api-version=2024-06-01"
        async with engine(url, tokenizer_only, api_key_header="api-key", dialect="azure") as client:
            await client.generate([7], SAMPLING, "s")
    assert server.targets == ["/openai/deployments/big/completions?api-version=2024-06-01"]
    assert server.headers[0]["api-key"] == KEY
    assert "authorization" not in server.headers[0]


SECRETS = [
    "https://host/v1?api-key=hunter2",
    "https://host/v1?key=hunter2",
    "https://host/v1?api-version=1&token=hunter2",
    "https://host/v1?hunter2",
    "https://host/v1?sig=hunter2#x",
    "https://host/v1#hunter2",
    "https://me:hunter2@host/v1",
    "https://hunter2@host/v1",
    "https://:hunter2@host/v1",
    "https://host:hunter2/v1",
    "https://[hunter2/v1",
    "hunter2",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_secret_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="base_url must") as raised:
        OpenAIConfig(base_url=url, model="m", tokenizer="t")
    assert "hunter2" not in f"{raised.value}{raised.value!r}"


@pytest.mark.parametrize("status", [401, 404, 400, 500, 418, 200])
async def test_the_key_is_sent_and_never_shown(
    status: int, server: Server, tokenizer_only: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"the model for key {KEY} at https://u:{KEY}@h/?key=hunter2 not found"}}
    server.replies = [(status, {}, echo)]
    async with engine(server.url, tokenizer_only) as client:
        with pytest.raises((EndpointError, UserError)) as raised:
            await client.generate([7], SAMPLING, "s")
        shown = f"{raised.value!r} {raised.value.__cause__!r} {client!r} {vars(client).get('name')} {caplog.text}"
        shown += str(client.sent(SAMPLING))
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in shown
    assert "hunter2" not in shown
    with pytest.raises(EpisodeError) as failed, boundary(Boundary.ENGINE):
        raise raised.value
    assert KEY not in failed.value.failure.message


async def test_a_key_that_was_read_from_a_file_may_end_with_a_newline(
    server: Server, tokenizer_only: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_TEST_KEY", f"{KEY}\n")
    async with engine(server.url, tokenizer_only) as client:
        await client.generate([7], SAMPLING, "s")
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("bad", ["sk-\nhunter2", "sk-hünter2"])
async def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(
    bad: str, tokenizer_only: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_TEST_KEY", bad)
    with pytest.raises(UserError, match="STILLHOUSE_TEST_KEY holds characters") as raised:
        await start(config("http://h/v1", tokenizer_only))
    assert "nter2" not in str(raised.value)


async def test_a_list_of_models_that_is_refused_or_broken_does_not_stop_a_probe(tokenizer_only: str) -> None:
    choice = {"text": "ok", "finish_reason": "stop"}
    for models in (None, [], ["x"], [{"id": None, "owned_by": 3, "max_model_len": "big"}]):
        with serving(Dialect(choice, models=models)) as server:  # type: ignore[arg-type]
            found = await probe_endpoint(config(server.url, tokenizer_only))
        assert found.max_model_len == 8192
