"""What a learner is told: the model, the terms of the loss, order, budget and optimisation. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rollout.errors import UserError
from rollout.extensions.registry import Registry
from rollout.extensions.union import LazyUnion
from rollout.trajectory import Kind

STREAMS = (*(kind.value for kind in Kind), "generated", "assistant", "all", "random")
STUDENT = "student"
"""The role of episodes that the student played, recorded in its own tokens."""


class Frozen(BaseModel):
    """Settings do not change after they were read; unknown names and numbers that are not finite are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ScratchConfig(Frozen):
    """A decoder to be trained from nothing, with the tokenizer of a folder."""

    family: Literal["qwen2", "llama"] = "qwen2"
    tokenizer: str = Field(min_length=1)
    """Folder, ``builtin:`` name or hub name whose tokenizer the model uses and is saved with."""
    hidden_size: int = Field(128, ge=8)
    num_layers: int = Field(4, ge=1)
    num_heads: int = Field(4, ge=1)
    num_kv_heads: int = Field(4, ge=1)
    intermediate_size: int = Field(384, ge=8)
    tie_embeddings: bool = True
    max_positions: int = Field(2048, ge=16)
    rope_theta: float = Field(10_000.0, gt=0.0)

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError("hidden_size must be a multiple of 2 * num_heads, as rotary positions turn pairs")
        if self.num_heads % self.num_kv_heads:
            raise ValueError("num_heads must be a multiple of num_kv_heads")
        return self


class LoraConfig(Frozen):
    """Low-rank adapters on all linear layers of the decoder (arXiv 2106.09685)."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0.0)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    target_modules: str | tuple[str, ...] = "all-linear"


class _Term(Frozen):
    stream: str
    """Which tokens: a segment kind (``format`` means what the model wrote of it), ``generated``, ``all``, or
    ``random``: as many as ``reason`` and ``act`` have in the episode, anywhere after its prompt."""
    weight: float = Field(1.0, gt=0.0)
    """The term's lambda."""
    reduction: Literal["token_mean", "span_mean", "sum"] = "token_mean"
    """``token_mean`` divides by the term's own token count of the step, over all ranks. ``span_mean`` is the mean over
    the step's spans of the mean over a span's tokens; a span is the stream's tokens of one kind in one turn. ``sum``
    does not divide."""

    @model_validator(mode="after")
    def _check_stream(self) -> Self:
        if self.stream not in STREAMS:
            raise ValueError(f"stream {self.stream!r} is unknown; choose one of {', '.join(STREAMS)}")
        return self

    @property
    def weighting(self) -> str:
        """Name of the token weights that the term sums with; see `learner.streams`."""
        return f"{self.stream}/span_mean" if self.reduction == "span_mean" else self.stream

    @property
    def parameters(self) -> dict[str, Any]:
        """What the divergence itself is told, by name."""
        return self.model_dump(exclude={"stream", "weight", "reduction", "divergence", "signal"})


class CrossEntropyTerm(_Term):
    """Cross-entropy on the tokens that were taken."""

    divergence: Literal["cross_entropy"] = "cross_entropy"
    signal: Literal["taken"] = "taken"


class ByEntryTerm(_Term):
    """A divergence over the teacher's recorded top-k and one bucket for the rest of the vocabulary, entry by entry.

    Teacher and student must number their tokens alike.
    """

    signal: Literal["top_k_tail"] = "top_k_tail"
    temperature: float = Field(1.0, gt=0.0)


class ForwardKLTerm(ByEntryTerm):
    """KL(teacher || student)."""

    divergence: Literal["forward_kl"] = "forward_kl"


class ReverseKLTerm(ByEntryTerm):
    """KL(student || teacher)."""

    divergence: Literal["reverse_kl"] = "reverse_kl"


class JSDTerm(ByEntryTerm):
    """Generalised Jensen-Shannon divergence (arXiv 2306.13649)."""

    divergence: Literal["jsd"] = "jsd"
    beta: float = Field(0.5, ge=0.0, le=1.0)
    """0 is the forward KL, 1 the reverse KL."""


