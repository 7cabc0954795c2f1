"""Splits a model's chat template into constant texts, so that a conversation can be extended segment by segment.

An episode is a sequence of tokens that only grows. What the model generated stays in its context as it was generated,
thoughts included, even if the chat template would leave the thoughts of earlier turns out when it renders a whole
conversation again. Training and acting see the same sequence, and `ChatTemplate.as_jinja` renders it for others.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from rollout.errors import UserError
from rollout.messages import first_line
from rollout.prompts.labels import open_thinking
from rollout.prompts.tokenizer import Tokenizer

_SYSTEM, _USER, _ASSISTANT, _USER_2 = "Qsystem0Q", "Quser1Q", "Qassistant2Q", "Quser3Q"
_OPEN_CHANNEL = re.compile(r"<\|channel\|>analysis<\|message\|>\Z")
TIME_LIMIT_S = 10.0
"""Limit on the analysis of one chat template, because a template can loop for as long as it likes."""

_Message = dict[str, str]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The constant texts around the messages of a conversation, in order of occurrence.

    Attributes:
        before_system: text before the system message.
        system_to_user: text between the system message and the first user message.
        generation_prompt: text between a user message and what the assistant generates. It may open a thought.
        end_of_turn: special token that ends the assistant's turn.
        next_user: text between the end of turn and the next user message.
        answer_prefix: text between the generation prompt and an answer without a thought. It closes the thought that
            the generation prompt opens, or selects the channel of answers. Empty if an answer follows directly.
    """

    before_system: str
    system_to_user: str
    generation_prompt: str
    end_of_turn: str
    next_user: str
    answer_prefix: str = ""

    @classmethod
    def from_tokenizer(cls, tokenizer: Tokenizer, time_limit_s: float = TIME_LIMIT_S) -> ChatTemplate:
        """Split the tokenizer's chat template. A tokenizer without one gets a plain default.

        Raises:
            UserError: the template does more than insert constant texts around messages, or takes too long.
        """
        if not tokenizer.has_chat_template:
            return _plain(tokenizer)
        result = _within_time_limit(lambda: _analyze(tokenizer), time_limit_s)
        if isinstance(result, ChatTemplate):
            return result
        raise UserError(
            f"the chat template of {tokenizer.chat_template_place} {result}, so an episode cannot be built "
            "incrementally: set agent.chat_template to the file of a simpler Jinja template, replace the one in a copy "
            "of the model's folder, or choose another model"
        )

    @property
    def text(self) -> str:
        """All constant texts, concatenated."""
        return "".join(getattr(self, each.name) for each in fields(self))

    @property
    def thought(self) -> str:
        """The end of the generation prompt that opens a thought, such as ``<think>``; "" if it opens none."""
        channel = _OPEN_CHANNEL.search(self.generation_prompt)
        return channel[0] if channel else open_thinking(self.generation_prompt)

    @property
    def has_channels(self) -> bool:
        """Whether a turn consists of messages in channels, as those of gpt-oss (the harmony format)."""
        return "<|channel|>" in self.text and "<|message|>" in self.text

    @property
    def digest(self) -> str:
        """SHA-256 of the texts that prompts are made of. Templates that render the same prompts have the same one."""
        parts = [getattr(self, each.name) for each in fields(self) if each.name != "answer_prefix"]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def render(self, system: str, turns: Sequence[tuple[str, str]], last_user: str) -> str:
        """Text of a conversation up to the next generation prompt. ``turns`` are (user, assistant) pairs."""
        users = self.before_system + system + self.system_to_user
        for user, assistant in turns:
            users += user + self.generation_prompt + assistant + self.end_of_turn + self.next_user
        return users + last_user + self.generation_prompt

    def as_jinja(self) -> str:
        """A chat template that renders exactly the prompts of episodes, whatever the messages contain."""
        texts = {each.name: json.dumps(getattr(self, each.name), ensure_ascii=False) for each in fields(self)}
        return _JINJA.replace("\n", "") % texts


_JINJA = """\
{{- %(before_system)s -}}
{%%- if messages[0].role == 'system' -%%}{{- messages[0].content -}}{%%- endif -%%}
{{- %(system_to_user)s -}}
{%%- for message in messages -%%}
{%%- if message.role == 'assistant' -%%}
{{- %(generation_prompt)s -}}{{- message.content -}}{{- %(end_of_turn)s -}}
{%%- if not loop.last -%%}{{- %(next_user)s -}}{%%- endif -%%}
{%%- elif not (loop.first and message.role == 'system') -%%}
{{- message.content -}}
{%%- endif -%%}
{%%- endfor -%%}
{%%- if add_generation_prompt -%%}{{- %(generation_prompt)s -}}{%%- endif -%%}"""


def trained_template(tokenizer: Tokenizer, time_limit_s: float = TIME_LIMIT_S) -> str:
    """Source of a chat template with which others prompt the model as it was trained.

    It is the tokenizer's own, with ``chat.date`` as today's date, if that leaves all messages as they are. A template
    that removes thoughts or white space renders other prompts than those of episodes, so it is replaced.
    """
    template = ChatTemplate.from_tokenizer(tokenizer, time_limit_s)
    source = tokenizer.dated_chat_template()
    is_bound_to_eos = "eos_token" in source and template.end_of_turn != tokenizer.end and not tokenizer.chat.template
    users = ["\nGo. ", "ok\n\n", "Done?"]
    assistants = [" <think>\nx\n</think>\n\nThought: a\nAction: b\n", "y</think>z"]
    expected = template.render(" Be brief.\n", list(zip(users, assistants, strict=False)), users[-1])
    render = _Renderer(tokenizer, merged=False, errors=[])
    rendered = _within_time_limit(lambda: render(" Be brief.\n", users, assistants), time_limit_s) if source else ""
    return source if rendered == expected and not is_bound_to_eos else template.as_jinja()


