"""The shipped models and their tokenizers: found by name, small, of one vocabulary a world, and made again alike."""

import json
from pathlib import Path

import pytest

from rollout.environments.household.catalogue import NOUNS, ROOMS
from rollout.environments.make_tokenizer import make_tokenizer
from rollout.errors import UserError
from rollout.models import builtin_models, model_folder
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer

WORLDS = ("household", "hotpotqa", "math", "webshop")


def tokenizer_of(world: str) -> Tokenizer:
    return load_tokenizer(model_folder(f"builtin:{world}-tokenizer"))


@pytest.mark.parametrize("world", WORLDS)
def test_making_a_tokenizer_again_gives_the_shipped_files(world: str, tmp_path: Path) -> None:
    make_tokenizer(world, tmp_path)
    shipped = Path(model_folder(f"builtin:{world}-tokenizer"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((shipped / name).read_text())


def test_every_noun_number_and_delimiter_of_the_household_is_one_token() -> None:
    tokenizer = tokenizer_of("household")
    nouns = {*NOUNS, *(name for room in ROOMS.values() for name in room.full)}
    for text in (*(f" {noun}" for noun in nouns), *(f" {n}" for n in range(31)), "Thought:", "\nAction:"):
        assert len(tokenizer.encode(text)) == 1, text


@pytest.mark.parametrize(
    ("world", "phrases", "places"),
    [
        (
            "hotpotqa",
            dict.fromkeys(("Old Nodisk", "Puzey Tinolt", "Zerolt Bridge"), 2) | {"The Fadell Mirror": 3},
            ("search[{}]", "{} was a", "The river of {} is", "It is not there. I search {}.", "['{}', 'Other']"),
        ),
        (
            "math",
            {"7": 1, "60": 1, "375": 2, "1250": 2},
            ("calculate[{} * 3]", "calculate[9 - {}]", "{}", "Ann has {} nuts.", "Ann has {}."),
        ),
        (
            "webshop",
            {"teal": 1, "quick drying": 2, "folding chair": 2},
            (
                "search[{}, other]",
                "a {} that",
                "[SEP] {} [SEP]",
                "I choose {}.",
                "with color: {}, and",
                "Beladan {}, x",
            ),
        ),
        ("webshop", {"B5829": 3, "B12345": 4}, ("click[{}]", "[SEP] {} [SEP]", "It is much. {} costs $9.")),
        ("webshop", {"$206.2": 5, "$8.15": 4}, ("[SEP] {} [SEP]", "B1 costs {}.", "Price: {} [SEP]")),
    ],
)
def test_what_has_to_be_copied_is_the_same_few_tokens_wherever_it_stands(
    world: str, phrases: dict[str, int], places: tuple[str, ...]
) -> None:
    tokenizer = tokenizer_of(world)
    for phrase, size in phrases.items():
        alone = tokenizer.encode(phrase)
        assert len(alone) == size, phrase
        for place in places:
            whole = tokenizer.encode(place.format(phrase))
            assert any(whole[i : i + size] == alone for i in range(len(whole))), place.format(phrase)


@pytest.mark.parametrize("world", ["hotpotqa", "math", "webshop"])
def test_a_turn_begins_with_one_token_and_acts_after_another(world: str) -> None:
    tokenizer = tokenizer_of(world)
    assert tokenizer.pieces(tokenizer.encode("Thought: I go\nAction: look")) == [
        "Thought: ",
        *tokenizer.pieces(tokenizer.encode("I go")),
        "\nAction: ",
        *tokenizer.pieces(tokenizer.encode("look")),
    ]


@pytest.mark.parametrize("text", ["naïve café", "日本語 \U0001f600", "\x00\x7f", "  two  spaces\n\n\ttab"])
@pytest.mark.parametrize("world", WORLDS)
def test_text_of_any_kind_survives_the_tokenizer(world: str, text: str) -> None:
    tokenizer = tokenizer_of(world)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def weights(model: str) -> Path:
    return Path(model_folder(model)) / "model.safetensors"


def test_all_shipped_models_together_are_small() -> None:
    assert {"builtin:household-teacher", "builtin:household-base-student"} <= set(builtin_models())
    assert sum(weights(name).stat().st_size for name in builtin_models()) <= 24_000_000


@pytest.mark.parametrize("name", builtin_models())
def test_a_shipped_model_has_the_tokenizer_of_its_world(name: str) -> None:
    world = name.removeprefix("builtin:").partition("-")[0]
    one, other = (Path(model_folder(folder)) / "tokenizer.json" for folder in (name, f"builtin:{world}-tokenizer"))
    assert json.loads(one.read_text()) == json.loads(other.read_text())


@pytest.mark.parametrize("world", [w for w in WORLDS if f"builtin:{w}-teacher" in builtin_models()])
def test_a_base_student_has_at_most_a_third_of_its_teachers_parameters(world: str) -> None:
    from safetensors import safe_open

    def parameters(name: str) -> int:
        with safe_open(weights(name), "pt") as file:
            return sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118 (not a mapping)

    assert 3 * parameters(f"builtin:{world}-base-student") <= parameters(f"builtin:{world}-teacher")


def test_a_model_that_is_not_there_is_named_with_what_is() -> None:
    with pytest.raises(UserError, match="household-teacher"):
        model_folder("builtin:nothing")
    with pytest.raises(UserError, match="does not exist"):
        model_folder("./no/such/folder")


def test_a_hub_name_stays_as_it_is() -> None:
    assert model_folder("Qwen/Qwen2.5-0.5B-Instruct") == "Qwen/Qwen2.5-0.5B-Instruct"
