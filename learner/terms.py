"""Terms of the loss: which tokens are trained, and by which divergence. Imports no heavy package."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from rollout.errors import UserError
from rollout.extensions.registry import Registry
from rollout.extensions.union import LazyUnion
from rollout.frozen_model import FrozenModel
from rollout.trajectory import Kind

STREAMS = (*(kind.value for kind in Kind), "generated", "assistant", "all", "random")


class _Term(FrozenModel):
    model_config = ConfigDict(allow_inf_nan=False)

    stream: str
    """Tokens that the term trains on: a segment kind (``format``: only the part that the model generated),
    ``generated``, ``assistant``, ``all``, or ``random``. ``random`` is a random choice of as many tokens as ``reason``
    and ``act`` have in the episode, anywhere after its prompt. Text that a model generated after its action is removed
    from the sequences unless a term names ``trailing``. See `learner.data.streams.in_stream`."""
    weight: float = Field(1.0, gt=0.0)
    """Factor lambda of the term in the loss."""
    reduction: Literal["token_mean", "span_mean", "sum"] = "token_mean"
    """``token_mean`` divides the term's sum by its number of tokens in the step, over all ranks. ``span_mean`` averages
    over the tokens of each span, then over the step's spans; a span is the stream's tokens of one kind in one turn.
    ``sum`` is the papers' sum over the tokens of an episode: it divides by the number of episodes in the step, and by
    one constant, the mean number of tokens that the terms with ``sum`` have in an episode of the training set. So it
    has the scale of a mean, and ``max_grad_norm`` does not clip every step. A stream, an episode or a step with more
    tokens counts more."""

    @model_validator(mode="after")
    def _check_stream(self) -> Self:
        if self.stream not in STREAMS:
            raise ValueError(f"stream {self.stream!r} is unknown; choose one of {', '.join(STREAMS)}")
        return self

    @property
    def weight_name(self) -> str:
        """Name of the term's token weights in `learner.data.streams.TrainingSequence.weights`."""
        return f"{self.stream}/span_mean" if self.reduction == "span_mean" else self.stream

    @property
    def parameters(self) -> dict[str, Any]:
        """Keyword arguments of the divergence function."""
        return self.model_dump(exclude={"stream", "weight", "reduction", "divergence", "signal"})


class CrossEntropyTerm(_Term):
    """Cross-entropy on the recorded tokens."""

    divergence: Literal["cross_entropy"] = "cross_entropy"
    signal: Literal["taken"] = "taken"


class TokenTerm(_Term):
    """Base of the divergences that compare teacher and student token by token, who must use the same token ids."""

    signal: Literal["top_k_tail", "exact"] = "top_k_tail"
    """``top_k_tail`` compares the teacher's recorded top-k tokens and one bucket for the rest of the vocabulary.
    ``exact`` compares whole distributions: ``LearnerConfig.teacher`` reads the student's sequences while it trains. As
    long as the student is far from the teacher, the reverse KL and the JSD of the two signals have very different
    gradients; those of the forward KL are nearly the same. See docs/methods.md."""
    temperature: float = Field(1.0, gt=0.0)


class ForwardKLTerm(TokenTerm):
    """KL(teacher || student)."""

    divergence: Literal["forward_kl"] = "forward_kl"


class ReverseKLTerm(TokenTerm):
    """KL(student || teacher)."""

    divergence: Literal["reverse_kl"] = "reverse_kl"


class JSDTerm(TokenTerm):
    """Generalized Jensen-Shannon divergence (arXiv 2306.13649)."""

    divergence: Literal["jsd"] = "jsd"
    beta: float = Field(0.5, ge=0.0, le=1.0)
    """0 is the forward KL, 1 the reverse KL."""


class ULDTerm(_Term):
    """Universal logit distillation (arXiv 2402.12030). It compares sorted probabilities, so vocabularies may differ."""

    divergence: Literal["uld"] = "uld"
    signal: Literal["top_k_tail"] = "top_k_tail"

    @model_validator(mode="after")
    def _check_whole_spans(self) -> Self:
        if self.stream == "random":
            raise ValueError(
                "uld compares groups of adjacent tokens, but stream random picks single ones; choose another"
            )
        return self


class AddedTerm(TokenTerm):
    """A divergence of another package, a function like `learner.losses.divergences.forward_kl`."""

    signal: Literal["top_k_tail"] = "top_k_tail"
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
