"""Fenced blocks in the text of a turn, and which of them is the code of a CodeAct turn.

The number of blocks, of possible ends and of characters given to Python's parser is bounded per turn, so that the time
is linear in the length of the text.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from textwrap import dedent

from rollout.prompts.labels import CODE, TurnText

_OPENING = re.compile(r"`{3,}+[^\n`]++`{3,}+|`{3,}+[ \t]*+(?P<language>[\w+#.-]*+)[^\n`]*+\n")
"""An opening fence, or a pair of fences within a line, which has no group ``language``."""
_CLOSING_LINE = re.compile(r"\n[ \t]*+```+(?P<more>[^\n`<]*+)(?:<end_code>)?|\n?(?:```)?<end_code>")
_CLOSING_ANYWHERE = re.compile(r"```+")
_END_MARK = re.compile(r"\s*+<end_code>")
_PYTHON = ("py", "python", "python3")
_MAX_BLOCKS, _MAX_ENDS, _MAX_PARSED_CHARACTERS = 32, 16, 100_000


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: ``text[start:end]`` from fence to fence, with the code in ``text[code_start:code_end]``.

    Attributes:
        language: lower case; empty if the fence names none.
        code: the code without common indentation and white space around it.
        is_python: whether Python's parser accepts it.
    """

    start: int
    code_start: int
    code_end: int
    end: int
    language: str
    code: str
    is_python: bool


def code_block(turn: TurnText) -> Block | None:
    """The block to execute, or None.

    It is the first Python or unnamed block after a label ``Code:``, if possible one that parses. Without such a block,
    it is the first named Python, if possible one that parses, else the first unnamed block that parses. Empty blocks
    count only if there is no other, and blocks after an invented observation only if there is none before it.
    """
    blocks = [block for block in _blocks(turn) if block.language in ("", *_PYTHON)]
    invented, labeled = turn.invented(), CODE.search(turn.visible)
    blocks = [block for block in blocks if block.code] or blocks[:1]
    blocks = [block for block in blocks if block.start < invented] or blocks
    after_label = [block for block in blocks if labeled and block.start >= labeled.start()]
    named, parsed = ([b for b in blocks if b.language], [b for b in blocks if b.is_python])
    preferences = (
        [b for b in after_label if b.is_python],
        after_label,
        [b for b in parsed if b.language],
        named,
        parsed,
    )
    return next(chain.from_iterable(preferences), None)


def label_before(turn: TurnText, block: Block) -> int:
    """Start of the label ``Code:`` directly before a block, or of the block; without white space before it."""
    before = turn.visible[: block.start].rstrip()
    *_, last = (None, *CODE.finditer(before))
    return len(before[: last.start()].rstrip() if last and last.end() == len(before) else before)


def _blocks(turn: TurnText) -> Iterator[Block]:
    parser, at = _Parser(), 0
    for _ in range(_MAX_BLOCKS):
        opened = _OPENING.search(turn.visible, at)
        if opened is None:
            return
        if opened["language"] is None:
            at = opened.end()
            continue
        start, language = opened.end(), opened["language"].lower()
        closed = _closing(turn, start, language in ("", *_PYTHON), parser)
        stop = closed.start() if closed else turn.invented(start)
        code = _code(turn.text[start:stop])
        is_python = parser.accepts(code) and (closed is not None or language != "")
        if closed is None:
            if is_python and code:
                yield Block(opened.start(), start, stop, stop, language, code, is_python)
            return
        end = _END_MARK.match(turn.visible, closed.end()) or closed
        yield Block(opened.start(), start, max(stop, start), end.end(), language, code, is_python)
        at = closed.start() if closed.re is _CLOSING_LINE and (closed["more"] or "").strip() else closed.end()


def _closing(turn: TurnText, start: int, is_code: bool, parser: _Parser) -> re.Match[str] | None:
    """The fence that ends a block: for code the first one such that the code parses, else the first one.

    A fence that begins a line comes before one within a line. In an empty block, the line break before the closing
    fence is the one before ``start``.
    """
    lines = list(islice(_CLOSING_LINE.finditer(turn.visible, start - 1), _MAX_ENDS))
    if not is_code:
        return lines[0] if lines else None
    anywhere = islice(_CLOSING_ANYWHERE.finditer(turn.visible, start), _MAX_ENDS)
    ends = [*lines, *anywhere]
    parsed = (end for end in ends if parser.accepts(_code(turn.text[start : end.start()])))
    return next(parsed, None) or next(iter(ends), None)


def _code(text: str) -> str:
    return dedent(text).strip()


class _Parser:
    """Python's parser, with a limit on the characters that it reads for one turn."""

    def __init__(self) -> None:
        self._left = _MAX_PARSED_CHARACTERS

    def accepts(self, code: str) -> bool:
        """Whether ``code`` is Python. Code beyond the limit is not read and not accepted."""
        self._left -= len(code)
        if self._left < 0:
            return False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of invalid escape sequences in model-written code
                ast.parse(code)
        except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
            return False
        return True
