"""Labels, think blocks and invented observations in the text of a turn, for the parsers of all styles.

A label is a word such as ``Action`` with a colon, at the start of a line. Case, a number (``Action 1:``), Markdown
(``**Action:**``, ``### Action``), bullets and full-width colons are tolerated. Text in think blocks is reason and is
never searched. All functions take time linear in the length of the text: quantifiers that could try several splits of
the same characters are possessive or bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rollout.prompts.style import ParsedTurn, make_spans
from rollout.trajectory import Kind

_THINK_TAG = re.compile(r"(?i:</?(?:seed:)?(?:think|thinking|thought|reasoning)>)|\[/?THINK\]|\u25c1/?think\u25b7")
_HIDDEN = "\x1f"
"""Replaces thoughts while labels are searched: white space, but not the end of a line."""

_BULLETS = r"(?:[ \t>\u2022+-]|\*[ \t]|\d{1,3}[.)][ \t])*+"
_NUMBER = r"(?:[ \t]*+[#(\[]?[ \t]*+\d{1,4}[ \t]*+[)\]]?)?"
_COLON = "[:\uff1a]"
THOUGHT_NAMES = "thoughts?|\u601d\u8003|\u60f3\u6cd5"
_ACTION_NAMES = "action|\u884c\u52a8|\u884c\u52d5|\u52a8\u4f5c|\u52d5\u4f5c"
_CODE_NAMES = "code|\u4ee3\u7801|\u4ee3\u78bc"
_OBSERVATION_NAMES = "observations?|calling tools|\u89c2\u5bdf(?:\u7ed3\u679c)?|\u89c0\u5bdf"


def label(names: str, start: str = rf"(?:\A|[\n{_HIDDEN}])") -> re.Pattern[str]:
    """Pattern of a label, from the line break before it to its colon. A heading or a bold line needs no colon.

    Group ``mark`` is the emphasis before the name.

    Args:
        names: alternatives of a regular expression, in any case.
        start: regular expression of what precedes the line.
    """
    name = rf"(?:{names}){_NUMBER}"
    colon = rf"(?:\#{{1,6}}+[ \t]*+)?(?P<mark>[*_`]++)?{name}[ \t]*+(?:[*_`]++[ \t]*+)?{_COLON}(?(mark)[*_`]*+)"
    heading = rf"(?:\#{{1,6}}+[ \t]*+[*_`]*+|[*_]{{2,}}+){name}[*_`]*+[ \t]*+(?=\n|\Z)"
    return re.compile(f"{start}{_BULLETS}(?:{colon}|{heading})", re.IGNORECASE)


FIRST_THOUGHT = label(THOUGHT_NAMES, start=r"\A\s*+")
"""The label of a thought at the start of a text."""
CODE = re.compile(rf"{label(_CODE_NAMES).pattern}|(?<![A-Za-z])(?-i:Code){_COLON}", re.IGNORECASE)
"""The label of a block of code, at the start of a line or, capitalized, anywhere."""
_ACTION_LINE = label(_ACTION_NAMES)
_ACTION_INLINE = re.compile(
    rf"(?:(?<![A-Za-z])(?P<mark>[*_`]{{1,3}})?(?:Action|ACTION)|(?<=[.!?;,)\]][ \t])action){_NUMBER}[ \t]*+"
    rf"(?:[*_`]{{1,3}}[ \t]*+)?{_COLON}(?(mark)[*_`]{{0,3}})"
)
_OBSERVATION = label(_OBSERVATION_NAMES, start=r"\n").pattern
# A stop string cuts a completion off before the colon.
_INVENTED = re.compile(
    rf"{_OBSERVATION}|\n{_BULLETS}(?:\#{{1,6}}+[ \t]*+)?[*_`]*+(?:{_OBSERVATION_NAMES})\s*+\Z", re.IGNORECASE
)
_INVENTED_INLINE = re.compile(rf"[ \t][*_`]{{0,3}}Observation{_NUMBER}{_COLON}")
_ANY = label(f"{THOUGHT_NAMES}|{_ACTION_NAMES}|{_CODE_NAMES}|{_OBSERVATION_NAMES}", start="")
_LINE = re.compile(r"[^\n]+")
_BEFORE_VALUE = re.compile(r"\s*+(?P<fence>```[\w-]*+[ \t]*+\n\s*+)?")
_END_OF_FENCE = re.compile(r"\s*+```")
_WRAPPERS = ("```", "**", "__", "`", "*")


@dataclass(frozen=True, slots=True)
class Found:
    """Position of an action in a text.

    Attributes:
        start: start of its label.
        act: start of the action; the text from ``start`` to here is format.
        end: end of the action; equal to ``act`` if there is none.
        close: end of the format after the action, such as a closing fence.
    """

    start: int
    act: int
    end: int
    close: int


@dataclass(frozen=True, slots=True)
class TurnText:
    """The text of a turn and the part of it that parsers search.

    Attributes:
        text: the whole text.
        visible: the text with its think blocks blanked, of the same length.
        blocks: (start, end) of each think block, in order.
    """

    text: str
    visible: str
    blocks: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, text: str) -> TurnText:
        """Find the think blocks of a text.

        A block without a closing tag extends to the end of the text. If the first tag is a closing one, the block was
        opened in the prompt and starts with the text.
        """
        blocks = tuple(_think_blocks(text))
        plain, parts, at = text.replace(_HIDDEN, " "), list[str](), 0
        for start, end in blocks:
            parts += [plain[at:start], _HIDDEN * (end - start)]
            at = end
        return cls(text, "".join([*parts, plain[at:]]), blocks)

    def invented(self, start: int = 0) -> int:
        """Start of the first observation that the model wrote itself; the length of the text if there is none."""
        found = _INVENTED.search(self.visible, start)
        return found.start() if found else len(self.text)

    def labeled_action(self) -> Found | None:
        """The first labeled action, else the first label without an action, else None.

        Labels that begin a line come before labels within lines. An action after an invented observation counts only if
        there is none before it.
        """
        empty: Found | None = None
        for limit in dict.fromkeys((self.invented(), len(self.text))):
            for pattern in (_ACTION_LINE, _ACTION_INLINE):
                for match in pattern.finditer(self.visible, 0, limit):
                    mark = match["mark"] or ""
                    unclosed = mark if mark and match[0].count(mark) == 1 else ""
                    found = self._value(match.start(), match.end(), limit, unclosed)
                    if found.act < found.end:
                        return found
                    empty = empty or found
        return empty

    def first_line(self) -> Found | None:
        """The first line that is neither empty nor labeled, as an action; None if there is none."""
        begin = 0
        for line in _LINE.finditer(self.visible):
            if not line[0].strip():
                continue
            if not _ANY.match(self.visible, line.start()):
                found = self._value(begin, begin, len(self.text))
                return found if found.act < found.end else None
            begin = line.end()
        return None

    def _value(self, start: int, begin: int, limit: int, unclosed: str = "") -> Found:
        """The action after a label that ends at ``begin``: the rest of its line or, if that is empty, the next line.

        Emphasis, backticks and a fence around the action are format. A line with a label of its own is no action. The
        action ends before the label of an invented observation that is not in its brackets.
        ``unclosed`` is the emphasis that opened before the label and may end after the action.
        """
        before = _BEFORE_VALUE.match(self.visible, begin, limit)
        assert before is not None
        first = before.end()
        if _ANY.match(self.visible, first, limit):
            return Found(start, begin, begin, begin)
        line_break = self.visible.find("\n", first, limit)
        end = limit if line_break < 0 else line_break
        invented = _INVENTED_INLINE.search(self.visible, first, end)
        if invented:
            opening, closing = (self.visible.count(bracket, first, invented.start()) for bracket in "[]")
            end = invented.start() if opening <= closing else end
        act, stop = self._unwrapped(first, end, unclosed)
        if act == stop:
            return Found(start, begin, begin, end)
        if self.text[act:stop] == self.text[first:end].strip() and not self.text[begin:act].strip():
            return Found(start, begin, end, end)
        closed = _END_OF_FENCE.match(self.visible, end, limit) if before["fence"] else None
        return Found(start, act, stop, closed.end() if closed else end)

    def _unwrapped(self, start: int, end: int, unclosed: str) -> tuple[int, int]:
        """Start and end of a line's content, without white space, emphasis and backticks around it."""
        line = self.text[start:end]
        content = line.strip()
        for mark in _WRAPPERS:
            marks = 2 if content.startswith(mark) else mark == unclosed
            if content.endswith(mark) and content.count(mark) == marks:
                content = content.removeprefix(mark).removesuffix(mark).strip()
        at = start + line.find(content)
        return at, at + len(content)

    def parsed(self, spans: Iterable[tuple[Kind, int]], action: str | None) -> ParsedTurn:
        """The parsed turn. ``spans`` end with the format after the action, or where there can be no action.

        Think blocks before the action are reason. The rest of the text is trailing, or format if it is white space.
        """
        spans = tuple(spans)
        rest = self.text[spans[-1][1] :]
        return ParsedTurn(
            make_spans(*self._with_thoughts(spans), (Kind.TRAILING if rest.strip() else Kind.FORMAT, len(self.text))),
            action,
        )

    def _with_thoughts(self, spans: Iterable[tuple[Kind, int]]) -> Iterator[tuple[Kind, int]]:
        blocks = iter((*self.blocks, (len(self.text), len(self.text))))
        start, stop = next(blocks)
        for kind, end in spans:
            while kind is not Kind.ACT and start < end:
                yield kind, start
                yield Kind.REASON, min(stop, end)
                if stop > end:
                    break
                start, stop = next(blocks)
            yield kind, end
            if kind is Kind.ACT:
                start = len(self.text)


