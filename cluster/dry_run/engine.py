"""Checks that a recipe's engines fit their devices, with settings that fix what does not fit."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.config.recipe import CHECKPOINT, Recipe, RoleConfig, model_of
from cluster.dry_run.findings import Assessment, Finding, MemoryUse
from cluster.dry_run.learner import trained_shape
from cluster.dry_run.memory import EngineMemory, cache_bytes_per_token, engine_memory
from cluster.dry_run.model_shapes import ModelShape, UnknownShapeError, shape_of
from cluster.runtime.resources import GIB
from rollout.engines.transformers_engine import TransformersConfig
from rollout.engines.vllm_engine import VllmConfig
from rollout.errors import UserError

LARGE_PARAMETERS = 1_000_000_000
"""Models of at least this size get a note if they would run on the CPU."""
MAX_DEVICES = 8
"""Usual number of GPUs of a node."""


def assess_engine(recipe: Recipe, section: str, role: RoleConfig, gpu_gib: float) -> Assessment | None:
    """Memory use and findings of a role's engine on GPUs of ``gpu_gib`` GiB; None for an engine that loads no model."""
    model = model_of(role)
    if model is None or not isinstance(role.engine, VllmConfig | TransformersConfig):
        return None
    try:
        is_trained = model == CHECKPOINT or (section == "student" and recipe.student_grows)
        shape = trained_shape(recipe) if is_trained else shape_of(model)
    except UnknownShapeError as error:
        return Assessment(None, (Finding(f"{section}.engine: memory is not estimated: {error}"),))
    except UserError:  # `check_models` reports missing models
        return Assessment(None)
    gpu_bytes = gpu_gib * GIB if role.resources.gpus else None
    findings = [*_length_findings(recipe, section, role, shape)]
    if gpu_bytes is None and shape.parameters >= LARGE_PARAMETERS:
        findings.append(
            Finding(
                f"{section} would run {shape.name} on the CPU, since {section}.resources.gpus is 0",
                f"{section}.resources.gpus=1",
            )
        )
    if isinstance(role.engine, TransformersConfig):
        return Assessment(_transformers_use(section, role, role.engine, shape, gpu_bytes), tuple(findings))
    findings += [*_placement_findings(section, role, role.engine), *_adapter_findings(recipe, section, role.engine)]
    memory = engine_memory(shape, role.engine, gpu_bytes)
    length = max_length(role, shape)
    if gpu_bytes is not None and not memory.fits(length):
        findings.append(_does_not_fit(recipe, section, role, shape, gpu_bytes))
    return Assessment(_vllm_use(section, role, role.engine, shape, memory, length), tuple(findings))


def max_length(role: RoleConfig, shape: ModelShape) -> int:
    """Maximum number of tokens of prompt and completion together."""
    return getattr(role.engine, "max_model_len", None) or shape.positions


def _vllm_use(
    section: str, role: RoleConfig, engine: VllmConfig, shape: ModelShape, memory: EngineMemory, length: int
) -> MemoryUse:
    sequences = memory.cache_tokens // length
    note = f"cache of {memory.cache_tokens:,} tokens = {sequences:,} episodes of {length:,}"
    wanted = min(role.concurrency, engine.max_num_seqs)
    if 0 < sequences < wanted:
        # The prefix cache may evict the context of an episode between two turns; the next one starts with a prefill.
        lever = "gpu_memory_utilization" if role.resources.gpus else "kv_cache_gib"
        note += (
            f"; {wanted} run concurrently, so contexts of long ones may be evicted and computed again in each turn; "
            f"set {section}.concurrency={sequences} or a larger {section}.engine.{lever}"
        )
    cache = max(memory.cache, length * memory.cache_per_token)
    parts = (("weights", memory.weights), ("workspace", memory.workspace), ("cache", cache))
    on_gpu = bool(role.resources.gpus)
    return MemoryUse(section, shape, "GPU" if on_gpu else "CPU", parts, memory.budget if on_gpu else None, note)


