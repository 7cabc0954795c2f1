"""The words of an environment as its shipped models write them: where words end, and which words there are.

A name has to be copied from where it was read, and a tiny model copies best what is written alike wherever it stands.
So a vocabulary names words that take the space behind them along (``search[Old Mill]``, ``of Old Mill``): what follows
them begins without a space, and a name is the same tokens after a bracket, at the start of a text and within one.
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
    """How the texts of an environment fall into words.

    Attributes:
        pattern: what a word is; tried from where the last one ended.
        delimiters: marks of a turn, each one token.
        merged: words are put together from pairs of letters (byte-pair encoding), so that unknown ones have parts too;
            else a word is one token or as many as it has bytes, and no token is spent on parts.
        settings: of the environment where words are heard.
        words: gives those that belong to the vocabulary whether or not they are heard in play.
    """

    pattern: str
    delimiters: tuple[str, ...] = MARKS
    merged: bool = False
    settings: Mapping[str, str | int] = field(default_factory=dict)
    words: Callable[[], Iterable[str]] = tuple


def word_pattern(before: str, first: str = "") -> str:
    """Words, numbers of two digits, and marks.

    Args:
        before: the words that take the space behind them along.
        first: what goes before all words.
    """
    return rf"{first} ?(?:{before}) | ?[A-Za-z]+(?: (?=[0-9]))?|[0-9]{{1,2}}| ?[^\sA-Za-z0-9]+ ?|\s+"


def style_phrases(tools: Iterable[Tool]) -> tuple[str, ...]:
    """What episodes of code and of chains of thought say over and over; each is one token."""
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
    """The part of a pattern that goes before its other words."""
    return "".join(f"{re.escape(phrase)}|" for phrase in phrases)


def numbers() -> list[str]:
    """All numbers of one and of two digits."""
    return [*map(str, range(100)), *(f"0{digit}" for digit in range(10))]


def anywhere(words: Iterable[str]) -> list[str]:
    """Words as they stand at the beginning of a name and within it."""
    return [text for word in words for text in (word, f" {word}")]
