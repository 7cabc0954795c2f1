"""Grammars for constrained decoding: fixed texts, free text and choices."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

PLACEHOLDER = "{}"
"""Placeholder for free text in an action template."""
LINE = r"[^\n]*"
FULL_LINE = r"[^\s][^\n]*"
"""A line that does not begin with whitespace."""
_BRACKETED = r"[^\[\]\n]+"
"""Text without brackets: text that is cut at a token limit could leave an inner bracket open."""
_STEERS = re.compile(r"[\\.^$*+?{}\[\]()|]")


@dataclass(frozen=True, slots=True)
class FreeText:
    """A part whose text the model chooses.

    Attributes:
        pattern: regular expression of classes, groups, alternatives and repetitions. The part after it must begin
            with a character that cannot continue a match of the pattern.
        share: share of the tokens not needed by fixed parts, relative to the other free parts.
    """

    pattern: str = LINE
    share: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """A part that is one of several texts or matches one of several templates. There must be at least one, none empty.

    Attributes:
        choices: complete texts.
        forms: texts with one ``{}``, at the end or before a closing bracket.
    """

    choices: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()

    def alternatives(self) -> Iterator[tuple[str | FreeText, ...]]:
        """Yield each alternative as a sequence of fixed texts and free parts."""
        yield from ((choice,) for choice in self.choices)
        for grammar in self.templates:
            before, _, after = grammar.partition(PLACEHOLDER)
            yield tuple(part for part in (before, FreeText(_BRACKETED if after else FULL_LINE), after) if part)


Part = str | FreeText | Choice
ANY_ACTION = Choice(templates=(PLACEHOLDER,))
"""One line of any text, not empty."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """The parts of a completion, in order."""

    parts: tuple[Part, ...]

    def regex(self) -> str:
        """The grammar as one regular expression, without length limits for free parts."""
        return "".join("".join(map(_regex, ways[0])) if len(ways) == 1 else _any(ways) for ways in self._ways())

    def lark(self, max_tokens: int, ends: Collection[int], encode: Callable[[str], Sequence[int]]) -> str:
        """The grammar in llguidance's Lark format, such that a completion ends within ``max_tokens``.

        Free parts share the tokens not reserved for fixed parts. A fixed part reserves twice its number of tokens,
        because a model may tokenize it differently, but at most one per byte.

        Args:
            max_tokens: maximum length of the completion, including the end-of-turn token.
            ends: ids of the end-of-turn tokens.
            encode: tokenizes a text.
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


def _sequence(parts: tuple[str | FreeText, ...], rules: list[str], tokens_per_share: float) -> str:
    """Join parts into a sequence; each free part becomes a separate rule."""
    written = []
    for part in parts:
        if isinstance(part, FreeText):
            name, limit = f"free{len(rules)}", max(int(tokens_per_share * part.share), 1)
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
