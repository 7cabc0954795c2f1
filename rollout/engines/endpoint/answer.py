"""Reads the answers of OpenAI-compatible endpoints: text, reasoning, finish reason, log-probabilities, token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rollout.engines.endpoint.errors import EndpointError, EndpointSetupError

_TOKEN_ID = "token_id:"
"""Prefix of token names in vLLM's answers when it returns ids in place of texts."""
_STOP = frozenset("stop eos eos_token end_turn stop_sequence stop_token stopped complete tool_calls".split())
_LENGTH = frozenset("length max_tokens max_length model_length max_output_tokens max_completion_tokens".split())


class _Lenient(BaseModel):
    # A message of a validation must not repeat what a model wrote.
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Part(_Lenient):
    type: str = "text"
    text: str | None = None
    refusal: str | None = None
    thinking: str | list[_Part] | None = None
    reasoning: str | None = None


class _Message(_Lenient):
    content: str | list[str | _Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Any] | None = None


class _Candidate(_Lenient):
    id: int | None = None
    token: str
    logprob: float | None


class _Token(_Candidate):
    top_logprobs: list[_Candidate] | None = None


class _Logprobs(_Lenient):
    """Log-probabilities in the form of the completions API, or of the chat API (``content``)."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None
    content: list[_Token] | None = None


class _Scored(_Lenient):
    logprob: float | None


class Choice(_Lenient):
    """One completion of an answer."""

    text: str | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[Annotated[int, Field(ge=0)]] | None = None
    prompt_logprobs: list[dict[int, _Scored] | None] | None = None


class Answer(_Lenient):
    """An answer of the completions or chat API."""

    choices: list[Choice] = Field(min_length=1)
    system_fingerprint: object = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a completion as far as the endpoint tells.

    Attributes:
        token_ids: None if it names tokens by their text.
        logprobs: ``[num_tokens]``; None if it returns none.
        rows: the most likely tokens at each token, by id; None if it returns none.
    """

    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    rows: list[dict[int, float]] | None = None


def read_answer(answer: Mapping[str, Any], url: str) -> Answer:
    """Validate an answer. Raises `EndpointError` if it has no choices or another form."""
    if not answer.get("choices"):
        raise EndpointError(f"{url}: the answer has no choices; is this an OpenAI API?")
    try:
        return Answer.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise EndpointError(f"{url}: the answer is malformed at {place}: {first['msg']}") from None


def finish_of(choice: Choice, num_tokens: int, max_tokens: int, url: str) -> Literal["stop", "length"]:
    """Finish reason in OpenAI's words. One that is missing follows from the number of tokens.

    Raises:
        EndpointError: the completion did not end regularly, for example ``content_filter``.
    """
    reason = (choice.finish_reason or "").lower()
    if not reason:
        return "length" if num_tokens >= max_tokens else "stop"
    if reason not in _STOP | _LENGTH:
        raise EndpointError(f"{url}: the completion ended with finish reason {reason[:80]!r}")
    return "length" if reason in _LENGTH else "stop"


def parts_of(choice: Choice, url: str) -> tuple[str, str]:
    """Reasoning and text of a completion.

    Raises:
        EndpointSetupError: the server has taken a tool call out of the text.
    """
    message = choice.message
    if message is None:
        return "", choice.text or ""
    if message.tool_calls:
        raise EndpointSetupError(
            f"{url} turns text of the model into tool calls, although no tools are offered; switch off its parser of "
            "tool calls"
        )
    reasoning, text = message.reasoning_content or message.reasoning or "", ""
    for part in [message.content] if isinstance(message.content, str) else message.content or []:
        part = _Part(text=part) if isinstance(part, str) else part
        text += part.text or part.refusal or ""
        thinking = part.thinking or part.reasoning or ""
        reasoning += thinking if isinstance(thinking, str) else "".join(inner.text or "" for inner in thinking)
    return reasoning, text or message.refusal or ""


def with_reasoning(reasoning: str, text: str, *, is_open: bool) -> str:
    """Text with its reasoning as a ``<think>`` block, as a model writes it.

    ``is_open``: the generation prompt has opened the block. Without a text, the completion ended within the reasoning,
    so the block stays open.
    """
    if not reasoning:
        return text
    begin = "" if is_open else "<think>\n"
    end = "\n</think>\n\n" if text else ""
    return begin + reasoning.strip("\n") + end + text.lstrip("\n")


def tokens_of(choice: Choice, *, with_rows: bool) -> Tokens:
    """Token ids and log-probabilities of a completion; ``with_rows`` adds the most likely tokens.

    Raises:
        NotImplementedError: the rows name tokens by text.
    """
    found = choice.logprobs or _Logprobs()
    names, values, rows = found.tokens, found.token_logprobs, found.top_logprobs
    ids = choice.token_ids
    if found.content is not None:
        names, values = [_name(token) for token in found.content], [token.logprob for token in found.content]
        rows = [{_name(top): top.logprob for top in token.top_logprobs or ()} for token in found.content]
    if ids is None and names:
        ids = _ids(names)
    known = [value for value in values or () if value is not None]
    return Tokens(
        None if ids is None else tuple(ids),
        tuple(known) if values is not None and len(known) == len(values) else None,
        list(map(_by_id, rows)) if with_rows and rows is not None else None,
    )


def prompt_rows(choice: Choice) -> list[dict[int, float]]:
    """Rows of vLLM's ``prompt_logprobs`` after the first token. Raises `NotImplementedError` if there are none."""
    if choice.prompt_logprobs is None:
        raise NotImplementedError("the endpoint returns no prompt_logprobs; use a vLLM endpoint")
    rows = choice.prompt_logprobs[1:]
    return [{token: at.logprob for token, at in (row or {}).items() if at.logprob is not None} for row in rows]


def _name(token: _Candidate) -> str:
    return token.token if token.id is None else f"{_TOKEN_ID}{token.id}"


def _ids(names: Sequence[str]) -> list[int] | None:
    ids = [name.removeprefix(_TOKEN_ID) for name in names if name.startswith(_TOKEN_ID)]
    return list(map(int, ids)) if len(ids) == len(names) and all(map(str.isdecimal, ids)) else None


def _by_id(row: Mapping[str, float | None] | None) -> dict[int, float]:
    """A row by token id, without impossible tokens. Raises `NotImplementedError` if it names tokens by text."""
    kept = {name: value for name, value in (row or {}).items() if value is not None}
    ids = _ids(list(kept))
    if ids is None:
        raise NotImplementedError(
            "the endpoint returns tokens by text, not by id; use a vLLM endpoint, or set top_logprobs to 0"
        )
    return dict(zip(ids, kept.values(), strict=True))
