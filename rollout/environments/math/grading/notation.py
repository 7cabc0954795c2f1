r"""Finds the answer in the text around it: boxes, sentences, math delimiters, Markdown and text commands.

The mathematics inside is not rewritten, except that Unicode signs become LaTeX commands, which math-verify needs.
"""

from __future__ import annotations

import re
import unicodedata

_BRACES = re.compile(
    r"\\(?P<box>boxed|fbox)(?:\s*(?P<open>\{)|\s+(?P<token>[^\s${}\\]+))|\\.|[{}]",
    re.DOTALL,
)
_BETWEEN_BOXES = re.compile(r"[\s,;$]*(?:and|or)?[\s,;$]*")

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("−–‐‑", "-"),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f", " "),
        **dict.fromkeys("‘’", "'"),
        **dict.fromkeys("“”", '"'),
        **dict.fromkeys("·⋅", r"\cdot "),
        "×": r"\times ",
        "÷": "/",
        "∞": r"\infty ",
        "π": r"\pi ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "∅": r"\emptyset ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "≈": r"\approx ",
        "±": r"\pm ",
        "°": r"^\circ ",
    }
)
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_RAISED = re.compile("[⁰¹²³⁴-⁹⁺⁻]+")
_ROOT = re.compile(r"√\s*(?:(\d+(?:\.\d+)?|[A-Za-z])|\(([^()]*)\))")

TEXT_COMMAND = r"\\(?:text|textbf|textrm|textit|textnormal|emph|mathrm|mathbf|mbox|operatorname)\s*"
_INLINE = (
    re.compile(r"(?<!\S)\*\*([^\s*][^*]*)\*\*(?![\w*])"),
    re.compile(r"(?<!\\)\$\$([^$]+)\$\$"),
    re.compile(r"(?<![\\$])\$(?=[^\s$])((?:[^$\\]|\\.)*?)(?<=\S)\$(?![\d$])", re.DOTALL),
    re.compile(r"(?<!\\)\\\(((?:[^\\]|\\[^)])*)\\\)"),
    re.compile(r"(?<!\\)\\\[((?:[^\\]|\\[^\]])*)\\\]"),
)
_WRAPPERS = (
    re.compile(r"(?P<mark>\*{1,3}|_{1,2}|`{1,3}|\"|')(?P<inside>(?:(?!(?P=mark)).)+)(?P=mark)", re.DOTALL),
    re.compile(TEXT_COMMAND + r"\{(?P<inside>[^{}]*)\}"),
    re.compile(r"<(?P<tag>[a-z]{1,10})>(?P<inside>[^<>]*)</(?P=tag)>", re.IGNORECASE),
    re.compile(r"(?:\\displaystyle(?![a-zA-Z])|\\approx(?![a-zA-Z])|=)\s*(?P<inside>.*)", re.DOTALL),
)
_FINAL_MARK = re.compile(r"(?<![\\.])[.,;]")
_MAX_WRAPPERS = 8

_HOPE = re.compile(r"\.?\s*I hope (?:it|this) is correct[.!]?\s*$", re.IGNORECASE)
_ANSWER = re.compile(
    r"(?:\b(?:answer|result|solution)\b(?P<between>[^\d\n.;=:]{0,60}?)(?:\b(?:is|are|equals)\b|[:=])\s*:?|#{3,6})\s*",
    re.IGNORECASE,
)
_SAYS = re.compile(
    r"(?P<before>[^\d\\$=<>{}(\[]{1,120})"
    r"(?:\b(?:is|are|was|were|equals|has|have|had|gets?|got|needs?|costs?|takes?|pays?|paid|makes?|made|earns?|earned|"
    r"spends?|spent|saves?|saved|sells?|sold|buys?|bought|eats?|ate|travels?|uses?|used|remains?|there)\b|(?<=\w\w)\s*[=:])"
    r"\s*(?P<answer>\S.*)",
    re.DOTALL,
)
_SAID_AFTER = re.compile(r"(?P<answer>.+?) is (?:the|my|our) (?:final |correct )?answer", re.DOTALL)
_CHOICE = re.compile(r"(?:option|choice)\s+(?P<answer>\(?[A-Za-z]\)?)", re.IGNORECASE)
_CALCULATION = re.compile(r"(?:[\d\s.,+*/()$-]|\\times|\\cdot|\\div|\\\$)+=(?P<answer>[^=]+)")
_NEGATION = re.compile(
    r"(?:\b(?:not|no|never|wrong|incorrect|neither|nor|cannot|if|unless|either)\b|n't\b)", re.IGNORECASE
)


