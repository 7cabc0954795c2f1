"""Engine for OpenAI-compatible endpoints: the completions API with token ids or text, or the chat API."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator

from rollout.engine import Completion, Sampling
from rollout.engines.decoding import check_scorable, max_new_tokens, top_rows
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel
from rollout.models import model_folder
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.trajectory import TopK

_TOKEN_ID = "token_id:"
"""Prefix of token names in vLLM's answers when it returns ids in place of texts."""


class OpenAIConfig(FrozenModel):
    """A model behind an HTTP endpoint."""

    # An invalid base_url may contain a password, so errors must not repeat the input.
    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["openai"] = "openai"
    base_url: str
    """URL including the API version, for example ``http://localhost:8000/v1``."""
    model: str
    """Name of the model at the endpoint."""
    tokenizer: str
    """Tokenizer and chat template of the model: ``builtin:NAME``, a folder or a hub name."""
    api_key_env: str | None = "OPENAI_API_KEY"
    """Environment variable that holds the API key; null for an endpoint that needs none."""
    api: Literal["completions", "chat"] = "completions"
    """``completions`` continues a prompt; ``chat`` sends messages and returns no log-probabilities."""
    prompt: Literal["token_ids", "text"] = "token_ids"
    """Prompt format of the completions API: token ids (accepted by vLLM, SGLang, OpenAI) or text."""
    extensions: bool = True
    """Send vLLM's extra request fields, which return exact token ids and scores; false if the endpoint refuses them."""
    max_model_len: int = Field(8192, ge=2)
    """Context length of the endpoint: tokens of prompt and completion together."""
    timeout_s: float = Field(120.0, gt=0.0)
    """Timeout of one request."""
    max_retries: int = Field(5, ge=0)
    """Retries after connection errors, timeouts and status 408, 409, 429 or 5xx, with backoff or after Retry-After."""

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url must be a full URL such as http://localhost:8000/v1")
        if parts.username or parts.password:
            raise ValueError(
                "base_url must not contain a password; store the key in the environment variable named by api_key_env"
            )
        return url


class EndpointError(Exception):
    """The endpoint could not be reached or returned an error after all retries. The message never has the API key."""


async def start(config: OpenAIConfig) -> OpenAIEngine:
    """Create the client, without contacting the endpoint.

    Raises:
        UserError: the API key's environment variable is not set, or the tokenizer cannot be used.
    """
    return OpenAIEngine(config, load_tokenizer(model_folder(config.tokenizer)), _api_key(config))


async def probe_endpoint(config: OpenAIConfig, sampling: Sampling | None = None) -> None:
    """Ask an endpoint for one short completion with the settings of an agent.

    Raises:
        UserError: the API key's environment variable is not set, or the tokenizer cannot be used.
        EndpointError: the endpoint cannot be reached, refuses the request, or its answer cannot be used.
        NotImplementedError: it does not support a setting of ``sampling``.
    """
    engine = await start(config)
    try:
        await engine.probe(sampling or Sampling())
    finally:
        await engine.close()


