"""Whether a recipe's learner fits its devices, and which settings mend it where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster.config.recipe import LearnerRole, Recipe, model_of
from cluster.dry_run.findings import Assessed, Finding, MemoryUse
from cluster.dry_run.memory import host_bytes, learner_memory, trained_parameters
from cluster.dry_run.model_shapes import ModelShape, UnknownShapeError, scratch_shape, shape_of
from cluster.runtime.resources import GIB
from rollout.errors import UserError

LARGE_PARAMETERS = 100_000_000
"""So many are hardly meant to be trained on a CPU."""
MOST_RANKS = 16


def trained_shape(recipe: Recipe) -> ModelShape:
    """What the learner trains. Raises as `shape_of`."""
    learner, student = recipe.learner, recipe.student
    assert learner is not None
    if learner.scratch is not None:
        return scratch_shape(learner.scratch)
    model = learner.model or (model_of(student) if student else None)
    assert model is not None, "a recipe is refused without"
    return shape_of(model).widened(learner.widen)


def assess_learner(recipe: Recipe, learner: LearnerRole, gpu_gib: float) -> Assessed:
    """What a rank of the learner takes of a GPU of ``gpu_gib``."""
    try:
        shape = trained_shape(recipe)
    except UnknownShapeError as error:
        return Assessed(None, (Finding(f"learner: memory is not estimated: {error}"),))
    except UserError:  # `check_models` tells of a model that is not there
        return Assessed(None)
    on_gpu = learner.resources.gpus > 0
    available = gpu_gib * GIB * min(1.0, learner.resources.gpus) if on_gpu else None
    use = _learner_use(recipe, learner, shape, available)
    findings = [*_learner_findings(recipe, learner, shape)]
    if not use.fits:
        assert available is not None
        text = (
            f"learner: a rank that trains {shape.name} needs {use.total / GIB:.1f} GiB of its GPU's "
            f"{available / GIB:.1f}"
        )
        findings.append(_mended(recipe, learner, shape, available, text))
    return Assessed(use, tuple(findings))


def _learner_use(recipe: Recipe, learner: LearnerRole, shape: ModelShape, available: float | None) -> MemoryUse:
    tokens = pass_tokens(recipe, learner, shape)
    memory = learner_memory(shape, learner, learner.workers, tokens, trained_share(recipe, learner))
    trained = trained_parameters(shape, learner)
    loaded = f"loads {host_bytes(shape) / GIB:.1f} GiB of main memory first"
    note = f"passes of {tokens:,} tokens, {trained:,} parameters train; {loaded}"
    return MemoryUse(
        "learner rank", shape, "CPU" if available is None else "GPU", tuple(memory.items()), available, note
    )


def _mended(recipe: Recipe, learner: LearnerRole, shape: ModelShape, available: float, text: str) -> Finding:
    """The finding, with the first change that makes a rank fit: recomputation, then ranks that share the states."""
    for changes in _cheaper(recipe, learner, shape):
        if _learner_use(recipe, learner.model_copy(update=changes), shape, available).fits:
            fix = " ".join(f"learner.{key}={str(value).lower()}" for key, value in changes.items())
            return Finding(text, fix, fatal=True)
    instead = "a smaller model" if learner.lora else "a smaller model, or adapters (learner.lora)"
    return Finding(f"{text}; take larger GPUs (--gpu-memory-gib) or {instead}", fatal=True)


def _cheaper(recipe: Recipe, learner: LearnerRole, shape: ModelShape) -> Iterator[Mapping[str, object]]:
    """Changes of settings, those that cost least first."""
    shorter = {"micro_batch_tokens": longest_row(recipe, learner, shape)}
    recompute = {"recompute_activations": True}
    yield shorter
    yield recompute
    yield {**shorter, **recompute}
    sharding: dict[str, object] = {"optimizer": "adamw"} if learner.optimizer == "muon" else {}
    sharding["strategy"] = "fsdp2"
    ranks = 2
    while ranks <= MOST_RANKS:
        if ranks >= learner.workers:
            yield {**sharding, "workers": ranks}
            yield {**shorter, **recompute, **sharding, "workers": ranks}
        ranks *= 2


def _learner_findings(recipe: Recipe, learner: LearnerRole, shape: ModelShape) -> Iterator[Finding]:
    if learner.workers > 1 and 0 < learner.resources.gpus < 1:
        yield Finding(
            "training processes cannot share a GPU, since they could not talk to each other",
            "learner.resources.gpus=1",
            fatal=True,
        )
    if learner.resources.gpus > 1:
        yield Finding(
            f"each training process is given {learner.resources.gpus:g} GPUs and uses one",
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
            f"the learner cuts episodes at {longest:,} tokens, though agent.max_tokens allows "
            f"{recipe.agent.max_tokens:,}; the end of longer ones is not trained"
        )


def pass_tokens(recipe: Recipe, learner: LearnerRole, shape: ModelShape) -> int:
    """Tokens of the learner's largest forward pass: a micro-batch, or one longest episode if that is more."""
    return max(learner.micro_batch_tokens, longest_row(recipe, learner, shape))


def longest_row(recipe: Recipe, learner: LearnerRole, shape: ModelShape) -> int:
    """Tokens of the longest episode as the learner sees it, padding included."""
    from learner.batching import padded_length

    return padded_length(min(longest_sequence(learner, shape), recipe.agent.max_tokens))


def longest_sequence(learner: LearnerRole, shape: ModelShape) -> int:
    """Tokens after which the learner cuts episodes."""
    return min(learner.max_sequence_tokens or shape.positions, shape.positions)


def trained_share(recipe: Recipe, learner: LearnerRole) -> float:
    """At most this share of an episode's tokens has weight: all if a term says so, else what its model can write."""
    if any(term.stream in ("all", "observation") for term in learner.terms):
        return 1.0
    agent = recipe.agent
    return min(1.0, agent.max_steps * agent.sampling.max_tokens / agent.max_tokens)
