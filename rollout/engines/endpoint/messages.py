"""Splits the token ids of a prompt into the messages of the conversation, for the chat API."""

from __future__ import annotations

from collections.abc import Sequence

from rollout.errors import UserError
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import Tokenizer


class MessageSplitter:
    """Splits prompts of one chat template.

    Attributes:
        opens_reasoning: whether the template's generation prompt opens a ``<think>`` block.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        if not tokenizer.has_chat_template:
            raise UserError(f"{tokenizer.name} has no chat template to split a prompt by; use api: completions")
        template = ChatTemplate.from_tokenizer(tokenizer)
        self.opens_reasoning = template.generation_prompt.rstrip().endswith("<think>")
        self._decode = tokenizer.decode
        self._before_system = tokenizer.encode_markers(template.before_system)
        self._to_user = tokenizer.encode_markers(template.system_to_user)
        self._to_assistant = tokenizer.encode_markers(template.generation_prompt)
        self._end = tokenizer.encode_markers(template.end_of_turn + template.next_user)

    def split(self, token_ids: Sequence[int]) -> list[dict[str, str]]:
        """Return the messages in order. A partial turn of the assistant becomes the last message.

        Raises:
            ValueError: the prompt does not follow this template.
        """
        start = len(self._before_system)
        if tuple(token_ids[:start]) != self._before_system:
            raise ValueError("the prompt does not begin with the prefix of the tokenizer's chat template")
        messages, role = [], "system"
        following = {"system": ("user", self._to_user), "user": ("assistant", self._to_assistant)}
        following["assistant"] = ("user", self._end)
        while start < len(token_ids):
            next_role, glue = following[role]
            end = _find(token_ids, glue, start)
            messages.append({"role": role, "content": self._decode(token_ids[start:end])})
            start, role = end + len(glue), next_role
        return messages


def _find(token_ids: Sequence[int], part: tuple[int, ...], start: int) -> int:
    """Index of the first occurrence of ``part`` at or after ``start``; the length if there is none."""
    found = (i for i in range(start, len(token_ids)) if tuple(token_ids[i : i + len(part)]) == part)
    return next(found, len(token_ids))
