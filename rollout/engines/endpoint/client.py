"""HTTP client of OpenAI-compatible endpoints: retries, limits on time and size, and errors without secrets."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from rollout.engines.endpoint.address import call_urls, query_of
from rollout.engines.endpoint.config import OpenAIConfig
from rollout.engines.endpoint.errors import (
    EndpointError,
    EndpointSetupError,
    EndpointUnavailable,
    EndpointUnreachable,
    RequestRefused,
    UnknownModelError,
)

_MAX_ERROR_BYTES = 64 * 1024
_MAX_MODELS_BYTES = 8 * 1024 * 1024
_MAX_MESSAGE_CHARS = 300
_MAX_WAIT_S = 60.0
"""A longer ``Retry-After`` ends the attempts."""
_RETRIED = frozenset({408, 409, 425, 429})
_UNKNOWN_MODEL = re.compile(
    r"(models?|deployment)\b.{0,120}\b(not (exist|found|available|loaded|deployed)|unknown)"
    r"|(unknown|invalid|no such|no) (models?|deployment)\b|model_?not_?found|deploymentnotfound",
    re.IGNORECASE | re.DOTALL,
)
_TOO_LONG = re.compile(
    r"context[ _](length|window|size)|maximum context|context_length_exceeded|too many tokens"
    r"|(prompt|inputs?)\b.{0,60}\b(too long|exceeds?)|`inputs` (tokens|must have)",
    re.IGNORECASE | re.DOTALL,
)


class EndpointClient:
    """Sends requests to one endpoint, as `OpenAIConfig` says."""

    def __init__(self, config: OpenAIConfig) -> None:
        import httpx

        self._config = config
        self._api_key = config.api_key()
        self._urls = call_urls(config.base_url)
        # A compressed body could be larger than its limit.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **config.headers()}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self._http = httpx.AsyncClient(headers=headers, params=query_of(config.base_url), timeout=None, limits=limits)

    @property
    def url(self) -> str:
        """Address for messages, without query."""
        return self._urls[0]

    async def post(self, path: str, body: Mapping[str, Any], max_bytes: int) -> dict[str, Any]:
        """Send a request, again if it fails in a way that may pass; returns the answer, a JSON object.

        Raises:
            EndpointUnavailable: all attempts failed.
            EndpointSetupError: the key, the model, the address or the length of the prompt is refused.
            RequestRefused: the request is refused for another reason.
            EndpointError: the answer is not a JSON object, or is larger than ``max_bytes``.
        """
        try:
            return await self._retried("POST", path, body, max_bytes)
        except UnknownModelError as error:
            names = ", ".join(await self._served())
            served = f"it serves {names}" if names else "it does not list the models that it serves"
            raise EndpointSetupError(f"{error}. Correct model: {served}") from None

    async def models(self) -> list[dict[str, Any]]:
        """The models that the endpoint lists; empty if it lists none.

        Raises:
            EndpointUnreachable: there is no endpoint, after all attempts.
        """
        try:
            answer = await self._retried("GET", "/models", None, _MAX_MODELS_BYTES)
        except EndpointUnreachable:
            raise
        except EndpointError:
            return []
        listed = answer.get("data")
        return [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []

    async def _served(self) -> list[str]:
        """Names of the models for a message."""
        try:
            return sorted(str(model.get("id")) for model in await self.models())[:20]
        except EndpointUnreachable:
            return []

    async def close(self) -> None:
        await self._http.aclose()

    async def _retried(self, method: str, path: str, body: Mapping[str, Any] | None, max_bytes: int) -> dict[str, Any]:
        attempt = 0
        while True:
            try:
                return await self._found(method, path, body, max_bytes)
            except EndpointUnavailable as error:
                if attempt >= self._config.max_retries or error.retry_after_s > _MAX_WAIT_S:
                    raise
                backoff = min(8.0, 0.5 * 2**attempt) * random.uniform(0.75, 1.0)
                await asyncio.sleep(error.retry_after_s or backoff)
                attempt += 1

    async def _found(self, method: str, path: str, body: Mapping[str, Any] | None, max_bytes: int) -> dict[str, Any]:
        """Send to the first address that has the path, and keep that address."""
        first: EndpointSetupError | None = None
        for url in self._urls:
            try:
                answer = await self._answer(url + path, method, body, max_bytes)
            except _NoSuchPath as error:
                first = first or EndpointSetupError(str(error))
                continue
            self._urls = [url]
            return answer
        assert first is not None, "there is at least one address"
        raise first

    async def _answer(self, url: str, method: str, body: Mapping[str, Any] | None, max_bytes: int) -> dict[str, Any]:
        import httpx

        try:
            async with asyncio.timeout(self._config.timeout_s):
                status, headers, data = await self._send(url, method, body, max_bytes)
        except TimeoutError:
            raise EndpointUnreachable(f"{url} did not answer within {self._config.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            # Not chained, because the request holds the key.
            text = self._clean(f"{type(error).__name__} {error}".strip())
            raise EndpointUnreachable(f"{url} cannot be reached: {text}") from None
        answer = _parsed(data)
        if status < 300 and isinstance(answer, dict) and answer.get("error"):
            status = _status_in(answer["error"])
        if status >= 300:
            raise self._refusal(url, status, headers, self._clean(_message(answer, data)))
        if not isinstance(answer, dict):
            shown = self._clean(_message(answer, data)) or "nothing"
            raise EndpointError(f"{url} answered with something else than JSON ({shown}); is this an OpenAI API?")
        return answer

    async def _send(
        self, url: str, method: str, body: Mapping[str, Any] | None, max_bytes: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body. The body of an error is cut; a longer body of an answer is an error."""
        data = bytearray()
        async with self._http.stream(method, url, json=body) as response:
            is_answer = response.status_code < 300
            limit = max_bytes if is_answer else _MAX_ERROR_BYTES
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > limit:
                    if is_answer:
                        raise EndpointError(f"{url} answered with more than {limit} bytes")
                    break
        return response.status_code, response.headers, bytes(data[:limit])

    def _refusal(self, url: str, status: int, headers: Mapping[str, str], message: str) -> EndpointError:
        text = f"{url} answered {status}: {message}" if message else f"{url} answered {status}"
        if status in (401, 403):
            variable = self._config.api_key_env
            return EndpointSetupError(f"{text}. Set {variable or 'api_key_env'} to a key that is valid here")
        if status == 402 or (status == 429 and "insufficient_quota" in message):
            return EndpointUnavailable(text, math.inf)
        if status == 413 or (status != 429 and _TOO_LONG.search(message)):
            return EndpointSetupError(f"{text}. Set max_model_len to the context length of the endpoint")
        if status in _RETRIED or status >= 500:
            return EndpointUnavailable(text, _retry_after_s(headers))
        if status < 400:
            return EndpointSetupError(f"{text}, a redirect. Correct base_url, for example http to https")
        if _UNKNOWN_MODEL.search(message):
            return UnknownModelError(text)
        if status in (404, 405):
            return _NoSuchPath(f"{text}. Correct base_url (it usually ends with /v1) or api")
        return RequestRefused(text, message) if status in (400, 422) else EndpointError(text)

    def _clean(self, text: str) -> str:
        """A text of the endpoint in one line, without the API key and without parts of addresses that may be secret."""
        if len(self._api_key) > 3:  # shorter ones are placeholders
            text = text.replace(self._api_key, "***")
        text = re.sub(r"(https?://)[^\s/@]*@", r"\1***@", text)
        text = re.sub(r"(https?://[^\s?\"']*)\?[^\s\"']*", r"\1?***", text)
        text = " ".join(text.split())
        return text if len(text) <= _MAX_MESSAGE_CHARS else text[:_MAX_MESSAGE_CHARS] + " ..."


