"""Checks of a recipe's models before anything starts: folders exist, and vocabularies and chat formats match."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from cluster.config.recipe import CHECKPOINT, Recipe
from cluster.run.chat_formats import check_same_format
from cluster.run.phases import PHASES, used_sections
from rollout.errors import UserError
from rollout.models import model_folder
from rollout.models.hub import hub_folder
from rollout.prompts.tool import TOOLS

TEACHER_TOKENIZER = "learner.teacher_tokenizer"
EXACT_TEACHER = "learner.teacher.model"


def check_models(recipe: Recipe, phases: Collection[str] = PHASES, *, download: bool = False) -> tuple[str, ...]:
    """Check that model folders exist, and that teacher and student have the same vocabulary and chat format.

    It also loads the agent's tools and the learner's divergences, which may come from other packages. Only what one of
    ``phases`` uses is checked.

    The learner trains on the token ids that the teacher saw and wrote, unless ``learner.teacher_tokenizer`` is set.

    Args:
        download: whether to get the tokenizers of hub models that are not in the local cache.

    Returns:
        Sentences on what could not be checked.

    Raises:
        UserError: a folder is missing, or the models do not fit together.
    """
    used = used_sections(recipe, phases)
    required = {setting: model for setting, model in model_settings(recipe) if setting.partition(".")[0] in used}
    folders = {
        setting: local_folder(setting, model, required=setting in required) for setting, model in model_settings(recipe)
    }
    for name in recipe.agent.tools if {"rollout", "evaluate"} & set(phases) else ():
        TOOLS.load(name).load_function()
    if recipe.learner is None or "train" not in phases:
        return ()
    recipe.learner.check_divergences()
    named = {setting: model for setting, model in required.items() if folders[setting] is None}
    folders |= {setting: hub_folder(model, download=download) for setting, model in named.items()}
    unknown = [f"{setting} {model}" for setting, model in named.items() if folders[setting] is None]
    _check_vocabularies(folders)
    _check_formats(folders, recipe)
    return (
        ()
        if not unknown
        else (
            f"the tokenizer and chat template of {', '.join(unknown)} are not in the local cache, so they were not "
            "compared; they are when training begins. Download the model first to have them compared now.",
        )
    )


def _check_vocabularies(folders: Mapping[str, Path | None]) -> None:
    teacher = first_folder(folders, "teacher.engine")
    student = first_folder(folders, "learner") or first_folder(folders, "student.engine")
    teacher_tokenizer, exact = folders.get(TEACHER_TOKENIZER), folders.get(EXACT_TEACHER)
    if exact and student and vocabularies_differ(exact, student):
        raise UserError(
            f"the tokenizers of {exact} ({EXACT_TEACHER}) and {student} (student) differ, so their distributions "
            "cannot be compared; choose models that share a tokenizer."
        )
    if teacher and teacher_tokenizer and vocabularies_differ(teacher, teacher_tokenizer):
        raise UserError(
            f"{TEACHER_TOKENIZER} is {teacher_tokenizer}, but the teacher's episodes are recorded with the tokenizer "
            f"of {teacher}; set it to {teacher}."
        )
    if teacher and student and TEACHER_TOKENIZER not in folders and vocabularies_differ(teacher, student):
        raise UserError(
            f"the tokenizers of {teacher} (teacher) and {student} (student) differ, so the student cannot train on the "
            f"teacher's tokens; choose models that share a tokenizer, or set {TEACHER_TOKENIZER} to {teacher} and use "
            "cross_entropy or uld."
        )


def _check_formats(folders: Mapping[str, Path | None], recipe: Recipe) -> None:
    """Compare the teacher with the model that is trained and with the one that acts."""
    teacher = first_folder(folders, "teacher.engine")
    students = {first_folder(folders, "learner"), first_folder(folders, "student.engine")} - {None}
    if teacher is None or TEACHER_TOKENIZER in folders:
        return
    for student in sorted(student for student in students if student is not None):
        check_same_format(teacher, student, recipe.agent.chat)


def model_settings(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield (setting, model) for each folder or hub name from which the recipe loads a model or a tokenizer."""
    for who, role in {"teacher": recipe.teacher, "student": recipe.student}.items():
        # An engine with a tokenizer setting does not load its model from a folder.
        setting = "tokenizer" if hasattr(role and role.engine, "tokenizer") else "model"
        model = getattr(role and role.engine, setting, None)
        if model not in (None, CHECKPOINT):
            yield f"{who}.engine.{setting}", str(model)
    learner = recipe.learner
    if learner is not None and learner.model is not None:
        yield "learner.model", learner.model
    if learner is not None and learner.teacher is not None and learner.teacher.model is not None:
        yield EXACT_TEACHER, learner.teacher.model
    if learner is not None and learner.teacher_tokenizer is not None:
        yield TEACHER_TOKENIZER, learner.teacher_tokenizer
    if learner is not None and learner.scratch is not None:
        yield "learner.scratch.tokenizer", learner.scratch.tokenizer


def first_folder(folders: Mapping[str, Path | None], start: str) -> Path | None:
    """The folder of the first setting below ``start``."""
    named = (
        folder
        for setting, folder in folders.items()
        if setting.startswith(start + ".") and setting not in (TEACHER_TOKENIZER, EXACT_TEACHER)
    )
    return next(named, None)


def local_folder(setting: str, model: str, *, required: bool = True) -> Path | None:
    """The folder of a model; None for a hub name.

    Raises:
        UserError: there is no such folder, and it is ``required``.
    """
    try:
        folder = Path(model_folder(model))
    except UserError as error:
        if not required:
            return None
        raise UserError(f"{setting}: {error}") from error
    return folder if folder.is_dir() else None


def vocabularies_differ(a: Path, b: Path) -> bool:
    """Whether two models map token ids to different texts; models without tokenizer.json count as equal."""
    digest_a, digest_b = vocabulary_digest(a), vocabulary_digest(b)
    return digest_a is not None and digest_b is not None and digest_a != digest_b


def vocabulary_digest(folder: Path) -> str | None:
    """SHA-256 digest of the token texts and ids in tokenizer.json; None if the file does not exist."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    entries = tokenizer["model"]["vocab"]
    # A unigram vocabulary is a list of [text, score]; its ids are positions.
    vocabulary = entries if isinstance(entries, dict) else {text: number for number, (text, _) in enumerate(entries)}
    return hashlib.sha256(json.dumps({**vocabulary, **added}, sort_keys=True).encode()).hexdigest()
