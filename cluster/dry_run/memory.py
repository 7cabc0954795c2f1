"""Estimates of the device memory of an engine and of a learner rank from a model's shape, as pure functions.

All figures are bytes. They add up the known allocations to decide what fits, and are not exact: the overhead of
kernels, the allocator and CUDA is one constant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from cluster.dry_run.model_shapes import ModelShape
from cluster.runtime.resources import GIB
from learner.config import LearnerConfig
from learner.losses.chunks import chunk_rows
from rollout.engines.vllm_engine import VllmConfig

FLOAT32, BFLOAT16 = 4, 2
OVERHEAD_BYTES = int(1.5 * GIB)
"""Rough overhead of CUDA, its libraries, communication and fragmentation."""
PREFILL_TOKENS = 8192
"""vLLM's default number of prompt tokens per forward pass on large GPUs."""
ZERO_BUCKET_NUMBERS = 500_000_000
"""DeepSpeed's default number of elements in the buffer that reduces gradients."""

_ACTIVATIONS = {
    ("gated", "float32"): (32, 16, 8),
    ("gated", "bfloat16"): (30, 8, 4),
    ("opt", "float32"): (40, 4, 0),
    ("opt", "bfloat16"): (28, 2, 0),
    ("gpt2", "float32"): (40, 20, 0),
    ("gpt2", "bfloat16"): (30, 10, 0),
}
"""Bytes that one layer saves per token for the backward pass, per unit of hidden size, intermediate size and key size.
Measured with torch's hooks on saved tensors; ``bfloat16`` is autocast over float32 weights."""
_HIDDEN_WITHOUT_AUTOCAST = 20
"""Bytes per unit of hidden size, in every family, if the weights and the residual stream are bfloat16."""
_LORA_DROPOUT = 1.5
"""Factor for the dropout before each adapter, which saves a copy of the matrix's input."""
_NF4 = 0.52
"""Bytes of an element in 4 bits, with the scales of its block."""
_LOGIT_BYTES = {False: 16, True: 22}
"""Bytes per logit without and with a divergence: the logit, its float32 copy, the loss's tensors, their gradients."""


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Memory of one vLLM engine on each of its devices, in bytes.

    Attributes:
        budget: total memory that the engine may use.
        weights: weights, including adapters.
        workspace: activations of one forward pass, logits and CUDA overhead.
        cache_per_token: keys and values of one token.
    """

    budget: int
    weights: int
    workspace: int
    cache_per_token: int

    @property
    def cache(self) -> int:
        """Memory left for keys and values; negative if the weights do not fit."""
        return self.budget - self.weights - self.workspace

    @property
    def cache_tokens(self) -> int:
        return max(0, self.cache) // self.cache_per_token

    def fits(self, max_model_len: int) -> bool:
        """Whether the cache can store one sequence of full length; vLLM does not start otherwise."""
        return self.cache_tokens >= max_model_len


def engine_dtype_bytes(dtype: str) -> int:
    """Bytes per parameter; with ``auto``, vLLM uses two bytes also for a float32 checkpoint."""
    return FLOAT32 if dtype == "float32" else BFLOAT16


def cache_bytes_per_token(shape: ModelShape, number_bytes: int, devices: int = 1) -> int:
    """Bytes of the keys and values of one token on each device; a key-value head is never split."""
    return 2 * shape.layers * shape.kv_size * number_bytes // min(devices, shape.kv_heads)


def engine_memory(shape: ModelShape, engine: VllmConfig, gpu_bytes: float | None) -> EngineMemory:
    """Memory of one vLLM engine on each GPU with ``gpu_bytes``, or in main memory if ``gpu_bytes`` is None."""
    number_bytes, devices = engine_dtype_bytes(engine.dtype), engine.tensor_parallel_size
    weights = (
        shape.parameters * number_bytes // devices + adapter_parameters(shape, engine.max_lora_rank) * number_bytes
    )
    per_token = cache_bytes_per_token(shape, number_bytes, devices)
    logits = 2 * engine.max_num_seqs * shape.vocabulary * FLOAT32
    if gpu_bytes is None:
        workspace = logits + OVERHEAD_BYTES
        budget = weights + workspace + int(engine.kv_cache_gib * GIB)
        return EngineMemory(budget, weights, workspace, per_token)
    one_pass = PREFILL_TOKENS * number_bytes * (4 * shape.hidden + 2 * shape.intermediate // devices)
    budget = int(engine.gpu_memory_utilization * gpu_bytes)
    return EngineMemory(budget, weights, one_pass + logits + OVERHEAD_BYTES, per_token)


def adapter_parameters(shape: ModelShape, rank: int) -> int:
    """Parameters of low-rank adapters on all matrices of all layers: A is ``[rank, in]``, B is ``[out, rank]``."""
    return shape.layers * rank * sum(inputs + outputs for inputs, outputs in shape.linear_sizes)


def trained_parameters(shape: ModelShape, learner: LearnerConfig) -> int:
    """Number of trained parameters. Adapters are counted on all matrices, regardless of ``target_modules``."""
    return shape.parameters if learner.lora is None else adapter_parameters(shape, learner.lora.rank)


def learner_memory(
    shape: ModelShape,
    learner: LearnerConfig,
    ranks: int,
    micro_batch_tokens: int,
    trained_share: float,
    teacher: ModelShape | None = None,
) -> dict[str, int]:
    """Peak memory of one learner rank during a step, in bytes by name.

    Args:
        shape: shape of the trained model after widening.
        micro_batch_tokens: tokens of one forward pass, including padding.
        trained_share: fraction of these tokens whose logits are computed.
        teacher: shape of the frozen teacher in the learner's process.
    """
    named = [
        *_states(shape, learner, ranks),
        *_copies(shape, learner, ranks),
        ("activations", _activations(shape, learner, ranks, micro_batch_tokens)),
        ("logits", _logits(shape, learner, int(micro_batch_tokens * trained_share))),
        # It is summed over the chunks of logits before it is added to the gradients.
        ("head gradient", 0 if learner.lora else FLOAT32 * shape.vocabulary * shape.hidden),
        ("frozen teacher", _teacher_bytes(teacher, learner, ranks) if teacher else 0),
        ("reserve", OVERHEAD_BYTES),
    ]
    return {name: size for name, size in named if size}


def _logits(shape: ModelShape, learner: LearnerConfig, trained_tokens: int) -> int:
    """Arrays of the largest chunk of logits."""
    rows = min(trained_tokens, chunk_rows(shape.vocabulary, "cuda"))
    return rows * shape.vocabulary * _LOGIT_BYTES[_has_divergence(learner)]


def _teacher_bytes(teacher: ModelShape, learner: LearnerConfig, ranks: int) -> int:
    """Weights of the frozen teacher. FSDP2 shards its layers; embeddings and head stay whole on every rank."""
    assert learner.teacher is not None
    number = BFLOAT16 if learner.teacher.precision == "bfloat16" else FLOAT32
    sharded = teacher.parameters - teacher.embedding_parameters if learner.strategy == "fsdp2" else 0
    return number * (teacher.parameters - sharded + sharded // ranks)


def _states(shape: ModelShape, learner: LearnerConfig, ranks: int) -> Iterator[tuple[str, int]]:
    """Weights, gradients and optimizer states on the device, without those that `LearnerConfig.cpu_offload` moves."""
    moved = _offloaded(learner, ranks)
    yield from ((name, size) for name, size in _all_states(shape, learner, ranks) if name not in moved)


def _all_states(shape: ModelShape, learner: LearnerConfig, ranks: int) -> Iterator[tuple[str, int]]:
    """Weights, gradients and optimizer states, each sharded over the ranks according to the strategy.

    They are float32, but for frozen matrices with `LoraConfig.quantize`.
    """
    trained = trained_parameters(shape, learner)
    stage = _stage(learner)
    weights = FLOAT32 * (shape.parameters + (trained if learner.lora else 0))
    if learner.lora is not None and learner.lora.quantize:
        weights -= int((FLOAT32 - _NF4) * shape.layers * shape.layer_matrix_parameters)
    yield "weights", weights // (ranks if stage >= 3 else 1)
    yield "gradients", FLOAT32 * trained // (ranks if stage >= 2 else 1)
    yield "optimizer", _optimizer_bytes(shape, learner, trained) // (ranks if stage >= 1 else 1)


def _stage(learner: LearnerConfig) -> int:
    """What is sharded: the optimizer's states from 1, gradients from 2, weights from 3."""
    return {"ddp": 0, "fsdp2": 3, "deepspeed": learner.zero_stage}[learner.strategy]


