"""Checks of a recipe against the models on disk, before anything starts: folders are there, vocabularies agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from cluster.config.recipe import CHECKPOINT, Recipe
from rollout.errors import UserError
from rollout.models import model_folder
from rollout.prompts.tool import TOOLS

TRANSLATED = "learner.teacher_tokenizer"


def check_models(recipe: Recipe) -> None:
    """Raises `UserError` if a model folder is missing, or teacher and student speak two vocabularies.

    So it does if a tool or a divergence of another package cannot be imported.

    The learner trains on the very token ids that the teacher saw and wrote, unless it is told the teacher's tokenizer.
    """
    folders = {setting: local_folder(setting, model) for setting, model in models(recipe)}
    for name in recipe.agent.tools:
        TOOLS.load(name).load_function()
    if recipe.learner is None:
        return
    recipe.learner.check_divergences()
    teacher = first(folders, "teacher.engine")
    student = first(folders, "learner") or first(folders, "student.engine")
    translated = folders.get(TRANSLATED)
    if teacher and translated and differ(teacher, translated):
        raise UserError(
            f"{TRANSLATED} is {translated}, but the teacher's episodes are recorded with the tokenizer of {teacher}; "
            "name that one."
        )
    if teacher and student and not translated and differ(teacher, student):
        raise UserError(
            f"The tokenizers of {teacher} (teacher) and {student} (student) differ, so the student cannot train on the "
            f"teacher's tokens; choose models that share a tokenizer, or set {TRANSLATED} to {teacher} and use "
            "cross_entropy or uld."
        )


def models(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(setting, model) for each folder or hub name that the recipe reads a model or a tokenizer from."""
    for who, role in {"teacher": recipe.teacher, "student": recipe.student}.items():
        # An engine with a tokenizer setting has its model elsewhere.
        setting = "tokenizer" if hasattr(role and role.engine, "tokenizer") else "model"
        model = getattr(role and role.engine, setting, None)
        if model not in (None, CHECKPOINT):
            yield f"{who}.engine.{setting}", str(model)
    learner = recipe.learner
    if learner is not None and learner.model is not None:
        yield "learner.model", learner.model
    if learner is not None and learner.teacher_tokenizer is not None:
        yield TRANSLATED, learner.teacher_tokenizer
    if learner is not None and learner.scratch is not None:
        yield "learner.scratch.tokenizer", learner.scratch.tokenizer


def first(folders: Mapping[str, Path | None], start: str) -> Path | None:
    """The folder of the first setting below ``start``."""
    named = (folder for setting, folder in folders.items() if setting.startswith(start + ".") and setting != TRANSLATED)
    return next(named, None)


def local_folder(setting: str, model: str) -> Path | None:
    """The folder of a model; None for a hub name, which its loader looks up."""
    try:
        folder = Path(model_folder(model))
    except UserError as error:
        raise UserError(f"{setting}: {error}") from error
    return folder if folder.is_dir() else None


def differ(a: Path, b: Path) -> bool:
    """Whether two models give different meanings to token ids; unknown (no tokenizer.json) counts as equal."""
    digest_a, digest_b = vocabulary_digest(a), vocabulary_digest(b)
    return digest_a is not None and digest_b is not None and digest_a != digest_b


def vocabulary_digest(folder: Path) -> str | None:
    """SHA-256 over token texts and ids in tokenizer.json; None without such a file."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    entries = tokenizer["model"]["vocab"]
    # A unigram vocabulary is a list of [text, score]; its ids are positions.
    vocabulary = entries if isinstance(entries, dict) else {text: number for number, (text, _) in enumerate(entries)}
    return hashlib.sha256(json.dumps({**vocabulary, **added}, sort_keys=True).encode()).hexdigest()
