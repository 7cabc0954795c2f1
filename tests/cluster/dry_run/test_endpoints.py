"""Each endpoint is asked once before a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from cluster.config.load import load_recipe
from cluster.dry_run.endpoints import endpoint_findings
from cluster.dry_run.findings import Finding


class Endpoint(ThreadingHTTPServer):
    """An endpoint that answers every request with ``status`` and ``body``."""

    status = 200
    body: dict[str, Any]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = answer()
        self.requests: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    """Records a request and answers it."""

    server: Endpoint

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.requests.append(json.loads(self.rfile.read(length)))
        self.reply(self.server.status, self.server.body)

    def do_GET(self) -> None:
        self.reply(self.server.status, {"object": "list", "data": [{"id": "large"}]})

    def reply(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


def answer(top: list[dict[str, float]] | None = None) -> dict[str, Any]:
    logprobs = {"tokens": ["token_id:5"], "token_logprobs": [-0.1], "top_logprobs": top}
    choice = {"index": 0, "text": "ok", "finish_reason": "length", "logprobs": logprobs, "token_ids": [5]}
    return {"id": "1", "object": "text_completion", "created": 0, "model": "large", "choices": [choice]}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("ENDPOINT_KEY", "sk-secret")
    server = Endpoint()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def found(url: str, *overrides: str, sections: tuple[str, ...] = ("teacher", "student")) -> list[Finding]:
    tokenizer = "tokenizer: 'builtin:household-tokenizer'"
    engine = f"{{type: openai, base_url: '{url}', model: large, {tokenizer}, api_key_env: ENDPOINT_KEY}}"
    return list(endpoint_findings(load_recipe("smoke", [f"teacher.engine={engine}", *overrides]), sections))


def url_of(endpoint: Endpoint) -> str:
    return f"http://127.0.0.1:{endpoint.server_port}/v1"


def test_an_endpoint_that_answers_is_asked_for_one_short_completion(endpoint: Endpoint) -> None:
    assert found(url_of(endpoint)) == []
    (request,) = endpoint.requests
    assert request["model"] == "large"
    assert request["max_tokens"] <= 16


def test_an_endpoint_that_no_phase_uses_is_not_asked(endpoint: Endpoint) -> None:
    assert found(url_of(endpoint), sections=("student", "learner")) == []
    assert endpoint.requests == []


@pytest.mark.parametrize(("status", "words"), [(401, "401"), (403, "403"), (404, "404"), (429, "429"), (500, "500")])
def test_a_refusal_is_a_problem_without_the_key(endpoint: Endpoint, status: int, words: str) -> None:
    endpoint.status, endpoint.body = status, {"error": {"message": "no, sk-secret"}}
    (finding,) = found(url_of(endpoint))
    assert finding.fatal
    assert finding.text.startswith("teacher: ")
    assert "sk-secret" not in finding.text


def test_an_endpoint_that_nobody_runs_is_a_problem(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = found("http://127.0.0.1:9/v1")
    assert finding.fatal
    assert "http://127.0.0.1:9/v1" in finding.text


def test_a_missing_key_is_a_problem(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENDPOINT_KEY")
    (finding,) = found(url_of(endpoint))
    assert "ENDPOINT_KEY" in finding.text


def test_an_endpoint_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint) -> None:
    import socket

    monkeypatch.setattr("cluster.dry_run.endpoints.TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (finding,) = found(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
    assert finding.fatal


DISTRIBUTIONS = (
    "collect.teacher_sampling.top_logprobs=1",
    "learner={scratch: {tokenizer: 'builtin:household-tokenizer'}, epochs: 1, batch_episodes: 1, "
    "terms: [{stream: act, divergence: forward_kl}]}",
    "student=null",
    "collect.student_episodes=0",
    "evaluate=null",
)


def test_distributions_that_the_recipe_needs_are_asked_for(endpoint: Endpoint) -> None:
    endpoint.body = answer([{"token_id:5": -0.1}])
    assert found(url_of(endpoint), *DISTRIBUTIONS) == []
    assert endpoint.requests[0]["logprobs"] == 1


def test_an_endpoint_that_cannot_score_is_a_problem_where_the_recipe_scores(endpoint: Endpoint) -> None:
    scores = (*DISTRIBUTIONS, "score={roles: [teacher]}", "teacher.engine.extensions=false")
    (finding,) = found(url_of(endpoint), *scores)
    assert "cannot score" in finding.text
