"""HTTP servers on the loopback interface that speak the dialects of OpenAI's API as real servers do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Body = Mapping[str, Any]
Reply = tuple[int, Any]
"""Status and body: JSON, or bytes as they are."""


@dataclass
class Dialect:
    """A server's behavior.

    Attributes:
        choice: the completion that it returns.
        top: other fields of its answers.
        models: what ``/models`` lists; None answers 404.
        check: status and body that refuse a request; None if it is accepted.
        prefix: path before ``/completions``.
    """

    choice: Mapping[str, Any] = field(default_factory=dict)
    top: Mapping[str, Any] = field(default_factory=dict)
    models: list[dict[str, Any]] | None = None
    check: Callable[[Body], Reply | None] = lambda body: None
    prefix: str = "/v1"

    def reply(self, path: str, body: Body) -> Reply:
        if path not in (f"{self.prefix}/completions", f"{self.prefix}/chat/completions"):
            return 404, {"detail": "Not Found"}
        refusal = self.check(body)
        return refusal or (
            200,
            {"id": "1", "model": body["model"], **self.top, "choices": [{"index": 0, **self.choice}]},
        )


class Server(ThreadingHTTPServer):
    """Answers with a dialect, or with ``replies`` in order as long as there are any; records the requests."""

    daemon_threads = True

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dialect = dialect
        self.replies: list[tuple[int, dict[str, str], Any]] = []
        self.bodies: list[dict[str, Any]] = []
        self.targets: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.sent_bytes = 0

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return self.root + self.dialect.prefix


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        models = self.server.dialect.models
        self._answer(*((200, {"data": models}) if models is not None else (404, b"404 page not found")), {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.targets.append(self.path)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.server.replies:
            status, headers, content = self.server.replies.pop(0)
            return self._answer(status, content, headers)
        return self._answer(*self.server.dialect.reply(urlsplit(self.path).path, body), {})

    def _answer(self, status: int, content: Any, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        chunks = (
            content
            if isinstance(content, Iterator)
            else [content if isinstance(content, bytes) else json.dumps(content).encode()]
        )
        if isinstance(chunks, list):
            headers = {"Content-Length": str(len(chunks[0])), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for chunk in chunks:
                self.wfile.write(chunk)
                self.server.sent_bytes += len(chunk)
        except OSError:  # the client has hung up
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(dialect: Dialect | None = None) -> Iterator[Server]:
    server = Server(dialect or Dialect({"text": "ok", "finish_reason": "stop"}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def unknown(body: Body, known: set[str]) -> list[str]:
    return sorted(body.keys() - known - {"model", "messages", "prompt", "stream"})


OPENAI_FIELDS = set(
    "max_completion_tokens temperature top_p presence_penalty frequency_penalty seed stop logprobs".split()
)


def _openai(body: Body) -> Reply | None:
    if "max_tokens" in body:
        message = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return 400, {"error": {"message": message, "param": "max_tokens", "code": "unsupported_parameter"}}
    names = unknown(body, OPENAI_FIELDS)
    if names:
        message = f"Unrecognized request arguments supplied: {', '.join(names)}"
        return 400, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    if len(body.get("stop", ())) > 4:
        message = "Invalid 'stop': array too long. Expected an array with maximum length 4, but got 5 instead."
        return 400, {"error": {"message": message, "param": "stop", "code": "array_above_max_length"}}
    return None


def _reasoner(body: Body) -> Reply | None:
    """OpenAI's reasoning models: only the default temperature, no stop texts."""
    if refusal := _openai(body):
        return refusal
    for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty", "stop"):
        if name in body and (name == "stop" or body[name] != 1):
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            return 400, {"error": {"message": message, "param": name, "code": "unsupported_parameter"}}
    return None


def _one_at_a_time(body: Body) -> Reply | None:
    names = unknown(body, OPENAI_FIELDS | {"max_tokens"})
    return (
        (400, {"error": {"message": f"property '{names[0]}' is unsupported", "type": "invalid_request_error"}})
        if names
        else None
    )


