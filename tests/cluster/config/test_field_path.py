"""Paths of keys are followed through nested models, lists and unions, and end at a setting or at its likely name."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.config.errors import sentences
from cluster.config.field_path import resolve


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Cat(Strict):
    type: Literal["cat"] = "cat"
    lives: int = Field(9, ge=1)


class Dog(Strict):
    type: Literal["dog"] = "dog"
    name: str


Pet = Annotated[Cat | Dog, Field(discriminator="type")]


class Safe(Strict):
    model_config = ConfigDict(hide_input_in_errors=True)
    code: int = 0


class House(Strict):
    pet: Pet
    pets: tuple[Pet, ...] = ()
    rooms: int | None = Field(None, ge=1)
    colour: Literal["red", "blue"] = "red"
    height_m: float = Field(5.0, gt=0)
    labels: dict[str, float] = Field(default_factory=dict)
    safe: Safe = Safe()


def wrong(**settings: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        House.model_validate(settings)
    return sentences(caught.value, House)


def test_a_path_is_followed_through_a_union_without_its_tag() -> None:
    assert resolve(House, ["pet", "cat", "lives"]).dotted == "pet.lives"
    assert resolve(House, ["pet", "lives"]).dotted == "pet.lives"


def test_a_path_is_followed_into_a_list_by_number() -> None:
    place = resolve(House, ["pets", 1, "dog", "name"])
    assert place.dotted == "pets.1.name"
    assert place.field is not None


def test_an_unknown_key_has_no_field_and_names_its_siblings() -> None:
    place = resolve(House, ["pet", "cat", "lifes"])
    assert place.field is None
    assert place.path == ("pet", "lifes")
    assert set(place.siblings) == {"type", "lives"}


def test_keys_of_a_free_mapping_are_known() -> None:
    assert resolve(House, ["labels", "anything"]).dotted == "labels.anything"
    assert resolve(House, ["labels", "anything"]).field is not None


def test_a_value_out_of_range_is_told_with_what_was_given_and_the_default() -> None:
    assert wrong(pet={"type": "cat", "lives": 0}) == [
        "pet.lives: must be greater than or equal to 1 (got 0); the default is 9."
    ]


def test_an_optional_number_out_of_range_is_told_once() -> None:
    assert wrong(pet={"type": "cat"}, rooms=0) == ["rooms: must be greater than or equal to 1 (got 0)."]


def test_an_unknown_key_is_told_with_the_likely_one() -> None:
    assert wrong(pet={"type": "cat"}, colur="red") == ["colur: there is no such setting; did you mean colour?"]


def test_a_missing_setting_is_named() -> None:
    assert wrong(pet={"type": "dog"}) == ["pet.name: is missing; add it."]


def test_an_unknown_kind_in_a_union_is_told_with_the_known_ones() -> None:
    assert wrong(pet={"type": "cap"}) == ['pet.type: there is no "cap"; did you mean cat? Choose one of cat, dog.']
    assert wrong(pet={}) == ["pet.type: is missing; choose one of cat, dog."]


def test_a_wrong_choice_lists_the_right_ones() -> None:
    assert wrong(pet={"type": "cat"}, colour="green") == [
        "colour: must be 'red' or 'blue' (got \"green\"); the default is \"red\"."
    ]


def test_every_mistake_has_a_sentence_of_its_own() -> None:
    assert len(wrong(pet={"type": "cat", "lives": 0}, colour="green", height_m=-1)) == 3


def test_what_may_be_secret_is_not_repeated() -> None:
    (text,) = wrong(pet={"type": "cat"}, safe={"code": "hunter2"})
    assert text.startswith("safe.code: must be a valid integer")
    assert "hunter2" not in text
