"""Templates of tags and patterns: names in braces stand for arguments."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from tests.asgi import blamed
from tollhouse.caching.arguments import Arguments
from tollhouse.caching.templates import Templates
from tollhouse.errors import ConfigurationError, InvalidInput


class Kind(Enum):
    FIRST = "first"


def get(model_id: object, page: int = 1) -> None:
    raise NotImplementedError


def anything(**others: object) -> None:
    raise NotImplementedError


def filled(*texts: str, are_patterns: bool = False, **kwargs: Any) -> tuple[str, ...]:
    arguments = Arguments(get)
    return Templates("tags", texts, arguments, are_patterns=are_patterns).filled(arguments.bind((), kwargs))


def test_names_in_braces_stand_for_arguments() -> None:
    """Defaults count, a doubled brace is a brace, and a text without names stays as it is."""
    assert filled("models", "model:{model_id}:{page}", "{{{model_id}}}", model_id=7) == ("models", "model:7:1", "{7}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ada", "ada"),
        (7, "7"),
        (True, "True"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2026, 1, 2), "2026-01-02"),
        (Kind.FIRST, "first"),
    ],
)
def test_plain_values_stand_in_templates(value: Any, text: str) -> None:
    """Text, numbers, ids, dates and members of an enumeration are written as applications write them in tags."""
    assert filled("{model_id}", model_id=value) == (text,)


@pytest.mark.parametrize("value", [None, object(), ["a"], b"a", 1.5])
def test_other_values_are_refused(value: Any) -> None:
    """A value whose text could be its address, or is written in several ways, is InvalidInput with its name."""
    with pytest.raises(InvalidInput) as refused:
        filled("{model_id}", model_id=value)

    assert refused.value.field == "model_id"


@pytest.mark.parametrize("value", ["*", "a:b", "a:*", Kind])
def test_an_argument_cannot_widen_a_pattern(value: Any) -> None:
    """In a pattern an argument is one word, so that a caller of the function reaches no other entries."""
    assert filled("model:{model_id}:*", are_patterns=True, model_id="abc-123") == ("model:abc-123:*",)
    with pytest.raises(InvalidInput):
        filled("model:{model_id}:*", are_patterns=True, model_id=value)


@pytest.mark.parametrize(
    "texts", ["model", ["{unknown}"], ["{}"], ["{0}"], ["{model_id.name}"], ["{model_id!r}"], ["{"], [7]]
)
def test_a_wrong_template_is_refused_at_once(texts: Any) -> None:
    """A name that no parameter has, and everything but a name in braces, is a ConfigurationError."""
    with pytest.raises(ConfigurationError) as refused:
        Templates("tags", texts, Arguments(get))

    assert blamed(refused.value) == "tags"


def test_further_keywords_stand_in_templates() -> None:
    """A function that takes any keyword has to be given the one that a template names."""
    arguments = Arguments(anything)
    templates = Templates("tags", ["model:{model_id}"], arguments)

    assert templates.filled(arguments.bind((), {"model_id": 7})) == ("model:7",)
    with pytest.raises(InvalidInput):
        templates.filled(arguments.bind((), {}))
