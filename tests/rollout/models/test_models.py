"""The shipped models and tokenizers: names, sizes, one vocabulary per environment, reproducible tokenizers."""

import json
from pathlib import Path

import pytest

from rollout.environments.household.catalog import NOUNS, ROOMS
from rollout.environments.make_tokenizer import make_tokenizer
from rollout.errors import UserError
from rollout.models import builtin_models, model_folder
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer

ENVIRONMENTS = ("household", "hotpotqa", "math", "webshop")


def tokenizer_of(environment: str) -> Tokenizer:
    return load_tokenizer(model_folder(f"builtin:{environment}-tokenizer"))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_building_a_tokenizer_reproduces_the_shipped_files(environment: str, tmp_path: Path) -> None:
    make_tokenizer(environment, tmp_path)
    shipped = Path(model_folder(f"builtin:{environment}-tokenizer"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((shipped / name).read_text())


def test_every_noun_number_and_delimiter_of_the_household_is_one_token() -> None:
    tokenizer = tokenizer_of("household")
    nouns = {*NOUNS, *(name for room in ROOMS.values() for name in room.full)}
    for text in (*(f" {noun}" for noun in nouns), *(f" {n}" for n in range(31)), "Thought:", "\nAction:"):
        assert len(tokenizer.encode(text)) == 1, text


@pytest.mark.parametrize(
    ("environment", "phrases", "contexts"),
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
def test_phrases_to_copy_have_the_same_few_tokens_in_every_context(
    environment: str, phrases: dict[str, int], contexts: tuple[str, ...]
) -> None:
    tokenizer = tokenizer_of(environment)
    for phrase, size in phrases.items():
        alone = tokenizer.encode(phrase)
        assert len(alone) == size, phrase
        for context in contexts:
            whole = tokenizer.encode(context.format(phrase))
            assert any(whole[i : i + size] == alone for i in range(len(whole))), context.format(phrase)


@pytest.mark.parametrize("environment", ["hotpotqa", "math", "webshop"])
def test_the_thought_and_action_markers_are_single_tokens(environment: str) -> None:
    tokenizer = tokenizer_of(environment)
    assert tokenizer.pieces(tokenizer.encode("Thought: I go\nAction: look")) == [
        "Thought: ",
        *tokenizer.pieces(tokenizer.encode("I go")),
        "\nAction: ",
        *tokenizer.pieces(tokenizer.encode("look")),
    ]


@pytest.mark.parametrize("text", ["naïve café", "日本語 \U0001f600", "\x00\x7f", "  two  spaces\n\n\ttab"])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_any_text_survives_the_tokenizer(environment: str, text: str) -> None:
    tokenizer = tokenizer_of(environment)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def weights(model: str) -> Path:
    return Path(model_folder(model)) / "model.safetensors"


def test_all_shipped_models_together_are_small() -> None:
    assert {"builtin:household-teacher", "builtin:household-base-student"} <= set(builtin_models())
    assert sum(weights(name).stat().st_size for name in builtin_models()) <= 24_000_000


@pytest.mark.parametrize("name", builtin_models())
def test_a_shipped_model_has_the_tokenizer_of_its_environment(name: str) -> None:
    environment = name.removeprefix("builtin:").partition("-")[0]
    one, other = (
        Path(model_folder(folder)) / "tokenizer.json" for folder in (name, f"builtin:{environment}-tokenizer")
    )
    assert json.loads(one.read_text()) == json.loads(other.read_text())


@pytest.mark.parametrize("environment", [w for w in ENVIRONMENTS if f"builtin:{w}-teacher" in builtin_models()])
def test_a_base_student_has_at_most_a_third_of_its_teachers_parameters(environment: str) -> None:
    from safetensors import safe_open

    def parameters(name: str) -> int:
        with safe_open(weights(name), "pt") as file:
            return sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118 (not a mapping)

    assert 3 * parameters(f"builtin:{environment}-base-student") <= parameters(f"builtin:{environment}-teacher")


def test_an_unknown_model_is_refused_with_the_available_ones() -> None:
    with pytest.raises(UserError, match="household-teacher"):
        model_folder("builtin:nothing")
    with pytest.raises(UserError, match="does not exist"):
        model_folder("./no/such/folder")


def test_a_hub_name_is_returned_unchanged() -> None:
    assert model_folder("Qwen/Qwen2.5-0.5B-Instruct") == "Qwen/Qwen2.5-0.5B-Instruct"
