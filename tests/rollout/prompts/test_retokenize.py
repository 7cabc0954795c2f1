"""Semantics of retokenization.

1. The segments of a converted episode equal those that the prompt builder creates for the same episode with the
   student's tokenizer and chat template. Content keeps its text, kinds, authors and turns.
2. The teacher's scores are converted per aligned group of tokens, and the total likelihood is preserved.
3. Every tokenizer that prompts can be built with can be the teacher's or the student's. Others are refused.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from rollout.environment import Reset
from rollout.errors import UserError
from rollout.models import model_folder
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.react import ReActStyle
from rollout.prompts.retokenize import Retokenizer
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.trajectory import Author, Kind, Origin, Relation, Segment, TopK, Trajectory, Truncation
from tests.learner.toys import toy_trajectory
from tests.rollout.prompts.chat_templates import CASES, QWEN3_5, QWEN3_5_CLOSED

TEACHER, STUDENT = "builtin:household-tokenizer", "builtin:webshop-tokenizer"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_END = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TOOL_CALL = '{"name": "search", "arguments": {"query": "café ☕ 🙂🙃", "k": 3}}'
CODE = "```py\nfor x in [1, 2]:\n    print(f'{x}: naïve – 数')\n```<end_code>"
TURNS: list[tuple[str, str | None]] = [
    ("Thought: Ich suche 東京 🗼.\nAction: " + TOOL_CALL, "You see <|end|>, <|im_end|> and [turn], and a mug 1."),
    ("Thought: now code\nAction: " + CODE, "1: naïve – 数\n2: naïve – 数"),
    ("Thought: done\nAction: go to fridge 1", None),
]
RESET = Reset("You see a fridge 1 and a café.", "put a mug in fridge")


def variant(folder: Path, template: str | None) -> str:
    """The student's tokenizer with another chat template and more tokens: ChatML's, and a plain one, ``[turn]``."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model_folder(STUDENT))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.add_tokens(["[turn]"])
    tokenizer.chat_template = template
    tokenizer.save_pretrained(str(folder))
    return str(folder)


def loaded(name: str) -> Tokenizer:
    return load_tokenizer(model_folder(name))


def built(tokenizer: str) -> list[Segment]:
    """The episode that the prompt builder creates in a model's tokens."""
    builder = PromptBuilder(loaded(tokenizer), ReActStyle("Be a help.", examples=("Once.",)))
    return builder.transcript(RESET, TURNS, hints=("It is cold.",))


def episode(segments: list[Segment], role: str = "teacher") -> Trajectory:
    base = toy_trajectory(0)
    identity = dataclasses.replace(base.identity, role=role)
    return dataclasses.replace(base, identity=identity, segments=tuple(segments))


def scored(segment: Segment, vocabulary: int) -> Segment:
    """Add a teacher that assigns 0.9 and 0.6 in turn to the sampled token, 0.05 to another, the rest to the tail."""
    shares = [(0.9, 0.6)[place % 2] for place in range(len(segment.token_ids))]
    ids = tuple((token, (token + 1) % vocabulary) for token in segment.token_ids)
    logprobs = tuple((math.log(share), math.log(0.05)) for share in shares)
    return dataclasses.replace(segment, teacher=TopK(ids, logprobs, tuple(0.95 - share for share in shares)))


def likelihood(segment: Segment) -> float:
    """Sum over the rows of the log-probability of the sampled token, the first entry of each row."""
    assert segment.teacher is not None
    return sum(row[0] for row in segment.teacher.logprobs if row)


@pytest.mark.parametrize(
    "template", ["own", CHATML, CHATML.replace("<|im_start|>", "[turn]"), NO_SYSTEM, None, QWEN3_5, QWEN3_5_CLOSED]
)
def test_a_converted_episode_equals_the_one_of_the_students_prompt_builder(
    tmp_path: Path, template: str | None
) -> None:
    student = STUDENT if template == "own" else variant(tmp_path / "student", template)
    translated = Retokenizer(TEACHER, student).translate(episode(built(TEACHER))).segments
    expected = built(student)
    given_to_it = [[s for s in segments if s.author is not Author.MODEL] for segments in (translated, expected)]
    assert given_to_it[0] == given_to_it[1]
    assert all(loaded(student).decode(segment.token_ids) == segment.text for segment in translated)
    assert "".join(s.text for s in translated) == "".join(s.text for s in expected)


