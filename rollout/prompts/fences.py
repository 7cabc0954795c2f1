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
from itertools import islice
from textwrap import dedent

from rollout.prompts.labels import CODE, TurnText

_OPENING = re.compile(r"(?<!`)`{3,}+(?:[^\n`]++`{3,}+|[ \t]*+(?P<language>[\w+#.-]*+)[^\n`]*+\n)")
"""An opening fence, or a pair of fences within a line, which has no group ``language``."""
_CLOSING_LINE = re.compile(r"\n[ \t]*+```+(?P<more>[^\n`<]*+)(?:<end_code>)?|\n?(?:```)?<end_code>")
_CLOSING_ANYWHERE = re.compile(r"```+")
_END_MARK = re.compile(r"\s*+<end_code>")
_PYTHON = ("py", "python", "python3")
_MAX_BLOCKS, _MAX_ENDS, _MAX_PARSED_CHARACTERS = 16, 8, 200_000


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: ``text[start:end]`` with its fences, of which ``text[code_start:code_end]`` is the content.

    Attributes:
        before: end of the text before the block and its label ``Code:``, without white space.
        is_labeled: whether the label is directly before the block.
        language: lower case; empty if the fence names none.
        code: the content without common indentation and white space around it.
        is_python: whether Python's parser accepts it.
    """

    before: int
    is_labeled: bool
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
    blocks = [block for block in blocks if block.code] or blocks[:1]
    invented = turn.invented()
    blocks = [block for block in blocks if block.start < invented] or blocks
    label = CODE.search(turn.visible)
    labeled = next((block.start for block in blocks if block.is_labeled), label.start() if label else len(turn.text))
    after_label = [block for block in blocks if block.start >= labeled]
    named, parsed = [block for block in blocks if block.language], [block for block in blocks if block.is_python]
    for preferred in (after_label, named, parsed):
        if preferred:
            return next((block for block in preferred if block.is_python), preferred[0])
    return None


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
        code_end = max(closed.start() if closed else turn.invented(start), start)
        content = turn.text[start:code_end]
        is_python = parser.accepts(content) and (closed is not None or bool(language and content.strip()))
        end = closed and (_END_MARK.match(turn.visible, closed.end()) or closed).end()
        before, is_labeled = _before(turn.visible, at, opened.start())
        block = Block(
            before, is_labeled, opened.start(), start, code_end, end or code_end, language, _code(content), is_python
        )
        if closed is None:  # cut off, unless it is complete
            yield from [block] if is_python else []
            return
        yield block
        at = closed.start() if closed.re is _CLOSING_LINE and (closed["more"] or "").strip() else closed.end()


def _before(text: str, begin: int, fence: int) -> tuple[int, bool]:
    """End of the text before a fence and its label ``Code:``, and whether there is one, after ``begin``."""
    end = len(text[:fence].rstrip())
    *_, label = (None, *CODE.finditer(text, begin, end))
    if label is None or label.end() < end:
        return end, False
    return len(text[: label.start()].rstrip()), True


def _closing(turn: TurnText, start: int, is_code: bool, parser: _Parser) -> re.Match[str] | None:
    """The fence that ends a block: for code the first one such that the code parses, else the first one.

    A fence that begins a line comes before one within a line. In an empty block, the line break before the closing
    fence is the one before ``start``.
    """
    lines = list(islice(_CLOSING_LINE.finditer(turn.visible, start - 1), _MAX_ENDS))
    if not is_code:
        return lines[0] if lines else None
    ends = [*lines, *islice(_CLOSING_ANYWHERE.finditer(turn.visible, start), _MAX_ENDS)]
    return next((end for end in ends if parser.accepts(turn.text[start : end.start()])), ends[0] if ends else None)


def _code(text: str) -> str:
    return dedent(text).strip()


class _Parser:
    """Python's parser, with a limit on the characters that it reads for one turn."""

    def __init__(self) -> None:
        self._left = _MAX_PARSED_CHARACTERS

    def accepts(self, text: str) -> bool:
        """Whether the text of a block is Python. Text beyond the limit is not read and not accepted."""
        self._left -= len(text)
        if self._left < 0:
            return False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of invalid escape sequences in model-written code
                ast.parse(_code(text))
        except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
            return False
        return True
