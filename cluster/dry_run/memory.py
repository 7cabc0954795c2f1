"""Memory that an engine and a learner's rank take of their device, estimated from a model's shape. Pure functions.

All figures are bytes. They follow from what is allocated, and are meant to tell what fits, not to be exact: what
kernels, the allocator and CUDA itself take is one round number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.dry_run.model_shapes import ModelShape
from cluster.runtime.resources import GIB
from learner.config import LearnerConfig
from rollout.engines.vllm_engine import VllmConfig

FLOAT32, BFLOAT16 = 4, 2
RESERVE = int(1.5 * GIB)
"""What CUDA, its libraries, communication and the allocator's gaps take, roughly."""
PREFILL_TOKENS = 8192
"""Prompt tokens that vLLM's scheduler puts into one pass by default on large GPUs."""
ZERO_BUCKET_NUMBERS = 500_000_000
"""DeepSpeed's default size of the buffer that gradients are reduced in."""

_ACTIVATIONS = {
    ("gated", "float32"): (32, 16, 8),
    ("gated", "bfloat16"): (30, 8, 4),
    ("opt", "float32"): (40, 4, 0),
    ("opt", "bfloat16"): (28, 2, 0),
    ("gpt2", "float32"): (40, 20, 0),
    ("gpt2", "bfloat16"): (30, 10, 0),
}
"""Bytes that one layer keeps of a token for the backward pass, a unit of hidden size, of intermediate size, and of the
keys' size; counted with torch's hooks on saved tensors (``bfloat16`` is autocast over float32 weights)."""
_HIDDEN_WITHOUT_AUTOCAST = 20
"""The first of these, of every family, where weights are bfloat16 themselves: what runs between layers is so too."""
_LORA_DROPOUT = 1.5
"""Dropout before each adapter keeps a copy of each matrix's input."""
_LOGIT_BYTES = {False: 16, True: 22}
"""Of one logit, without and with a divergence: itself, its float32 copy, the loss's own tensors, their gradients."""


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Of one vLLM engine on each of its devices.

    Attributes:
        budget: what it may take in all.
        weights: adapters included.
        workspace: activations of one pass, logits, CUDA.
        cache_per_token: keys and values of one token.
    """

    budget: int
    weights: int
    workspace: int
    cache_per_token: int

    @property
    def cache(self) -> int:
        """What is left for keys and values; negative where not even the weights fit."""
        return self.budget - self.weights - self.workspace

    @property
    def cache_tokens(self) -> int:
        return max(0, self.cache) // self.cache_per_token

    def fits(self, max_model_len: int) -> bool:
        """Whether one sequence of full length can be had; vLLM does not start otherwise."""
        return self.cache_tokens >= max_model_len


def engine_dtype_bytes(dtype: str) -> int:
    """Bytes of a number; ``auto`` is vLLM's choice, which takes two for a float32 checkpoint as well."""
    return FLOAT32 if dtype == "float32" else BFLOAT16


def cache_bytes_per_token(shape: ModelShape, number_bytes: int, devices: int = 1) -> int:
    """Keys and values of one token on each device; a key-value head is not cut in two."""
    return 2 * shape.layers * shape.kv_size * number_bytes // min(devices, shape.kv_heads)


