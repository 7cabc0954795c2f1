"""Settings of the learner: model, loss terms, data order, budget and optimizer. Imports no heavy package."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from learner.terms import AddedTerm, CrossEntropyTerm, Term, TokenTerm
from rollout.frozen_model import FrozenModel

STUDENT = "student"
"""Role of the episodes that the student generated, which are recorded in its own tokens."""


class Frozen(FrozenModel):
    """Base of immutable settings. Unknown keys and numbers that are not finite raise a validation error."""

    model_config = ConfigDict(allow_inf_nan=False)


class ScratchConfig(Frozen):
    """Architecture of a decoder that is trained from random initialization."""

    family: Literal["qwen2", "llama"] = "qwen2"
    tokenizer: str = Field(min_length=1)
    """Folder, ``builtin:`` name or hub name of the tokenizer that the model uses and is saved with."""
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
            raise ValueError(
                "hidden_size must be a multiple of 2 * num_heads, because rotary embeddings rotate pairs of dimensions"
            )
        if self.num_heads % self.num_kv_heads:
            raise ValueError("num_heads must be a multiple of num_kv_heads")
        return self


class LoraConfig(Frozen):
    """Low-rank adapters on all linear layers of the decoder (arXiv 2106.09685)."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0.0)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    target_modules: str | tuple[str, ...] = "all-linear"
    quantize: Literal["nf4"] | None = None
    """``nf4`` keeps the frozen weights in 4 bits (QLoRA, arXiv 2305.14314). It needs an NVIDIA GPU, ``strategy: ddp``
    and the package bitsandbytes (extra ``qlora``)."""


class ShuffledOrder(Frozen):
    """A new random order in each epoch."""

    by: Literal["shuffled"] = "shuffled"


class ComplexityOrder(Frozen):
    """From easy to hard by C = alpha * reason tokens + beta * act tokens + gamma * mean teacher entropy in nats.

    Source: the curriculum equation of arXiv 2505.13820. It needs a budget of ``epochs`` or ``max_tokens``.
    """

    by: Literal["complexity"] = "complexity"
    alpha: float = Field(1.0, ge=0.0)
    beta: float = Field(1.0, ge=0.0)
    gamma: float = Field(0.0, ge=0.0)
    pace_fraction: float = Field(0.3, ge=0.0, le=1.0)
    """Fraction of the training budget that the curriculum takes up. It shuffles the easiest fraction of the data, which
    grows linearly from ``pace_start`` to 1. Whole shuffled epochs follow: as many as fit into the rest of the budget,
    rounded, but at least one, so the curriculum may be shorter or longer than this. With ``epochs: 1`` it orders that
    epoch. 0 sorts every epoch from the easiest to the hardest episode, which is the literal reading of the paper and
    trains worse (docs/benchmarks.md)."""
    pace_start: float = Field(0.25, gt=0.0, le=1.0)


class ExactTeacherConfig(Frozen):
    """The frozen model that terms with the signal ``exact`` learn from, loaded in every training process."""

    model: str | None = Field(None, min_length=1)
    """Folder, ``builtin:`` name or hub name; null is ``teacher.engine.model`` of the recipe."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of its weights and of its computation; the divergences are computed in float32."""


Order = Annotated[ShuffledOrder | ComplexityOrder, Field(discriminator="by")]


