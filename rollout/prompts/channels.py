"""Turns that consist of messages in channels: the harmony format of gpt-oss.

A turn is ``<|channel|>analysis<|message|>thought<|end|><|start|>assistant<|channel|>final<|message|>answer<|return|>``.
"""

from __future__ import annotations

from collections.abc import Sequence

from rollout.trajectory import Kind

_MESSAGE = "<|message|>"


def kinds_before_answer(pieces: Sequence[str], special: Sequence[bool], *, thinking: bool) -> list[Kind]:
    """Kinds of the tokens before the answer; of all tokens if the turn has none.

    Thoughts are ``reason``; headers and special tokens are ``format``. Text without a header is an answer.

    Args:
        pieces: ``[num_tokens]`` text of each token.
        special: ``[num_tokens]`` whether it is a special token.
        thinking: whether the generation prompt opened a thought.
    """
    kinds: list[Kind] = []
    if special and not (special[0] or thinking):
        return kinds
    header, in_header = "", not thinking
    for piece, is_special in zip(pieces, special, strict=True):
        if not (is_special or in_header):
            kinds.append(Kind.REASON)
            continue
        kinds.append(Kind.FORMAT)
        if not is_special:
            header += piece
        elif piece != _MESSAGE:
            header, in_header = "", True
        elif header.strip().startswith("analysis"):
            in_header = False
        else:
            return kinds
    return kinds