def test_a_thought_that_the_teachers_prompt_opens_is_written_by_a_student_whose_prompt_opens_none(
    tmp_path: Path,
) -> None:
    thinking = variant(tmp_path / "teacher", QWEN3_5)
    translated = Retokenizer(thinking, TEACHER).translate(episode(built(thinking))).segments
    written = ["".join(s.text for s in translated if s.turn == n and s.author is Author.MODEL) for n in (1, 2, 3)]
    assert written == [f"<think>\n\n</think>\n\n{text}<|end|>" for text, _ in TURNS]
    both = Retokenizer(thinking, thinking).translate(episode(built(thinking))).segments
    assert "".join(s.text for s in both) == "".join(s.text for s in built(thinking))


def test_a_teacher_that_writes_in_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"teacher's chat template has channels.*teacher\.engine\.api: chat"):
        Retokenizer(CASES["gpt-oss"].folder(_with_tokens(tmp_path)), STUDENT)


def _with_tokens(folder: Path) -> Callable[..., str]:
    def make(template: str, *, special: list[str], added: tuple[str, ...], bos: str | None) -> str:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(model_folder(STUDENT))
        tokenizer.add_special_tokens({"additional_special_tokens": special})
        tokenizer.chat_template = template
        tokenizer.save_pretrained(str(folder))
        return str(folder)

    return make


def test_tool_calls_and_code_stay_in_act_segments() -> None:
    acts = [Segment(Kind.ACT, Author.MODEL, 1, text, TOKENIZERS[TEACHER].encode(text)) for text in (TOOL_CALL, CODE)]
    translated = RETOKENIZERS[TEACHER, STUDENT].translate(episode(acts)).segments
    written = [s for s in translated if s.kind is Kind.ACT]
    assert [(s.text, TOKENIZERS[STUDENT].decode(s.token_ids)) for s in written] == [(t, t) for t in (TOOL_CALL, CODE)]


def test_a_turn_that_the_model_did_not_end_is_ended_by_the_template(tmp_path: Path) -> None:
    segments = [
        dataclasses.replace(s, text=s.text.removesuffix("<|end|>"), token_ids=s.token_ids[:-1])
        if s.author is Author.MODEL and s.text.endswith("<|end|>")
        else s
        for s in built(TEACHER)
    ]
    translated = Retokenizer(TEACHER, variant(tmp_path / "student", CHATML)).translate(episode(segments)).segments
    ends = [s for s in translated if s.text == "<|im_end|>"]
    assert [(s.author, s.turn) for s in ends] == [(Author.TEMPLATE, turn) for turn in (1, 2, 3)]


def test_a_character_split_by_a_segment_boundary_stays_complete_in_one_segment() -> None:
    teacher = TOKENIZERS[TEACHER]
    *first, last = teacher.encode("a☕")
    cut = [
        scored(Segment(Kind.REASON, Author.MODEL, 1, "a☕", tuple(first)), 801),
        scored(Segment(Kind.ACT, Author.MODEL, 1, " go", (last, *teacher.encode(" go"))), 801),
    ]
    translated = Retokenizer(TEACHER, STUDENT).translate(episode(cut)).segments
    written = [s for s in translated if s.author is Author.MODEL]
    assert [s.text for s in written] == ["a☕", " go"]
    assert [likelihood(s) for s in written] == pytest.approx([likelihood(s) for s in cut], rel=1e-5)


CHARACTERS = st.sampled_from('abgo to fridge1 {}":\n\t_é☕🙂数\u0301<|end|>') | st.characters(codec="utf-8")
TEXTS = st.text(CHARACTERS, min_size=1) | st.sampled_from([TOOL_CALL, CODE, "\ufffd", "a <|end|>"])
PIECES = st.lists(st.tuples(st.sampled_from([Kind.REASON, Kind.ACT, Kind.FORMAT]), TEXTS), min_size=1, max_size=4)
BOTH_WAYS = [(TEACHER, STUDENT), (STUDENT, TEACHER)]
RETOKENIZERS = {names: Retokenizer(*names) for names in BOTH_WAYS}
TOKENIZERS = {name: loaded(name) for name in (TEACHER, STUDENT)}


