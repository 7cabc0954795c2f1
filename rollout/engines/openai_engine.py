"""Any endpoint that speaks OpenAI's API: completions with token ids or text, or chat for servers that have no other."""

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
"""How vLLM names a token when it is asked for ids in place of texts."""


class OpenAIConfig(FrozenModel):
    """A model behind an HTTP endpoint."""

    # A refused base_url may hold a password: errors do not repeat what was given.
    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["openai"] = "openai"
    base_url: str
    """Up to and with the version, for example ``http://localhost:8000/v1``."""
    model: str
    """The model's name at the endpoint."""
    tokenizer: str
    """The model's tokenizer and chat template: ``builtin:NAME``, a folder or a hub name."""
    api_key_env: str | None = "OPENAI_API_KEY"
    """Environment variable that holds the API key; null for an endpoint that needs none."""
    api: Literal["completions", "chat"] = "completions"
    """``completions`` continues a prompt token by token; ``chat`` sends messages and gets no log-probabilities."""
    prompt: Literal["token_ids", "text"] = "token_ids"
    """What the completions API is sent: token ids (vLLM, SGLang, OpenAI take them) or their text."""
    extensions: bool = True
    """Send vLLM's own request fields (token ids and scores come back exactly); false if the endpoint refuses them."""
    max_model_len: int = Field(8192, ge=2)
    """Tokens that prompt and completion may have together at the endpoint."""
    timeout_s: float = Field(120.0, gt=0.0)
    """Of one request."""
    max_retries: int = Field(5, ge=0)
    """After a connection error, a timeout, status 408, 409, 429 or 5xx; with back-off, or as Retry-After says."""

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url must be a whole address such as http://localhost:8000/v1")
        if parts.username or parts.password:
            raise ValueError("base_url must not hold a password; put the key into the variable that api_key_env names")
        return url


class EndpointError(Exception):
    """The endpoint could not be reached, or refused, after all retries. The message never holds the API key."""


async def start(config: OpenAIConfig) -> OpenAIEngine:
    """Make the client; the endpoint is not contacted yet.

    Raises:
        UserError: the API key's variable is not set, or the tokenizer cannot be used.
    """
    return OpenAIEngine(config, load_tokenizer(model_folder(config.tokenizer)), _api_key(config))


