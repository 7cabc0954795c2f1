"""Teacher and student are prompted in one way: their formats are compared, or one template is declared for both."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cluster.config.load import load_recipe
from cluster.config.recipe import Recipe
from cluster.run.chat_formats import trained_format
from cluster.run.directory import recipe_yaml
from cluster.run.weights import check_models
from rollout.errors import UserError
from rollout.factory import make_engine, tokenizer_of
from rollout.prompts.template import ChatTemplate
from rollout.prompts.tokenizer import ChatSettings
from tests.chat_models import CHATML, END_OF_TEXT, IM_END, OTHER, save_model, save_tokenizer

USING_BOS = "{{ bos_token }}" + CHATML
INSTRUCT: dict[str, Any] = {"template": CHATML, "eos": "<|im_end|>", "stops": [IM_END, END_OF_TEXT]}
DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "template": ({"template": OTHER}, "differ in the chat template,"),
    "no template": ({"template": None}, "differ in the chat template,"),
    "bos": ({"bos": "<|bos|>"}, r"differ in the BOS token \(none and <\|bos\|>\),"),
    "bos in the prompt": ({"template": USING_BOS, "bos": "<|bos|>"}, "the chat template, the BOS token"),
    "eos": ({"eos": "<|endoftext|>"}, r"the EOS token \(<\|im_end\|> and <\|endoftext\|>\)"),
    "stops": ({"stops": [END_OF_TEXT]}, r"eos_token_id of generation_config.json \(\[0, 2\] and \[0\]\)"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def teacher(folder: Path) -> str:
    return save_model(folder / "teacher", **INSTRUCT)


def recipe(teacher: str, student: str, *overrides: str) -> Recipe:
    models = [f"teacher.engine={{type: transformers, model: {teacher}}}", f"student.engine.model={student}"]
    return load_recipe("quickstart", [*models, *overrides])


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_student_with_another_format_is_refused(folder: Path, teacher: str, name: str) -> None:
    changes, found = DIFFERENT[name]
    student = save_model(folder / name.replace(" ", "-"), **{**INSTRUCT, **changes})
    with pytest.raises(UserError, match=found) as refused:
        check_models(recipe(teacher, student))
    assert "set agent.chat_template to teacher, student or a Jinja file" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("declared", ["teacher", "file"])
def test_one_declared_template_is_used_by_both(folder: Path, teacher: str, name: str, declared: str) -> None:
    student = save_model(folder / f"{name.replace(' ', '-')}-{declared}", **{**INSTRUCT, **DIFFERENT[name][0]})
    if declared == "file":
        declared = str(folder / "chatml.jinja")
        Path(declared).write_text(CHATML)
    found = recipe(teacher, student, f"agent.chat_template={declared}")
    check_models(found)
    assert found.student is not None
    acting = [
        ChatTemplate.from_tokenizer(tokenizer_of(role.engine, found.agent)) for role in (found.teacher, found.student)
    ]
    trained, digest = trained_format(student, found.agent.chat)
    assert {template.digest for template in acting} == {digest}
    assert acting[0] == ChatTemplate.from_tokenizer(tokenizer_of(found.teacher.engine))
    assert trained.end_of_turn == "<|im_end|>"


def test_the_student_s_template_can_be_declared(folder: Path, teacher: str) -> None:
    student = save_model(folder / "declared-student", **{**INSTRUCT, "template": OTHER})
    found = recipe(teacher, student, "agent.chat_template=student")
    check_models(found)
    assert "<|im_start|>assistant:" in ChatTemplate.from_tokenizer(tokenizer_of(found.teacher.engine, found.agent)).text


async def test_engines_stop_at_the_end_of_a_declared_template(folder: Path, teacher: str) -> None:
    student = save_model(folder / "base", None, eos="<|endoftext|>")
    found = recipe(teacher, student, "agent.chat_template=teacher")
    engine = await make_engine(found.teacher.engine.model_copy(update={"model": student}), found.agent)
    assert engine._stop_ids == {IM_END, END_OF_TEXT}  # type: ignore[attr-defined]
    await engine.close()


def test_equal_formats_need_no_setting(folder: Path, teacher: str) -> None:
    for name, template in {"same": CHATML, "spelled": CHATML.replace("m.role", "m['role']")}.items():
        check_models(recipe(teacher, save_model(folder / name, **{**INSTRUCT, "template": template})))


def test_the_model_that_is_trained_is_compared_too(folder: Path, teacher: str) -> None:
    trained = save_model(folder / "trained", **{**INSTRUCT, "template": OTHER})
    with pytest.raises(UserError, match=rf"{trained} \(student\) differ in the chat template"):
        check_models(recipe(teacher, teacher, f"learner.model={trained}"))


def test_a_scratch_student_is_compared_by_its_tokenizer(folder: Path, teacher: str) -> None:
    tokenizer = save_tokenizer(folder / "scratch", OTHER)
    scratch = [f"learner.scratch={{tokenizer: {tokenizer}}}", "evaluate.agents=[teacher, student]"]
    scratch += ["collect.student_episodes=0", "collect.train_on=[teacher]"]
    with pytest.raises(UserError, match="differ in the chat template"):
        check_models(recipe(teacher, "checkpoint", *scratch))
    found = recipe(teacher, "checkpoint", *scratch, "agent.chat_template=student")
    assert found.agent.chat_template == tokenizer
    check_models(found)


def test_a_template_that_does_not_exist_is_refused_before_anything_starts(teacher: str, folder: Path) -> None:
    student = save_model(folder / "any", **INSTRUCT, pad="<|pad|>")
    with pytest.raises(UserError, match=r"there is no file none\.jinja"):
        check_models(recipe(teacher, student, "agent.chat_template=none.jinja"))


def test_models_of_two_vocabularies_keep_their_templates() -> None:
    other = ["student.engine.model=builtin:webshop-base-student", "learner.teacher_tokenizer=builtin:household-teacher"]
    terms = "learner.terms=[{stream: act, divergence: uld}]"
    check_models(load_recipe("quickstart", [*other, terms]))
    with pytest.raises(UserError, match=r"agent\.chat_template is one template for teacher and student, but learner"):
        load_recipe("quickstart", [*other, terms, "agent.chat_template=teacher"])


def test_a_resolved_recipe_names_the_template_and_the_date_and_can_be_loaded_again(teacher: str, folder: Path) -> None:
    found = recipe(teacher, teacher, "agent.chat_template=teacher", "agent.date=2025-01-02")
    assert found.agent.chat == ChatSettings(teacher, date(2025, 1, 2))
    (folder / "recipe.yaml").write_text(recipe_yaml(found))
    assert load_recipe(str(folder / "recipe.yaml")) == found
    assert load_recipe("quickstart").agent.date == date(2024, 7, 26)


def cached(hub: Path, name: str, model: str) -> str:
    """Put the small files of a model into a hub cache; returns its hub name."""
    repository = hub / f"models--org--{name}"
    shutil.copytree(model, repository / "snapshots" / "0123", ignore=shutil.ignore_patterns("*.safetensors"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    return f"org/{name}"


def test_cached_hub_models_are_compared_and_others_are_named(
    folder: Path, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    other = save_model(folder / "hub-other", **{**INSTRUCT, "template": OTHER})
    vocabulary = Path(save_model(folder / "hub-vocabulary", **INSTRUCT))
    tokenizer = json.loads((vocabulary / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zyx"] = 311
    (vocabulary / "tokenizer.json").write_text(json.dumps(tokenizer))
    hub = {
        name: cached(tmp_path, name, model) for name, model in {"t": teacher, "o": other, "v": str(vocabulary)}.items()
    }
    assert check_models(recipe(hub["t"], hub["t"]), download=True) == ()
    with pytest.raises(UserError, match="differ in the chat template"):
        check_models(recipe(hub["t"], hub["o"]))
    with pytest.raises(UserError, match="choose models that share a tokenizer"):
        check_models(recipe(hub["t"], hub["v"]))
    (note,) = check_models(recipe(hub["t"], "org/unknown"), download=True)
    assert "student.engine.model org/unknown" in note
    assert "not in the local cache, so they were not compared" in note