def boxed(text: str) -> str | None:
    r"""Content of the last closed ``\boxed{…}`` of a text; None if there is none. Takes linear time."""
    boxes = _boxes(text)
    return boxes[-1][2] if boxes else None


def bare(text: str) -> str:
    """Remove what encloses the whole answer: boxes, delimiters, Markdown, text commands and the final full stop."""
    text = _strip(_latex_signs(text))
    boxes = _boxes(text)
    return _strip(_last_boxes(text, boxes)) if boxes else text


def answer_in(text: str) -> str:
    """Like `bare`, but for an answer that may be a sentence or follow one: the last one that is given."""
    inner = bare(text)
    if _boxes(_latex_signs(text)):
        return inner
    for find in (_after_answer, _after_words):
        inner = _strip(find(inner))
    calculation = _CALCULATION.fullmatch(inner)
    return _strip(calculation["answer"]) if calculation else inner


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Begin, end and content of all closed boxes, in the order in which they begin."""
    opened: list[re.Match[str]] = []
    found: list[tuple[int, int, str]] = []
    for mark in _BRACES.finditer(text):
        if mark["token"]:
            found.append((mark.start(), mark.end(), mark["token"]))
        elif mark["open"] or mark[0] == "{":
            opened.append(mark)
        elif mark[0] == "}" and opened:
            begin = opened.pop()
            if begin["box"]:
                found.append((begin.start(), mark.end(), text[begin.end() : mark.start()].strip()))
    return sorted(found)


def _last_boxes(text: str, boxes: list[tuple[int, int, str]]) -> str:
    """Content of the last box, and of those directly before it, as a list."""
    begin, _, content = boxes[-1]
    contents = [content]
    for start, end, earlier in reversed(boxes[:-1]):
        if end > begin or not _BETWEEN_BOXES.fullmatch(text[end:begin]):
            break
        contents.append(earlier)
        begin = start
    return ", ".join(dict.fromkeys(reversed(contents)))


def _latex_signs(text: str) -> str:
    text = _VULGAR.sub(lambda match: r"\frac{{{}}}{{{}}}".format(*_two_numbers(match[0])), text)
    text = _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2]}}}", text)
    text = _RAISED.sub(lambda match: f"^{{{_digits(match[0])}}}", text)
    return text.translate(_SIGNS)


def _two_numbers(sign: str) -> list[str]:
    return unicodedata.normalize("NFKC", sign).split("\N{FRACTION SLASH}")


def _digits(raised: str) -> str:
    return unicodedata.normalize("NFKC", raised).replace("−", "-")


def _strip(text: str) -> str:
    """Remove delimiters of formulas anywhere, and all that encloses the text."""
    for _ in range(_MAX_WRAPPERS):
        before = text
        text = text.strip()
        if _FINAL_MARK.fullmatch(text[-2:], max(0, len(text[-2:]) - 1)):
            text = text[:-1].rstrip()
        for pattern in _INLINE:
            text = pattern.sub(r"\1 ", text).strip()
        for pattern in _WRAPPERS:
            if match := pattern.fullmatch(text):
                text = match["inside"].strip()
        if text == before:
            break
    return " ".join(text.split())


def _after_answer(text: str) -> str:
    """What follows the last "the answer is" or "####", unless its sentence denies it."""
    text = _HOPE.sub("", text)
    if said := _SAID_AFTER.fullmatch(text):
        return said["answer"]
    found = list(_ANSWER.finditer(text))
    if not found:
        return text
    sentence = re.split(r"[.!?\n]\s", text[: found[-1].start()])[-1] + (found[-1]["between"] or "")
    rest = text[found[-1].end() :].strip("* ")
    return text if _NEGATION.search(sentence) or not rest else rest


def _after_words(text: str) -> str:
    """What follows words such as "The total is" or "She has", unless they deny it."""
    match = _CHOICE.fullmatch(text) or _SAYS.fullmatch(text)
    if match is None or _NEGATION.search(match.groupdict().get("before") or ""):
        return text
    return match["answer"]
