"""A model's tokenizer, kept to what prompts need: content that cannot act as a marker, and text token by token.

Transformers is imported when a tokenizer is loaded, not before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollout.errors import UserError
from rollout.messages import one_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

_BROKEN = "\ufffd"


class Tokenizer:
    """Text to token ids and back, without any hidden additions.

    Attributes:
        name: the folder or hub name it came from.
        special_ids: ids of the tokens that steer a conversation (role markers, end of turn, padding).
    """

    def __init__(self, hugging_face_tokenizer: PreTrainedTokenizerFast, name: str) -> None:
        """Wrap a tokenizer of transformers. Raises `UserError` if its text cannot be cut and joined at will."""
        backend = hugging_face_tokenizer.backend_tokenizer
        self.name = name
        self._outer = hugging_face_tokenizer
        # Two copies, because the switch is a state of the tokenizer and episodes share it.
        self._markers = _copy(backend)
        self._content = _copy(backend)
        self._content.encode_special_tokens = True
        self._alone: dict[int, str] = {}
        self.special_ids = _special_ids(self._markers)
        self._check()

    def _check(self) -> None:
        left, right = self.encode("One two,\n three"), self.encode("four  5")
        if self.decode(left + right) != "One two,\n threefour  5":
            raise UserError(
                f"the tokenizer of {self.name} adds or drops spaces where texts are joined, so an episode cannot be "
                "built piece by piece: choose a model with a byte-level tokenizer (Qwen, Llama 3, SmolLM, ...)"
            )
        for token in self.special_ids:
            if token in self.encode(self.decode([token])):
                raise UserError(
                    f"the tokenizer of {self.name} cannot write its marker {self.decode([token])!r} as plain text, so "
                    "an environment's text could pose as a role: choose a model with a byte-level tokenizer"
                )

    def guarding(self, template_text: str) -> Tokenizer:
        """The same, with every added token that occurs in ``template_text`` counted as special."""
        added = self._markers.get_added_tokens_decoder().values()
        plain = [token for token in added if not token.special and token.content in template_text]
        if not plain:
            return self
        guarded = Tokenizer(self._outer, self.name)
        for token in plain:
            token.special = True
        guarded._markers.add_special_tokens(plain)
        guarded._content.add_special_tokens(plain)
        guarded.special_ids = _special_ids(guarded._markers)
        guarded._check()
        return guarded

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokens of content. The text of a special token becomes ordinary tokens: content never poses as a role."""
        return tuple(self._content.encode(_without_surrogates(text), add_special_tokens=False).ids)

    def encode_markers(self, text: str) -> tuple[int, ...]:
        """Tokens of a chat template's own text, in which special tokens are meant."""
        return tuple(self._markers.encode(text, add_special_tokens=False).ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, special tokens included."""
        return str(self._markers.decode(list(token_ids), skip_special_tokens=False))

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """The text that each token adds: ``[num_tokens]``; joined they are ``decode(token_ids)``.

        A character made of several tokens is whole in the piece of its first token; the others get "".
        """
        pieces: list[str] = []
        for whole, run in groupby(token_ids, self._is_whole):
            tokens = list(run)
            pieces += [self._text(token) for token in tokens] if whole else self._broken_run(tokens)
        return pieces

    def _is_whole(self, token: int) -> bool:
        text = self._text(token)
        return bool(text) and _BROKEN not in text

    def _broken_run(self, token_ids: list[int]) -> Iterator[str]:
        """The pieces of tokens that hold parts of characters, unknown bytes, or no text at all."""
        text = self.decode(token_ids)
        so_far = [len(self.decode(token_ids[:end])) for end in range(len(token_ids) + 1)]
        ends = [min(so_far[end:]) for end in range(len(so_far))]  # parts may show as more characters than they become
        return (text[start:end] for start, end in pairwise(ends))

    def _text(self, token: int) -> str:
        if token not in self._alone:
            self._alone[token] = self.decode([token])
        return self._alone[token]

    @property
    def hugging_face(self) -> PreTrainedTokenizerFast:
        """The tokenizer of transformers that this is made of."""
        return self._outer

    @property
    def begin(self) -> str:
        """The text of the token that begins a sequence, or ""."""
        return self._outer.bos_token or ""

    @property
    def end(self) -> str:
        """The text of the token that ends a sequence, or ""."""
        return self._outer.eos_token or ""

    @property
    def has_chat_template(self) -> bool:
        return bool(self._outer.chat_template)

    def render(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = False) -> str:
        """What the model's own chat template makes of a conversation."""
        return str(
            self._outer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=add_generation_prompt)
        )


def load_tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of a model folder or hub name. No code that comes with a model is run.

    Raises:
        UserError: there is none, or it is of a kind that prompts cannot be built with.
    """
    try:
        loaded = _load(folder)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no tokenizer.json can be loaded from {folder}; check the name or path ({one_line(error)})"
        ) from error
    return Tokenizer(loaded, folder)


def _load(folder: str) -> PreTrainedTokenizerFast:
    """What ``tokenizer.json`` and its configuration say; for what they leave out, what the kind of model has."""
    from transformers import PreTrainedTokenizerFast

    try:
        loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder, trust_remote_code=False)
        if loaded.eos_token is not None:
            return loaded
    except (OSError, ValueError):  # models as old as OPT have their words in vocab.json
        if Path(folder).is_dir() and not (Path(folder) / "vocab.json").is_file():
            raise
    # Not at once: it imports torch, which prompts do not need.
    from transformers import AutoTokenizer

    by_model = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not isinstance(by_model, PreTrainedTokenizerFast):
        raise ValueError(f"its tokenizer is a {type(by_model).__name__}")
    return by_model


def _copy(backend: Backend) -> Backend:
    settings = json.loads(backend.to_str())
    _without_dummy_space(settings)
    copy: Backend = type(backend).from_str(json.dumps(settings))
    copy.no_truncation()
    copy.no_padding()
    return copy


def _without_dummy_space(settings: dict[str, Any]) -> None:
    """Llama 2's kind puts a space before every text and takes it off again: texts could not be cut and joined."""
    normalizers = (settings["normalizer"] or {}).get("normalizers", [])
    if any(part["type"] == "Prepend" for part in normalizers):
        settings["normalizer"]["normalizers"] = [part for part in normalizers if part["type"] != "Prepend"]
        decoders = settings["decoder"]["decoders"]
        settings["decoder"]["decoders"] = [part for part in decoders if part["type"] != "Strip"]


def _special_ids(backend: Backend) -> frozenset[int]:
    return frozenset(id_ for id_, token in backend.get_added_tokens_decoder().items() if token.special)


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
