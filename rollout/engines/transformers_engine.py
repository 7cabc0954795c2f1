"""Portable engine on transformers: no server, any device, concurrent calls combined into batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field

from rollout.engine import Completion, Sampling
from rollout.engines.decoding import check_scorable, end_of_turn_ids, max_new_tokens, top_rows
from rollout.errors import UserError
from rollout.frozen_model import FrozenModel
from rollout.grammar import Grammar
from rollout.messages import first_line
from rollout.models import model_folder
from rollout.models.attention import keep_attention_cap
from rollout.prompts.tokenizer import ChatSettings, Tokenizer, load_tokenizer
from rollout.trajectory import TopK

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from torch import Generator, Tensor

T = TypeVar("T")

_LOADING = threading.Lock()
"""Serializes loading, because transformers sets process-wide state while it builds a model."""


class TransformersConfig(FrozenModel):
    """A model run by transformers in this process."""

    type: Literal["transformers"] = "transformers"
    model: str
    """``builtin:NAME``, a folder (a checkpoint or a PEFT adapter) or a hub name."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` uses a CUDA device if there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` is the dtype of the checkpoint."""
    max_model_len: int | None = Field(None, ge=2)
    """Context length: tokens of prompt and completion together; null is the model's limit."""
    max_batch: int = Field(32, ge=1)
    """Upper bound on the completions of a batch."""
    batch_window_ms: float = Field(5.0, ge=0.0, le=1000.0)
    """Milliseconds that a call waits for others to join its batch."""


async def start(config: TransformersConfig, chat: ChatSettings | None = None) -> TransformersEngine:
    """Load the model. Raises `UserError` if the model or the device does not exist."""
    folder = model_folder(config.model)
    tokenizer = load_tokenizer(folder, chat)
    thread = ThreadPoolExecutor(1, thread_name_prefix="transformers-engine")
    model = await asyncio.get_running_loop().run_in_executor(thread, _load, folder, config)
    return TransformersEngine(config, model, tokenizer, thread)


@dataclass(slots=True)
class _Row:
    """State of one completion during generation."""

    prompt: tuple[int, ...]
    sampling: Sampling
    max_tokens: int
    generator: Generator | None = None
    matcher: LLMatcher | None = None
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[dict[int, float]] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None


class TransformersEngine:
    """Left-padded batches on one background thread (`rollout.engine.Engine`).

    A completion does not depend on the rest of its batch, except for floating-point rounding.
    """

    def __init__(
        self, config: TransformersConfig, model: Any, tokenizer: Tokenizer, thread: ThreadPoolExecutor
    ) -> None:
        self.name = config.model
        self.weight_version = 0
        self.max_model_len = config.max_model_len or int(getattr(model.config, "max_position_embeddings", 4096))
        self.precision = str(model.dtype).removeprefix("torch.")
        self._config = config
        self._model = model
        self._tokenizer = tokenizer
        self._stop_ids = end_of_turn_ids(tokenizer, model.generation_config.eos_token_id)
        self._thread = thread
        self._grammar_tokenizer: LLTokenizer | None = None
        self._pending: list[tuple[_Row, asyncio.Future[Completion]]] = []
        self._batcher: asyncio.Task[None] | None = None

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        """Complete a prompt. Raises `ValueError` if it leaves no room for a completion."""
        row = _Row(tuple(token_ids), sampling, max_new_tokens(len(token_ids), sampling, self.max_model_len))
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._pending.append((row, future))
        if self._batcher is None or self._batcher.done():
            self._batcher = asyncio.create_task(self._serve())
        return await future

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        """One forward pass over the whole sequence."""
        check_scorable(len(token_ids), top_k, self.max_model_len)
        return await self._on_thread(lambda: self._score(tuple(token_ids), top_k))

    async def load_weights(self, folder: str, version: int) -> None:
        """Load a checkpoint between two batches. If loading fails, the old weights are kept.

        Raises:
            UserError: ``folder`` does not exist or contains no model that can be loaded.
        """
        await self._on_thread(lambda: self._replace_model(model_folder(folder), version))

    async def close(self) -> None:
        """Cancel waiting calls, stop the thread, and release the model."""
        if self._batcher is not None:
            self._batcher.cancel()
        for _, future in self._pending:
            future.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._model = None

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _serve(self) -> None:
        while self._pending:
            await asyncio.sleep(self._config.batch_window_ms / 1000)
            batch, self._pending = self._pending[: self._config.max_batch], self._pending[self._config.max_batch :]
            rows = [row for row, _ in batch]
            try:
                completions = await self._on_thread(lambda rows=rows: self._complete(rows))  # type: ignore[misc]
            except Exception as error:  # raised to each caller; the batcher continues
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), completion in zip(batch, completions, strict=True):
                if not future.done():  # the call may have been cancelled
                    future.set_result(completion)

    def _replace_model(self, folder: str, version: int) -> None:
        self._model = _load(folder, self._config)
        self.precision = str(self._model.dtype).removeprefix("torch.")
        self.weight_version = version

    def _complete(self, rows: list[_Row]) -> list[Completion]:
        import torch

        for row in rows:
            if row.sampling.seed is not None:
                row.generator = torch.Generator().manual_seed(row.sampling.seed)
            if row.sampling.grammar is not None:
                row.matcher = self._matcher(row.sampling.grammar, row.max_tokens)
        with torch.inference_mode():
            self._decode(rows)
        return [self._completion(row) for row in rows]

    def _decode(self, rows: list[_Row]) -> None:
        """Generate tokens until all rows are finished; finished rows stay in the batch."""
        import torch

        device, width = self._model.device, max(len(row.prompt) for row in rows)
        ids = torch.tensor([[0] * (width - len(row.prompt)) + list(row.prompt) for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows], device=device)
        cache = None
        while True:
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            out = self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            chosen = self._choose(out.logits[:, -1], rows)
            if all(row.finish_reason for row in rows):
                return
            ids = torch.tensor(chosen, device=device)[:, None]
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)

    def _choose(self, logits_BV: Tensor, rows: list[_Row]) -> list[int]:
        """Choose the next token of each row. Recorded log-probabilities are those of the model, at temperature 1."""
        logprobs_BV = logits_BV.float().log_softmax(-1).cpu()
        chosen = []
        for row, logprobs_V in zip(rows, logprobs_BV, strict=True):
            allowed_V = logprobs_V
            if row.matcher is not None and row.finish_reason is None:
                allowed_V = _allowed(logprobs_V, row.matcher)
            token = _pick(allowed_V, row.sampling, row.generator)
            chosen.append(token)
            if row.finish_reason is None:
                if row.matcher is not None:
                    row.matcher.consume_token(token)
                row.token_ids.append(token)
                row.logprobs.append(logprobs_V[token].item())
                if row.sampling.top_logprobs:
                    row.top.append(_most_likely(logprobs_V, row.sampling.top_logprobs))
                row.finish_reason = self._finish(row)
        return chosen

    def _finish(self, row: _Row) -> Literal["stop", "length"] | None:
        if row.token_ids[-1] in self._stop_ids:
            return "stop"
        if row.sampling.stop:
            text = self._tokenizer.decode(row.token_ids)
            if any(stop in text for stop in row.sampling.stop):
                return "stop"
        return "length" if len(row.token_ids) == row.max_tokens else None

    def _matcher(self, grammar: Grammar, max_tokens: int) -> LLMatcher:
        """Create the matcher that constrains one completion to a grammar; takes about a millisecond."""
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        if self._grammar_tokenizer is None:  # takes about 1 s for a large vocabulary
            outer = self._tokenizer.hugging_face
            vocab_size = max(int(self._model.config.vocab_size), len(outer))
            self._grammar_tokenizer = from_tokenizer(outer, vocab_size, min(self._stop_ids))
        return _raise_if_failed(
            LLMatcher(self._grammar_tokenizer, grammar.lark(max_tokens, self._stop_ids, self._tokenizer.encode))
        )

    def _completion(self, row: _Row) -> Completion:
        assert row.finish_reason is not None
        return Completion(
            token_ids=tuple(row.token_ids),
            logprobs=tuple(row.logprobs),
            text=self._tokenizer.decode(row.token_ids),
            finish_reason=row.finish_reason,
            top=top_rows(row.top, row.sampling.top_logprobs) if row.sampling.top_logprobs else None,
            weight_version=self.weight_version,
        )

    def _score(self, token_ids: tuple[int, ...], top_k: int) -> TopK:
        import torch

        with torch.inference_mode():
            ids = torch.tensor([token_ids], device=self._model.device)
            logprobs_TV = self._model(input_ids=ids).logits[0, :-1].float().log_softmax(-1).cpu()
        return top_rows([{}, *(_most_likely(logprobs_V, top_k) for logprobs_V in logprobs_TV)], top_k)


def _most_likely(logprobs_V: Tensor, k: int) -> dict[int, float]:
    values, ids = logprobs_V.topk(min(k, len(logprobs_V)))
    return dict(zip(ids.tolist(), values.tolist(), strict=True))


def _allowed(logprobs_V: Tensor, matcher: LLMatcher) -> Tensor:
    """Set the log-probabilities of tokens that the grammar does not allow next to minus infinity."""
    import torch

    bias_V = torch.frombuffer(bytearray(matcher.compute_logit_bias()), dtype=torch.uint8)
    _raise_if_failed(matcher)
    return logprobs_V.masked_fill(bias_V[: len(logprobs_V)] == 0, float("-inf"))


def _raise_if_failed(matcher: LLMatcher) -> LLMatcher:
    if matcher.is_error():
        raise ValueError(f"a completion cannot be constrained to its grammar: {matcher.get_error()}")
    return matcher


def _pick(logprobs_V: Tensor, sampling: Sampling, generator: Generator | None) -> int:
    """Sample a token with temperature, ``top_k`` and ``top_p``; temperature 0 is greedy."""
    if sampling.temperature == 0.0:
        return int(logprobs_V.argmax())
    probabilities_V = (logprobs_V / sampling.temperature).softmax(-1)
    values, ids = probabilities_V.sort(descending=True)
    if sampling.top_k:
        values[sampling.top_k :] = 0.0
    values[values.cumsum(-1) - values >= sampling.top_p * values.sum()] = 0.0
    return int(ids[values.multinomial(1, generator=generator)])


def _load(folder: str, config: TransformersConfig) -> Any:
    """Load a model for inference. For an adapter folder, its base model is loaded, too."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    silence: Callable[[], None] = logging.disable_progress_bar
    silence()
    device = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("the engine's device is cuda, but torch finds no CUDA device; set device to auto or cpu")
    try:
        with _LOADING:
            model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=config.dtype, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"no model can be loaded from {folder}: {first_line(error)}") from error
    keep_attention_cap(model)
    return model.to(device).eval()
