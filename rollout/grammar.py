"""What a completion must look like, for engines that can hold a model to it: fixed texts, free parts, and choices."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

PLACEHOLDER = "{}"
"""Stands, in the form of an action, for words of the agent's own."""
LINE = r"[^\n]*"
FULL_LINE = r"[^\s][^\n]*"
"""A line that begins with something."""
_BRACKETED = r"[^\[\]\n]+"
"""Without brackets of its own: one that is cut for want of tokens would end with an inner one left open."""
_STEERS = re.compile(r"[\\.^$*+?{}\[\]()|]")


@dataclass(frozen=True, slots=True)
class FreeText:
    """A part that the model words itself.

    Attributes:
        pattern: regular expression of classes, groups, alternatives and repetitions. What follows the part must begin
            with a character that the pattern cannot go on with.
        share: of the tokens that the fixed parts leave, relative to the other free parts.
    """

    pattern: str = LINE
    share: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """A part that is one of some texts, or has one of some forms; at least one in all, none of them empty.

    Attributes:
        choices: whole texts.
        forms: texts with one ``{}``, at the end or before a closing bracket.
    """

    choices: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()

    def alternatives(self) -> Iterator[tuple[str | FreeText, ...]]:
        """All of them, as fixed texts and free parts."""
        yield from ((choice,) for choice in self.choices)
        for grammar in self.templates:
            before, _, after = grammar.partition(PLACEHOLDER)
            yield tuple(part for part in (before, FreeText(_BRACKETED if after else FULL_LINE), after) if part)


Part = str | FreeText | Choice
ANY_ACTION = Choice(templates=(PLACEHOLDER,))
"""One line that is not empty."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """The parts of a completion, in order."""

    parts: tuple[Part, ...]

    def regex(self) -> str:
        """All of it as one regular expression; how long the free parts may be is left out."""
        return "".join("".join(map(_regex, ways[0])) if len(ways) == 1 else _any(ways) for ways in self._ways())

    def lark(self, max_tokens: int, ends: Collection[int], encode: Callable[[str], Sequence[int]]) -> str:
        """All of it as a grammar of llguidance, with an end that fits into ``max_tokens``.

        Free parts share what the others leave. These are given room for twice the tokens that they need, since a model
        may cut them into more; at most they are as many as bytes.

        Args:
            max_tokens: of the completion, its end included.
            ends: tokens that end a turn.
            encode: a text's tokens.
        """
        ways = list(self._ways())
        fixed = (max(map(_fixed_text, way), key=len) for way in ways)
        spare = max_tokens - 1 - sum(min(2 * len(encode(text)), len(text.encode())) for text in fixed)
        each = spare / max(sum(max(map(_shares, way)) for way in ways), 1)
        rules: list[str] = []
        names = [f"({' | '.join(_sequence(one, rules, each) for one in way)})" for way in ways]
        end = " | ".join(f"<[{token}]>" for token in sorted(ends))
        return "\n".join([f"start: {' '.join(names)} ({end})", *rules])

    def _ways(self) -> Iterator[list[tuple[str | FreeText, ...]]]:
        for part in self.parts:
            yield list(part.alternatives()) if isinstance(part, Choice) else [(part,)]


def _sequence(parts: tuple[str | FreeText, ...], rules: list[str], tokens_a_share: float) -> str:
    """Parts one after another; free ones become rules of their own."""
    written = []
    for part in parts:
        if isinstance(part, FreeText):
            name, limit = f"free{len(rules)}", max(int(tokens_a_share * part.share), 1)
            rules.append(f"{name}[max_tokens={limit}]: /{part.pattern.replace('/', chr(92) + '/')}/")
            written.append(name)
        else:
            written.append(json.dumps(part, ensure_ascii=False))
    return " ".join(written)


def _fixed_text(parts: tuple[str | FreeText, ...]) -> str:
    return "".join(part for part in parts if isinstance(part, str))


def _shares(parts: tuple[str | FreeText, ...]) -> int:
    return sum(part.share for part in parts if isinstance(part, FreeText))


def _any(ways: list[tuple[str | FreeText, ...]]) -> str:
    return f"({'|'.join(''.join(map(_regex, way)) for way in ways)})"


def _regex(part: str | FreeText) -> str:
    return f"({part.pattern})" if isinstance(part, FreeText) else _STEERS.sub(r"\\\g<0>", part).replace("\n", r"\n")
