"""The end of a turn is the model's after ``stop`` and the template's after ``length``, whatever an engine returns.

The answers of endpoints come from a local server that sends text only.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from learner.data.streams import to_sequence
from rollout.engine import Completion, Sampling
from rollout.engines.openai_engine import OpenAIConfig, start
from rollout.environment import Reset, Task
from rollout.prompts.builder import PromptBuilder, Turn
from rollout.prompts.styles import StyleName, new_style
from rollout.prompts.tokenizer import load_tokenizer
from rollout.trajectory import Author, Kind, Outcome, Policy, Segment, StopReason, TopK, Trajectory
from tests.rollout.prompts.families import FAMILIES, SHIPPED, save_family
from tests.rollout.rolling_out import identity_of

RESET = Reset("You see a fridge 1.", "put a mug in fridge")
TEXT = "Thought: I go.\nAction: go to fridge 1"
Finish = Literal["stop", "length"]


class TextServer(ThreadingHTTPServer):
    """Answers every request with one text, without token ids."""

    text, finish = "", "stop"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: TextServer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        text = self.server.text
        content = {"message": {"role": "assistant", "content": text}} if "chat" in self.path else {"text": text}
        choice = {"index": 0, "finish_reason": self.server.finish, "logprobs": None, **content}
        answer = json.dumps({"id": "1", "object": "x", "created": 1, "model": "m", "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[TextServer]:
    with TextServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=[*FAMILIES, SHIPPED])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_family(request.param, tmp_path_factory.mktemp("family"))


def new_builder(folder: str, style: StyleName = "react") -> PromptBuilder:
    return PromptBuilder(load_tokenizer(folder), new_style(style, "Be a help.", answer="{}"))


async def completed(folder: str, source: str, finish: Finish, server: TextServer, text: str = TEXT) -> Completion:
    """The completion of a first prompt, in ids or from an endpoint that returns only text."""
    builder = new_builder(folder)
    if source == "ids":
        whole = builder.completion_of(text)
        return whole if finish == "stop" else Completion(whole.token_ids[:-1], None, text, finish)
    server.text, server.finish = text, finish
    settings: dict[str, Any] = {"api": "chat"} if source == "chat" else {"api": "completions", "prompt": "text"}
    engine = await start(
        OpenAIConfig(base_url=server.url, model="m", tokenizer=folder, api_key_env=None, extensions=False, **settings)
    )
    prompt = [t for s in (*builder.start(RESET), *builder.open_turn(1)) for t in s.token_ids]
    try:
        return await engine.generate(prompt, Sampling(max_tokens=200), "session")
    finally:
        await engine.close()


def trained(builder: PromptBuilder, turn: Turn, stream: str) -> str:
    """The text that a stream trains in an episode of one turn."""
    segments = (*builder.start(RESET), *builder.open_turn(1), *turn.segments)
    task = Task("t", "toy", "train", "t")
    policy = Policy("m", 0, "react", "{}", "{}")
    outcome = Outcome(1.0, True, StopReason.SUCCESS)
    sequence = to_sequence(Trajectory(identity_of(task), policy, outcome, segments), [stream])
    return builder.tokenizer.decode(sequence.token_ids[np.flatnonzero(sequence.weights[stream])].tolist())


@pytest.mark.parametrize("finish", ["stop", "length"])
@pytest.mark.parametrize("source", ["ids", "text", "chat"])
async def test_the_end_of_turn_is_trained_after_stop_and_only_then(
    folder: str, source: str, finish: Finish, server: TextServer
) -> None:
    builder = new_builder(folder)
    if source == "chat" and not builder.tokenizer.has_chat_template:
        pytest.skip("the chat API needs a chat template")
    turn = builder.turn(await completed(folder, source, finish, server), 1)
    *written, end = turn.segments
    assert "".join(segment.text for segment in written) == TEXT
    assert turn.action == "go to fridge 1"
    author = Author.MODEL if finish == "stop" else Author.TEMPLATE
    assert (end.kind, end.author, end.token_ids) == (Kind.FORMAT, author, (builder.end_of_turn_id,))
    marker = end.text if finish == "stop" else ""
    assert trained(builder, turn, "generated") == TEXT + marker
    assert trained(builder, turn, "assistant") == TEXT + marker
    assert trained(builder, turn, "format").count(end.text) == (finish == "stop")
    assert trained(builder, turn, "act").strip() == "go to fridge 1"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_end_of_turn_is_the_one_of_the_template(name: str, tmp_path: Path) -> None:
    builder = new_builder(save_family(name, tmp_path))
    _, _, _, end_of_turn, _ = FAMILIES[name]
    assert builder.tokenizer.decode([builder.end_of_turn_id]) == end_of_turn


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("cot", "I add.\n\n<answer>2</answer>"),
        ("codeact", "Thought: a\nCode:\n```py\nf()\n```<end_code>"),
        ("react", "Thought: a\nAction: go\nObservation"),
    ],
)
def test_a_stop_string_ends_a_turn_like_the_model_does(folder: str, style: StyleName, text: str) -> None:
    builder = new_builder(folder, style)
    ids = builder.tokenizer.encode(text)
    turn = builder.turn(Completion(ids, None, text, "stop"), 1)
    assert (turn.segments[-1].author, turn.segments[-1].token_ids) == (Author.MODEL, (builder.end_of_turn_id,))
    assert trained(builder, turn, "generated") == text.removesuffix("\nObservation") + turn.segments[-1].text


def test_an_appended_end_of_turn_has_a_distribution_if_the_other_tokens_have(model: str) -> None:
    builder = new_builder(model, "cot")
    ids = builder.tokenizer.encode("1\n\n<answer>2</answer>")
    rows = TopK(tuple((token,) for token in ids), tuple((-0.5,) for _ in ids), (0.25,) * len(ids))
    stopped = builder.turn(Completion(ids, None, "", "stop", rows), 1).segments[-1]
    assert stopped.teacher == TopK(((builder.end_of_turn_id,),), ((0.0,),), (0.0,))
    assert builder.turn(Completion(ids, None, "", "length", rows), 1).segments[-1].teacher is None
    assert builder.turn(Completion(ids, None, "", "stop"), 1).segments[-1].teacher is None


def test_an_end_token_that_is_not_the_templates_is_the_models_and_glue_follows(tmp_path: Path) -> None:
    """gpt-oss ends an answer with ``<|return|>``, and its template has ``<|end|>`` in the history."""
    builder = new_builder(save_family("gpt-oss", tmp_path))
    ids = (*builder.tokenizer.encode(TEXT), *builder.tokenizer.encode_markers("<|return|>"))
    *_, own, glue = builder.turn(Completion(ids, None, "", "stop"), 1).segments
    assert (own.kind, own.author, own.text) == (Kind.FORMAT, Author.MODEL, "<|return|>")
    assert (glue.kind, glue.author, glue.text) == (Kind.FORMAT, Author.TEMPLATE, "<|end|>")


def shown(segments: tuple[Segment, ...]) -> list[tuple[str, str, str]]:
    return [(segment.kind.value, segment.author.value, segment.text) for segment in segments]


def test_text_after_the_action_is_not_trained_but_the_end_of_the_turn_is_trained_after_the_action(model: str) -> None:
    builder = new_builder(model)
    turn = builder.turn(builder.completion_of(f"{TEXT}\nObservation: You win.\nThought: done"), 1)
    assert shown(turn.segments)[-3:] == [
        ("act", "model", " go to fridge 1"),
        ("trailing", "model", "\nObservation: You win.\nThought: done"),
        ("format", "model", "<|end|>"),
    ]
    for stream in ("generated", "assistant", "all"):
        assert trained(builder, turn, stream).endswith(" go to fridge 1<|end|>")
    assert trained(builder, turn, "format") == "Thought:\nAction:<|end|>"
    assert trained(builder, turn, "trailing") == "\nObservation: You win.\nThought: done"


def test_after_a_role_marker_only_the_end_of_turn_is_trained(model: str) -> None:
    builder = new_builder(model)
    ids = builder.tokenizer.encode_markers(f"{TEXT}<|user|>You win.<|assistant|>Thought: b<|end|>")
    turn = builder.turn(Completion(ids, None, "", "stop"), 1)
    assert turn.action == "go to fridge 1"
    assert trained(builder, turn, "generated") == f"{TEXT}<|end|>"
    ids = builder.tokenizer.encode_markers(f"{TEXT}<|end|><|user|>You win.<|end|>")
    assert trained(builder, builder.turn(Completion(ids, None, "", "stop"), 1), "generated") == f"{TEXT}<|end|>"


def test_think_tags_that_are_special_tokens_are_parsed(model: str, tmp_path: Path) -> None:
    backend = json.loads((Path(model) / "tokenizer.json").read_text())
    size = max(token["id"] for token in backend["added_tokens"]) + 1000
    for number, text in enumerate(("<think>", "</think>")):
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        backend["added_tokens"].append({"id": size + number, "content": text, "special": True, **flags})
    (tmp_path / "tokenizer.json").write_text(json.dumps(backend))
    (tmp_path / "tokenizer_config.json").write_text((Path(model) / "tokenizer_config.json").read_text())
    template = Path(model) / "chat_template.jinja"
    if template.exists():
        (tmp_path / "chat_template.jinja").write_text(template.read_text())
    builder = new_builder(str(tmp_path))
    ids = builder.tokenizer.encode_markers(f"<think>Action: no</think>{TEXT}<|end|>")
    turn = builder.turn(Completion(ids, None, "", "stop"), 1)
    assert turn.action == "go to fridge 1"
    assert shown(turn.segments)[0] == ("reason", "model", "<think>Action: no</think>")


def test_a_think_block_that_the_generation_prompt_opened_is_not_searched(make_model: Any) -> None:
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}<think>\n{% endif %}{{ m.content }}"
        "{% if m.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
    )
    builder = new_builder(make_model(template))
    cut_off = builder.tokenizer.encode("I could write\nAction: look")
    turn = builder.turn(Completion(cut_off, None, "", "length"), 1)
    assert (turn.action, shown(turn.segments)[0][0]) == (None, "reason")
    tokens = (*builder.tokenizer.encode(f"I could write\nAction: look\n</think>\n{TEXT}"), builder.end_of_turn_id)
    assert builder.turn(Completion(tokens, None, "", "stop"), 1).action == "go to fridge 1"
