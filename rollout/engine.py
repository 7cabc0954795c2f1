"""The interface between an episode and a model: tokens in, tokens out.

An `Engine` may be vLLM in this process, an HTTP endpoint, transformers, or a scripted policy. Rollout code uses only
this protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import Field, InstanceOf

from rollout.frozen_model import FrozenModel
from rollout.grammar import Grammar
from rollout.trajectory import TopK


class Sampling(FrozenModel):
    """How a completion is decoded."""

    max_tokens: int = Field(96, ge=1)
    """Maximum number of tokens of one turn."""
    temperature: float = Field(0.0, ge=0.0, le=10.0)
    """0 is greedy decoding."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    top_k: int = Field(0, ge=0)
    """Sample from the k most likely tokens; 0 uses all."""
    stop: tuple[str, ...] = ()
    """Texts that end a turn, in addition to the model's end-of-turn token."""
    seed: int | None = None
    """Seed of one completion; episodes derive theirs from the task and the turn."""
    top_logprobs: int = Field(0, ge=0, le=128)
    """Record this many of the policy's own most likely tokens at each generated token; 0 records none."""
    grammar: InstanceOf[Grammar] | None = Field(None, exclude=True)
    """Grammar that the completion must match. Not a setting: constrained acting creates one for each turn."""


@dataclass(frozen=True, slots=True)
class Completion:
    """An engine's completion of a prompt.

    Attributes:
        token_ids: generated tokens, including the end-of-turn token if there is one.
        logprobs: ``[num_tokens]`` log-probabilities of the sampled tokens under the policy at temperature 1, not
            restricted by a grammar; None if the engine returns none.
        text: decoded tokens, including special tokens.
        finish_reason: ``stop`` (end-of-turn token or stop text), ``length`` (``max_tokens`` reached).
        top: the policy's distribution at each generated token, if ``Sampling.top_logprobs`` asked for it.
        weight_version: version of the weights that generated it.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    text: str
    finish_reason: Literal["stop", "length"]
    top: TopK | None = None
    weight_version: int = 0


class Engine(Protocol):
    """A model that completes prompts. All methods may be called concurrently from one event loop."""

    name: str
    """Name of the model, for the trajectory."""
    weight_version: int
    """Version of the current weights; 0 for those loaded at the start."""
    max_model_len: int
    """Maximum number of tokens of prompt and completion together."""

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        """Complete a prompt. ``session_id`` identifies the episode, whose prompts share prefixes.

        With `Sampling.grammar`, the completion matches the grammar, unless it reaches the token limit first.

        Raises:
            NotImplementedError: the engine does not support an option of ``sampling``.
            Exception: any error of the engine; callers wrap the call in ``boundary(Boundary.ENGINE)``.
        """

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        """The distribution that predicts each token: row i is p(. | token_ids[:i]), for i = 1 .. n-1.

        Row 0 has no prediction: it is empty, with tail mass 1. Raises `NotImplementedError` if this is unsupported.
        """

    async def load_weights(self, folder: str, version: int) -> None:
        """Load the weights of a checkpoint folder in place, between requests, and set `weight_version`."""

    async def close(self) -> None:
        """Stop processes and free memory."""


class Capabilities(Protocol):
    """What an engine outside of this process can do."""

    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read."""


@runtime_checkable
class RemoteEngine(Engine, Protocol):
    """An engine that is asked over a network and has settings of its own."""

    async def probe(self, sampling: Sampling) -> Capabilities:
        """Find out with one short completion whether the engine can be used with ``sampling``.

        Raises:
            UserError: a key, a name or a setting is refused.
            EngineUnavailable: the engine cannot be reached.
        """

    def sent(self, sampling: Sampling) -> dict[str, Any]:
        """What the engine is really sent for ``sampling``, for the record."""
