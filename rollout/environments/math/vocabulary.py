"""Vocabulary of the tokenizer of the math models."""

from __future__ import annotations

from rollout.environments.math.demonstrations import TOOLS
from rollout.environments.math.stories import COUNTED, GOODS, NAMES, VEHICLES
from rollout.environments.vocabulary import Vocabulary, any_of, anywhere, numbers, style_phrases, word_pattern


def _words() -> list[str]:
    return [*anywhere([*NAMES, *COUNTED, *GOODS, *VEHICLES]), *numbers(), *style_phrases(TOOLS)]


VOCABULARY = Vocabulary(word_pattern("I|does|do|and|than|as", any_of(style_phrases(TOOLS))), words=_words)
