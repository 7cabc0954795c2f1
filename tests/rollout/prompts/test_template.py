"""A chat template is split into constant texts, and refused if they do not reproduce its output."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from rollout.errors import UserError
from rollout.prompts.template import ChatTemplate, trained_template
from rollout.prompts.tokenizer import ChatSettings, load_tokenizer
from tests.rollout.prompts.chat_templates import CASES, Case

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_TOKENS = ["<|endoftext|>", "<|im_end|>", "<|im_start|>"]
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
FORGETFUL = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role != 'assistant' or loop.last %}{{ m.content }}{% endif %}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
COUNTING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ loop.index if messages | length > 4 }}{{ m.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_template_without_end_markers_after_user_messages(model: str) -> None:
    template = ChatTemplate.from_tokenizer(load_tokenizer(model))
    assert template == ChatTemplate("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|user|>")


def test_chatml(make_model: Callable[..., str]) -> None:
    template = ChatTemplate.from_tokenizer(load_tokenizer(make_model(CHATML, special=CHATML_TOKENS)))
    assert template == ChatTemplate(
        before_system="<|im_start|>system\n",
        system_to_user="<|im_end|>\n<|im_start|>user\n",
        generation_prompt="<|im_end|>\n<|im_start|>assistant\n",
        end_of_turn="<|im_end|>",
        next_user="\n<|im_start|>user\n",
    )


def test_the_end_of_turn_is_the_one_of_the_template_even_if_the_eos_token_differs(
    make_model: Callable[..., str],
) -> None:
    swapped = [CHATML_TOKENS[1], CHATML_TOKENS[0], CHATML_TOKENS[2]]
    tokenizer = load_tokenizer(make_model(CHATML, special=swapped))
    assert (tokenizer.end, ChatTemplate.from_tokenizer(tokenizer).end_of_turn) == ("<|endoftext|>", "<|im_end|>")


def test_without_a_system_role_the_system_message_starts_the_first_user_message(make_model: Callable[..., str]) -> None:
    template = ChatTemplate.from_tokenizer(load_tokenizer(make_model(NO_SYSTEM)))
    assert (template.before_system, template.system_to_user) == ("<|user|>", "\n\n")


def test_without_a_template_a_plain_one_is_used(make_model: Callable[..., str]) -> None:
    template = ChatTemplate.from_tokenizer(load_tokenizer(make_model(None)))
    assert template.render("Be brief.", [("Hi", "Ho")], "Bye") == (
        "Be brief.\n\nUser: Hi\n\nAssistant: Ho<|end|>\n\nUser: Bye\n\nAssistant: "
    )


@pytest.mark.parametrize(
    "text",
    [FORGETFUL, COUNTING, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"],
    ids=["drops earlier answers", "depends on the length", "no special token after an answer"],
)
def test_a_template_that_does_more_than_insert_constant_texts_is_refused(
    make_model: Callable[..., str], text: str
) -> None:
    folder = make_model(text)
    with pytest.raises(UserError, match=f"chat template of {folder}"):
        ChatTemplate.from_tokenizer(load_tokenizer(folder))


LOOPING = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
    "{% endfor %}"
)
CONVERSATION = [
    {"role": "system", "content": " Be brief.\n"},
    {"role": "user", "content": "You see {{ a }} café.\n"},
    {"role": "assistant", "content": "<think>\nplan\n</think>\n\nThought: a\nAction: b "},
    {"role": "user", "content": "\n Nothing happens."},
    {"role": "assistant", "content": "more\n</think>\n\nAction: c"},
    {"role": "user", "content": "{% raw %} \U0001f642 'x' \"y\" \\n"},
]


def as_an_episode(template: ChatTemplate) -> str:
    """The conversation, rendered from the template's parts."""
    system, first, answer, second, other, third = (message["content"] for message in CONVERSATION)
    return template.render(system, [(first, answer), (second, other)], third)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, make_model: Callable[..., str]) -> tuple[Case, str]:
    """A template of 2025-26, and the folder of a tokenizer that has it."""
    found = CASES[request.param]
    return found, found.folder(make_model)


def test_templates_with_thoughts_and_channels_are_split(case: tuple[Case, str]) -> None:
    found, folder = case
    template = ChatTemplate.from_tokenizer(load_tokenizer(folder))
    assert template.generation_prompt.endswith(found.opens)
    assert (template.answer_prefix, template.end_of_turn) == (found.answer_prefix, found.end)
    opened = found.opens.startswith(("<think>", "<|channel|>")) and "</think>" not in found.opens
    assert template.thought == (found.opens if opened else "")


def test_the_trained_template_renders_the_prompts_of_episodes_in_plain_transformers(case: tuple[Case, str]) -> None:
    _, folder = case
    tokenizer = load_tokenizer(folder)
    source, plain = trained_template(tokenizer), AutoTokenizer.from_pretrained(folder)
    rendered = plain.apply_chat_template(CONVERSATION, chat_template=source, tokenize=False, add_generation_prompt=True)
    assert rendered == as_an_episode(ChatTemplate.from_tokenizer(tokenizer))


