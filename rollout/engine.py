"""The smallest thing an episode asks of a model: tokens in, tokens out.

An `Engine` may be vLLM in this process, an HTTP endpoint, transformers, or a script for tests. Rollout code sees no
more than this protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import Field, InstanceOf

from rollout.frozen_model import FrozenModel
from rollout.grammar import Grammar
from rollout.trajectory import TopK


class Sampling(FrozenModel):
    """How a completion is decoded."""

    max_tokens: int = Field(96, ge=1)
    """Tokens that one turn may have."""
    temperature: float = Field(0.0, ge=0.0, le=10.0)
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    top_k: int = Field(0, ge=0)
    """Sample among the k most likely tokens; 0 is all."""
    stop: tuple[str, ...] = ()
    """Texts that end a turn, beside the model's own end-of-turn token."""
    seed: int | None = None
    """Seed of one completion; episodes derive theirs from the task and the turn."""
    top_logprobs: int = Field(0, ge=0, le=128)
    """Record this many of the policy's own most likely tokens at each generated token; 0 records none."""
    grammar: InstanceOf[Grammar] | None = Field(None, exclude=True)
    """What the completion must look like. No setting: an agent that acts constrained makes one for each turn."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine made of a prompt.

    Attributes:
        token_ids: generated tokens, the end-of-turn token included if there was one.
        logprobs: ``[num_tokens]`` of the sampled tokens under the policy, at temperature 1 and whatever its form;
            None if the engine gives none.
        text: the decoded tokens, special tokens included.
        finish: ``stop`` (end-of-turn token or stop text), ``length`` (``max_tokens`` reached).
        top: the policy's distribution at each generated token, if ``Sampling.top_logprobs`` asked for it.
        weight_version: version of the weights that made it.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    text: str
    finish: Literal["stop", "length"]
    top: TopK | None = None
    weight_version: int = 0


class Engine(Protocol):
    """A model that answers. All methods may be called concurrently from one event loop."""

    name: str
    """Which model it is, for the record."""
    weight_version: int
    """Version of the weights now in use; 0 as loaded."""
    max_model_len: int
    """Tokens that prompt and completion may have together."""

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        """Complete a prompt. ``session_id`` is the episode: calls of one session share a prefix.

        A completion with a `Sampling.grammar` matches it, unless it ends for its length before the form does.

        Raises:
            NotImplementedError: it cannot do what ``sampling`` asks for.
            Exception: anything of the engine's own; callers wrap the call in ``boundary(Boundary.ENGINE)``.
        """
        ...

    async def score(self, token_ids: Sequence[int], top_k: int) -> TopK:
        """The distribution that predicts each token: row i is p(. | token_ids[:i]), for i = 1 .. n-1.

        Row 0 has no prediction: it is empty, with tail mass 1. Raises `NotImplementedError` if the engine cannot.
        """
        ...

    async def load_weights(self, folder: str, version: int) -> None:
        """Take the weights of a checkpoint folder in place, between requests, and stamp them ``version``."""
        ...

    async def close(self) -> None:
        """Stop processes, free memory."""
        ...