def _transformers_use(
    section: str, role: RoleConfig, engine: TransformersConfig, shape: ModelShape, gpu_bytes: float | None
) -> MemoryUse:
    dtype = shape.dtype if engine.dtype == "auto" else engine.dtype
    number_bytes = 4 if dtype == "float32" else 2
    length = max_length(role, shape)
    cache = engine.max_batch * length * cache_bytes_per_token(shape, number_bytes)
    parts = (("weights", shape.parameters * number_bytes), ("cache", cache))
    available = None if gpu_bytes is None else gpu_bytes * min(1.0, role.resources.gpus)
    return MemoryUse(section, shape, "CPU" if gpu_bytes is None else "GPU", parts, available, "at the longest episodes")


def _does_not_fit(recipe: Recipe, section: str, role: RoleConfig, shape: ModelShape, gpu_bytes: float) -> Finding:
    """Finding for an engine that does not fit, with the first change that fixes it: shorter context, then more GPUs."""
    engine, length = role.engine, max_length(role, shape)
    assert isinstance(engine, VllmConfig)
    memory = engine_memory(shape, engine, gpu_bytes)
    text = (
        f"{section}: {shape.name} does not fit its GPU: weights of {memory.weights / GIB:.1f} GiB and one episode of "
        f"{length:,} tokens need {(memory.weights + memory.workspace + length * memory.cache_per_token) / GIB:.1f} GiB "
        f"of {memory.budget / GIB:.1f}"
    )
    if recipe.agent.max_tokens < length and memory.fits(recipe.agent.max_tokens):
        return Finding(text, f"{section}.engine.max_model_len={recipe.agent.max_tokens}", fatal=True, is_estimate=True)
    devices = engine.tensor_parallel_size * 2
    while devices <= MAX_DEVICES and shape.heads % devices == 0:
        wider = engine.model_copy(update={"tensor_parallel_size": devices})
        if engine_memory(shape, wider, gpu_bytes).fits(length):
            fix = f"{section}.engine.tensor_parallel_size={devices} {section}.resources.gpus={devices}"
            return Finding(text, fix, fatal=True, is_estimate=True)
        devices *= 2
    return Finding(f"{text}; use larger GPUs (--gpu-memory-gib) or a smaller model", fatal=True, is_estimate=True)


def _length_findings(recipe: Recipe, section: str, role: RoleConfig, shape: ModelShape) -> Iterator[Finding]:
    length, wanted = max_length(role, shape), recipe.agent.max_tokens
    if length > shape.positions:
        yield Finding(
            f"{section}.engine.max_model_len is {length:,}, but {shape.name} has {shape.positions:,} positions",
            f"{section}.engine.max_model_len={shape.positions}",
            fatal=True,
        )
    elif wanted > length:
        yield Finding(
            f"{section}: agent.max_tokens is {wanted:,}, but the engine ends episodes at {length:,} tokens",
            f"agent.max_tokens={length}",
        )


def _placement_findings(section: str, role: RoleConfig, engine: VllmConfig) -> Iterator[Finding]:
    gpus, devices = role.resources.gpus, engine.tensor_parallel_size
    if gpus and gpus < devices and devices > 1:
        yield Finding(
            f"{section}.engine.tensor_parallel_size is {devices}, but a worker has {gpus:g} GPU",
            f"{section}.resources.gpus={devices}",
            fatal=True,
        )
    if gpus > devices:
        yield Finding(
            f"{section}: a worker has {gpus:g} GPUs, but its engine uses {devices}; the others stay idle",
            f"{section}.resources.gpus={devices}",
        )
    if 0 < gpus < 1 and engine.gpu_memory_utilization > gpus:
        yield Finding(
            f"{section}: workers share a GPU ({gpus:g} each), but each uses {engine.gpu_memory_utilization:.0%} of it",
            f"{section}.engine.gpu_memory_utilization={gpus:g}",
            fatal=True,
        )


def _adapter_findings(recipe: Recipe, section: str, engine: VllmConfig) -> Iterator[Finding]:
    """Finding if the student's engine cannot load adapters of the learner's rank."""
    lora = recipe.learner.lora if recipe.learner else None
    if section == "student" and lora is not None and engine.max_lora_rank < lora.rank:
        rank = next((rank for rank in (8, 16, 32, 64, 128, 256) if rank >= lora.rank), 256)
        yield Finding(
            f"the learner's adapters have rank {lora.rank}, but student.engine.max_lora_rank is {engine.max_lora_rank}",
            f"student.engine.max_lora_rank={rank}",
            fatal=True,
        )
