"""The shipped models and their tokenizer: found by name, small, of one vocabulary, and made again by the same call."""

import json
from itertools import product
from pathlib import Path

import pytest

from rollout.errors import UserError
from rollout.household.catalogue import NOUNS, ROOMS
from rollout.models import builtin_models, model_folder
from rollout.models.make_tokenizer import make_tokenizer
from rollout.prompts.tokenizer import load_tokenizer

TOKENIZER = "builtin:household-tokenizer"


def test_making_the_tokenizer_again_gives_the_shipped_files(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    shipped = Path(model_folder(TOKENIZER))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((shipped / name).read_text())


def test_every_noun_number_and_delimiter_is_one_token() -> None:
    tokenizer = load_tokenizer(model_folder(TOKENIZER))
    nouns = {*NOUNS, *(name for room in ROOMS.values() for name in room.full)}
    for text in (*(f" {noun}" for noun in nouns), *(f" {n}" for n in range(31)), "Thought:", "\nAction:"):
        assert len(tokenizer.encode(text)) == 1, text


@pytest.mark.parametrize("text", ["naïve café", "日本語 \U0001f600", "\x00\x7f", "  two  spaces\n\n\ttab"])
def test_text_of_any_kind_survives_the_tokenizer(text: str) -> None:
    tokenizer = load_tokenizer(model_folder(TOKENIZER))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_shipped_models_are_small_and_share_the_tokenizer() -> None:
    limits = {"builtin:household-teacher": 12_000_000, "builtin:household-base-student": 4_000_000}
    assert set(builtin_models()) == set(limits)
    for name, limit in limits.items():
        assert (Path(model_folder(name)) / "model.safetensors").stat().st_size <= limit
    vocabularies = [
        json.loads((Path(model_folder(name)) / "tokenizer.json").read_text())["model"]["vocab"]
        for name in (TOKENIZER, *limits)
    ]
    assert all(one == other for one, other in product(vocabularies, repeat=2))


def test_the_base_student_has_at_most_a_third_of_the_teachers_parameters() -> None:
    from safetensors import safe_open

    def parameters(name: str) -> int:
        with safe_open(Path(model_folder(name)) / "model.safetensors", "numpy") as file:
            return sum(file.get_tensor(key).size for key in file.keys())  # noqa: SIM118 (not a mapping)

    assert 3 * parameters("builtin:household-base-student") <= parameters("builtin:household-teacher")


def test_a_model_that_is_not_there_is_named_with_what_is() -> None:
    with pytest.raises(UserError, match="household-teacher"):
        model_folder("builtin:nothing")
    with pytest.raises(UserError, match="does not exist"):
        model_folder("./no/such/folder")


def test_a_hub_name_stays_as_it_is() -> None:
    assert model_folder("Qwen/Qwen2.5-0.5B-Instruct") == "Qwen/Qwen2.5-0.5B-Instruct"