def engine_memory(shape: ModelShape, engine: VllmConfig, gpu_bytes: float | None) -> EngineMemory:
    """What one vLLM engine takes of each GPU of ``gpu_bytes``, or of main memory where that is None."""
    number, devices = engine_dtype_bytes(engine.dtype), engine.tensor_parallel_size
    weights = shape.parameters * number // devices + adapter_parameters(shape, engine.max_lora_rank) * number
    per_token = cache_bytes_per_token(shape, number, devices)
    logits = 2 * engine.max_num_seqs * shape.vocabulary * FLOAT32
    if gpu_bytes is None:
        workspace = logits + RESERVE
        budget = weights + workspace + int(engine.kv_cache_gib * GIB)
        return EngineMemory(budget, weights, workspace, per_token)
    one_pass = PREFILL_TOKENS * number * (4 * shape.hidden + 2 * shape.intermediate // devices)
    budget = int(engine.gpu_memory_utilization * gpu_bytes)
    return EngineMemory(budget, weights, one_pass + logits + RESERVE, per_token)


def adapter_parameters(shape: ModelShape, rank: int) -> int:
    """Parameters of low-rank adapters on all matrices of all layers: A is ``[rank, in]``, B is ``[out, rank]``."""
    return shape.layers * rank * sum(inputs + outputs for inputs, outputs in shape.linear_sizes)


def trained_parameters(shape: ModelShape, learner: LearnerConfig) -> int:
    """Parameters that an optimizer moves. Adapters count as on all matrices, whatever ``target_modules`` leaves out."""
    return shape.parameters if learner.lora is None else adapter_parameters(shape, learner.lora.rank)


def learner_memory(
    shape: ModelShape, learner: LearnerConfig, ranks: int, pass_tokens: int, trained_share: float
) -> dict[str, int]:
    """What one rank of a learner takes of its device at the peak of a step, by name.

    Args:
        shape: of the model that is trained, widened already.
        pass_tokens: of one forward pass, padding included.
        trained_share: of these, the share whose logits are computed.
    """
    named = [
        *_states(shape, learner, ranks),
        *_copies(shape, learner, ranks),
        ("activations", _activations(shape, learner, ranks, pass_tokens)),
        ("logits", int(pass_tokens * trained_share) * shape.vocabulary * _LOGIT_BYTES[_has_divergence(learner)]),
        ("reserve", RESERVE),
    ]
    return {name: size for name, size in named if size}


def _states(shape: ModelShape, learner: LearnerConfig, ranks: int) -> Iterator[tuple[str, int]]:
    """Weights, gradients and the optimizer's moments; all float32. Each is cut over the ranks as the strategy says."""
    trained = trained_parameters(shape, learner)
    stage = {"ddp": 0, "fsdp2": 3, "deepspeed": learner.zero_stage}[learner.strategy]
    all_weights = shape.parameters + (trained if learner.lora else 0)
    yield "weights", FLOAT32 * all_weights // (ranks if stage >= 3 else 1)
    yield "gradients", FLOAT32 * trained // (ranks if stage >= 2 else 1)
    yield "optimizer", _moments(shape, learner, trained) // (ranks if stage >= 1 else 1)


def _moments(shape: ModelShape, learner: LearnerConfig, trained: int) -> int:
    """AdamW keeps two numbers a parameter; Muon one for the layers' matrices; ZeRO a copy of the weights besides."""
    if learner.strategy == "deepspeed":
        return 3 * FLOAT32 * trained
    matrices = shape.layers * shape.layer_matrix_parameters if learner.optimizer == "muon" else 0
    return 2 * FLOAT32 * trained - FLOAT32 * matrices


def _copies(shape: ModelShape, learner: LearnerConfig, ranks: int) -> Iterator[tuple[str, int]]:
    """What exists beside the states: bfloat16 copies of autocast, layers that are gathered, buffers of gradients."""
    trained = trained_parameters(shape, learner)
    if learner.precision == "bfloat16" and not _gathers_bfloat16(learner, ranks):
        # Autocast keeps copies of weights that train until the forward pass ends, and the backward pass needs all of
        # them; frozen ones are made anew where a layer is computed again. They are not cut over the ranks.
        one_by_one = learner.lora is not None and learner.recompute_activations
        yield "bfloat16 copies", BFLOAT16 * (shape.layer_parameters if one_by_one else shape.parameters)
    if ranks == 1:
        return
    if learner.strategy == "ddp":
        yield "gradient buckets", FLOAT32 * trained
    if learner.strategy == "deepspeed":
        yield "gradient buckets", FLOAT32 * ZERO_BUCKET_NUMBERS
    if learner.strategy == "fsdp2" or (learner.strategy == "deepspeed" and learner.zero_stage == 3):
        weight = BFLOAT16 if _gathers_bfloat16(learner, ranks) else FLOAT32
        gradient = 0 if learner.lora else FLOAT32  # in which they are added up over the ranks
        yield "gathered layers", (weight + gradient) * (shape.embedding_parameters + 2 * shape.layer_parameters)


def _gathers_bfloat16(learner: LearnerConfig, ranks: int) -> bool:
    """FSDP2 makes bfloat16 of the weights as it gathers them, and needs no autocast."""
    return learner.precision == "bfloat16" and learner.strategy == "fsdp2" and ranks > 1


def _activations(shape: ModelShape, learner: LearnerConfig, ranks: int, tokens: int) -> int:
    of_hidden, of_intermediate, of_keys = _ACTIVATIONS[shape.family, learner.precision]
    between_layers = FLOAT32
    if _gathers_bfloat16(learner, ranks):
        of_hidden, between_layers = _HIDDEN_WITHOUT_AUTOCAST, BFLOAT16
    layer = of_hidden * shape.hidden + of_intermediate * shape.intermediate + of_keys * shape.kv_size
    if learner.lora is not None and learner.lora.dropout:
        layer = int(layer * _LORA_DROPOUT)
    if not learner.recompute_activations:
        return tokens * shape.layers * layer
    return tokens * (shape.layers * shape.hidden * between_layers + layer)


def _has_divergence(learner: LearnerConfig) -> bool:
    return any(term.divergence != "cross_entropy" for term in learner.terms)


def host_bytes(shape: ModelShape) -> int:
    """Main memory that each rank takes while it loads the model, in float32, before it goes to its device."""
    return FLOAT32 * shape.parameters
