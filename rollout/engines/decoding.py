"""What every engine with a real model needs: where a turn ends, how long it may be, rows of likely tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp

from rollout.engine import Sampling
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import Tokenizer
from rollout.trajectory import TopK


def end_of_turn_ids(tokenizer: Tokenizer, generation_eos: int | Sequence[int] | None = None) -> frozenset[int]:
    """Tokens that end a turn: the chat template's, the tokenizer's, and those of the model's generation settings."""
    texts = (ChatTemplate.from_tokenizer(tokenizer).end_of_turn, tokenizer.end)
    ids = {tokenizer.encode_markers(text)[0] for text in texts if text}
    if generation_eos is not None:
        ids.update([generation_eos] if isinstance(generation_eos, int) else generation_eos)
    return frozenset(ids)


def max_new_tokens(prompt_tokens: int, sampling: Sampling, max_model_len: int) -> int:
    """Tokens that a completion may have. Raises `ValueError` if the prompt is empty or leaves none."""
    if not 0 < prompt_tokens < max_model_len:
        raise ValueError(f"a prompt of {prompt_tokens} tokens leaves no room in a context of {max_model_len}")
    return min(sampling.max_tokens, max_model_len - prompt_tokens)


def check_scorable(num_tokens: int, top_k: int, max_model_len: int) -> None:
    """Raises `ValueError` if a sequence of this length cannot be scored."""
    if not 0 < num_tokens <= max_model_len:
        raise ValueError(f"cannot score {num_tokens} tokens with a context of {max_model_len}")
    if top_k < 1:
        raise ValueError(f"cannot score with the {top_k} most likely tokens; ask for one at least")


def top_rows(rows: Iterable[Mapping[int, float]], k: int) -> TopK:
    """Rows of token id -> log-probability, cut to the ``k`` most likely, the rest summed as tail mass."""
    cut = [sorted(row.items(), key=lambda item: (-item[1], item[0]))[:k] for row in rows]
    return TopK(
        token_ids=tuple(tuple(token for token, _ in row) for row in cut),
        logprobs=tuple(tuple(logprob for _, logprob in row) for row in cut),
        tail_mass=tuple(max(0.0, 1.0 - sum(exp(logprob) for _, logprob in row)) for row in cut),
    )