def _offloaded(learner: LearnerConfig, ranks: int) -> Collection[str]:
    """Names of the states that are kept in main memory."""
    if not learner.cpu_offload or (learner.strategy == "fsdp2" and ranks == 1):
        return ()
    return ("optimizer", "gradients", "weights")[: _stage(learner)]


def _optimizer_bytes(shape: ModelShape, learner: LearnerConfig, trained: int) -> int:
    """Bytes of optimizer states: AdamW keeps two numbers per parameter, Muon one per matrix element, ZeRO three."""
    if learner.strategy == "deepspeed":
        return 3 * FLOAT32 * trained
    matrices = shape.layers * shape.layer_matrix_parameters if learner.optimizer == "muon" else 0
    return 2 * FLOAT32 * trained - FLOAT32 * matrices


def _copies(shape: ModelShape, learner: LearnerConfig, ranks: int) -> Iterator[tuple[str, int]]:
    """Memory beside the states: bfloat16 copies made by autocast, gathered layers and gradient buffers."""
    trained = trained_parameters(shape, learner)
    quantized = learner.lora is not None and learner.lora.quantize is not None
    if learner.precision == "bfloat16" and not quantized and not _gathers_bfloat16(learner, ranks):
        # Autocast keeps copies of trained weights until the forward pass ends, and the backward pass needs all of them.
        # Copies of frozen weights are made again when a layer is recomputed. The copies are not sharded.
        layer_by_layer = learner.lora is not None and learner.recompute_activations
        yield "bfloat16 copies", BFLOAT16 * (shape.layer_parameters if layer_by_layer else shape.parameters)
    if ranks == 1:
        return
    if learner.strategy == "ddp":
        yield "gradient buckets", FLOAT32 * trained
    if learner.strategy == "deepspeed":
        yield "gradient buckets", FLOAT32 * ZERO_BUCKET_NUMBERS
    if learner.strategy == "fsdp2" or (learner.strategy == "deepspeed" and learner.zero_stage == 3):
        weight = BFLOAT16 if _gathers_bfloat16(learner, ranks) else FLOAT32
        gradient = 0 if learner.lora else FLOAT32  # gradients are reduced over the ranks in float32
        yield "gathered layers", (weight + gradient) * (shape.embedding_parameters + 2 * shape.layer_parameters)


