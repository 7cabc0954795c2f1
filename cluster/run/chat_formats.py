"""How models are prompted: compares teacher and student, and tells the learner the format of its episodes.

A format is the chat template, BOS, EOS and the tokens that end generation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from learner.export import TrainedFormat
from rollout.errors import UserError
from rollout.models import model_folder
from rollout.prompts.template import ChatTemplate, trained_template
from rollout.prompts.tokenizer import ChatSettings, load_tokenizer

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "config.json")


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How a model is prompted and how its turns end.

    Attributes:
        bos, eos: texts of the tokens; "" if the tokenizer has none.
        stop_ids: ``eos_token_id`` of generation_config.json, else of config.json; empty if neither has it.
    """

    template: ChatTemplate
    bos: str
    eos: str
    stop_ids: frozenset[int]


def check_same_format(teacher: Path, student: Path, chat: ChatSettings) -> None:
    """Raise `UserError` if two models would be prompted differently.

    With a declared template (``chat.template``) it is enough that both can be prompted with it. A model that cannot be
    prompted at all is left to the worker that loads it.
    """
    if _same_files(teacher, student):
        return
    try:
        a, b = (chat_format(folder, chat) for folder in (teacher, student))
    except UserError:
        if chat.template:
            raise
        return
    found = list(differences(a, b, declared=chat.template is not None))
    if found:
        raise UserError(
            f"{teacher} (teacher) and {student} (student) differ in {', '.join(found)}, so the student would act and "
            "be saved with another format than it is trained on; set agent.chat_template to teacher, student or a "
            "Jinja file, which is then used for acting, for training and in the checkpoint."
        )


def trained_format(student: str, chat: ChatSettings) -> tuple[TrainedFormat, str]:
    """The format of the episodes that a student is trained on, and the digest of their chat template."""
    tokenizer = load_tokenizer(model_folder(student), chat)
    template = ChatTemplate.from_tokenizer(tokenizer)
    return TrainedFormat(trained_template(tokenizer), template.end_of_turn), template.digest


def chat_format(folder: Path, chat: ChatSettings) -> ChatFormat:
    """The format of a model folder. Raises `UserError` if prompts cannot be built with it."""
    tokenizer = load_tokenizer(str(folder), chat)
    return ChatFormat(ChatTemplate.from_tokenizer(tokenizer), tokenizer.begin, tokenizer.end, stop_ids(folder))


def differences(a: ChatFormat, b: ChatFormat, *, declared: bool) -> Iterator[str]:
    """In words, what differs between two formats. A declared template decides on all but itself."""
    if a.template.digest != b.template.digest:
        yield "the chat template"
    if declared:
        return
    if a.bos != b.bos:
        yield f"the BOS token ({a.bos or 'none'} and {b.bos or 'none'})"
    if a.eos != b.eos:
        yield f"the EOS token ({a.eos or 'none'} and {b.eos or 'none'})"
    if a.stop_ids and b.stop_ids and a.stop_ids != b.stop_ids:
        yield f"eos_token_id of generation_config.json ({sorted(a.stop_ids)} and {sorted(b.stop_ids)})"


def stop_ids(folder: Path) -> frozenset[int]:
    """Ids of the tokens that end generation by default, from generation_config.json, else from config.json."""
    for name in ("generation_config.json", "config.json"):
        file = folder / name
        settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        found = settings.get("eos_token_id")
        if found is not None:
            return frozenset([found] if isinstance(found, int) else found)
    return frozenset()


def _same_files(a: Path, b: Path) -> bool:
    """Whether two folders have equal files, apart from config.json, which only matters if it alone has the EOS id."""
    names = FILES[:-1] if all((folder / "generation_config.json").is_file() for folder in (a, b)) else FILES
    return a == b or all(_bytes(a / name) == _bytes(b / name) for name in names)


def _bytes(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None