class OpenAIEngine:
    """Client of an endpoint (`rollout.engine.Engine`). The weight version is always 0."""

    def __init__(self, config: OpenAIConfig, tokenizer: Tokenizer, api_key: str) -> None:
        from openai import AsyncOpenAI

        self.name = config.model
        self.weight_version = 0
        self.max_model_len = config.max_model_len
        self._config = config
        self._tokenizer = tokenizer
        self._api_key = api_key
        self._splitter = _MessageSplitter(tokenizer) if config.api == "chat" else None
        self._client = AsyncOpenAI(
            base_url=config.base_url, api_key=api_key, timeout=config.timeout_s, max_retries=config.max_retries
        )

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        """Complete a prompt.

        If the endpoint returns only text, the text is encoded with the tokenizer, without an end of turn, and
        log-probabilities are kept if there is one for each token. A completion with a grammar has neither
        log-probabilities nor top tokens, because endpoints normalize them over the tokens that the grammar allows.

        Raises:
            EndpointError: all retries failed, or the endpoint refused the request.
            NotImplementedError: the endpoint does not support a setting of ``sampling``.
            ValueError: the prompt leaves no room for a completion.
        """
        max_tokens = max_new_tokens(len(token_ids), sampling, self.max_model_len)
        if self._splitter is not None:
            return await self._chat(self._splitter.split(token_ids), sampling, max_tokens)
        if sampling.top_logprobs and not self._config.extensions:
            raise NotImplementedError(
                "top_logprobs needs token ids from the endpoint; set extensions: true, or top_logprobs to 0"
            )
        body = {**self._decoding(sampling, max_tokens), "prompt": self._prompt(token_ids)}
        body["logprobs"] = max(1, sampling.top_logprobs)  # some servers interpret 0 as no log-probabilities
        choice = await self._request(self._client.completions, body)
        completion = self._completion(choice, sampling.top_logprobs)
        return replace(completion, logprobs=None, top=None) if sampling.grammar else completion

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        """Score a sequence with ``prompt_logprobs`` of vLLM's completions API.

        Raises:
            NotImplementedError: the endpoint is not configured for it.
        """
        if self._splitter is not None or not self._config.extensions or self._config.prompt != "token_ids":
            raise NotImplementedError(
                "this endpoint cannot score; use vLLM with api: completions, prompt: token_ids, extensions: true"
            )
        check_scorable(len(token_ids), top_k, self.max_model_len)
        if len(token_ids) == 1:
            return top_rows([{}], top_k)
        # The last row is predicted as the next token of the shortened prompt, so that a full context can be scored.
        body = {**self._decoding(Sampling(max_tokens=1), 1), "prompt": list(token_ids[:-1]), "logprobs": top_k}
        choice = await self._request(self._client.completions, body, prompt_logprobs=top_k)
        rows = [{int(token): entry["logprob"] for token, entry in row.items()} for row in choice["prompt_logprobs"][1:]]
        return top_rows([{}, *rows, _by_id(choice["logprobs"]["top_logprobs"][0])], top_k)

    async def probe(self, sampling: Sampling) -> None:
        """Ask for one short completion. Raises what `probe_endpoint` raises."""
        asked = sampling.model_copy(update={"seed": 0, "max_tokens": 1, "grammar": None})
        if self._splitter is None:
            await self.generate(self._tokenizer.encode("Hello"), asked, "probe")
        else:
            await self._chat([{"role": "user", "content": "Hello"}], asked, 1)

    async def load_weights(self, folder: str, version: int) -> None:
        """Raise `NotImplementedError`: an endpoint's weights cannot be changed."""
        raise NotImplementedError("the weights of an endpoint cannot be changed; use engine type vllm")

    async def close(self) -> None:
        await self._client.close()

    async def _chat(self, messages: list[dict[str, str]], sampling: Sampling, max_tokens: int) -> Completion:
        if sampling.top_logprobs:
            raise NotImplementedError(
                "the chat API returns no token ids for top_logprobs; use api: completions, or set top_logprobs to 0"
            )
        body = {**self._decoding(sampling, max_tokens), "messages": messages}
        choice = await self._request(self._client.chat.completions, body)
        return self._completion({**choice, "text": choice["message"]["content"] or "", "logprobs": None}, 0)

    def _prompt(self, token_ids: Sequence[int]) -> list[int] | str:
        return list(token_ids) if self._config.prompt == "token_ids" else self._tokenizer.decode(token_ids)

    def _decoding(self, sampling: Sampling, max_tokens: int) -> dict[str, Any]:
        if sampling.top_k and not self._config.extensions:
            raise NotImplementedError("top_k is not part of OpenAI's API; set extensions: true, or top_k to 0")
        if sampling.grammar and not self._config.extensions:
            raise NotImplementedError(
                "constrained acting needs a vLLM server; set extensions: true, or agent.acting to plain"
            )
        optional = {"stop": list(sampling.stop) or None, "seed": sampling.seed}
        return {
            "model": self._config.model,
            "max_tokens": max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            **{name: value for name, value in optional.items() if value is not None},
            "extra_body": self._extra_body(sampling) if self._config.extensions else {},
        }

    def _extra_body(self, sampling: Sampling) -> dict[str, Any]:
        extra: dict[str, Any] = {
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "skip_special_tokens": False,
            "include_stop_str_in_output": True,
        }
        if self._config.prompt == "text" and self._config.api == "completions":
            extra["add_special_tokens"] = False
        if sampling.grammar:
            extra["structured_outputs"] = {"regex": sampling.grammar.regex()}
        return {**extra, "top_k": sampling.top_k} if sampling.top_k else extra

    async def _request(self, resource: Any, body: dict[str, Any], **extra: Any) -> dict[str, Any]:
        """Send a request and return the first choice of the answer."""
        from openai import OpenAIError

        try:
            answer = await resource.create(**{**body, "extra_body": {**body["extra_body"], **extra}})
        except OpenAIError as error:
            # Not chained, because a server may repeat the key in its answer.
            message = f"{self._config.base_url}: {type(error).__name__}: {error}".replace(self._api_key, "***")
            raise EndpointError(message) from None
        choices = answer.model_dump()["choices"] if hasattr(answer, "model_dump") else None
        if not choices:
            raise EndpointError(f"{self._config.base_url}: the answer has no choices; is this an OpenAI API?")
        choice: dict[str, Any] = choices[0]
        return choice

    def _completion(self, choice: Mapping[str, Any], top_logprobs: int) -> Completion:
        if choice["finish_reason"] not in ("stop", "length"):
            raise EndpointError(
                f"{self._config.base_url}: the completion ended with finish reason {choice['finish_reason']!r}"
            )
        entries = choice["logprobs"] or {}
        token_ids = self._token_ids(choice, entries)
        logprobs = entries.get("token_logprobs")
        if logprobs is not None and (len(logprobs) != len(token_ids) or None in logprobs):
            logprobs = None
        return Completion(
            token_ids=token_ids,
            logprobs=None if logprobs is None else tuple(logprobs),
            text=self._tokenizer.decode(token_ids),
            finish_reason=choice["finish_reason"],
            top=top_rows([_by_id(row) for row in entries["top_logprobs"]], top_logprobs) if top_logprobs else None,
        )

    def _token_ids(self, choice: Mapping[str, Any], entries: Mapping[str, Any]) -> tuple[int, ...]:
        if choice.get("token_ids") is not None:
            return tuple(choice["token_ids"])
        names = entries.get("tokens")
        if names and all(name.startswith(_TOKEN_ID) for name in names):
            return tuple(int(name.removeprefix(_TOKEN_ID)) for name in names)
        return self._tokenizer.encode(choice["text"])