def _gathers_bfloat16(learner: LearnerConfig, ranks: int) -> bool:
    """Whether FSDP2 casts the weights to bfloat16 when it gathers them, so that autocast is not needed."""
    return learner.precision == "bfloat16" and learner.strategy == "fsdp2" and ranks > 1


def _activations(shape: ModelShape, learner: LearnerConfig, ranks: int, tokens: int) -> int:
    per_hidden, per_intermediate, per_key = _ACTIVATIONS[shape.family, learner.precision]
    between_layers = FLOAT32
    if _gathers_bfloat16(learner, ranks):
        per_hidden, between_layers = _HIDDEN_WITHOUT_AUTOCAST, BFLOAT16
    layer = per_hidden * shape.hidden + per_intermediate * shape.intermediate + per_key * shape.kv_size
    if learner.lora is not None and learner.lora.dropout:
        layer = int(layer * _LORA_DROPOUT)
    if not learner.recompute_activations:
        return tokens * shape.layers * layer
    return tokens * (shape.layers * shape.hidden * between_layers + layer)


def _has_divergence(learner: LearnerConfig) -> bool:
    return any(term.divergence != "cross_entropy" for term in learner.terms)


def host_bytes(shape: ModelShape, learner: LearnerConfig, ranks: int) -> int:
    """Main memory that a rank on a GPU needs for the model.

    Weights of files are mapped and not counted. A model from scratch, or a widened one, is made there in float32.
    """
    moved = _offloaded(learner, ranks)
    states = sum(size for name, size in _all_states(shape, learner, ranks) if name in moved)
    made = FLOAT32 * shape.parameters if learner.scratch is not None or learner.widen > 1 else 0
    return max(states, made)


def file_bytes(shape: ModelShape) -> int:
    """Size of the model's files of weights, which all ranks of a machine map into memory together."""
    return shape.parameters * (FLOAT32 if shape.dtype == "float32" else BFLOAT16)