def test_the_trained_template_is_split_into_the_same_texts(case: tuple[Case, str], tmp_path: Path) -> None:
    _, folder = case
    (tmp_path / "saved.jinja").write_text(trained_template(load_tokenizer(folder)))
    again = load_tokenizer(folder, ChatSettings(str(tmp_path / "saved.jinja")))
    assert ChatTemplate.from_tokenizer(again).digest == ChatTemplate.from_tokenizer(load_tokenizer(folder)).digest


def test_a_template_that_leaves_messages_as_they_are_is_kept(model: str, make_model: Callable[..., str]) -> None:
    for folder in (model, make_model(CHATML, special=CHATML_TOKENS), CASES["mistral"].folder(make_model)):
        assert trained_template(load_tokenizer(folder)) == AutoTokenizer.from_pretrained(folder).chat_template


def test_a_template_that_ends_turns_by_an_eos_token_that_will_change_is_not_kept(
    make_model: Callable[..., str],
) -> None:
    template = CHATML.replace("{% for", "{{ eos_token }}{% for", 1)
    tokenizer = load_tokenizer(make_model(template, special=[CHATML_TOKENS[1], CHATML_TOKENS[0], CHATML_TOKENS[2]]))
    assert "eos_token" not in trained_template(tokenizer)


def test_a_model_without_a_template_gets_the_plain_one(make_model: Callable[..., str]) -> None:
    tokenizer = load_tokenizer(make_model(None))
    rendered = tokenizer.hugging_face.apply_chat_template(
        CONVERSATION, chat_template=trained_template(tokenizer), tokenize=False, add_generation_prompt=True
    )
    assert rendered == as_an_episode(ChatTemplate.from_tokenizer(tokenizer))


@pytest.mark.parametrize("name", ["llama-3.2", "gpt-oss"])
def test_the_date_is_pinned_in_prompts_and_in_the_trained_template(name: str, make_model: Callable[..., str]) -> None:
    folder = CASES[name].folder(make_model)
    days = {date(2024, 7, 26): ("26 Jul 2024", "2024-07-26"), date(2025, 1, 2): ("02 Jan 2025", "2025-01-02")}
    for day, texts in days.items():
        tokenizer = load_tokenizer(folder, ChatSettings(date=day))
        template, source = ChatTemplate.from_tokenizer(tokenizer), tokenizer.dated_chat_template()
        plain = tokenizer.hugging_face.apply_chat_template(CONVERSATION[:2], chat_template=source, tokenize=False)
        for text in (template.before_system, plain, trained_template(tokenizer)):
            assert any(each in text for each in texts)
    assert load_tokenizer(folder).chat.date == date(2024, 7, 26)


def test_a_declared_template_brings_its_model_s_bos_and_eos(make_model: Callable[..., str], tmp_path: Path) -> None:
    teacher = CASES["mistral"].folder(make_model)
    student = make_model(None, special=["<pad>", "[INST]", "</s>", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"])
    declared = ChatTemplate.from_tokenizer(load_tokenizer(student, ChatSettings(teacher)))
    assert declared == ChatTemplate.from_tokenizer(load_tokenizer(teacher))
    assert declared.before_system.startswith("<s>")


def test_a_declared_template_that_does_not_exist_is_reported(model: str, make_model: Callable[..., str]) -> None:
    with pytest.raises(UserError, match=r"no file nothing\.jinja; set agent\.chat_template to teacher, student or"):
        load_tokenizer(model, ChatSettings("nothing.jinja"))
    without = make_model(None)
    with pytest.raises(UserError, match=f"{without} has no chat template; set agent.chat_template"):
        load_tokenizer(model, ChatSettings(without))


def test_a_template_that_loops_is_stopped(make_model: Callable[..., str]) -> None:
    folder = make_model(LOOPING)
    with pytest.raises(UserError, match=r"takes more than 0\.2 s to render a short conversation"):
        ChatTemplate.from_tokenizer(load_tokenizer(folder), time_limit_s=0.2)


def test_a_refusal_names_the_file_that_has_the_template(make_model: Callable[..., str]) -> None:
    folder = Path(make_model(FORGETFUL))
    with pytest.raises(UserError, match=r"its chat_template\.jinja.*set agent\.chat_template to the file of a simpler"):
        ChatTemplate.from_tokenizer(load_tokenizer(str(folder)))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": FORGETFUL}))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"its tokenizer_config\.json"):
        ChatTemplate.from_tokenizer(load_tokenizer(str(folder)))


def test_a_refusal_repeats_what_the_template_raises(make_model: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="it raises 'no system role'"):
        ChatTemplate.from_tokenizer(load_tokenizer(make_model("{{ raise_exception('no system role') }}")))


def test_templates_that_render_the_same_prompts_have_the_same_digest(make_model: Callable[..., str]) -> None:
    def digest(template: str) -> str:
        return ChatTemplate.from_tokenizer(load_tokenizer(make_model(template, special=CHATML_TOKENS))).digest

    assert digest(CHATML) == digest(CHATML.replace("m.role", "m['role']"))
    assert digest(CHATML) != digest(CHATML.replace("assistant\n", "assistant!\n"))
