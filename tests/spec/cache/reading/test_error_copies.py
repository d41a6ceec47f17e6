"""Copies of errors: every caller that shares a load raises an exception object of its own."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

import pytest

from tollhouse.cache.reading.error_copies import copy_of
from tollhouse.errors import LoadFailed, StoreUnavailable


class Keyed(Exception):
    """An application's error whose constructor takes other arguments than its message."""

    def __init__(self, table: str, *, key: int) -> None:
        self.key = key
        super().__init__(f"{table} has no {key}")


@dataclass(frozen=True)
class Frozen(Exception):
    """An application's error whose fields cannot be set."""

    table: str


class Odd(UnicodeDecodeError):
    """An application's error that lacks what its built-in class needs."""

    def __init__(self, _: str) -> None:
        """Leave out the constructor of the base."""


class Single(Exception):
    """An application's error that is its own copy, and can be made once."""

    made = False

    def __new__(cls, *arguments: Any) -> Single:
        assert not cls.made
        cls.made = True
        return super().__new__(cls, *arguments)

    def __copy__(self) -> Single:
        return self


def fields(error: BaseException) -> dict[str, Any]:
    """Return what built-in classes keep beside the arguments."""
    names = ("errno", "strerror", "filename", "encoding", "object", "start", "name", "path", "exceptions", "message")
    return {name: getattr(error, name, None) for name in names}


def raised(error: BaseException) -> BaseException:
    """Return an error with a traceback, a cause and a note."""
    if not isinstance(error, Frozen):
        error.add_note("a note")
    try:
        raise error from KeyError("cause")
    except type(error):
        return error


ERRORS = [
    Frozen("users"),
    KeyError("mine"),
    Keyed("users", key=5),
    StoreUnavailable("cache", "not-sent", "no route"),
    OSError(2, "no such file", "name"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    ExceptionGroup("both", [KeyError("a"), ValueError("b")]),
    Single("mine"),
    ImportError("no module", name="x", path="y"),
    StopAsyncIteration(5),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_copy_has_the_content_of_the_error(error: BaseException):
    """Type, arguments, fields, notes, cause and traceback are those of the error; the object is another one."""
    error = raised(error)

    twin = copy_of(error, error.__traceback__)

    assert twin is not error
    assert type(twin) is type(error)
    assert (str(twin), twin.args, twin.__dict__) == (str(error), error.args, error.__dict__)
    assert twin.__cause__ is error.__cause__
    assert twin.__suppress_context__
    assert fields(twin) == fields(error)
    assert traceback.format_exception(twin) == traceback.format_exception(error)


def test_copies_do_not_share_what_is_added_later():
    """A frame that one caller adds is not in the copy of another."""
    error = raised(KeyError("mine"))
    copies = [copy_of(error, error.__traceback__) for _ in range(2)]

    again = raised(copies[0])

    assert len(traceback.extract_tb(again.__traceback__)) > len(traceback.extract_tb(copies[1].__traceback__))


def test_an_error_that_cannot_be_copied_is_the_cause_of_another():
    """The callers get LoadFailed, and what happened is its cause."""
    error = Odd("text")

    twin = copy_of(error, None)

    assert isinstance(twin, LoadFailed)
    assert twin.__cause__ is error