class LearnerConfig(Frozen):
    """Settings of one fit. Training ends at the first limit of ``epochs``, ``max_tokens`` and ``max_seconds``."""

    model: str | None = None
    """Folder, ``builtin:`` name or hub name of the initial model; the caller of `fit` may override it."""
    widen: int = Field(1, ge=1, le=8)
    """Factor by which all widths of the initial model are multiplied; the wide model computes the same function."""
    scratch: ScratchConfig | None = None
    """Train from random initialization instead."""
    lora: LoraConfig | None = None

    terms: tuple[Term, ...] = (
        CrossEntropyTerm(stream="reason"),
        CrossEntropyTerm(stream="act"),
        CrossEntropyTerm(stream="format"),
    )
    teacher: ExactTeacherConfig | None = None
    """Needed for terms with the signal ``exact``."""
    drop: tuple[Literal["hint", "example"], ...] = ()
    """Segment kinds that are removed from the training sequences."""
    teacher_tokenizer: str | None = Field(None, min_length=1)
    """Folder, ``builtin:`` name or hub name of the tokenizer that the teacher's episodes were recorded with, if it
    differs from the student's. `fit` expects these episodes in the student's tokens, with the teacher's scores per
    group of aligned tokens (`rollout.prompts.retokenize`). Episodes of the role ``student`` are not converted."""
    keep: Literal["success", "success_or_student", "all"] = "success"
    """Episodes to train on: successful ones, successful ones and all of the student's, or all."""
    order: Order = ShuffledOrder()

    epochs: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    """Limit on the tokens that the model processes, observations included, padding excluded."""
    max_seconds: float | None = Field(None, gt=0.0)
    """Limit on the wall-clock time of training, the time before a resume included. The learning rate follows it only if
    it is the only limit, so give another one for results that do not depend on the speed of the machine."""

    batch_episodes: int | None = Field(None, ge=1)
    """Mean number of episodes per optimizer step, over all ranks. Steps have about equally many trained tokens."""
    batch_tokens: int | None = Field(None, ge=1)
    """Mean number of tokens per optimizer step, over all ranks, padding excluded. Steps have about equally many trained
    tokens."""
    micro_batch_tokens: int = Field(2048, ge=1)
    """Tokens per forward pass on one rank, padding included; a longer episode is a micro-batch by itself."""
    packing: Literal["auto", "packed", "padded"] = "auto"
    """``packed`` puts the episodes of a micro-batch into one row, with attention inside each episode only. ``padded``
    gives each episode a row of its own. ``auto`` packs if the model's architecture allows it (`learner.packing`)."""
    max_sequence_tokens: int | None = Field(None, ge=2)
    """Longer episodes are truncated at the end; null is the model's maximum number of positions."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(2e-3, gt=0.0)
    warmup_fraction: float = Field(0.03, ge=0.0, lt=1.0)
    """Fraction of the budget (epochs or tokens, whichever is used most) with a rising learning rate."""
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    final_learning_rate_fraction: float = Field(0.05, ge=0.0, le=1.0)
    """Learning rate at the end of the budget, as a fraction of ``learning_rate``."""
    weight_decay: float = Field(0.01, ge=0.0)
    adam_beta1: float = Field(0.9, ge=0.0, lt=1.0)
    adam_beta2: float = Field(0.98, ge=0.0, lt=1.0)
    max_grad_norm: float = Field(1.0, gt=0.0)
    max_bad_steps: int = Field(5, ge=1)
    """Training stops after this many steps in a row whose loss or gradients are not finite. Such a step is skipped."""
    carry_optimizer: bool = True
    """Rounds after the first continue with the optimizer's state; their weights continue in float32 in either case."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16`` keeps float32 weights and computes under autocast. With fsdp2 on several processes, gathered weights
    and all computation except the loss are bfloat16."""
    saved_precision: Literal["float32", "bfloat16"] | None = None
    """Precision of the weights in a checkpoint; null is ``precision``."""
    recompute_activations: bool = False
    """Activation checkpointing: recompute the activations of a layer in the backward pass to save memory."""
    cpu_offload: bool = False
    """Keep sharded states in main memory and update the weights on the CPU: all states with fsdp2 on several processes
    and with ZeRO stage 3, the optimizer's with ZeRO stages 1 and 2."""
    compile: bool = False
    """Compile the decoder layers with torch.compile, at the first step; not with deepspeed."""
    strategy: Literal["ddp", "fsdp2", "deepspeed"] = "ddp"
    """How several processes share the work; ignored for one process, except ``deepspeed``."""
    zero_stage: Literal[1, 2, 3] = 2
    """Stage of DeepSpeed ZeRO; used with ``strategy: deepspeed``."""
    seed: int = Field(0, ge=0)
    checkpoint_every_s: float | None = Field(None, gt=0.0)
    """Seconds between intermediate checkpoints, from which a killed fit resumes; null is 5 % of the budget, but at most
    30 seconds."""
    keep_checkpoints: int = Field(2, ge=0)
    """Number of intermediate checkpoints that are kept; 0 writes none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model is not None and self.scratch is not None:
            raise ValueError("give either model or scratch, not both")
        if self.epochs is None and self.max_tokens is None and self.max_seconds is None:
            raise ValueError("give a budget: at least one of epochs, max_tokens and max_seconds")
        if isinstance(self.order, ComplexityOrder) and self.epochs is None and self.max_tokens is None:
            raise ValueError(
                "order by complexity divides the budget, and max_seconds does not say how many tokens that is; "
                "give epochs or max_tokens as well, or set order to {by: shuffled}"
            )
        if (self.batch_episodes is None) == (self.batch_tokens is None):
            raise ValueError("give exactly one of batch_episodes and batch_tokens")
        if not self.terms:
            raise ValueError("terms is empty; give at least one, such as {stream: act, divergence: cross_entropy}")
        self._check_signals()
        by_token = [term.divergence for term in self.terms if isinstance(term, TokenTerm)]
        if self.teacher_tokenizer is not None and by_token:
            raise ValueError(
                f"{by_token[0]} compares tokens by id, and teacher_tokenizer has other ids; use uld or cross_entropy"
            )
        if self.widen > 1 and (self.scratch is not None or self.lora is not None):
            raise ValueError("widen needs a trained model without adapters; set it to 1 or remove scratch and lora")
        if self.scratch is not None and self.lora is not None:
            raise ValueError("lora adapts a trained model; remove lora or give model instead of scratch")
        if self.lora is not None and self.lora.quantize and self.strategy != "ddp":
            raise ValueError("lora.quantize needs strategy ddp, because 4-bit weights cannot be sharded")
        if self.cpu_offload and self.strategy == "ddp":
            raise ValueError(
                "cpu_offload keeps shards in main memory; choose strategy fsdp2 or deepspeed, or remove it"
            )
        if self.compile and self.strategy == "deepspeed":
            raise ValueError("compile does not work with strategy deepspeed; choose fsdp2 or ddp, or remove it")
        if self.optimizer == "muon" and (self.strategy != "ddp" or self.lora is not None):
            raise ValueError("optimizer muon needs strategy ddp and no lora; choose adamw otherwise")
        return self

    def _check_signals(self) -> None:
        if not self.exact:
            if self.teacher is not None:
                raise ValueError(
                    "teacher is used by terms with signal: exact only; give one of forward_kl, reverse_kl and jsd this "
                    "signal, or remove learner.teacher"
                )
        elif self.teacher is None:
            raise ValueError(
                "signal exact needs a teacher beside the student; add teacher: {model: FOLDER}, or use signal "
                "top_k_tail"
            )
        elif self.drop:
            raise ValueError(
                f"signal exact lets the teacher read the student's sequences, without the {self.drop[0]} segments that "
                "drop removes; use signal top_k_tail, which the teacher recorded with them, or remove drop"
            )

    @property
    def exact(self) -> bool:
        """Whether a term compares whole distributions."""
        return any(term.signal == "exact" for term in self.terms)

    def check_divergences(self) -> None:
        """Raises `UserError` if another package's divergence cannot be imported, or does not take its options."""
        for term in self.terms:
            if isinstance(term, AddedTerm):
                term.check()

    def keeps(self, role: str, success: bool) -> bool:
        """Return whether to train on an episode of ``role`` that ended with ``success``."""
        return success or self.keep == "all" or (self.keep == "success_or_student" and role == STUDENT)
