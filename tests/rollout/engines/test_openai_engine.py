"""The client of OpenAI-compatible endpoints, against a local server that returns recorded answers."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rollout.engine import Sampling
from rollout.engines.openai_engine import EndpointError, OpenAIConfig, OpenAIEngine, start
from rollout.errors import Boundary, EpisodeError, UserError, boundary
from rollout.grammar import Choice, Grammar
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import load_tokenizer

KEY = "sk-do-not-tell"
Answer = tuple[int, dict[str, str], Any]


class Server(ThreadingHTTPServer):
    """Returns ``answers`` in order, and records the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.paths: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.requests.append(json.loads(body))
        self.server.keys.append(self.headers["Authorization"])
        status, headers, answer = self.server.answers.pop(0)
        content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("STILLHOUSE_TEST_KEY", KEY)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@asynccontextmanager
async def engine(server: Server, tokenizer: str, **settings: Any) -> AsyncIterator[OpenAIEngine]:
    started = await start(
        OpenAIConfig(
            base_url=server.url, model="big", tokenizer=tokenizer, api_key_env="STILLHOUSE_TEST_KEY", **settings
        )
    )
    yield started
    await started.close()


def answer(**choice: Any) -> Answer:
    return 200, {}, {"id": "1", "object": "text_completion", "created": 0, "model": "big", "choices": [choice]}


def completion(text: str, finish: str = "stop", **more: Any) -> Answer:
    return answer(**{"index": 0, "text": text, "finish_reason": finish, "logprobs": None, **more})


def likely(*rows: dict[str, float]) -> dict[str, Any]:
    """Log-probabilities in the format of the completions API; the first token of each row is the sampled one."""
    names = [next(iter(row)) for row in rows]
    values = [row[name] for row, name in zip(rows, names, strict=True)]
    return {"tokens": names, "token_logprobs": values, "top_logprobs": list(rows), "text_offset": [0] * len(rows)}


async def test_a_grammar_is_sent_as_a_regular_expression_to_servers_that_support_it(
    server: Server, tokenizer_only: str
) -> None:
    sampling = Sampling(top_logprobs=1, grammar=Grammar(("Action: ", Choice(("go (1)", "look")))))
    server.answers = [completion("!", token_ids=[9], logprobs=likely({"token_id:9": -0.5}))]
    async with engine(server, tokenizer_only) as client:
        result = await client.generate([7, 8], sampling, "s")
    assert server.requests[0]["structured_outputs"] == {"regex": r"Action: (go \(1\)|look)"}
    assert (result.logprobs, result.top) == (None, None)  # they would be normalized over the allowed tokens
    async with engine(server, tokenizer_only, extensions=False) as client:
        with pytest.raises(NotImplementedError, match=r"set extensions: true, or agent\.acting to plain"):
            await client.generate([7, 8], sampling.model_copy(update={"top_logprobs": 0}), "s")


async def test_token_ids_are_sent_and_returned_unchanged(server: Server, tokenizer_only: str) -> None:
    server.answers = [completion("!", token_ids=[9, 3], logprobs=likely({"token_id:9": -0.5}, {"token_id:3": -0.25}))]
    async with engine(server, tokenizer_only) as client:
        result = await client.generate([7, 8], Sampling(max_tokens=5, temperature=0.5, seed=3, stop=("x",)), "s")
    sent = server.requests[0]
    assert server.paths == ["/v1/completions"]
    assert sent["prompt"] == [7, 8]
    assert (sent["max_tokens"], sent["temperature"], sent["seed"], sent["stop"]) == (5, 0.5, 3, ["x"])
    assert result.token_ids == (9, 3)
    assert result.logprobs == (-0.5, -0.25)
    assert result.text == load_tokenizer(tokenizer_only).decode((9, 3))
    assert (result.finish_reason, result.top, result.weight_version) == ("stop", None, 0)


