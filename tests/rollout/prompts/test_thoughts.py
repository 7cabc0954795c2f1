"""Turns of templates with thoughts and channels: what was generated stays in the context, and the answer is parsed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from transformers import AutoTokenizer

from rollout.engine import Completion, Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Reset
from rollout.errors import UserError
from rollout.grammar import Choice
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.channels import kinds_before_answer
from rollout.prompts.react import ReActStyle
from rollout.prompts.template import trained_template
from rollout.prompts.tokenizer import load_tokenizer
from rollout.trajectory import Author, Kind, Segment
from tests.rollout.prompts.chat_templates import CASES

RESET = Reset("You see a fridge 1.", "put a mug in fridge")
ANSWER = "Thought: a\nAction: go to"
GENERATED = {
    "qwen3": f"<think>\nplan\n</think>\n\n{ANSWER}",
    "qwen3.5-closed": ANSWER,
    "deepseek-v3.1": ANSWER,
    "glm-4-moe": f"\n<think>plan</think>\n{ANSWER}",
    "gpt-oss": f"<|channel|>analysis<|message|>plan<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
    "gpt-oss-analysis": f"plan<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
    "gemma-4": ANSWER,
    "llama-3.2": ANSWER,
    "mistral": ANSWER,
}
"""What a model of each template generates; others continue an open thought."""


def generated(name: str) -> str:
    return GENERATED.get(name, f"plan\n</think>\n\n{ANSWER}")


@pytest.fixture(scope="module", params=CASES)
def named(request: pytest.FixtureRequest, make_model: Callable[..., str]) -> tuple[str, PromptBuilder]:
    folder = CASES[request.param].folder(make_model)
    return request.param, PromptBuilder(load_tokenizer(folder), ReActStyle("Be a help."))


def ids_of(segments: Sequence[Segment]) -> tuple[int, ...]:
    return tuple(token for segment in segments for token in segment.token_ids)


def text_of(segments: Sequence[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def completion(builder: PromptBuilder, text: str) -> Completion:
    ids = (*builder.tokenizer.encode_markers(text), builder.end_of_turn_id)
    return Completion(ids, None, builder.tokenizer.decode(ids), "stop")


def test_what_the_model_generated_stays_and_its_answer_is_executed(named: tuple[str, PromptBuilder]) -> None:
    name, builder = named
    segments = builder.start(RESET)
    for number in (1, 2):
        segments += builder.open_turn(number)
        written = completion(builder, generated(name))
        turn = builder.turn(written, number)
        assert turn.action == "go to"
        assert ids_of(turn.segments) == written.token_ids
        assert {segment.author for segment in turn.segments} == {Author.MODEL}
        segments += [*turn.segments, *builder.observation("Nothing happens.", number)]
    segments += builder.open_turn(3)
    user = {"role": "user", "content": "Nothing happens."}
    messages = [
        {"role": "system", "content": "Be a help."},
        {"role": "user", "content": "You see a fridge 1.\nYour task is to: put a mug in fridge."},
        *[{"role": "assistant", "content": generated(name)}, user] * 2,
    ]
    inner = load_tokenizer(builder.tokenizer.name)
    plain = AutoTokenizer.from_pretrained(inner.name, chat_template=trained_template(inner))
    assert text_of(segments) == plain.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert ids_of(segments) == builder.tokenizer.encode_markers(text_of(segments))


async def test_an_answer_given_as_text_follows_an_empty_thought(named: tuple[str, PromptBuilder]) -> None:
    name, builder = named
    engine = ScriptedEngine(ScriptedConfig(tokenizer="any", replies=(ANSWER,)), load_tokenizer(builder.tokenizer.name))
    prompt = ids_of([*builder.start(RESET), *builder.open_turn(1)])
    for number in (1, 2):
        written = await engine.generate(prompt, Sampling(max_tokens=200), "session")
        assert written.token_ids == builder.completion_of(ANSWER).token_ids
        assert written.text == CASES[name].answer_prefix + ANSWER + CASES[name].end
        assert builder.turn(written, number).action == "go to"
        prompt += written.token_ids + ids_of([*builder.observation("No.", number), *builder.open_turn(number + 1)])


async def test_a_first_thought_begins_the_answer(named: tuple[str, PromptBuilder]) -> None:
    name, builder = named
    opened = builder.open_turn(1, "I need a mug")
    case = CASES[name]
    assert text_of(opened).endswith(f"{case.opens}{case.answer_prefix}Thought: I need a mug")
    assert [segment.kind for segment in opened][-1] is Kind.PREFIX
    turn = builder.turn(completion(builder, " now\nAction: go to"), 1, "I need a mug")
    assert [(s.kind, s.text) for s in turn.segments][:2] == [(Kind.REASON, " now"), (Kind.FORMAT, "\nAction:")]
    assert turn.action == "go to"
    engine = ScriptedEngine(ScriptedConfig(tokenizer="any", replies=(ANSWER,)), load_tokenizer(builder.tokenizer.name))
    written = await engine.generate(ids_of([*builder.start(RESET), *opened]), Sampling(max_tokens=200), "session")
    assert written.text == " a\nAction: go to" + case.end


def test_a_grammar_begins_after_the_empty_thought_and_channels_have_none(named: tuple[str, PromptBuilder]) -> None:
    name, builder = named
    choice = Choice(("go to",))
    if builder.style.turn_grammar(choice).parts and name.startswith("gpt-oss"):
        with pytest.raises(UserError, match=r"channels.*set agent\.acting to plain"):
            builder.turn_grammar(choice)
        return
    prefix = CASES[name].answer_prefix
    assert builder.turn_grammar(choice).parts == (
        *((prefix,) if prefix else ()),
        *builder.style.turn_grammar(choice).parts,
    )


def gpt_oss_turn(make_model: Callable[..., str], text: str) -> tuple[list[tuple[str, str]], str | None]:
    builder = PromptBuilder(load_tokenizer(CASES["gpt-oss"].folder(make_model)), ReActStyle("Be a help."))
    turn = builder.turn(completion(builder, text), 1)
    return [(segment.kind.value, segment.text) for segment in turn.segments], turn.action


def test_the_channels_of_a_turn_have_their_kinds(make_model: Callable[..., str]) -> None:
    assert gpt_oss_turn(make_model, GENERATED["gpt-oss"]) == (
        [
            ("format", "<|channel|>analysis<|message|>"),
            ("reason", "plan"),
            ("format", "<|end|><|start|>assistant<|channel|>final<|message|>Thought:"),
            ("reason", " a"),
            ("format", "\nAction:"),
            ("act", " go to"),
            ("format", "<|return|>"),
        ],
        "go to",
    )


def test_an_action_in_the_analysis_channel_is_not_executed(make_model: Callable[..., str]) -> None:
    segments, action = gpt_oss_turn(make_model, "<|channel|>analysis<|message|>Action: go to")
    assert action is None
    assert segments == [
        ("format", "<|channel|>analysis<|message|>"),
        ("reason", "Action: go to"),
        ("format", "<|return|>"),
    ]


def test_text_without_a_header_is_an_answer_and_continues_an_open_thought() -> None:
    assert kinds_before_answer(["Action:", " go"], [False, False], thinking=False) == []
    assert kinds_before_answer(["Action:", " go"], [False, False], thinking=True) == [Kind.REASON] * 2
    assert kinds_before_answer([], [], thinking=True) == []


def test_the_digest_of_a_builder_is_that_of_its_template(named: tuple[str, PromptBuilder]) -> None:
    _, builder = named
    assert len(builder.template_digest) == 64
