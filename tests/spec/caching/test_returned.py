"""The type that comes back from a cached function is the one that its annotation names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn
from uuid import UUID

import msgspec
import pytest
from msgspec import Meta, Struct
from pydantic import BaseModel, Field

from tollhouse.caching.returned import OtherType, form_of
from tollhouse.errors import LoadFailed

if TYPE_CHECKING:
    from nowhere import Missing  # pyright: ignore[reportMissingImports] - known to type checkers alone


@dataclass
class Point:
    x: int


class Pair(Struct):
    x: int


class Model(BaseModel):
    x: int
    id: UUID = Field(default=UUID(int=0), serialization_alias="the id", validation_alias="an id")


class Row:
    """An object with the fields of a model, as an ORM returns them."""

    x = 1
    id = UUID(int=2)


class Own:
    pass


def point() -> Point | None: ...
def pairs() -> tuple[list[Pair], Literal["a"]]: ...


def many() -> tuple[Pair, ...]: ...
def positive() -> Annotated[int, Meta(gt=0)]: ...
def nothing() -> None: ...
def mapping() -> dict[str, set[Pair]]: ...
def undeclared(): ...  # type: ignore[no-untyped-def] - the case
def anything() -> Any: ...
def an_object() -> object: ...
def own() -> list[Own]: ...
def iterable() -> Iterable[int]: ...
def never() -> NoReturn: ...


def missing() -> Missing: ...  # pyright: ignore[reportUnknownParameterType] - the case
def models() -> dict[str, list[Model]] | None: ...


@pytest.mark.parametrize(
    ("function", "type"),
    [
        (point, Point | None),
        (pairs, tuple[list[Pair], Literal["a"]]),
        (many, tuple[Pair, ...]),
        (positive, Annotated[int, Meta(gt=0)]),
        (nothing, type(None)),
        (mapping, dict[str, set[Pair]]),
        (undeclared, Any),
        (anything, Any),
        (an_object, Any),
        (own, Any),
        (iterable, Any),
        (never, Any),
    ],
)
def test_an_annotation_is_the_type_that_is_decoded(function: Any, type: Any) -> None:  # noqa: A002 - as in the form
    """What msgspec decodes is decoded as annotated; of other annotations come plain types, as without one."""
    form = form_of(function)

    assert form.type == type
    assert form.stored(form) is form.returned(form) is form


def test_an_annotation_that_is_not_there_at_run_time_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A name that only type checkers know gives plain types, and a warning with the function."""
    assert form_of(missing).type is Any
    assert [record.__dict__["function"] for record in caplog.records] == [f"{__name__}.missing"]
    assert caplog.messages[0].startswith("return annotation not usable")


def test_pydantic_models_come_back_wherever_they_are() -> None:
    """They are stored as plain values by the names of fields, so that aliases do not matter."""
    form = form_of(models)
    value = {"a": [Model.model_validate({"x": 1, "an id": UUID(int=1)})]}

    stored = msgspec.json.decode(msgspec.json.encode(form.stored(value)))

    assert stored == {"a": [{"x": 1, "id": str(UUID(int=1))}]}
    assert form.returned(stored) == value
    assert form.returned(form.stored(None)) is None


def test_what_has_the_fields_of_a_model_becomes_one() -> None:
    """A function may return a row or a dict, as in a handler of FastAPI."""
    form = form_of(models)

    assert form.returned(form.stored({"a": [Row()]})) == {"a": [Model.model_construct(x=1, id=UUID(int=2))]}


def test_a_value_of_another_type_is_an_error() -> None:
    """A returned value that is no such model is LoadFailed; a stored one of another model is OtherType."""
    form = form_of(models)

    with pytest.raises(LoadFailed):
        form.stored({"a": [{"x": "one"}]})
    with pytest.raises(OtherType):
        form.returned({"a": [{"y": 1}]})