async def test_top_tokens_are_returned_by_id_with_the_rest_as_tail_mass(server: Server, tokenizer_only: str) -> None:
    rows = likely(
        {"token_id:9": -1.0, "token_id:8": -0.7, "token_id:4": -3.0}, {"token_id:3": -0.1, "token_id:5": -4.0}
    )
    server.answers = [completion("!", logprobs=rows)]
    async with engine(server, tokenizer_only) as client:
        result = await client.generate([7], Sampling(top_logprobs=2), "s")
    assert server.requests[0]["logprobs"] == 2
    assert result.token_ids == (9, 3)
    assert result.top is not None
    assert result.top.token_ids == ((8, 9), (3, 5))
    assert result.top.tail_mass == pytest.approx((1 - 0.496585 - 0.367879, 1 - 0.904837 - 0.018316), abs=1e-5)


async def test_without_ids_from_the_endpoint_its_text_is_tokenized(server: Server, tokenizer_only: str) -> None:
    server.answers = [completion("ab", "length", logprobs=likely({"a": -1.0}, {"b": -2.0})), completion("ab")]
    async with engine(server, tokenizer_only, extensions=False, prompt="text") as client:
        first = await client.generate(load_tokenizer(tokenizer_only).encode("Hi, you"), Sampling(), "s")
        second = await client.generate([7], Sampling(), "s")
        with pytest.raises(NotImplementedError, match="extensions: true"):
            await client.generate([7], Sampling(top_logprobs=2), "s")
        with pytest.raises(NotImplementedError, match="top_k"):
            await client.generate([7], Sampling(top_k=2), "s")
    sent = server.requests[0]
    assert sent["prompt"] == "Hi, you"
    assert not {"return_token_ids", "skip_special_tokens", "top_k"} & sent.keys()
    assert first.token_ids == load_tokenizer(tokenizer_only).encode("ab")
    assert (first.logprobs, first.finish_reason) == ((-1.0, -2.0), "length")
    assert second.logprobs is None


async def test_an_endpoint_that_ignores_the_extensions_cannot_return_top_tokens(
    server: Server, tokenizer_only: str
) -> None:
    server.answers = [completion("a", logprobs=likely({"a": -1.0}))]
    async with engine(server, tokenizer_only) as client:
        with pytest.raises(NotImplementedError, match="by text, not by id"):
            await client.generate([7], Sampling(top_logprobs=1), "s")


async def test_a_chat_server_gets_the_messages_that_the_prompt_was_made_of(server: Server, tokenizer_only: str) -> None:
    tokenizer = load_tokenizer(tokenizer_only)
    prompt = ChatTemplate.from_tokenizer(tokenizer).render("Be <b>rief.", [("One?", "1"), ("Two?", "2")], "Three?")
    server.answers = [answer(index=0, message={"role": "assistant", "content": "3!"}, finish_reason="stop")] * 2
    async with engine(server, tokenizer_only, api="chat", extensions=False) as client:
        result = await client.generate(tokenizer.encode_markers(prompt), Sampling(), "s")
        await client.generate(tokenizer.encode_markers(prompt + "So"), Sampling(), "s")
        with pytest.raises(ValueError, match="does not begin"):
            await client.generate(tokenizer.encode_markers("<|user|>x"), Sampling(), "s")
        with pytest.raises(NotImplementedError, match="cannot score"):
            await client.score([7, 8], 2)
    messages = server.requests[0]["messages"]
    assert server.paths[0] == "/v1/chat/completions"
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [message["content"] for message in messages] == ["Be <b>rief.", "One?", "1", "Two?", "2", "Three?"]
    assert server.requests[1]["messages"][6:] == [{"role": "assistant", "content": "So"}]
    assert (result.token_ids, result.text, result.logprobs) == (tokenizer.encode("3!"), "3!", None)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_request_to_a_busy_or_broken_endpoint_is_retried(
    server: Server, tokenizer_only: str, status: int
) -> None:
    busy: Answer = (status, {"Retry-After": "0.01"}, {"error": {"message": "busy"}})
    server.answers = [busy, busy, completion("ok")]
    async with engine(server, tokenizer_only, max_retries=2) as client:
        assert (await client.generate([7], Sampling(), "s")).text == "ok"
    assert len(server.requests) == 3


async def test_after_all_retries_the_failure_names_the_endpoint(server: Server, tokenizer_only: str) -> None:
    server.answers = [(503, {"Retry-After": "0.01"}, {"error": {"message": "still busy"}})] * 3
    async with engine(server, tokenizer_only, max_retries=1) as client:
        with pytest.raises(EndpointError, match=f"{server.url}.*still busy"):
            await client.generate([7], Sampling(), "s")
    assert len(server.requests) == 2


