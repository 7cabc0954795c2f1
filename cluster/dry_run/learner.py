"""Checks that a recipe's learner fits its devices, with settings that fix what does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster.config.recipe import LearnerRole, Recipe, model_of
from cluster.dry_run.findings import Assessment, Finding, MemoryUse
from cluster.dry_run.memory import file_bytes, host_bytes, learner_memory, trained_parameters
from cluster.dry_run.model_shapes import ModelShape, UnknownShapeError, read_config, scratch_shape, shape_of
from cluster.runtime.resources import GIB
from rollout.errors import UserError

LARGE_PARAMETERS = 100_000_000
"""Models with at least this many trained parameters get a note if they would train on the CPU."""
_RANKS = (2, 4, 8, 16)
SHORTEST_TOKENS = 256
"""Episodes are not truncated below this to make them fit."""


def trained_shape(recipe: Recipe) -> ModelShape:
    """Shape of the model that the learner trains. Raises the errors of `shape_of`."""
    learner, student = recipe.learner, recipe.student
    assert learner is not None
    if learner.scratch is not None:
        return scratch_shape(learner.scratch)
    model = learner.model or (model_of(student) if student else None)
    assert model is not None, "recipes without a model to train are refused"
    return shape_of(model).widened(learner.widen)


def exact_teacher_shape(recipe: Recipe) -> ModelShape | None:
    """Shape of the frozen teacher in the learner's process, if there is one. Raises the errors of `shape_of`."""
    learner = recipe.learner
    model = learner and learner.teacher and (learner.teacher.model or model_of(recipe.teacher))
    return shape_of(model) if model else None


def assess_learner(recipe: Recipe, learner: LearnerRole, gpu_gib: float) -> Assessment:
    """Memory use and findings of one learner rank on a GPU of ``gpu_gib`` GiB."""
    signals = tuple(_signal_findings(learner))
    try:
        router = tuple(_router_findings(recipe, learner))
        shape = trained_shape(recipe)
        exact_teacher_shape(recipe)
    except UnknownShapeError as error:
        return Assessment(None, (*signals, Finding(f"learner: memory is not estimated: {error}"), *router))
    except UserError:  # `check_models` reports missing models
        return Assessment(None, signals)
    on_gpu = learner.resources.gpus > 0
    available = gpu_gib * GIB * min(1.0, learner.resources.gpus) if on_gpu else None
    use = _learner_use(recipe, learner, shape, available)
    findings = [*signals, *router, *_learner_findings(recipe, learner, shape)]
    if not use.fits:
        assert available is not None
        text = (
            f"learner: a rank that trains {shape.name} needs {use.total / GIB:.1f} GiB of its GPU's "
            f"{available / GIB:.1f}{_share_of_tokens(use, largest_micro_batch(recipe, learner, shape))}"
        )
        findings.append(_does_not_fit(recipe, learner, shape, available, text))
    return Assessment(use, tuple(findings))


def _learner_use(recipe: Recipe, learner: LearnerRole, shape: ModelShape, available: float | None) -> MemoryUse:
    tokens = largest_micro_batch(recipe, learner, shape)
    share, teacher = trained_share(recipe, learner), exact_teacher_shape(recipe)
    memory = learner_memory(shape, learner, learner.workers, tokens, share, teacher)
    trained = trained_parameters(shape, learner)
    host = host_bytes(shape, learner, learner.workers)
    loading = f"loading maps {file_bytes(shape) / GIB:.1f} GiB of weight files"
    if learner.scratch is not None:
        loading = "no weights are loaded"
    if host and available is not None:
        loading += f", {host / GIB:.1f} GiB of main memory for a rank"
    note = f"micro-batches of {tokens:,} tokens, {trained:,} trained parameters; {loading}"
    return MemoryUse(
        "learner rank", shape, "CPU" if available is None else "GPU", tuple(memory.items()), available, note
    )


def _share_of_tokens(use: MemoryUse, tokens: int) -> str:
    """Says so if the tokens of one forward pass take most of the memory."""
    parts = dict(use.parts)
    needed = parts.get("activations", 0) + parts.get("logits", 0)
    return f", most of it for the {tokens:,} tokens of one pass" if needed > use.total / 2 else ""


def _does_not_fit(recipe: Recipe, learner: LearnerRole, shape: ModelShape, available: float, text: str) -> Finding:
    """Finding for a learner that does not fit, with the first change that fixes it."""
    for changes in _memory_savings(recipe, learner, shape):
        changed = learner.model_copy(update=changes)
        if _learner_use(recipe, changed, shape, available).fits:
            fix = " ".join(f"learner.{key}={str(value).lower()}" for key, value in changes.items())
            shortened = "max_sequence_tokens" in changes
            text += "; longer episodes have to be truncated" if shortened else ""
            return Finding(text, fix, fatal=True, is_estimate=True)
    alternative = "a smaller model" if learner.lora else "a smaller model, or adapters (learner.lora)"
    return Finding(f"{text}; use larger GPUs (--gpu-memory-gib) or {alternative}", fatal=True, is_estimate=True)