class OpenAIEngine:
    """A client (`rollout.engine.Engine`). Its weights belong to the endpoint and stay at version 0."""

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

        Where the endpoint returns text only, token ids are the tokenizer's for that text, without the end of turn, and
        log-probabilities are kept if there is one for each token. With a form there are none, nor likely tokens: an
        endpoint's are of the tokens that the form allowed.

        Raises:
            EndpointError: all retries failed, or the endpoint refused.
            NotImplementedError: the endpoint cannot do what ``sampling`` asks for.
            ValueError: the prompt leaves no room for a completion.
        """
        budget = max_new_tokens(len(token_ids), sampling, self.max_model_len)
        if self._splitter is not None:
            return await self._chat(self._splitter.split(token_ids), sampling, budget)
        if sampling.top_logprobs and not self._config.extensions:
            raise NotImplementedError("top_logprobs needs token ids from the endpoint; set extensions: true, or 0 here")
        body = {**self._decoding(sampling, budget), "prompt": self._prompt(token_ids)}
        body["logprobs"] = max(1, sampling.top_logprobs)  # some servers take 0 for none at all
        choice = await self._request(self._client.completions, body)
        made = self._completion(choice, sampling.top_logprobs)
        return replace(made, logprobs=None, top=None) if sampling.grammar else made

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        """Score through ``prompt_logprobs``, which vLLM's completions API has.

        Raises:
            NotImplementedError: this endpoint is not set up for it.
        """
        if self._splitter is not None or not self._config.extensions or self._config.prompt != "token_ids":
            raise NotImplementedError(
                "this endpoint cannot score; take a vLLM server, api: completions, prompt: token_ids, extensions: true"
            )
        check_scorable(len(token_ids), top_k, self.max_model_len)
        if len(token_ids) == 1:
            return top_rows([{}], top_k)
        # The last row is the next token after all but the last: so a full context can be scored, too.
        body = {**self._decoding(Sampling(max_tokens=1), 1), "prompt": list(token_ids[:-1]), "logprobs": top_k}
        choice = await self._request(self._client.completions, body, prompt_logprobs=top_k)
        rows = [{int(token): entry["logprob"] for token, entry in row.items()} for row in choice["prompt_logprobs"][1:]]
        return top_rows([{}, *rows, _by_id(choice["logprobs"]["top_logprobs"][0])], top_k)

    async def load_weights(self, folder: str, version: int) -> None:
        """Raises `NotImplementedError`: the weights are the endpoint's."""
        raise NotImplementedError("an endpoint's weights cannot be changed from here; use engine type vllm")

    async def close(self) -> None:
        await self._client.close()

    async def _chat(self, messages: list[dict[str, str]], sampling: Sampling, budget: int) -> Completion:
        if sampling.top_logprobs:
            raise NotImplementedError("the chat API gives no ids for top_logprobs; use api: completions, or 0 here")
        body = {**self._decoding(sampling, budget), "messages": messages}
        choice = await self._request(self._client.chat.completions, body)
        return self._completion({**choice, "text": choice["message"]["content"] or "", "logprobs": None}, 0)

    def _prompt(self, token_ids: Sequence[int]) -> list[int] | str:
        return list(token_ids) if self._config.prompt == "token_ids" else self._tokenizer.decode(token_ids)

    def _decoding(self, sampling: Sampling, budget: int) -> dict[str, Any]:
        if sampling.top_k and not self._config.extensions:
            raise NotImplementedError("top_k is no part of OpenAI's API; set extensions: true, or top_k to 0")
        if sampling.grammar and not self._config.extensions:
            raise NotImplementedError(
                "constrained acting needs a vLLM server; set extensions: true, or agent.acting to plain"
            )
        optional = {"stop": list(sampling.stop) or None, "seed": sampling.seed}
        return {
            "model": self._config.model,
            "max_tokens": budget,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            **{name: value for name, value in optional.items() if value is not None},
            "extra_body": self._extra(sampling) if self._config.extensions else {},
        }

    def _extra(self, sampling: Sampling) -> dict[str, Any]:
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
        """The first choice of the answer."""
        from openai import OpenAIError

        try:
            answer = await resource.create(**{**body, "extra_body": {**body["extra_body"], **extra}})
        except OpenAIError as error:
            # Not chained, because a server may repeat the key in what it answers.
            message = f"{self._config.base_url}: {type(error).__name__}: {error}".replace(self._api_key, "***")
            raise EndpointError(message) from None
        choices = answer.model_dump()["choices"] if hasattr(answer, "model_dump") else None
        if not choices:
            raise EndpointError(f"{self._config.base_url}: the answer holds no choices; is this an OpenAI API?")
        choice: dict[str, Any] = choices[0]
        return choice

    def _completion(self, choice: Mapping[str, Any], top_logprobs: int) -> Completion:
        if choice["finish_reason"] not in ("stop", "length"):
            raise EndpointError(f"{self._config.base_url}: the completion ended by {choice['finish_reason']!r}")
        given = choice["logprobs"] or {}
        token_ids = self._token_ids(choice, given)
        logprobs = given.get("token_logprobs")
        if logprobs is not None and (len(logprobs) != len(token_ids) or None in logprobs):
            logprobs = None
        return Completion(
            token_ids=token_ids,
            logprobs=None if logprobs is None else tuple(logprobs),
            text=self._tokenizer.decode(token_ids),
            finish_reason=choice["finish_reason"],
            top=top_rows([_by_id(row) for row in given["top_logprobs"]], top_logprobs) if top_logprobs else None,
        )

    def _token_ids(self, choice: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[int, ...]:
        if choice.get("token_ids") is not None:
            return tuple(choice["token_ids"])
        names = given.get("tokens")
        if names and all(name.startswith(_TOKEN_ID) for name in names):
            return tuple(int(name.removeprefix(_TOKEN_ID)) for name in names)
        return self._tokenizer.encode(choice["text"])


class _MessageSplitter:
    """Takes a prompt apart into the messages that its chat template was filled with."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if not tokenizer.has_chat_template:
            raise UserError(f"{tokenizer.name} has no chat template to find messages by; use api: completions")
        template = ChatTemplate.from_tokenizer(tokenizer)
        self._decode = tokenizer.decode
        self._before_system = tokenizer.encode_markers(template.before_system)
        self._to_user = tokenizer.encode_markers(template.system_to_user)
        self._to_assistant = tokenizer.encode_markers(template.generation_prompt)
        self._end = tokenizer.encode_markers(template.end_of_turn + template.next_user)

    def split(self, token_ids: Sequence[int]) -> list[dict[str, str]]:
        """Messages in order. A turn that the assistant has begun becomes a last assistant message.

        Raises:
            ValueError: the prompt was not made with this template.
        """
        start = len(self._before_system)
        if tuple(token_ids[:start]) != self._before_system:
            raise ValueError("the prompt does not begin as the tokenizer's chat template does")
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
    """Where ``part`` begins at or after ``start``; the end if it is not there."""
    found = (i for i in range(start, len(token_ids)) if tuple(token_ids[i : i + len(part)]) == part)
    return next(found, len(token_ids))


def _by_id(row: Mapping[str, float]) -> dict[int, float]:
    if not all(name.startswith(_TOKEN_ID) for name in row):
        raise NotImplementedError("the endpoint names tokens by text, not by id; use vLLM there, or top_logprobs 0")
    return {int(name.removeprefix(_TOKEN_ID)): logprob for name, logprob in row.items()}


def _api_key(config: OpenAIConfig) -> str:
    if config.api_key_env is None:
        return "no-key-needed"  # the client insists on one
    key = os.environ.get(config.api_key_env, "")
    if not key:
        raise UserError(
            f"the environment variable {config.api_key_env} is not set; put the API key there, "
            "or set api_key_env to null for an endpoint that needs none"
        )
    return key