def parse_labeled(text: str, keys: re.Pattern[str], *, unlabeled: bool = False) -> ParsedTurn:
    """Split a turn with a labeled action into reason, act, format and trailing. Any text is accepted.

    The action is the rest of the line after the label ``Action:``, or the next line; see `TurnText.labeled_action`.
    Labels are format. Text before the action is reason, text after it is trailing. Without an action, an observation
    that the model invented and all text after it are trailing.

    Args:
        keys: pattern of the other labels, before the action.
        unlabeled: whether the first line is the action if there is no label.
    """
    turn = TurnText.read(text)
    found = turn.labeled_action() or (turn.first_line() if unlabeled else None)
    before = found.start if found else turn.invented()
    spans: list[tuple[Kind, int]] = []
    for key in keys.finditer(turn.visible, 0, before):
        spans += [(Kind.REASON, key.start()), (Kind.FORMAT, key.end())]
    spans.append((Kind.REASON if text.strip() else Kind.FORMAT, before))
    if found is None:
        return turn.parsed(spans, None)
    action = text[found.act : found.end].strip() or None
    act = [(Kind.ACT, found.end)] if action else []
    return turn.parsed([*spans, (Kind.FORMAT, found.act), *act, (Kind.FORMAT, found.close)], action)


def _think_blocks(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each think block. Nested blocks are one; a tag that is only mentioned in a block opens none."""
    start = depth = last = 0
    for number, tag in enumerate(_THINK_TAG.finditer(text)):
        if "/" not in tag[0]:
            start, last = (start, last) if depth else (tag.start(), 0)
            depth += 1
        elif depth:
            depth, last = depth - 1, tag.end()
            if not depth:
                yield start, last
        elif not number:
            yield 0, tag.end()
    if depth and last:
        yield start, last
    elif depth and not text[text.rfind("\n", 0, start) + 1 : start].strip():
        yield start, len(text)


def open_thinking(prompt: str) -> str:
    """The end of a prompt from a think tag that is still open; empty if there is none."""
    tags = list(_THINK_TAG.finditer(prompt))
    return prompt[tags[-1].start() :] if tags and "/" not in tags[-1][0] else ""


def is_think_tag(text: str) -> bool:
    """Whether a token is a think tag, with or without white space around it."""
    return _THINK_TAG.fullmatch(text.strip()) is not None