@given(PIECES, st.sampled_from(BOTH_WAYS))
def test_content_keeps_its_text_and_provenance_and_the_teachers_likelihood(
    pieces: list[tuple[Kind, str]], names: tuple[str, str]
) -> None:
    teacher, student = (TOKENIZERS[name] for name in names)
    segments = [scored(Segment(kind, Author.MODEL, 1, text, teacher.encode(text)), 800) for kind, text in pieces]
    translated = [s for s in RETOKENIZERS[names].translate(episode(segments)).segments if s.author is Author.MODEL]
    assert [(s.kind, s.turn, s.text) for s in translated] == [(s.kind, s.turn, s.text) for s in segments]
    for before, after in zip(segments, translated, strict=True):
        assert student.decode(after.token_ids) == after.text
        assert not set(after.token_ids) & student.special_ids
        assert likelihood(after) == pytest.approx(likelihood(before), rel=1e-4, abs=1e-4)
        assert after.teacher is not None
        rows = [row for row in after.teacher.logprobs if row]
        texts = [teacher.decode([token]) for token in before.token_ids]
        if not any("\ufffd" in text for text in texts):
            ends = [{*accumulate(map(len, pieces))} for pieces in (texts, student.pieces(after.token_ids))]
            assert len(rows) == len(ends[0] & ends[1])


def test_a_converted_segment_keeps_its_engine_weights_cut_origin_and_teacher() -> None:
    origin = Origin(Relation.RELABELED, "a larger model")
    kept: dict[str, Any] = {"engine": "e", "weight_version": 3, "truncated": Truncation.MAX_TOKENS, "origin": origin}
    token_ids = TOKENIZERS[TEACHER].encode("go to fridge 1")
    before = scored(Segment(Kind.ACT, Author.MODEL, 1, "go to fridge 1", token_ids), 800)
    assert before.teacher is not None
    before = dataclasses.replace(before, teacher=dataclasses.replace(before.teacher, model="m"), **kept)
    translated = Retokenizer(TEACHER, STUDENT).translate(episode([before])).segments
    [after] = [segment for segment in translated if segment.author is Author.MODEL]
    assert {name: getattr(after, name) for name in kept} == kept
    assert after.teacher is not None
    assert after.teacher.model == "m"


def test_the_end_of_a_turn_is_its_own_aligned_group() -> None:
    segments = [scored(s, 801) if s.author is Author.MODEL else s for s in built(TEACHER)]
    translated = Retokenizer(TEACHER, STUDENT).translate(episode(segments))
    ends = [s.teacher for s in translated.segments if s.author is Author.MODEL and s.text.endswith("<|end|>")]
    assert [end.token_ids[-1] if end else None for end in ends] == [(1, 2)] * 3
    assert all(s.teacher and s.teacher.token_ids[0] for s in translated.segments if s.author is Author.MODEL)


@pytest.mark.parametrize("to_it", [True, False])
def test_a_tokenizer_that_prepends_a_space_to_every_text_can_be_on_either_side(llama_2: str, to_it: bool) -> None:
    names = (TEACHER, llama_2) if to_it else (llama_2, STUDENT)
    segments = [scored(s, 400) if s.author is Author.MODEL else s for s in built(names[0])]
    translated = Retokenizer(*names).translate(episode(segments)).segments
    assert "".join(s.text for s in translated) == "".join(s.text for s in built(names[1]))
    assert all(loaded(names[1]).decode(segment.token_ids) == segment.text for segment in translated)
    written = [[likelihood(s) for s in made if s.author is Author.MODEL] for made in (segments, translated)]
    assert written[1] == pytest.approx(written[0], rel=1e-5)


@pytest.mark.parametrize("as_teacher", [True, False])
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda folder: variant(folder, NO_END),
            "the chat template of .*student .*does more than insert constant texts",
        ),
        (lambda folder: folder.mkdir() or str(folder), "no tokenizer.json can be loaded from .*student; check"),
        (lambda folder: "builtin:student", "there is no built-in model 'builtin:student'; choose"),
    ],
    ids=["template", "empty folder", "unknown name"],
)
def test_a_model_that_prompts_cannot_be_built_for_is_refused(
    tmp_path: Path, make: Callable[[Path], str], sentence: str, as_teacher: bool
) -> None:
    unfit = make(tmp_path / "student")
    with pytest.raises(UserError, match=sentence):
        Retokenizer(*((unfit, STUDENT) if as_teacher else (TEACHER, unfit)))