def _plain(tokenizer: Tokenizer) -> ChatTemplate:
    if not tokenizer.end:
        raise UserError(
            f"{tokenizer.name} has neither a chat template nor an end token: set eos_token in its tokenizer"
        )
    return ChatTemplate(tokenizer.begin, "\n\nUser: ", "\n\nAssistant: ", tokenizer.end, "\n\nUser: ")


class _TooLong(BaseException):
    """Raised inside a template that exceeds the time limit."""


def _within_time_limit(work: Callable[[], T], limit_s: float) -> T | str:
    """The result of ``work``, or a sentence if it takes too long. The thread that runs it is stopped then."""
    result: Future[T] = Future()
    thread = threading.Thread(target=_run, args=(result, work), daemon=True)
    thread.start()
    try:
        return result.result(limit_s)
    except TimeoutError:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TooLong))
        return f"takes more than {limit_s:g} s to render a short conversation"


def _run(result: Future[T], work: Callable[[], T]) -> None:
    try:
        result.set_result(work())
    except BaseException as error:  # raised again in the thread that waits
        result.set_exception(error)


def _analyze(tokenizer: Tokenizer) -> ChatTemplate | str:
    """The parts of the template, or the reason why it cannot be used."""
    errors: list[str] = []
    for merged in (False, True):
        template = _probe(_Renderer(tokenizer, merged, errors))
        if template is not None:
            return template
    raised = f" (it raises {errors[-1]!r})" if errors else ""
    return "does more than insert constant texts around the messages and a special token after the assistant's" + raised


@dataclass(frozen=True, slots=True)
class _Renderer:
    """Renders conversations. ``merged`` prepends the system text to the first user message."""

    tokenizer: Tokenizer
    merged: bool
    errors: list[str]

    def __call__(self, system: str, users: Sequence[str], assistants: Sequence[str]) -> str:
        """Text of a conversation, with a generation prompt if the last message is a user's; "" if it fails."""
        try:
            return self.tokenizer.render(
                self._messages(system, users, assistants), add_generation_prompt=len(users) > len(assistants)
            )
        except Exception as error:  # a template can raise anything, for example for a role that it does not know
            self.errors.append(first_line(error))
            return ""

    def _messages(self, system: str, users: Sequence[str], assistants: Sequence[str]) -> list[_Message]:
        first = [] if self.merged else [{"role": "system", "content": system}]
        users = [f"{system}\n\n{users[0]}", *users[1:]] if self.merged else users
        messages = [*first]
        for number, user in enumerate(users):
            messages.append({"role": "user", "content": user})
            messages += [{"role": "assistant", "content": text} for text in assistants[number : number + 1]]
        return messages


def _probe(render: _Renderer) -> ChatTemplate | None:
    opening = render(_SYSTEM, [_USER], [])
    text = render(_SYSTEM, [_USER, _USER_2], [_ASSISTANT])
    if not all(text.count(marker) == 1 for marker in (_SYSTEM, _USER, _ASSISTANT, _USER_2)):
        return None
    before_system, rest = text.split(_SYSTEM)
    system_to_user, _, rest = rest.partition(_USER)
    in_history, _, rest = rest.partition(_ASSISTANT)
    after_assistant, _, _ = rest.partition(_USER_2)
    _, _, generation_prompt = opening.partition(_USER)
    if not _is_constant(render, (before_system, system_to_user, in_history, after_assistant, generation_prompt)):
        return None
    marker = _leading_marker(render.tokenizer, after_assistant)
    _, _, at_the_end = render(_SYSTEM, [_USER], [_ASSISTANT]).partition(_ASSISTANT)
    # gpt-oss ends a turn by another token than the one that it has in histories.
    end_of_turn = _leading_marker(render.tokenizer, at_the_end) or marker
    if not marker:
        return None
    next_user = after_assistant.lstrip().removeprefix(marker)
    template = ChatTemplate(before_system, system_to_user, generation_prompt, end_of_turn, next_user)
    return replace(template, answer_prefix=_answer_prefix(template, in_history, marker))


def _is_constant(render: _Renderer, parts: tuple[str, str, str, str, str]) -> bool:
    """Whether a longer conversation consists of the same texts around other messages."""
    before_system, system_to_user, in_history, after_assistant, generation_prompt = parts
    users, assistants = ["Go on.", "A drawer.\nYours: x", "Done?"], ["Thought: a\nAction: b c", "Thought: d\nAction: e"]
    expected = f"{before_system}Be brief.{system_to_user}"
    for user, assistant in zip(users, assistants, strict=False):
        expected += user + in_history + assistant + after_assistant
    return render("Be brief.", users, assistants) == expected + users[-1] + generation_prompt


def _answer_prefix(template: ChatTemplate, in_history: str, marker: str) -> str:
    """What precedes an answer without a thought: the same as in histories, where that continues the prompt."""
    prompt = template.generation_prompt
    opened = open_thinking(prompt)
    rest = in_history.removeprefix(prompt) if in_history.startswith(prompt) else ""
    if opened:
        end = f"{opened[0]}/{opened.split(maxsplit=1)[0][1:]}"
        return rest if end in rest else f"\n{end}\n\n"
    if template.thought and not rest:
        return marker + in_history.removeprefix(marker)
    return rest


def _leading_marker(tokenizer: Tokenizer, text: str) -> str:
    """The special token at the start of ``text``, or "". White space before it is ignored."""
    text = text.lstrip()
    ids = tokenizer.encode_markers(text)
    marker = tokenizer.decode(ids[:1])
    return marker if ids and ids[0] in tokenizer.special_ids and text.startswith(marker) else ""