async def test_a_refused_request_is_not_sent_again(server: Server, tokenizer_only: str) -> None:
    server.answers = [(400, {}, {"error": {"message": "no such model"}})] * 2
    async with engine(server, tokenizer_only) as client:
        with pytest.raises(EndpointError, match="no such model"):
            await client.generate([7], Sampling(), "s")
    assert len(server.requests) == 1


async def test_an_endpoint_that_cannot_be_reached_is_a_failure_of_the_engine(
    server: Server, tokenizer_only: str
) -> None:
    config = OpenAIConfig(
        base_url="http://127.0.0.1:9/v1", model="m", tokenizer=tokenizer_only, api_key_env=None, max_retries=0
    )
    client = await start(config)
    with pytest.raises(EpisodeError) as raised, boundary(Boundary.ENGINE):
        await client.generate([7], Sampling(), "s")
    await client.close()
    assert raised.value.failure.boundary == "engine"
    assert "http://127.0.0.1:9/v1" in raised.value.failure.message


async def test_the_api_key_is_sent_and_never_shown(server: Server, tokenizer_only: str) -> None:
    server.answers = [(401, {}, {"error": {"message": f"incorrect key {KEY}"}})]
    async with engine(server, tokenizer_only) as client:
        with pytest.raises(EndpointError) as raised:
            await client.generate([7], Sampling(), "s")
        shown = f"{raised.value} {raised.value!r} {client!r} {client.name}"
    assert server.keys == [f"Bearer {KEY}"]
    assert "incorrect key ***" in shown
    assert KEY not in shown
    assert raised.value.__cause__ is None


async def test_a_missing_api_key_is_reported(tokenizer_only: str) -> None:
    config = OpenAIConfig(base_url="http://x/v1", model="m", tokenizer=tokenizer_only, api_key_env="STILLHOUSE_NO_KEY")
    with pytest.raises(UserError, match="STILLHOUSE_NO_KEY is not set"):
        await start(config)


async def test_a_score_goes_through_prompt_log_probabilities(server: Server, tokenizer_only: str) -> None:
    def entry(logprob: float) -> dict[str, Any]:
        return {"logprob": logprob, "rank": 1, "decoded_token": "?"}

    rows = [None, {"8": entry(-0.7), "6": entry(-1.0), "2": entry(-3.0)}]
    server.answers = [completion("", prompt_logprobs=rows, logprobs=likely({"token_id:3": -0.1, "token_id:5": -4.0}))]
    async with engine(server, tokenizer_only) as client:
        scores = await client.score([7, 6, 3], 2)
        assert len(await client.score([7], 2)) == 1
    sent = server.requests[0]
    assert (sent["prompt"], sent["max_tokens"], sent["prompt_logprobs"], sent["logprobs"]) == ([7, 6], 1, 2, 2)
    assert scores.token_ids == ((), (8, 6), (3, 5))
    assert scores.tail_mass == pytest.approx((1.0, 1 - 0.496585 - 0.367879, 1 - 0.904837 - 0.018316), abs=1e-5)


async def test_the_weights_of_an_endpoint_cannot_be_changed(server: Server, tokenizer_only: str) -> None:
    async with engine(server, tokenizer_only) as client:
        with pytest.raises(NotImplementedError, match="cannot be changed"):
            await client.load_weights("folder", 1)


async def test_malformed_answers_are_failures(server: Server, tokenizer_only: str) -> None:
    server.answers = [completion("", "content_filter"), (200, {}, {"choices": []}), (200, {}, {"hello": "world"})]
    async with engine(server, tokenizer_only) as client:
        with pytest.raises(EndpointError, match="finish reason 'content_filter'"):
            await client.generate([7], Sampling(), "s")
        for _ in range(2):
            with pytest.raises(EndpointError, match="no choices"):
                await client.generate([7], Sampling(), "s")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "https://me:secret@host/v1"])
def test_an_invalid_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="base_url must") as raised:
        OpenAIConfig(base_url=url, model="m", tokenizer="t")
    assert "secret" not in str(raised.value)
