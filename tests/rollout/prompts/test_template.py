"""A chat template is split into constant texts, and refused if they do not reproduce its output."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout.errors import UserError
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import load_tokenizer

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