def _pydantic(body: Body) -> Reply | None:
    known = {"max_tokens", "temperature", "top_p", "stop", "random_seed", "presence_penalty", "frequency_penalty"}
    detail = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": body[name]}
        for name in unknown(body, known)
    ]
    return (422, {"detail": detail}) if detail else None


def _problem_details(body: Body) -> Reply | None:
    names = unknown(body, OPENAI_FIELDS | {"max_tokens"})
    lines = "\n".join(f"body -> {name}\n  Extra inputs are not permitted (type=extra_forbidden)" for name in names)
    return (422, {"title": "Unprocessable Entity", "status": 422, "detail": lines}) if names else None


def _google(body: Body) -> Reply | None:
    names = unknown(body, OPENAI_FIELDS | {"max_tokens"})
    message = "Invalid JSON payload received. " + " ".join(
        f'Unknown name "{name}": Cannot find field.' for name in names
    )
    return (400, [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}]) if names else None


def _camel_case(body: Body) -> Reply | None:
    if "presence_penalty" in body:
        return 400, {
            "code": "Client specified an invalid argument",
            "error": "Model g-4 does not support parameter presencePenalty.",
        }
    return None


def _no_names(body: Body) -> Reply | None:
    return (
        (400, {"message": "Extra inputs are not permitted"}) if unknown(body, OPENAI_FIELDS | {"max_tokens"}) else None
    )


def _tgi(body: Body) -> Reply | None:
    if not 0 < body.get("top_p", 0.5) < 1:
        message = "Input validation error: `top_p` must be > 0.0 and < 1.0"
        return 422, {"error": message, "error_type": "validation"}
    return None


def _strict_top_k(body: Body) -> Reply | None:
    if body.get("top_k", 0) < 0:
        return 400, {"error": "top_k must be a non-negative integer"}
    return None


def _text(text: str, reason: str | None, **more: Any) -> dict[str, Any]:
    """A completion for both APIs."""
    return {"text": text, "message": {"role": "assistant", "content": text, **more}, "finish_reason": reason}


def owned_by(owner: str, **more: Any) -> list[dict[str, Any]]:
    return [{"id": "big", "object": "model", "owned_by": owner, **more}]


DIALECTS: Mapping[str, Dialect] = {
    "vllm": Dialect(_text("Go", "stop", reasoning=None), models=owned_by("vllm", max_model_len=4096)),
    "sglang": Dialect(_text("Go", "stop"), models=owned_by("sglang")),
    "tgi": Dialect(_text("Go", "eos_token"), {"system_fingerprint": "3.3.4-dev0-native"}, check=_tgi),
    "llama.cpp": Dialect(_text("Go", "stop"), {"system_fingerprint": "b6123-9ef6b0b8"}, owned_by("llamacpp")),
    "ollama": Dialect(_text("Go", "stop"), {"system_fingerprint": "fp_ollama"}, owned_by("library")),
    "lmstudio": Dialect(_text("Go", "stop"), {"stats": {}}, owned_by("organization_owner")),
    "openai": Dialect(_text("Go", "stop"), {"system_fingerprint": "fp_44709d6fcb"}, owned_by("system"), _openai),
    "openai-reasoner": Dialect(_text("Go", "stop"), check=_reasoner),
    "azure": Dialect(_text("Go", "stop"), check=_openai, prefix="/openai/deployments/big"),
    "groq": Dialect(_text("Go", "stop"), models=owned_by("Meta"), check=_one_at_a_time),
    "mistral": Dialect(_text("Go", "model_length"), models=owned_by("mistralai"), check=_pydantic),
    "nim": Dialect(_text("Go", "stop"), check=_problem_details),
    "google": Dialect(_text("Go", "STOP"), check=_google, prefix="/v1beta/openai"),
    "xai": Dialect(_text("Go", "stop"), check=_camel_case),
    "no-names": Dialect(_text("Go", "stop"), check=_no_names),
    "mlx": Dialect(_text("Go", "stop"), check=_strict_top_k),
    "together": Dialect(_text("Go", "eos")),
    "text-generation-webui": Dialect(_text("Go", None)),
    "anthropic": Dialect(_text("Go", "end_turn")),
}
