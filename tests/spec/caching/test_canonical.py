"""Canonical forms: what cannot be told apart has one form, and nothing else shares it."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from pydantic import BaseModel

from tollhouse.caching.canonical import BYTES_MAX, DEPTH_MAX, VALUES_MAX, NoCanonicalForm, canonical


class Colour(Enum):
    RED = 1
    ROUGE = 1  # noqa: PIE796 - an alias
    BLUE = 2


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    LOW = "1"


class Right(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    y: int
    note: str = field(default="", compare=False)


@dataclass
class Place:
    x: int
    y: int


class Pair(Struct):
    x: int
    y: int


class Model(BaseModel):
    x: int
    y: int = 0


class Open(BaseModel, extra="allow"):
    x: int


class Keyed:
    def __init__(self, key: object) -> None:
        self.key = key

    def __cache_key__(self) -> object:
        return self.key


class OtherKeyed(Keyed):
    pass


class Moving(tzinfo):
    def utcoffset(self, moment: datetime | None, /) -> timedelta | None:
        return None if moment is None else timedelta(hours=1)

    def dst(self, moment: datetime | None, /) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None, /) -> str | None:
        return None


Coordinates = namedtuple("Coordinates", "x y")
NOON = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - one without a zone
BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)

DIFFERENT: list[Any] = [
    *(None, ..., True, False, 0, 1, -1, 16, "1", "16", "10", 1.0, 16.0, -0.0, 0.0, 1j, b"1", bytearray(b"1"), ""),
    *("ab", "ba", "True", "None", "\ud800", "é", "e\u0301", float("nan"), float("inf"), 2**70, 10**5000),
    *(
        Decimal(1),
        Decimal("1.0"),
        UUID(int=1),
        date(2026, 1, 1),
        NOON,
        NOON.replace(tzinfo=UTC),
        NOON.time(),
        time(12, 1),
    ),
    *(
        NOON.replace(tzinfo=BERLIN),
        NOON.replace(tzinfo=timezone(timedelta(hours=1))),
        NOON.replace(tzinfo=ZoneInfo("UTC")),
    ),
    *(SPRING, SPRING.replace(fold=1), timedelta(1), timedelta(0, 1), timedelta(0, 0, 1)),
    *(Colour.RED, Colour.BLUE, Level.LOW, Word.LOW, Right.READ, Right(0), Right.READ | Right.WRITE),
    *(IPv4Address("10.0.0.1"), IPv4Network("10.0.0.1"), IPv6Address("::1"), PurePosixPath("1"), PureWindowsPath("1")),
    *((), [], set(), frozenset(), {}, (1,), [1], {1}, frozenset({1}), {1: 1}, ((1,),), (1, 1), ("ab",), ("a", "b")),
    *(["a", ["b"]], [["a"], "b"], [["a", "b"]], {"a": "b"}, {"b": "a"}, [("a", "b")], {("a", "b")}, (None,), (True,)),
    *(Point(1, 2), Point(2, 1), Place(1, 2), Pair(1, 2), Pair(2, 1), Coordinates(1, 2), Model(x=1, y=2), Model(x=2)),
    *(
        Open(x=1),
        Open.model_validate({"x": 1, "y": 2}),
        Keyed(1),
        Keyed("1"),
        OtherKeyed(1),
        Keyed((1, 2)),
        Keyed,
        Colour,
        int,
    ),
]
"""Values of which each differs from all others."""
SAME: list[tuple[Any, Any]] = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({1, 2, 3, "a"}, {"a", 3, 2, 1}),
    ({frozenset({1, 2})}, {frozenset({2, 1})}),
    (Colour.RED, Colour.ROUGE),
    (Point(1, 2, note="here"), Point(1, 2, note="there")),
    (Model(x=1), Model(x=1, y=0)),
    (Keyed([1]), Keyed([1])),
    (Open.model_validate({"x": 1, "b": 2, "a": 3}), Open.model_validate({"a": 3, "b": 2, "x": 1})),
    (NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=timezone(timedelta(0)))),
    (float("nan"), float("nan")),
]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def local_class() -> type:
    class Local:
        pass

    return Local


REFUSED: list[Callable[[], Any]] = [
    object,
    lambda: iter(()),
    lambda: print,
    lambda: [object()],
    lambda: {"a": {object()}},
    lambda: Point(object(), 1),  # type: ignore[arg-type] - a wrong value
    lambda: Keyed(object()),
    local_class,
    lambda: OrderedDict(a=1),
    lambda: type("Text", (str,), {})("a"),
    lambda: memoryview(b"1"),
    lambda: NOON.replace(tzinfo=Moving()),
    lambda: nested(DEPTH_MAX + 1),
    endless,
    lambda: [0] * (VALUES_MAX + 1),
    lambda: "a" * (BYTES_MAX + 1),
    lambda: [b"a" * 1024] * 1025,
]


def test_different_values_have_different_forms() -> None:
    """Types, zones, classes, order and nesting are part of a form, so that no two of these share one."""
    forms = {canonical(value): value for value in DIFFERENT}

    assert len(forms) == len(DIFFERENT)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_values_that_cannot_be_told_apart_share_a_form(one: Any, other: Any) -> None:
    """The order of a set or a dict, an alias, and a field that its class does not compare, say nothing."""
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize("make", REFUSED)
def test_what_has_no_canonical_form_is_refused(make: Callable[[], Any]) -> None:
    """Neither the address of an object nor its text is ever its form; too deep, too many and too large have none."""
    with pytest.raises(NoCanonicalForm):
        canonical(make())


def test_the_bounds_can_be_reached() -> None:
    """A value at each bound has a form."""
    at_bounds = [nested(DEPTH_MAX - 1), [0] * (VALUES_MAX - 1), "a" * BYTES_MAX]

    assert all(canonical(value) for value in at_bounds)


SMALL = (
    st.none()
    | st.booleans()
    | st.integers(-2, 12)
    | st.sampled_from([0.0, 1.0, -1.0, Decimal(1), Decimal("1.0"), UUID(int=1), Colour.RED, Level.LOW, Word.LOW, NOON])
    | st.text("1:a", max_size=2)
    | st.binary(max_size=1)
)
FROZEN = st.recursive(SMALL, lambda inner: st.tuples(inner) | st.frozensets(inner, max_size=2), max_leaves=4)
VALUES = st.recursive(
    FROZEN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(FROZEN, inner, max_size=2)
        | st.sets(FROZEN, max_size=2)
        | st.builds(Point, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=6,
)


def same(one: Any, other: Any) -> bool:
    """Return whether two values are of the same types and equal all the way down, whatever the order of a set."""
    if type(one) is not type(other):
        return False
    match one:
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
        case set() | frozenset():
            return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
        case dict():
            return len(one) == len(other) and all(any(same(a, b) for b in other.items()) for a in one.items())
        case Point() | Pair():
            return same((one.x, one.y), (other.x, other.y))
        case Decimal():
            return one.as_tuple() == other.as_tuple()
        case _:
            return bool(one == other)


@given(VALUES, VALUES)
def test_forms_agree_exactly_if_values_do(one: Any, other: Any) -> None:
    """Two values share a form if, and only if, they are of the same types and equal all the way down."""
    assert (canonical(one) == canonical(other)) == same(one, other)
    assert (canonical([one, other]) == canonical([other, one])) == same(one, other)


@given(st.dictionaries(FROZEN, VALUES, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_insertion_says_nothing(values: dict[Any, Any], order: Any) -> None:
    """A dict and a set have the form that they have in any other order."""
    items = list(values.items())
    order.shuffle(items)

    assert canonical(dict(items)) == canonical(values)
    assert canonical({key for key, _ in items}) == canonical(set(values))
