"""How the tests of prompt styles look at a cut text."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import pytest

from rollout.prompts.style import Style
from rollout.trajectory import Kind

Cut = Callable[[Style, str], list[tuple[Kind, str]]]


@pytest.fixture(scope="session")
def cut() -> Cut:
    """(kind, text) of each stretch of one kind of a parsed text."""

    def parts(style: Style, text: str) -> list[tuple[Kind, str]]:
        kinds: list[Kind] = []
        for kind, end in style.parse(text).spans:
            kinds += [kind] * (end - len(kinds))
        runs = groupby(zip(kinds, text, strict=True), lambda pair: pair[0])
        return [(kind, "".join(character for _, character in run)) for kind, run in runs]

    return parts