class ULDTerm(_Term):
    """Universal logit distillation (arXiv 2402.12030): likelihoods by rank, so the vocabularies may differ."""

    divergence: Literal["uld"] = "uld"
    signal: Literal["top_k_tail"] = "top_k_tail"

    @model_validator(mode="after")
    def _check_whole_spans(self) -> Self:
        if self.stream == "random":
            raise ValueError("uld compares stretches of tokens, but stream random picks single ones; choose another")
        return self


class AddedTerm(ByEntryTerm):
    """A divergence of another package, a function like `learner.losses.divergences.forward_kl`."""

    divergence: str
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Further arguments of the function, by name."""

    @property
    def parameters(self) -> dict[str, Any]:
        return {"temperature": self.temperature, **self.options}

    def check(self) -> None:
        """Raises `UserError` if the function cannot be imported, or does not take these parameters."""
        function = DIVERGENCES.load(self.divergence)
        try:
            signature(function).bind(None, None, None, None, **self.parameters)
        except TypeError as error:
            raise UserError(
                f"the divergence {self.divergence} does not take its options: {error}; correct them"
            ) from error


BUILT_IN_TERMS: dict[str, type[_Term]] = {
    "cross_entropy": CrossEntropyTerm,
    "forward_kl": ForwardKLTerm,
    "reverse_kl": ReverseKLTerm,
    "jsd": JSDTerm,
    "uld": ULDTerm,
}
DIVERGENCES: Registry[Callable[..., Any]] = Registry(
    "stillhouse.divergences",
    "divergence",
    Callable,
    {
        "cross_entropy": "learner.losses.divergences:cross_entropy",
        "forward_kl": "learner.losses.divergences:forward_kl",
        "reverse_kl": "learner.losses.divergences:reverse_kl",
        "jsd": "learner.losses.divergences:jsd",
        "uld": "learner.losses.uld:uld",
    },
)
"""The functions of the divergences by name. One of another package takes ``(logits_NV, teacher_ids_Nk,
teacher_logprobs_Nk, teacher_tail_N, temperature, **options)`` and gives ``[N]`` values in float32."""


def _term_of(divergence: str) -> type[_Term]:
    return BUILT_IN_TERMS.get(divergence, AddedTerm)


Term = Annotated[
    CrossEntropyTerm | ForwardKLTerm | ReverseKLTerm | JSDTerm | ULDTerm | AddedTerm,
    LazyUnion("divergence", DIVERGENCES.names, _term_of),
]


class ShuffledOrder(Frozen):
    """A new random order each epoch."""

    by: Literal["shuffled"] = "shuffled"


class ComplexityOrder(Frozen):
    """Easy to hard by C = alpha * reason tokens + beta * act tokens + gamma * mean teacher entropy in nats."""

    by: Literal["complexity"] = "complexity"
    alpha: float = Field(1.0, ge=0.0)
    beta: float = Field(1.0, ge=0.0)
    gamma: float = Field(0.0, ge=0.0)
    pace_fraction: float = Field(0.0, ge=0.0, le=1.0)
    """0: every epoch runs from the easiest to the hardest. Above 0: an epoch is a shuffle of the easiest share of the
    data, and that share grows linearly from ``pace_start`` to all of it at this fraction of the training budget."""
    pace_start: float = Field(0.25, gt=0.0, le=1.0)


Order = Annotated[ShuffledOrder | ComplexityOrder, Field(discriminator="by")]


class LearnerConfig(Frozen):
    """One fit. At least one of ``epochs``, ``max_tokens``, ``max_seconds`` is given; the first one reached ends it."""

    model: str | None = None
    """Folder, ``builtin:`` name or hub name to start from; the caller may name another one."""
    widen: int = Field(1, ge=1, le=8)
    """Start from that model with all its widths multiplied by this: the same function, in a larger model."""
    scratch: ScratchConfig | None = None
    """Train from nothing instead."""
    lora: LoraConfig | None = None

    terms: tuple[Term, ...] = (
        CrossEntropyTerm(stream="reason"),
        CrossEntropyTerm(stream="act"),
        CrossEntropyTerm(stream="format"),
    )
    drop: tuple[Literal["hint", "example"], ...] = ()
    """Segment kinds that the student does not see."""
    teacher_tokenizer: str | None = Field(None, min_length=1)
    """Folder, ``builtin:`` name or hub name of the tokenizer that the teacher's episodes were recorded with, if it is
    not the student's own. The learner expects them in the student's tokens already, the teacher's scores by stretch
    (`rollout.prompts.retokenize`); the student's own episodes (those of the role ``student``) are as it played them."""
    keep: Literal["success", "success_or_student", "all"] = "success"
    """Which episodes to train on: the successful ones, these and all that the student played, or all."""
    order: Order = ShuffledOrder()

    epochs: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    """Tokens seen, observations included and padding excluded."""
    max_seconds: float | None = Field(None, gt=0.0)
    """Wall-clock of training steps, resumed time included."""

    batch_episodes: int | None = Field(None, ge=1)
    """Episodes of an optimizer step, over all ranks."""
    batch_tokens: int | None = Field(None, ge=1)
    """Tokens of an optimizer step, over all ranks, padding excluded."""
    micro_batch_tokens: int = Field(2048, ge=1)
    """Tokens of one forward pass on one rank, padding included; a longer episode is a pass of its own."""
    max_sequence_tokens: int | None = Field(None, ge=2)
    """Longer episodes lose their end; null is the model's number of positions."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(2e-3, gt=0.0)
    warmup_fraction: float = Field(0.03, ge=0.0, lt=1.0)
    """Share of the budget (epochs, tokens or seconds, whichever is used up most) with a rising rate."""
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    final_learning_rate_fraction: float = Field(0.05, ge=0.0, le=1.0)
    """What is left of the rate at the end of the budget."""
    weight_decay: float = Field(0.01, ge=0.0)
    adam_beta1: float = Field(0.9, ge=0.0, lt=1.0)
    adam_beta2: float = Field(0.98, ge=0.0, lt=1.0)
    max_grad_norm: float = Field(1.0, gt=0.0)

    precision: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16`` keeps float32 weights while training, and computes under autocast; with fsdp2 on several processes,
    weights are bfloat16 where they are gathered, and so is all that is computed but the loss."""
    saved_precision: Literal["float32", "bfloat16"] | None = None
    """Of the weights in a checkpoint; None is that of ``precision``."""
    recompute_activations: bool = False
    """Trade time for memory: keep no activations of a layer, compute them again in the backward pass."""
    strategy: Literal["ddp", "fsdp2", "deepspeed"] = "ddp"
    """How several processes share the work; one process alone needs none of them."""
    zero_stage: Literal[1, 2, 3] = 2
    """Stage of DeepSpeed ZeRO."""
    seed: int = Field(0, ge=0)
    checkpoint_every_s: float | None = Field(300.0, gt=0.0)
    """Interval of the intermediate checkpoint that a killed fit resumes from; null writes none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model is not None and self.scratch is not None:
            raise ValueError("give either model or scratch, not both")
        if self.epochs is None and self.max_tokens is None and self.max_seconds is None:
            raise ValueError("give a budget: at least one of epochs, max_tokens and max_seconds")
        if (self.batch_episodes is None) == (self.batch_tokens is None):
            raise ValueError("give exactly one of batch_episodes and batch_tokens")
        if not self.terms:
            raise ValueError("terms is empty; give at least one, such as {stream: act, divergence: cross_entropy}")
        by_entry = [term.divergence for term in self.terms if isinstance(term, ByEntryTerm)]
        if self.teacher_tokenizer is not None and by_entry:
            raise ValueError(
                f"{by_entry[0]} compares tokens by their number, which differs with teacher_tokenizer; use uld or "
                "cross_entropy"
            )
        if self.widen > 1 and (self.scratch is not None or self.lora is not None):
            raise ValueError("widen enlarges a trained model as a whole; set it to 1 or remove scratch and lora")
        if self.scratch is not None and self.lora is not None:
            raise ValueError("lora adapts a trained model; remove lora or give model instead of scratch")
        if self.optimizer == "muon" and (self.strategy != "ddp" or self.lora is not None):
            raise ValueError("optimizer muon needs strategy ddp and no lora; choose adamw otherwise")
        return self

    def check_divergences(self) -> None:
        """Raises `UserError` if another package's divergence cannot be imported, or does not take its options."""
        for term in self.terms:
            if isinstance(term, AddedTerm):
                term.check()

    def keeps(self, role: str, success: bool) -> bool:
        """Whether to train on an episode that this role played."""
        return success or self.keep == "all" or (self.keep == "success_or_student" and role == STUDENT)
