"""A model's tokenizer: encodes content without special tokens, and returns the text of each single token.

It has the chat template that prompts are made with: the model's own, or another one.

Transformers is imported when a tokenizer is loaded, not before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollout.errors import UserError
from rollout.messages import one_line
from rollout.models import model_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

_REPLACEMENT = "\ufffd"
_THOUGHT_TAG = re.compile(r"</?[\w:]*think\w*>")
"""Tokens around a thought. The model writes them as it writes text, so they are not control tokens."""
_DATE_FORMAT = re.compile(r"""strftime_now\(\s*(["'])(?P<format>.*?)\1""")
DATE = date(2024, 7, 26)
"""The date that chat templates print by default: the one that Llama 3.1's template falls back to."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Which chat template prompts are made with.

    Attributes:
        template: a Jinja file, or the folder, ``builtin:`` name or hub name of the model whose template is used; None
            is the template of each model itself.
        date: what templates print as today's date.
    """

    template: str | None = None
    date: date = DATE


class Tokenizer:
    """Converts text to token ids and back, without adding special tokens.

    Attributes:
        name: folder or hub name that the tokenizer was loaded from.
        special_ids: ids of the control tokens (role markers, end of turn, padding).
    """

    def __init__(
        self, hugging_face_tokenizer: PreTrainedTokenizerFast, name: str, chat: ChatSettings | None = None
    ) -> None:
        """Wrap a transformers tokenizer. Raises `UserError` if its texts cannot be split and concatenated."""
        backend = hugging_face_tokenizer.backend_tokenizer
        self.name = name
        self.chat = chat or ChatSettings()
        self._inner = hugging_face_tokenizer
        self._template = declared_template(self.chat) if self.chat.template else _own_template(hugging_face_tokenizer)
        # Two copies, because encode_special_tokens is state of the backend and episodes share the tokenizer.
        self._markers = _copy(backend)
        self._content = _copy(backend)
        self._content.encode_special_tokens = True
        self._token_text: dict[int, str] = {}
        self.special_ids = _special_ids(self._markers)
        self._check()

    def _check(self) -> None:
        left, right = self.encode("One two,\n three"), self.encode("four  5")
        if self.decode(left + right) != "One two,\n threefour  5":
            raise UserError(
                f"the tokenizer of {self.name} adds or drops spaces where texts are joined, so an episode cannot be "
                "built incrementally: choose a model with a byte-level tokenizer (Qwen, Llama 3, SmolLM, ...)"
            )
        for token in self.special_ids:
            if token in self.encode(self.decode([token])):
                raise UserError(
                    f"the tokenizer of {self.name} cannot encode its marker {self.decode([token])!r} as plain text, so "
                    "an environment's text could pass for a role marker: choose a model with a byte-level tokenizer"
                )

    def with_template_markers(self, template_text: str) -> Tokenizer:
        """A copy in which every added token that occurs in ``template_text`` is special; itself if all are already."""
        added = self._markers.get_added_tokens_decoder().values()
        plain = [
            token
            for token in added
            if not token.special and token.content in template_text and not _THOUGHT_TAG.fullmatch(token.content)
        ]
        if not plain:
            return self
        guarded = Tokenizer(self._inner, self.name, self.chat)
        for token in plain:
            token.special = True
        guarded._markers.add_special_tokens(plain)
        guarded._content.add_special_tokens(plain)
        guarded.special_ids = _special_ids(guarded._markers)
        guarded._check()
        return guarded

    def encode(self, text: str) -> tuple[int, ...]:
        """Encode content. The text of a special token becomes ordinary tokens, so content injects no role markers."""
        return tuple(self._content.encode(_without_surrogates(text), add_special_tokens=False).ids)

    def encode_markers(self, text: str) -> tuple[int, ...]:
        """Encode a chat template's own text. Special tokens are recognized."""
        return tuple(self._markers.encode(text, add_special_tokens=False).ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Decode token ids, special tokens included."""
        return str(self._markers.decode(list(token_ids), skip_special_tokens=False))

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """``[num_tokens]`` the text that each token adds. Concatenated, they are ``decode(token_ids)``.

        A character that consists of several tokens belongs to the piece of its first token; the others get "".
        """
        pieces: list[str] = []
        for is_complete, run in groupby(token_ids, self._is_complete):
            tokens = list(run)
            pieces += [self._text(token) for token in tokens] if is_complete else self._incomplete_run(tokens)
        return pieces

    def _is_complete(self, token: int) -> bool:
        text = self._text(token)
        return bool(text) and _REPLACEMENT not in text

    def _incomplete_run(self, token_ids: list[int]) -> Iterator[str]:
        """Pieces of tokens that contain parts of characters, invalid bytes, or no text."""
        text = self.decode(token_ids)
        lengths = [len(self.decode(token_ids[:end])) for end in range(len(token_ids) + 1)]
        ends = [min(lengths[end:]) for end in range(len(lengths))]  # a part may decode to more characters
        return (text[start:end] for start, end in pairwise(ends))

    def _text(self, token: int) -> str:
        if token not in self._token_text:
            self._token_text[token] = self.decode([token])
        return self._token_text[token]

    @property
    def hugging_face(self) -> PreTrainedTokenizerFast:
        """The wrapped transformers tokenizer."""
        return self._inner

    @property
    def begin(self) -> str:
        """Text of the token that begins a sequence, or ""."""
        return self._inner.bos_token or ""

    @property
    def end(self) -> str:
        """Text of the token that ends a sequence, or ""."""
        return self._inner.eos_token or ""

    @property
    def has_chat_template(self) -> bool:
        return self._template is not None

    @property
    def chat_template_place(self) -> str:
        """The tokenizer's name and the file that has its chat template, for messages."""
        if self.chat.template:
            return f"{self.name} ({self.chat.template})"
        file = Path(self.name) / "chat_template.jinja"
        return f"{self.name} (its {file.name if file.is_file() else 'tokenizer_config.json'})"

    def render(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = False) -> str:
        """Apply the chat template to a conversation. What it prints as today's date is ``chat.date``."""
        return str(
            self._inner.apply_chat_template(
                list(messages),
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                strftime_now=self._format_date,
            )
        )

    def dated_chat_template(self) -> str:
        """Source of the chat template, which prints ``chat.date`` wherever it is rendered. "" if there is none."""
        template = self._template or ""
        formats = {match["format"] for match in _DATE_FORMAT.finditer(template)}
        if not formats:
            return template
        dates = json.dumps({format: self._format_date(format) for format in sorted(formats)}, ensure_ascii=False)
        return f"{{%- macro strftime_now(format) -%}}{{{{- {dates}[format] -}}}}{{%- endmacro -%}}{template}"

    def _format_date(self, format: str) -> str:
        return datetime.combine(self.chat.date, time()).strftime(format)


def load_tokenizer(folder: str, chat: ChatSettings | None = None) -> Tokenizer:
    """Load the tokenizer of a model folder or hub name. Code from the model folder is never executed.

    Raises:
        UserError: it cannot be loaded, prompts cannot be built with it, or the chat template of ``chat`` is missing.
    """
    return Tokenizer(_load(folder), folder, chat)


def declared_template(chat: ChatSettings) -> str:
    """Source of the chat template that ``chat.template`` names, with the BOS and EOS of its model.

    Raises:
        UserError: there is no such file or model, or the model has no chat template.
    """
    place = str(chat.template)
    file = Path(place).expanduser()
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"agent.chat_template {place} cannot be read as UTF-8 ({one_line(error)})") from error
    if file.suffix in (".jinja", ".jinja2", ".txt"):
        raise UserError(f"there is no file {place}; set agent.chat_template to teacher, student or a Jinja file")
    source = _load(model_folder(place))
    template = _own_template(source)
    if template is None:
        raise UserError(f"{place} has no chat template; set agent.chat_template to a model that has one, or to a file")
    names = ("bos_token", "eos_token")
    tokens = (f"{{%- set {name} = {json.dumps(getattr(source, name) or '')} -%}}" for name in names)
    return "".join(tokens) + template


def _own_template(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """Source of a tokenizer's chat template; of several templates, the default."""
    return str(tokenizer.get_chat_template()) if tokenizer.chat_template else None


def _load(folder: str) -> PreTrainedTokenizerFast:
    try:
        return _from_files(folder)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no tokenizer.json can be loaded from {folder}; check the name or path ({one_line(error)})"
        ) from error


def _from_files(folder: str) -> PreTrainedTokenizerFast:
    """Load ``tokenizer.json`` and its configuration; where they are incomplete, use the defaults of the model class."""
    from transformers import PreTrainedTokenizerFast

    try:
        loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder, trust_remote_code=False)
        if loaded.eos_token is not None:
            return loaded
    except (OSError, ValueError):  # older models such as OPT have a vocab.json instead
        if Path(folder).is_dir() and not (Path(folder) / "vocab.json").is_file():
            raise
    # Only now, because AutoTokenizer imports torch, which prompts do not need.
    from transformers import AutoTokenizer

    loaded_by_auto = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not isinstance(loaded_by_auto, PreTrainedTokenizerFast):
        raise ValueError(f"its tokenizer is a {type(loaded_by_auto).__name__}")
    return loaded_by_auto


def _copy(backend: Backend) -> Backend:
    settings = json.loads(backend.to_str())
    _without_dummy_space(settings)
    copy: Backend = type(backend).from_str(json.dumps(settings))
    copy.no_truncation()
    copy.no_padding()
    return copy


def _without_dummy_space(settings: dict[str, Any]) -> None:
    """Remove the space that a tokenizer prepends to the text on encoding and strips on decoding.

    It breaks concatenation. Llama 2 prepends it with a normalizer, its successors with ``Metaspace`` and
    ``prepend_scheme: first``, which has no effect after the special token that a conversation begins with.
    """
    normalizers, splitters, decoders = (_members(settings, part) for part in ("normalizer", "pre_tokenizer", "decoder"))
    first = [part for part in splitters if part["type"] == "Metaspace" and part["prepend_scheme"] == "first"]
    if not first and all(part["type"] != "Prepend" for part in normalizers):
        return
    for part in (*first, *(part for part in decoders if part["type"] == "Metaspace")):
        part["prepend_scheme"] = "never"
    kept = [part for part in normalizers if part["type"] != "Prepend"]
    settings["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None
    settings["decoder"] = {"type": "Sequence", "decoders": [part for part in decoders if part["type"] != "Strip"]}


def _members(settings: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """The members of a sequence, or the only one."""
    whole = settings[part]
    if whole is None:
        return []
    members: list[dict[str, Any]] = whole[f"{part.replace('_', '')}s"] if whole["type"] == "Sequence" else [whole]
    return members


def _special_ids(backend: Backend) -> frozenset[int]:
    added = backend.get_added_tokens_decoder().items()
    return frozenset(id_ for id_, token in added if token.special and not _THOUGHT_TAG.fullmatch(token.content))


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
