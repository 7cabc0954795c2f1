"""`LazyUnion` accepts, rejects and reports values like pydantic's discriminated union."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from rollout.extensions.union import LazyUnion, TypedSettings


class Cat(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["cat"] = "cat"
    lives: int = Field(9, ge=1)


class Dog(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["dog"] = "dog"
    name: str

    @field_validator("name")
    @classmethod
    def _check(cls, name: str) -> str:
        if name == "cat":
            raise ValueError("a dog is no cat")
        if not name:
            raise PydanticCustomError("nameless", "a dog has a name")
        return name


MODELS: dict[str, type[BaseModel]] = {"cat": Cat, "dog": Dog}
EAGER: TypeAdapter[Any] = TypeAdapter(tuple[Annotated[Cat | Dog, Field(discriminator="type")], ...])
LAZY: TypeAdapter[Any] = TypeAdapter(
    tuple[Annotated[TypedSettings, LazyUnion("type", lambda: list(MODELS), MODELS.__getitem__)], ...]
)
VALUES = st.dictionaries(
    st.sampled_from(["type", "lives", "name", "other"]),
    st.sampled_from(["cat", "dog", "cow", "", 0, 3, None]),
)


def outcome(adapter: TypeAdapter[Any], value: object) -> object:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        return [(e["type"], e["loc"], e["msg"], repr(e["input"])) for e in error.errors(include_url=False)]


@given(st.lists(st.one_of(VALUES, st.sampled_from([5, None, "cat"])), max_size=3))
def test_it_agrees_with_an_eager_union(value: list[object]) -> None:
    assert outcome(LAZY, value) == outcome(EAGER, value)


def test_a_model_is_accepted_unchanged_and_dumped_with_its_own_fields() -> None:
    cat = Cat(lives=3)
    (accepted,) = LAZY.validate_python([cat])
    assert accepted is cat
    assert LAZY.dump_python((cat,), mode="json") == [{"type": "cat", "lives": 3}]


def test_only_the_named_member_is_loaded() -> None:
    loaded: list[str] = []

    def load(name: str) -> type[BaseModel]:
        loaded.append(name)
        return MODELS[name]

    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[TypedSettings, LazyUnion("type", lambda: list(MODELS), load)])
    with pytest.raises(ValidationError):
        adapter.validate_python({"type": "cow"})
    assert loaded == []
    adapter.validate_python({"type": "cat"})
    assert loaded == ["cat"]
