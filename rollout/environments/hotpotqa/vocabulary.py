"""Vocabulary of the tokenizer of the HotpotQA models."""

from __future__ import annotations

from rollout.environments.hotpotqa.demonstrations import TOOLS
from rollout.environments.hotpotqa.facts import FACTS
from rollout.environments.hotpotqa.names import FIRST_NAMES, LAST_NAMES, PATTERNS, PLACES
from rollout.environments.vocabulary import Vocabulary, any_of, anywhere, numbers, style_phrases, word_pattern


def _words() -> list[str]:
    names = [*FIRST_NAMES, *LAST_NAMES, *PLACES, *(w for words in PATTERNS.values() for part in words for w in part)]
    values = (word for facts in FACTS.values() for fact in facts for word in fact.words)
    return [*anywhere(names), *values, *numbers(), *style_phrases(TOOLS)]


VOCABULARY = Vocabulary(
    word_pattern(
        "a|an|and|by|did|do|does|for|in|is|its|like|of|or|search|stopped|the|to|up|use|was|"
        "A|Are|Did|Do|I|In|It|Was|Were|What|Who|"
        "persons?|towns?|rivers?|regions?|company|companies|books?|bridges?|museums?",
        any_of(style_phrases(TOOLS)),
    ),
    words=_words,
)
