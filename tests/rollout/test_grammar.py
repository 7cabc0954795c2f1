"""Grammars: every style's grammar matches its own turns, and constrained completions always end."""

from __future__ import annotations

import random
import re
from functools import cache
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.environments.plugins import find_plugin
from rollout.errors import UserError
from rollout.grammar import ANY_ACTION, Choice, FreeText, Grammar
from rollout.prompts.example import Demonstration, DemonstrationTurn
from rollout.prompts.styles import StyleName, new_style

LISTED = Choice(("go to shelf 1", "go to shelf 12", 'take (a) b/c "d" \\ é from shelf 1'), ("search[{}]", "say {}"))
STYLES = get_args(StyleName)
END = 3


def demonstrated(environment: str) -> list[DemonstrationTurn]:
    worked = find_plugin(environment).load_examples()[0]
    assert isinstance(worked, Demonstration)
    return list(worked.turns)


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("environment", ["household", "hotpotqa", "math", "webshop"])
def test_worked_turns_match_the_grammar_of_their_style(environment: str, name: StyleName) -> None:
    style = new_style(name, "", find_plugin(environment).load_examples(), answer="finish[{}]")
    for turn in demonstrated(environment):
        text, _ = style.turn(turn)
        assert re.fullmatch(style.turn_grammar(ANY_ACTION).regex(), text)
        if name in ("react", "act", "stateact"):
            assert re.fullmatch(style.turn_grammar(Choice((turn.action,))).regex(), text)
            assert not re.fullmatch(style.turn_grammar(Choice((f"{turn.action}x", "look"))).regex(), text)


@pytest.mark.parametrize("name", ["codeact", "cot"])
def test_styles_without_single_actions_refuse_a_list_of_actions(name: StyleName) -> None:
    with pytest.raises(UserError, match=r"set agent\.acting\.to to grammar"):
        new_style(name, "", answer="finish[{}]").turn_grammar(LISTED)


@cache
def vocabulary() -> object:
    """A tokenizer with single bytes and some words; the first four ids are special tokens."""
    from llguidance.hf import from_tokenizer
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|a|>", "<|b|>", "<|c|>", "<|end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=letters, show_progress=False)
    backend.train_from_iterator(["go to shelf 12\nAction: take\nThought: ```py\ncode: 1```"] * 9, trainer)
    backend.add_tokens([AddedToken("\nAction:", special=False, normalized=False)])
    outer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|b|>")
    return from_tokenizer(outer, 410), outer


def written(grammar: Grammar, max_tokens: int, seed: int) -> tuple[str, bool]:
    """A random completion under the grammar, and whether it ended."""
    from llguidance import LLMatcher

    tokenizer, outer = vocabulary()  # type: ignore[misc]
    grammar = grammar.lark(max_tokens, (END,), outer.encode)
    matcher, choose, made = LLMatcher(tokenizer, grammar), random.Random(seed), list[int]()
    assert not matcher.get_error()
    while len(made) < max_tokens and (not made or made[-1] != END):
        allowed = [token for token, bias in enumerate(matcher.compute_logit_bias()) if bias]
        made.append(choose.choice(allowed))
        assert matcher.consume_token(made[-1])
    return outer.decode(made[: made.index(END)] if END in made else made), END in made


@pytest.mark.parametrize("name", STYLES)
@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_any_completion_under_a_grammar_ends_in_time_and_parses_as_an_allowed_action(
    name: StyleName, seed: int
) -> None:
    style = new_style(name, "", answer="finish[{}]")
    action = LISTED if name in ("react", "act", "stateact") else ANY_ACTION
    text, ended = written(style.turn_grammar(action), 300, seed)
    done = style.parse(text).action
    assert ended
    assert done
    if action is LISTED:
        assert done in LISTED.choices or re.fullmatch(r"search\[.*\]|say .*", done)


def test_free_parts_share_the_tokens_not_reserved_for_fixed_parts() -> None:
    grammar = Grammar(("ab", FreeText(), "c", FreeText("[0-9]*", share=3), Choice(("d", "eeee"))))

    def limits(max_tokens: int, tokens_per_text: int) -> list[int]:
        text = grammar.lark(max_tokens, (1,), lambda text: [0] * tokens_per_text)
        return [int(limit) for limit in re.findall(r"max_tokens=(\d+)", text)]

    assert limits(28, 9) == [5, 15]  # as many tokens as bytes: 2, 1 and 4, and the end
    assert limits(29, 1) == [5, 17]  # twice one token each, but "c" has one byte
    assert limits(3, 9) == [1, 1]
