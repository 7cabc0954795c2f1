"""How a model writes an episode: a tokenizer kept to what that needs, and its chat template taken apart.

An episode put into these tokens is what the model would see if it played it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any

from rollout.errors import UserError
from rollout.models import model_folder
from rollout.trajectory import Author, Kind, Segment

_MARKS = ("Qsystem0Q", "Quser1Q", "Qassistant2Q", "Quser3Q")
_BROKEN = "\ufffd"


class Dialect:
    """How one model writes an episode: its tokens, and its chat template's texts around the messages.

    Attributes:
        pieces: name to (text, tokens) of ``before_system``, ``system_to_user``, ``generation_prompt``, ``end_of_turn``
            (one special token) and ``next_user``. Without a chat template they are a plain default.
        special_ids: ids of the tokens that steer a conversation.
    """

    def __init__(self, name: str) -> None:
        from transformers import PreTrainedTokenizerFast

        try:
            outer = PreTrainedTokenizerFast.from_pretrained(model_folder(name), trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise UserError(f"no tokenizer.json could be loaded from {name!r}; name a folder that has one.") from error
        self._markers = _copy(outer.backend_tokenizer)
        self._alone: dict[int, str] = {}
        texts = _template(outer, name)
        added = self._markers.get_added_tokens_decoder().values()
        guarded = [token for token in added if token.special or token.content in "".join(texts)]
        for token in guarded:  # content must not pose as what the template means by these
            token.special = True
        self._markers.add_special_tokens(guarded)
        self._content = _copy(self._markers)
        self._content.encode_special_tokens = True
        self.special_ids = frozenset(self._markers.token_to_id(token.content) for token in guarded)
        self.pieces = self._cut(texts, name)
        if self.decode(self.encode("One two,\n three") + self.encode("four  5")) != "One two,\n threefour  5":
            raise UserError(
                f"the tokenizer of {name} adds or drops spaces where texts are joined, so an episode cannot be written "
                "in it piece by piece; choose a model with a byte-level tokenizer (Qwen, Llama 3, SmolLM, ...)."
            )

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokens of content; the text of a special token becomes ordinary ones."""
        return tuple(self._content.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return str(self._markers.decode(list(ids), skip_special_tokens=False))

    def glue(self, name: str, turn: int) -> Iterator[Segment]:
        """A piece of the chat template as a segment; nothing if it is empty."""
        text, ids = self.pieces[name]
        if ids:
            yield Segment(Kind.FORMAT, Author.TEMPLATE, turn, text, ids)

    def ends(self, ids: Sequence[int], text: str) -> list[int]:
        """``[num_tokens]`` the character of ``text`` at which each token ends.

        A token that ends inside a character has the end of that character. If the tokens do not decode to the text
        (a character is cut by the segment's edge), all of them have the end of the text.
        """
        if self.decode(ids) != text:
            return [len(text)] * len(ids)
        ends: list[int] = []
        for whole, run in groupby(ids, self._is_whole):
            for length in [len(self._text(t)) for t in run] if whole else self._lengths(list(run)):
                ends.append((ends[-1] if ends else 0) + length)
        return ends

    def _lengths(self, ids: list[int]) -> list[int]:
        """Characters that each token adds where tokens hold parts of characters: a whole one with its first part."""
        so_far = [len(self.decode(ids[:end])) for end in range(len(ids) + 1)]
        kept = [min(so_far[end:]) for end in range(len(so_far))]  # parts may show as more characters than they become
        return [after - before for before, after in pairwise(kept)]

    def _is_whole(self, token: int) -> bool:
        return bool(self._text(token)) and _BROKEN not in self._text(token)

    def _text(self, token: int) -> str:
        if token not in self._alone:
            self._alone[token] = self.decode([token])
        return self._alone[token]

    def _cut(self, texts: Sequence[str], name: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        before_system, system_to_user, generation_prompt, after_assistant = texts
        end = tuple(self._markers.encode(after_assistant, add_special_tokens=False).ids[:1])
        if not set(end) & self.special_ids or not after_assistant.startswith(self.decode(end)):
            raise UserError(
                f"the chat template of {name} does not end the assistant's turn with a special token, so its episodes "
                "cannot be told apart turn by turn; choose another model."
            )
        cut = {
            "before_system": before_system,
            "system_to_user": system_to_user,
            "generation_prompt": generation_prompt,
            "end_of_turn": self.decode(end),
            "next_user": after_assistant.removeprefix(self.decode(end)),
        }
        return {
            piece: (text, tuple(self._markers.encode(text, add_special_tokens=False).ids))
            for piece, text in cut.items()
        }


def _template(outer: Any, name: str) -> tuple[str, str, str, str]:
    """The constant texts before the system message, between system and user, user and assistant, assistant and user."""
    from jinja2 import TemplateError

    if not outer.chat_template:
        if not outer.eos_token:
            raise UserError(f"{name} has neither a chat template nor an end token; set eos_token in its tokenizer.")
        return outer.bos_token or "", "\n\nUser: ", "\n\nAssistant: ", outer.eos_token + "\n\nUser: "
    system, user, assistant, user_2 = _MARKS
    rest = [{"role": "assistant", "content": assistant}, {"role": "user", "content": user_2}]
    alone = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    merged = [{"role": "user", "content": f"{system}\n\n{user}"}]  # for templates without a system role
    for first in (alone, merged):
        try:
            text = outer.apply_chat_template(first + rest, tokenize=False, add_generation_prompt=True)
        except TemplateError:
            continue
        if all(text.count(mark) == 1 for mark in _MARKS):
            before, text = text.split(system)
            system_to_user, text = text.split(user)
            prompt, text = text.split(assistant)
            after, last_prompt = text.split(user_2)
            if prompt == last_prompt:
                return before, system_to_user, prompt, after
    raise UserError(
        f"the chat template of {name} does not simply put constant texts around the messages, so an episode cannot be "
        "written in it piece by piece; choose another model."
    )


def _copy(backend: Any) -> Any:
    copy = type(backend).from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy
