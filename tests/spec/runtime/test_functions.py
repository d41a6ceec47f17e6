"""Functions of the application in every form that Python has: their place, their kind, and what none can be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from tollhouse.errors import ConfigurationError
from tollhouse.runtime.functions import checked_function, is_async, place_of


def plain(one: int = 1) -> int:
    return one


async def asynchronous(one: int = 1) -> int:
    return one


class Plain:
    def __call__(self) -> int:
        return 1

    async def method(self) -> int:
        return 2


class Asynchronous:
    async def __call__(self) -> int:
        return 1


def generator() -> Iterator[int]:
    yield 1


async def asynchronous_generator() -> AsyncIterator[int]:
    yield 1


class Generator:
    def __call__(self) -> Iterator[int]:
        yield 1


#   function, place below this module, async
KINDS: list[tuple[Any, str, bool]] = [
    (plain, "plain", False),
    (asynchronous, "asynchronous", True),
    (partial(plain, 2), "plain", False),
    (partial(partial(asynchronous, 2)), "asynchronous", True),
    (Plain(), "Plain", False),
    (Asynchronous(), "Asynchronous", True),
    (partial(Asynchronous()), "Asynchronous", True),
    (Plain().method, "Plain.method", True),
]
GENERATORS: list[Any] = [
    generator,
    asynchronous_generator,
    partial(generator),
    partial(asynchronous_generator),
    Generator(),
]


@pytest.mark.parametrize(("function", "name", "expected"), KINDS)
def test_a_function_has_a_place_and_a_kind(function: Any, name: str, expected: bool) -> None:
    """Partials and callable objects are at the place of what they call, and are async if that is."""
    assert checked_function("limit", function) is function
    assert (place_of(function), is_async(function)) == (f"{__name__}.{name}", expected)


@pytest.mark.parametrize("function", GENERATORS)
def test_a_generator_is_refused(function: Any) -> None:
    """A generator function runs nothing when it is called, so it is a ConfigurationError with its place."""
    with pytest.raises(ConfigurationError) as refused:
        checked_function("limit", function)

    assert refused.value.setting == "limit"
    assert place_of(function) == refused.value.value


@pytest.mark.parametrize("given", [classmethod(plain), staticmethod(plain)])
def test_a_method_is_decorated_below_its_descriptor(given: Any) -> None:
    """`@limit` above `@classmethod` or `@staticmethod` does not see a function, and is a ConfigurationError."""
    with pytest.raises(ConfigurationError) as refused:
        checked_function("limit", given)

    assert refused.value.setting == "limit"