class _MessageSplitter:
    """Splits the token ids of a prompt into the messages of the conversation."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if not tokenizer.has_chat_template:
            raise UserError(f"{tokenizer.name} has no chat template to split a prompt by; use api: completions")
        template = ChatTemplate.from_tokenizer(tokenizer)
        self._decode = tokenizer.decode
        self._before_system = tokenizer.encode_markers(template.before_system)
        self._to_user = tokenizer.encode_markers(template.system_to_user)
        self._to_assistant = tokenizer.encode_markers(template.generation_prompt)
        self._end = tokenizer.encode_markers(template.end_of_turn + template.next_user)

    def split(self, token_ids: Sequence[int]) -> list[dict[str, str]]:
        """Return the messages in order. A partial turn of the assistant becomes the last message.

        Raises:
            ValueError: the prompt does not follow this template.
        """
        start = len(self._before_system)
        if tuple(token_ids[:start]) != self._before_system:
            raise ValueError("the prompt does not begin with the prefix of the tokenizer's chat template")
        messages, role = [], "system"
        following = {"system": ("user", self._to_user), "user": ("assistant", self._to_assistant)}
        following["assistant"] = ("user", self._end)
        while start < len(token_ids):
            next_role, glue = following[role]
            end = _find(token_ids, glue, start)
            messages.append({"role": role, "content": self._decode(token_ids[start:end])})
            start, role = end + len(glue), next_role
        return messages


def _find(token_ids: Sequence[int], part: tuple[int, ...], start: int) -> int:
    """Index of the first occurrence of ``part`` at or after ``start``; the length if there is none."""
    found = (i for i in range(start, len(token_ids)) if tuple(token_ids[i : i + len(part)]) == part)
    return next(found, len(token_ids))


def _by_id(row: Mapping[str, float]) -> dict[int, float]:
    if not all(name.startswith(_TOKEN_ID) for name in row):
        raise NotImplementedError(
            "the endpoint returns tokens by text, not by id; use a vLLM endpoint, or set top_logprobs to 0"
        )
    return {int(name.removeprefix(_TOKEN_ID)): logprob for name, logprob in row.items()}


def _api_key(config: OpenAIConfig) -> str:
    if config.api_key_env is None:
        return "no-key-needed"  # the client requires one
    key = os.environ.get(config.api_key_env, "")
    if not key:
        raise UserError(
            f"the environment variable {config.api_key_env} is not set; set it to the API key, "
            "or set api_key_env to null for an endpoint that needs none"
        )
    return key