def _memory_savings(recipe: Recipe, learner: LearnerRole, shape: ModelShape) -> Iterator[Mapping[str, object]]:
    """Changes of settings that save memory, in order of increasing cost: passes, recomputation, sharding, offload.

    The last ones truncate episodes, for sequences that are longer than one device can hold.
    """
    shorter = {"micro_batch_tokens": longest_row(recipe, learner, shape)}
    recompute = {"recompute_activations": True}
    yield shorter
    yield recompute
    yield {**shorter, **recompute}
    sharding: dict[str, object] = {"optimizer": "adamw"} if learner.optimizer == "muon" else {}
    sharding["strategy"] = "fsdp2"
    can_shard = learner.lora is None or learner.lora.quantize is None
    all_ranks = [ranks for ranks in _RANKS if can_shard and ranks >= learner.workers]
    for ranks in all_ranks:
        yield {**sharding, "workers": ranks}
        yield {**shorter, **recompute, **sharding, "workers": ranks}
    for ranks in all_ranks:
        yield {**shorter, **recompute, **sharding, "workers": ranks, "cpu_offload": True}
    length = shorter["micro_batch_tokens"] // 2
    while length >= SHORTEST_TOKENS:
        truncated = {"max_sequence_tokens": length, "micro_batch_tokens": length, **recompute}
        yield truncated
        for ranks in all_ranks[-1:]:
            yield {**truncated, **sharding, "workers": ranks}
            yield {**truncated, **sharding, "workers": ranks, "cpu_offload": True}
        length //= 2


def _router_findings(recipe: Recipe, learner: LearnerRole) -> Iterator[Finding]:
    """A mixture of experts whose router has a loss of its own, which the learner does not add."""
    model = learner.model or (model_of(recipe.student) if recipe.student else None)
    if learner.scratch is not None or model is None:
        return
    config = read_config(model)
    if config.get("router_aux_loss_coef"):
        yield Finding(
            f"learner: {model} is a mixture of experts; it is trained without the load-balancing loss of its router "
            "(router_aux_loss_coef)"
        )


def _signal_findings(learner: LearnerRole) -> Iterator[Finding]:
    """Notes on divergences whose gradient depends on how the teacher's tail is treated."""
    for number, term in enumerate(learner.terms):
        beta = {"reverse_kl": 1.0, "jsd": term.parameters.get("beta")}.get(term.divergence)
        if term.signal == "top_k_tail" and beta:
            yield Finding(
                f"learner.terms.{number}: {term.divergence} on the teacher's top k is another objective than on the "
                "whole vocabulary while the student is far from the teacher: with 4 % of the teacher's probability in "
                "the tail, the cosine of the two gradients is 0.13 for reverse_kl, 0.79 for jsd and 1.00 for "
                "forward_kl. A teacher with local weights gives the exact gradient (signal: exact on the term and "
                "learner.teacher: {})"
            )


def _learner_findings(recipe: Recipe, learner: LearnerRole, shape: ModelShape) -> Iterator[Finding]:
    if learner.workers > 1 and 0 < learner.resources.gpus < 1:
        yield Finding(
            "training processes cannot share a GPU, because NCCL allows one process per GPU",
            "learner.resources.gpus=1",
            fatal=True,
        )
    if learner.resources.gpus > 1:
        yield Finding(
            f"each training process has {learner.resources.gpus:g} GPUs and uses one",
            "learner.resources.gpus=1",
        )
    if not learner.resources.gpus and trained_parameters(shape, learner) >= LARGE_PARAMETERS:
        yield Finding(
            f"the learner would train {shape.name} on the CPU, since learner.resources.gpus is 0",
            "learner.resources.gpus=1",
        )
    longest = longest_sequence(learner, shape)
    if recipe.agent.max_tokens > longest:
        yield Finding(
            f"the learner truncates episodes at {longest:,} tokens, but agent.max_tokens allows "
            f"{recipe.agent.max_tokens:,}; the end of longer ones is not trained"
        )


def largest_micro_batch(recipe: Recipe, learner: LearnerRole, shape: ModelShape) -> int:
    """Tokens of the largest forward pass: a micro-batch, or one longest episode if it has more tokens."""
    return max(learner.micro_batch_tokens, longest_row(recipe, learner, shape))


def longest_row(recipe: Recipe, learner: LearnerRole, shape: ModelShape) -> int:
    """Tokens of the longest episode that the learner reads, including padding."""
    from learner.data.batching import padded_length

    return padded_length(min(longest_sequence(learner, shape), recipe.agent.max_tokens))


def longest_sequence(learner: LearnerRole, shape: ModelShape) -> int:
    """Number of tokens at which the learner truncates episodes."""
    return min(learner.max_sequence_tokens or shape.positions, shape.positions)


def trained_share(recipe: Recipe, learner: LearnerRole) -> float:
    """Upper bound on the fraction of an episode's tokens that are trained.

    It is 1 if a term covers observations or all tokens, otherwise the fraction that the model can generate.
    """
    if any(term.stream in ("all", "observation") for term in learner.terms):
        return 1.0
    agent = recipe.agent
    return min(1.0, agent.max_steps * agent.sampling.max_tokens / agent.max_tokens)