class _NoSuchPath(EndpointSetupError):
    """The address has no such call; another form of the address may have it."""


def _parsed(data: bytes) -> Any:
    """The JSON value of a body; None if it is none. NaN and infinities are null."""
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _status_in(error: Any) -> int:
    """Status of an error that was sent with status 200; 500 if it has none."""
    code = error.get("code") or error.get("status") if isinstance(error, dict) else None
    code = int(code) if isinstance(code, str) and code.isdigit() else code
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _message(answer: Any, data: bytes) -> str:
    """What an error's body says, in any of the forms that servers use: JSON, HTML or plain text."""
    if answer is None:
        text = data.decode("utf-8", "replace")
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        return title[1] if title else re.sub(r"<[^>]*>", " ", text)
    if isinstance(answer, list):
        return "; ".join(_message(part, b"") for part in answer)
    if not isinstance(answer, dict):
        return str(answer)
    if "loc" in answer:  # FastAPI: the rest of the entry may repeat the prompt
        place = ".".join(map(str, answer["loc"])) if isinstance(answer["loc"], list) else answer["loc"]
        return f"{place}: {answer.get('msg', '')}"
    names = ("error", "message", "detail", "msg", "title")
    said = next((answer[name] for name in names if answer.get(name)), json.dumps(answer))
    text = said if isinstance(said, str) else _message(said, b"")
    return " ".join([text, *(f"({answer[name]})" for name in ("code", "param") if isinstance(answer.get(name), str))])


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds until the endpoint wants to be asked again; 0 if it does not say."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
