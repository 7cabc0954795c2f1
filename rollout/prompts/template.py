"""Splits a model's chat template into constant texts, so that a conversation can be extended segment by segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.errors import UserError
from rollout.prompts.tokenizer import Tokenizer

_SYSTEM, _USER, _ASSISTANT, _USER_2 = "Qsystem0Q", "Quser1Q", "Qassistant2Q", "Quser3Q"
_Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The constant texts around the messages of a conversation, in order of occurrence.

    Attributes:
        before_system: text before the system message.
        system_to_user: text between the system message and the first user message.
        generation_prompt: text between a user message and the assistant's message.
        end_of_turn: special token that ends the assistant's turn.
        next_user: text between the end of turn and the next user message.
    """

    before_system: str
    system_to_user: str
    generation_prompt: str
    end_of_turn: str
    next_user: str

    @classmethod
    def from_tokenizer(cls, tokenizer: Tokenizer) -> ChatTemplate:
        """Split the tokenizer's chat template. A tokenizer without one gets a plain default.

        Raises:
            UserError: the template does more than insert constant texts around messages.
        """
        if not tokenizer.has_chat_template:
            return _plain(tokenizer)
        for merged in (False, True):
            template = _probe(tokenizer, merged)
            if template is not None and _agrees(template, tokenizer, merged):
                return template
        raise UserError(
            f"the chat template of {tokenizer.name} does more than insert constant texts around the messages and a "
            "special token after the assistant's, so an episode cannot be built incrementally: choose another model, "
            "or remove chat_template from a copy of its tokenizer_config.json"
        )

    @property
    def text(self) -> str:
        """All constant texts, concatenated."""
        return "".join(
            (self.before_system, self.system_to_user, self.generation_prompt, self.end_of_turn, self.next_user)
        )

    def render(self, system: str, turns: Sequence[tuple[str, str]], last_user: str) -> str:
        """Text of a conversation up to the next generation prompt. ``turns`` are (user, assistant) pairs."""
        users = self.before_system + system + self.system_to_user
        for user, assistant in turns:
            users += user + self.generation_prompt + assistant + self.end_of_turn + self.next_user
        return users + last_user + self.generation_prompt


def _plain(tokenizer: Tokenizer) -> ChatTemplate:
    if not tokenizer.end:
        raise UserError(
            f"{tokenizer.name} has neither a chat template nor an end token: set eos_token in its tokenizer"
        )
    return ChatTemplate(tokenizer.begin, "\n\nUser: ", "\n\nAssistant: ", tokenizer.end, "\n\nUser: ")


def _messages(merged: bool, system: str, users: Sequence[str], assistants: Sequence[str]) -> list[_Message]:
    """Messages of a conversation. ``merged`` prepends the system text to the first user message."""
    first = [] if merged else [{"role": "system", "content": system}]
    users = [f"{system}\n\n{users[0]}", *users[1:]] if merged else users
    messages = [*first, {"role": "user", "content": users[0]}]
    for assistant, user in zip(assistants, users[1:], strict=True):
        messages += [{"role": "assistant", "content": assistant}, {"role": "user", "content": user}]
    return messages


def _render(tokenizer: Tokenizer, messages: list[_Message]) -> str | None:
    from jinja2 import TemplateError

    try:
        return tokenizer.render(messages, add_generation_prompt=True)
    except TemplateError:  # the template does not support these roles
        return None


def _probe(tokenizer: Tokenizer, merged: bool) -> ChatTemplate | None:
    opening = _render(tokenizer, _messages(merged, _SYSTEM, [_USER], []))
    text = _render(tokenizer, _messages(merged, _SYSTEM, [_USER, _USER_2], [_ASSISTANT]))
    if opening is None or text is None or not all(text.count(m) == 1 for m in (_SYSTEM, _USER, _ASSISTANT, _USER_2)):
        return None
    before_system, rest = text.split(_SYSTEM)
    system_to_user, _, rest = rest.partition(_USER)
    _, _, rest = rest.partition(_ASSISTANT)
    after_assistant, _, _ = rest.partition(_USER_2)
    _, _, generation_prompt = opening.partition(_USER)
    end_of_turn = _leading_marker(tokenizer, after_assistant)
    if not end_of_turn:
        return None
    next_user = after_assistant.removeprefix(end_of_turn)
    return ChatTemplate(before_system, system_to_user, generation_prompt, end_of_turn, next_user)


def _leading_marker(tokenizer: Tokenizer, text: str) -> str:
    """The special token at the start of ``text``, or ""."""
    ids = tokenizer.encode_markers(text)
    marker = tokenizer.decode(ids[:1])
    return marker if ids and ids[0] in tokenizer.special_ids and text.startswith(marker) else ""


def _agrees(template: ChatTemplate, tokenizer: Tokenizer, merged: bool) -> bool:
    users, assistants = ["Go on.", "A drawer.\nYours: x", "Done?"], ["Thought: a\nAction: b c", "Thought: d\nAction: e"]
    expected = _render(tokenizer, _messages(merged, "Be brief.", users, assistants))
    return expected == template.render("Be brief.", list(zip(users, assistants, strict=False)), users[-1])
