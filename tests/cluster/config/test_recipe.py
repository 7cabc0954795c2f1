"""Recipes are validated when they are loaded: every error is one sentence that names the setting and how to fix it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.config.load import apply_override, load_recipe, recipe_names
from cluster.config.recipe import SamplingChanges
from cluster.run.directory import recipe_yaml
from cluster.run.steps.train import with_exact_teacher
from cluster.run.weights import check_models, vocabulary_digest
from rollout.engine import Sampling
from rollout.errors import UserError
from rollout.models import model_folder

NO_MODELS = ("teacher.engine.model=org/model", "student.engine.model=org/model")
"""Models of a hub: nothing on this disk is looked at."""


EXPERT = "teacher.engine={type: scripted, policy: household-expert, tokenizer: x/y}"


def refusal(name: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(name, overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description


@pytest.mark.parametrize("name", recipe_names())
def test_a_resolved_recipe_can_be_read_back(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["seed=11"])
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(recipe), encoding="utf-8")
    assert load_recipe(str(tmp_path)) == recipe
    assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe


def test_an_override_sets_one_value_and_leaves_the_rest() -> None:
    before = load_recipe("quickstart")
    after = load_recipe(
        "quickstart", ["learner.learning_rate=1e-3", "evaluate.agents=[teacher]", "agent.sampling.max_tokens=32"]
    )
    assert after.learner is not None
    assert after.evaluate is not None
    assert after.learner.learning_rate == 1e-3
    assert after.evaluate.agents == ("teacher",)
    assert after.agent.sampling.max_tokens == 32
    assert after.collect == before.collect


def test_an_override_reaches_into_a_list_by_number() -> None:
    recipe = load_recipe("quickstart", ["learner.terms.1.weight=2.5"])
    assert recipe.learner is not None
    assert [term.weight for term in recipe.learner.terms] == [1.0, 2.5, 1.0]


def test_a_whole_section_can_be_replaced_or_left_out() -> None:
    assert load_recipe("quickstart", ["evaluate=null"]).evaluate is None
    recipe = load_recipe("smoke", ["teacher.engine={type: scripted, policy: household-random, tokenizer: x/y}"])
    assert recipe.teacher.engine.policy == "household-random"  # type: ignore[union-attr]


def test_later_overrides_win() -> None:
    assert load_recipe("smoke", ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["learner.learning_rate=-1"], "learner.learning_rate: must be greater than 0 (got -1); the default is 0.002."),
        (["learner.lerning_rate=1"], "learner.lerning_rate: there is no such setting; did you mean learning_rate"),
        (["leaner.epochs=1"], "leaner: there is no such setting; did you mean learner or"),
        (["teacher.engine.type=vlm"], 'teacher.engine.type: there is no "vlm"; did you mean vllm?'),
        (
            ["learner.terms=[{stream: act}]"],
            "learner.terms.0.divergence: is missing; choose one of cross_entropy, forward_kl, ",
        ),
        (["learner.terms.7.weight=1"], "give a number from 0 to 2"),
        (["environment.size=huge"], "environment.size: must be 'small'"),
        (
            ["teacher.workers=two"],
            'teacher.workers: must be a valid integer, unable to parse string as an integer (got "two")',
        ),
        (["seed.sub=1"], "seed.sub: there is no such setting"),
        (["rounds"], "write key=value"),
        (["rounds=[1"], "the value of rounds is not YAML"),
        (["name=a/b"], "name:"),
        (["evaluate.agents=[student, boss]"], "evaluate.agents.1:"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_setting(overrides: list[str], sentence: str) -> None:
    text = refusal("quickstart", *overrides)
    assert sentence in text
    assert "\n" not in text


def test_several_mistakes_are_told_at_once() -> None:
    text = refusal("quickstart", "rounds=0", "learner.learning_rate=-1")
    assert "has 2 mistakes" in text
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("quickstart", ["collect.teacher_sampling.top_logprobs=0"], "set collect.teacher_sampling.top_logprobs"),
        (
            "quickstart",
            [EXPERT],
            "engine of type scripted gives no",
        ),
        ("quickstart", ["student=null"], "add a student section"),
        ("quickstart", ["student.engine.model=checkpoint"], "student with a model to start from"),
        ("teacher", ["evaluate.agents=[student_before]"], "student starts untrained"),
        ("base-student", ["student.engine.model=builtin:household-teacher"], "set student.engine.model to checkpoint"),
        ("smoke", ["evaluate.agents=[student]"], "there is no learner"),
        ("quickstart", ["collect.teacher_episodes=0", "collect.student_episodes=0"], "no episodes to learn from"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(name: str, overrides: list[str], sentence: str) -> None:
    assert sentence in refusal(name, *overrides)


def test_an_unknown_recipe_is_told_with_close_ones_and_all_of_them() -> None:
    text = refusal("hosehold")
    assert "did you mean household?" in text
    assert all(name in text for name in recipe_names())


def test_a_file_that_is_no_recipe_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    for content, sentence in (
        ("a: [", "cannot be read as YAML"),
        ("- 1", "holds no settings"),
        ("a: 1\na: 2", "given twice"),
    ):
        file.write_text(content, encoding="utf-8")
        assert sentence in refusal(str(file))


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: !!python/object/apply:os.getcwd []", encoding="utf-8")
    assert "cannot be read as YAML" in refusal(str(file))


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError):
        load_recipe("smoke").seed = 1  # type: ignore[misc]


def test_sampling_changes_only_what_they_name() -> None:
    base = Sampling(max_tokens=10, temperature=0.7, top_p=0.9)
    assert SamplingChanges().apply(base) == base
    assert SamplingChanges(temperature=0.0).apply(base) == base.model_copy(update={"temperature": 0.0})
    recipe = load_recipe("quickstart")
    assert recipe.collect_sampling("teacher").top_logprobs == 16
    assert recipe.evaluated_agent() == recipe.agent


def test_agents_can_act_in_another_way_when_they_are_evaluated() -> None:
    several = "evaluate.acting={type: self_consistent, candidates: 3}"
    recipe = load_recipe("quickstart", [several, "evaluate.sampling.max_tokens=7"])
    assert recipe.agent.acting.type == "plain"
    assert (recipe.evaluated_agent().acting.type, recipe.evaluated_agent().sampling.max_tokens) == (
        "self_consistent",
        7,
    )
    with pytest.raises(UserError, match=r"candidates is 0, but from 1 to 64"):
        load_recipe("quickstart", ["evaluate.acting={type: self_consistent, candidates: 0}"])
    with pytest.raises(UserError, match=r"evaluate.acting is constrained to admissible actions, but style codeact"):
        load_recipe("quickstart", ["evaluate.acting={type: constrained}", "agent.style=codeact"])


def test_a_missing_model_is_named_with_its_setting(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(UserError, match=r"student\.engine\.model: .*nowhere"):
        check_models(load_recipe("quickstart", [*NO_MODELS, f"student.engine.model={missing}"]))
    with pytest.raises(UserError, match=r"learner\.model: .*no-such"):
        check_models(load_recipe("quickstart", ["learner.model=builtin:no-such", *NO_MODELS]))


def model_with(folder: Path, extra_token: str | None = None) -> Path:
    """A model folder with the shipped tokenizer, and perhaps one token more."""
    folder.mkdir()
    shutil.copy(Path(model_folder("builtin:household-tokenizer")) / "tokenizer.json", folder)
    if extra_token is not None:
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        tokenizer["model"]["vocab"][extra_token] = len(tokenizer["model"]["vocab"]) + 1000
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


EXACT = ["learner.terms=[{stream: act, divergence: reverse_kl, signal: exact}]", "learner.teacher={}"]


def test_an_exact_teacher_has_the_students_vocabulary_and_needs_no_recorded_distributions(tmp_path: Path) -> None:
    teacher, other = model_with(tmp_path / "a"), model_with(tmp_path / "c", "zyx")
    models = [f"teacher.engine.model={teacher}", f"student.engine.model={teacher}"]
    recipe = load_recipe("quickstart", [*models, *EXACT, "collect.teacher_sampling={}"])
    check_models(recipe)
    with pytest.raises(UserError, match=r"tokenizers of .*learner.teacher.model.* and .*student.* differ"):
        check_models(load_recipe("quickstart", [*models, *EXACT, f"learner.teacher.model={other}"]))


def test_an_exact_teacher_needs_weights_and_cannot_see_hints() -> None:
    with pytest.raises(UserError, match=r"an engine of type scripted has none; set learner\.teacher\.model"):
        load_recipe(
            "quickstart",
            [
                *EXACT,
                "teacher.engine={type: scripted, policy: household-expert, tokenizer: builtin:household-tokenizer}",
            ],
        )
    with pytest.raises(UserError, match=r"with signal exact it reads what the student reads"):
        load_recipe("privileged", EXACT)


def test_the_exact_teacher_is_the_recipes_teacher_unless_another_is_named() -> None:
    for named, model in (("null", "builtin:household-teacher"), ("/other", "/other")):
        recipe = load_recipe("on-policy", [*EXACT, f"learner.teacher.model={named}"])
        assert recipe.learner is not None
        learner = with_exact_teacher(recipe, recipe.learner)
        assert learner.teacher is not None
        assert learner.teacher.model == model


def test_teacher_and_student_need_one_vocabulary_whatever_the_divergence(tmp_path: Path) -> None:
    teacher, same, other = model_with(tmp_path / "a"), model_with(tmp_path / "b"), model_with(tmp_path / "c", "zyx")
    engines = f"teacher.engine.model={teacher}"
    check_models(load_recipe("quickstart", [engines, f"student.engine.model={same}"]))
    for terms in ([], ["learner.terms=[{stream: act, divergence: cross_entropy}]"]):
        with pytest.raises(UserError, match="choose models that share a tokenizer"):
            check_models(load_recipe("quickstart", [engines, f"student.engine.model={other}", *terms]))


def test_a_vocabulary_is_told_by_its_tokens_not_by_the_order_of_the_file(tmp_path: Path) -> None:
    folder = model_with(tmp_path / "a")
    before = vocabulary_digest(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"] = dict(reversed(tokenizer["model"]["vocab"].items()))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert vocabulary_digest(folder) == before
    assert vocabulary_digest(tmp_path) is None


SCALARS = st.one_of(
    st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


@given(SCALARS | st.lists(SCALARS, max_size=3))
def test_any_yaml_value_arrives_as_it_was_written(value: Any) -> None:
    settings: dict[str, Any] = {}
    apply_override(settings, "collect.split=" + yaml.safe_dump(value, default_flow_style=True, allow_unicode=True))
    assert settings == {"collect": {"split": value}}


@given(st.text())
def test_whatever_is_typed_as_an_override_is_taken_or_refused_in_words(text: str) -> None:
    try:
        outcome: object = load_recipe("smoke", [text])
    except UserError as error:
        outcome = str(error)
    assert outcome


def test_a_student_with_a_tokenizer_of_its_own_is_told_the_teachers(tmp_path: Path) -> None:
    other = ["student.engine.model=builtin:webshop-base-student"]
    terms = "learner.terms=[{stream: act, divergence: uld}]"
    with pytest.raises(UserError, match=r"or set learner.teacher_tokenizer to .*household-teacher"):
        check_models(load_recipe("quickstart", other))
    right, wrong = (f"learner.teacher_tokenizer=builtin:{world}-tokenizer" for world in ("household", "math"))
    check_models(load_recipe("quickstart", [*other, terms, right]))
    with pytest.raises(UserError, match=r"recorded with the tokenizer of .*household-teacher; set it to"):
        check_models(load_recipe("quickstart", [*other, terms, wrong]))
    with pytest.raises(UserError, match="score.roles names the student, whose tokens mean nothing"):
        load_recipe("on-policy", [*other, right, terms])
