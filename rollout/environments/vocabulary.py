"""Vocabularies of the tokenizers of shipped models: how text is split into words, and which words exist.

A tiny model copies a name best if its tokens are the same at every position. So some words include the space after
them (``of Old Mill``): the next word starts without a space, and a name has the same tokens after a bracket
(``search[Old Mill]``), at the start of a text and within it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from rollout.prompts import codeact, cot
from rollout.prompts.tool import Tool

MARKS = ("Thought: ", "\nAction: ")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How the texts of an environment are split into words.

    Attributes:
        pattern: regular expression of a word, matched from the end of the previous word.
        delimiters: delimiters of a turn, each a single token.
        merged: whether words are merged from pairs of bytes (byte-pair encoding), so that unknown words consist of
            learned parts. Otherwise a word is one token, or one token per byte if it is unknown.
        settings: config values of the environment in which words are collected.
        words: function that returns words which belong to the vocabulary even if no episode contains them.
    """

    pattern: str
    delimiters: tuple[str, ...] = MARKS
    merged: bool = False
    settings: Mapping[str, str | int] = field(default_factory=dict)
    words: Callable[[], Iterable[str]] = tuple


def word_pattern(before: str, first: str = "") -> str:
    """Build a pattern of words, numbers of up to two digits, and punctuation.

    Args:
        before: alternatives of words that include the space after them.
        first: alternatives that are tried before all others.
    """
    return rf"{first} ?(?:{before}) | ?[A-Za-z]+(?: (?=[0-9]))?|[0-9]{{1,2}}| ?[^\sA-Za-z0-9]+ ?|\s+"


def style_phrases(tools: Iterable[Tool]) -> tuple[str, ...]:
    """Fixed phrases of the styles codeact and cot; each is one token."""
    text = codeact.error("ERROR", "PRINTED") + codeact.observation("PRINTED")
    phrases = [*re.split("ERROR|PRINTED", text), *re.split("THOUGHT|CODE", codeact.turn_text("THOUGHT", "CODE"))]
    phrases += [*re.split("STEPS|ANSWER", cot.turn_text("STEPS", "ANSWER")), "\n\n", *_CALLS]
    phrases += [
        part for text in (codeact.turn_format(tuple(tools)), cot.TURN_FORMAT) for part in text.split("Thought: ")
    ]
    phrases += [f'print({tool.name}("' for tool in tools]
    kept = {phrase for phrase in phrases if phrase not in ("", "\n")}
    return tuple(sorted(kept, key=lambda phrase: (-len(phrase), phrase)))


_CALLS = ('final_answer("', '"))', '")', 'print(f"{', ':.10g}")', "print(")


def any_of(phrases: Iterable[str]) -> str:
    """Build the alternatives of a pattern for fixed phrases."""
    return "".join(f"{re.escape(phrase)}|" for phrase in phrases)


def numbers() -> list[str]:
    """All numbers with one or two digits."""
    return [*map(str, range(100)), *(f"0{digit}" for digit in range(10))]


def anywhere(words: Iterable[str]) -> list[str]:
    """Words with and without a preceding space."""
    return [text for word in words for text in (word, f" {word}")]
