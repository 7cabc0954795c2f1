"""Shared by all engines with a model: end-of-turn tokens, length limits, top-k rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp

from rollout.engine import Sampling
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import Tokenizer
from rollout.trajectory import TopK


def end_of_turn_ids(tokenizer: Tokenizer, generation_eos: int | Sequence[int] | None = None) -> frozenset[int]:
    """Ids of the tokens that end a turn: from the chat template, the tokenizer and the model's generation config."""
    texts = (ChatTemplate.from_tokenizer(tokenizer).end_of_turn, tokenizer.end)
    ids = {tokenizer.encode_markers(text)[0] for text in texts if text}
    if generation_eos is not None:
        ids.update([generation_eos] if isinstance(generation_eos, int) else generation_eos)
    return frozenset(ids)


def max_new_tokens(prompt_tokens: int, sampling: Sampling, max_model_len: int) -> int:
    """Upper bound on the tokens of a completion. Raises `ValueError` if the prompt is empty or fills the context."""
    if not 0 < prompt_tokens < max_model_len:
        raise ValueError(f"a prompt of {prompt_tokens} tokens leaves no room in a context of {max_model_len}")
    return min(sampling.max_tokens, max_model_len - prompt_tokens)


def check_scorable(num_tokens: int, top_k: int, max_model_len: int) -> None:
    """Raise `ValueError` if a sequence of this length cannot be scored."""
    if not 0 < num_tokens <= max_model_len:
        raise ValueError(f"cannot score {num_tokens} tokens with a context of {max_model_len}")
    if top_k < 1:
        raise ValueError(f"cannot score with top_k {top_k}; it must be at least 1")


def top_rows(rows: Iterable[Mapping[int, float]], k: int) -> TopK:
    """Keep the ``k`` most likely entries of each row (token id -> log-probability); the rest is the tail mass."""
    most_likely = [sorted(row.items(), key=lambda item: (-item[1], item[0]))[:k] for row in rows]
    return TopK(
        token_ids=tuple(tuple(token for token, _ in row) for row in most_likely),
        logprobs=tuple(tuple(logprob for _, logprob in row) for row in most_likely),
        tail_mass=tuple(max(0.0, 1.0 - sum(exp(logprob) for _, logprob in row)) for row in most_likely),
    )
