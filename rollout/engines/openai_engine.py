"""Engine for OpenAI-compatible endpoints: the completions API with token ids or text, or the chat API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from rollout.engine import Completion, Sampling
from rollout.engines.decoding import check_scorable, max_new_tokens, top_rows
from rollout.engines.endpoint.answer import (
    Choice,
    Tokens,
    finish_of,
    parts_of,
    prompt_rows,
    read_answer,
    tokens_of,
    with_reasoning,
)
from rollout.engines.endpoint.capabilities import EndpointCapabilities
from rollout.engines.endpoint.client import EndpointClient
from rollout.engines.endpoint.config import OpenAIConfig
from rollout.engines.endpoint.dialect import Parameters, body
from rollout.engines.endpoint.errors import EndpointError, EndpointSetupError, RequestRefused
from rollout.engines.endpoint.messages import MessageSplitter
from rollout.models import model_folder
from rollout.prompts.tokenizer import ChatSettings, Tokenizer, load_tokenizer
from rollout.trajectory import TopK

__all__ = ["EndpointCapabilities", "EndpointError", "OpenAIConfig", "OpenAIEngine", "probe_endpoint", "start"]

_BASE_BYTES = 16 * 2**20
_BYTES_PER_ENTRY = 256
"""Upper bound on the size of a token with its log-probability in an answer."""
_NO_ROOM = "output limit was reached"
"""In a refusal: the token limit ended a completion before its reasoning did."""
_CONTEXT_LENGTH = ("max_model_len", "loaded_context_length", "max_context_length", "context_length", "context_window")
"""Names of the context length in lists of models."""
_PROBE_STOP = "e"
"""A stop text that hardly any short completion is without."""


async def start(config: OpenAIConfig, chat: ChatSettings | None = None) -> OpenAIEngine:
    """Create the client, without contacting the endpoint.

    Raises:
        UserError: the API key's environment variable is not set, or the tokenizer cannot be used.
    """
    return OpenAIEngine(config, load_tokenizer(model_folder(config.tokenizer), chat))


async def probe_endpoint(config: OpenAIConfig, sampling: Sampling | None = None) -> EndpointCapabilities:
    """Find out with one short completion what an endpoint can do.

    Args:
        config: the endpoint.
        sampling: settings of the agent, which the endpoint must accept. With ``top_logprobs``, it must return them.

    Raises:
        UserError: the key, the model, the address or a setting is refused.
        EndpointUnavailable: the endpoint cannot be reached, or is overloaded.
        EndpointError: its answer cannot be used.
    """
    engine = await start(config)
    try:
        return await engine.probe(sampling or Sampling())
    finally:
        await engine.close()


class OpenAIEngine:
    """Client of an endpoint (`rollout.engine.Engine`). The weight version is always 0."""

    def __init__(self, config: OpenAIConfig, tokenizer: Tokenizer) -> None:
        self.name = config.model
        self.weight_version = 0
        self.max_model_len = config.max_model_len
        self._config = config
        self._tokenizer = tokenizer
        self._splitter = MessageSplitter(tokenizer) if config.api == "chat" else None
        self._parameters = Parameters(
            config.dialect,
            urlsplit(config.base_url).hostname or "",
            config.api,
            extensions=config.extensions,
            is_text=config.prompt == "text",
        )
        self._client = EndpointClient(config)

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        """Complete a prompt.

        If the endpoint returns only text, the text is encoded with the tokenizer, without an end of turn, and
        log-probabilities are kept if there is one for each token. Reasoning that it returns apart from the text becomes
        a ``<think>`` block. A completion with a grammar has neither log-probabilities nor top tokens, because endpoints
        normalize them over the tokens that the grammar allows.

        Raises:
            EndpointUnavailable: all attempts failed.
            EndpointError: the endpoint refused the request, or its answer cannot be used.
            SetupError: the endpoint does not accept a setting, or does not return what ``sampling`` asks for.
            NotImplementedError: the endpoint does not support a setting of ``sampling``.
            ValueError: the prompt leaves no room for a completion.
        """
        max_tokens = max_new_tokens(len(token_ids), sampling, self.max_model_len)
        if sampling.top_logprobs and not sampling.grammar:
            self._require_token_ids()
        if sampling.grammar and not self._parameters.takes_grammar:
            raise NotImplementedError(
                "constrained acting needs a vLLM server; set extensions: true, or agent.acting to plain"
            )
        fields = {"structured_outputs": {"regex": sampling.grammar.regex()}} if sampling.grammar else {}
        choice = await self._request({**self._prompt(token_ids), **fields}, sampling, max_tokens, len(token_ids))
        return self._completion(choice, sampling, max_tokens)

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        """Score a sequence with ``prompt_logprobs`` of vLLM's completions API.

        Raises:
            NotImplementedError: the endpoint is not configured for it, refuses it, or returns none.
        """
        if self._splitter is not None or not self._config.extensions or self._config.prompt != "token_ids":
            raise NotImplementedError(
                "this endpoint cannot score; use vLLM with api: completions, prompt: token_ids, extensions: true"
            )
        check_scorable(len(token_ids), top_k, self.max_model_len)
        if len(token_ids) == 1:
            return top_rows([{}], top_k)
        # The last row is predicted as the next token of the shortened prompt, so that a full context can be scored.
        fields = {"prompt": list(token_ids[:-1]), "prompt_logprobs": top_k}
        sampling = Sampling(max_tokens=1, top_logprobs=top_k)
        try:
            choice = await self._request(fields, sampling, 1, len(token_ids))
        except RequestRefused as error:
            raise NotImplementedError(f"the endpoint does not score: {error}") from None
        last = tokens_of(choice, with_rows=True).rows
        rows = [{}, *prompt_rows(choice), *(last or ())]
        if len(rows) != len(token_ids):
            raise EndpointError(f"{self._client.url} returned {len(rows)} rows of scores for {len(token_ids)} tokens")
        return top_rows(rows, top_k)

    async def load_weights(self, folder: str, version: int) -> None:
        """Raise `NotImplementedError`: an endpoint's weights cannot be changed."""
        raise NotImplementedError("the weights of an endpoint cannot be changed; use engine type vllm")

    async def close(self) -> None:
        await self._client.close()

    def sent(self, sampling: Sampling) -> dict[str, Any]:
        """What the endpoint is sent for ``sampling``, for the record: parameters of its dialect, without the seed."""
        return {"dialect": self._parameters.dialect, **self._parameters.sent(sampling)}

    async def probe(self, sampling: Sampling) -> EndpointCapabilities:
        """Find out what the endpoint can do, and limit the context length to the one that it lists.

        Raises what `probe_endpoint` raises.
        """
        models = await self._client.models()
        self._parameters.recognize(models=models)
        lengths = [model.get(key) for model in models if model.get("id") == self.name for key in _CONTEXT_LENGTH]
        self.max_model_len = min([self.max_model_len, *(n for n in lengths if isinstance(n, int) and n > 1)])
        asked = sampling.model_copy(update={"seed": 0, "grammar": None, "max_tokens": 16, "stop": (_PROBE_STOP,)})
        hello = {"messages": [{"role": "user", "content": "Hello"}]}
        fields = hello if self._splitter else self._prompt(self._tokenizer.encode("Hello"))
        try:
            choice = await self._request(fields, asked, asked.max_tokens, asked.max_tokens)
        except RequestRefused as error:
            raise EndpointSetupError(str(error)) from None
        self._completion(choice, asked, asked.max_tokens)  # raises if something is missing
        tokens = tokens_of(choice, with_rows=bool(asked.top_logprobs))
        return EndpointCapabilities(
            url=self._client.url,
            dialect=self._parameters.dialect,
            model=self.name,
            models=tuple(str(model.get("id")) for model in models),
            max_model_len=self.max_model_len,
            token_ids=tokens.token_ids is not None,
            logprobs=tokens.logprobs is not None,
            top_logprobs=tokens.rows is not None,
            honors_stop=_honors_stop("".join(parts_of(choice, self._client.url)), choice.finish_reason),
            sent=self._parameters.sent(sampling),
            left_out=self._parameters.left_out(sampling),
        )

    def _require_token_ids(self) -> None:
        if self._splitter is not None:
            raise NotImplementedError(
                "the chat API returns no token ids for top_logprobs; use api: completions, or set top_logprobs to 0"
            )
        if not self._config.extensions:
            raise NotImplementedError(
                "top_logprobs needs token ids from the endpoint; set extensions: true, or top_logprobs to 0"
            )

    def _prompt(self, token_ids: Sequence[int]) -> dict[str, Any]:
        if self._splitter is not None:
            return {"messages": self._splitter.split(token_ids)}
        is_text = self._config.prompt == "text"
        return {"prompt": self._tokenizer.decode(token_ids) if is_text else list(token_ids)}

    async def _request(self, fields: dict[str, Any], sampling: Sampling, max_tokens: int, prompt_tokens: int) -> Choice:
        """Send a request, in other forms as long as the endpoint refuses parameters; returns the first completion."""
        refused = self._parameters.refused
        path = "/completions" if self._splitter is None else "/chat/completions"
        entries = (prompt_tokens + max_tokens) * (2 + 2 * sampling.top_logprobs)
        limit = _BASE_BYTES + _BYTES_PER_ENTRY * entries
        while True:
            forms = self._parameters.forms(sampling, max_tokens)
            request = {"model": self.name, "stream": False, **fields, **body(forms, refused)}
            try:
                answer = await self._client.post(path, request, limit)
            except RequestRefused as error:
                if _NO_ROOM in error.reason:
                    self._parameters.refused |= refused
                    return Choice(text="", finish_reason="length")
                learned = self._parameters.learn(forms, refused, error.reason)
                if learned == refused and forms == self._parameters.forms(sampling, max_tokens):
                    if "prompt" in error.reason and isinstance(fields.get("prompt"), list):
                        raise EndpointSetupError(f"{error}. If it takes no token ids, set prompt: text") from None
                    raise
                refused = learned
                continue
            self._parameters.refused |= refused
            read = read_answer(answer, self._client.url)
            self._parameters.recognize(read.system_fingerprint)
            return read.choices[0]

    def _completion(self, choice: Choice, sampling: Sampling, max_tokens: int) -> Completion:
        top = 0 if sampling.grammar else sampling.top_logprobs
        tokens = tokens_of(choice, with_rows=bool(top))
        ids, is_cut = self._ids(choice, tokens, sampling.stop)
        finish = "stop" if is_cut else finish_of(choice, len(ids), max_tokens, self._client.url)
        has_logprobs = tokens.logprobs is not None and len(tokens.logprobs) == len(ids) and not sampling.grammar
        if top and (tokens.rows is None or len(tokens.rows) != len(ids)):
            raise EndpointSetupError(
                f"{self._client.url} returned no log-probabilities for the tokens of a completion, although "
                f"{top} per token are needed; use a server that returns them (vLLM), or terms without distributions"
            )
        return Completion(
            token_ids=ids,
            logprobs=tokens.logprobs if has_logprobs else None,
            text=self._tokenizer.decode(ids),
            finish_reason=finish,
            top=top_rows(tokens.rows, top) if top and tokens.rows is not None else None,
        )

    def _ids(self, choice: Choice, tokens: Tokens, stop: Sequence[str]) -> tuple[tuple[int, ...], bool]:
        """Token ids of a completion, and whether a stop text that the endpoint overlooked was cut off here."""
        reasoning, text = parts_of(choice, self._client.url)
        ids = tokens.token_ids
        # Not every model writes its reasoning as a block that the parser of a turn knows.
        if ids is not None and (not reasoning or "</think>" in self._tokenizer.decode(ids)):
            return ids, False
        ends = [text.index(end) + len(end) for end in stop if end in text]
        text, is_cut = text[: min(ends, default=len(text))], min(ends, default=len(text)) < len(text)
        is_open = self._splitter is not None and self._splitter.opens_reasoning
        return self._tokenizer.encode(with_reasoning(reasoning, text, is_open=is_open)), is_cut


def _honors_stop(text: str, finish_reason: str | None) -> bool | None:
    """Whether the text of a probe ends at `_PROBE_STOP`; None if it does not occur."""
    if _PROBE_STOP in text:
        return text.index(_PROBE_STOP) + len(_PROBE_STOP) == len(text)
    return True if finish_reason in ("stop", "stop_sequence") else None
