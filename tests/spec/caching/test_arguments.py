"""Arguments of calls: bound to the signature, so that equal calls have one digest however they are written."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.asgi import blamed
from tollhouse.caching.arguments import Arguments
from tollhouse.caching.canonical import canonical
from tollhouse.errors import ConfigurationError, InvalidInput


def search(term: str, /, page: int = 1, *more: str, exact: bool = False, **others: object) -> None:
    raise NotImplementedError


def bypassed(term: str, *, use_cache: bool = True) -> None:
    raise NotImplementedError


def variadic(*use_cache: bool, **ignored: bool) -> None:
    raise NotImplementedError


class Service:
    def method(self, number: int) -> None:
        raise NotImplementedError

    @classmethod
    def of_class(cls, number: int) -> None:
        raise NotImplementedError

    def __call__(self, number: int) -> None:
        raise NotImplementedError


class Tenant(Service):
    def __init__(self, name: str) -> None:
        self.name = name

    def __cache_key__(self) -> str:
        return self.name


def digest(arguments: Arguments, *args: Any, **kwargs: Any) -> str:
    return arguments.digest(arguments.bind(args, kwargs), b"place")


def test_a_call_has_one_digest_however_it_is_written() -> None:
    """Defaults, positions, names and the order of keywords make no difference; variadics and values do."""
    arguments = Arguments(search)
    same = [
        digest(arguments, "a"),
        digest(arguments, "a", 1),
        digest(arguments, "a", page=1, exact=False),
    ]
    others = [
        digest(arguments, "a", 2),
        digest(arguments, "a", True),
        digest(arguments, "a", 1, "b"),
        digest(arguments, "a", 1, "b", "c"),
        digest(arguments, "a", 1, "bc"),
        digest(arguments, "a", exact=True),
        digest(arguments, "a", more="b"),
        digest(arguments, "a", b="c", d="e"),
        digest(arguments, "a", b="e", d="c"),
    ]

    assert len({*same, *others}) == 1 + len(others)
    assert len(set(same)) == 1
    assert digest(arguments, "a", b="c", d="e") == digest(arguments, "a", d="e", b="c")


def test_the_context_is_part_of_a_digest() -> None:
    """The same arguments at another place, or of another version, have another digest."""
    arguments = Arguments(search)
    bound = arguments.bind(("a",), {})
    contexts: list[tuple[str | int, ...]] = [("here", 1), ("there", 1), ("here", 2), ("here", "1"), ("here",)]

    assert len({arguments.digest(bound, canonical(context)) for context in contexts}) == len(contexts)


def test_a_wrong_call_is_the_error_of_the_call() -> None:
    """A missing or unknown argument is a TypeError, as if the function was called."""
    with pytest.raises(TypeError):
        Arguments(bypassed).bind((), {})
    with pytest.raises(TypeError):
        Arguments(bypassed).bind(("a",), {"unknown": 1})


def test_partials_methods_and_objects_are_taken_apart() -> None:
    """What they hold is an argument: two partials of one function differ, and one agrees with the plain call."""
    plain, ada, bob = Arguments(search), Tenant("ada"), Tenant("bob")

    assert digest(Arguments(partial(search, "a")), 2) == digest(plain, "a", 2)
    assert digest(Arguments(partial(partial(search, "a"), exact=True))) == digest(plain, "a", exact=True)
    assert digest(Arguments(partial(search, exact=True)), "a", exact=False) == digest(plain, "a")
    assert digest(Arguments(partial(search, "a"))) != digest(Arguments(partial(search, "b")))
    assert digest(Arguments(ada.method), 1) == digest(Arguments(Tenant.method), ada, 1)
    assert digest(Arguments(ada.method), 1) != digest(Arguments(bob.method), 1)
    assert digest(Arguments(partial(ada)), 1) != digest(Arguments(bob), 1)
    assert digest(Arguments(Tenant.of_class), 1) != digest(Arguments(Service.of_class), 1)


def test_instances_never_share_by_accident() -> None:
    """`self` without a `__cache_key__()` is refused, whatever its class is, unless it is ignored by name."""
    for method in (Service.method, Service.__call__):
        with pytest.raises(InvalidInput) as refused:
            digest(Arguments(method), Service(), 1)
        assert refused.value.field == "self"
    with pytest.raises(InvalidInput):
        digest(Arguments(Service.method), "text has a canonical form", 1)

    ignoring = Arguments(Service.method, ("self",))

    assert digest(ignoring, Service(), 1) == digest(ignoring, Service(), 1) != digest(ignoring, Service(), 2)


def test_a_refusal_names_the_argument() -> None:
    """InvalidInput says which argument has no canonical form, and shows no value."""
    with pytest.raises(InvalidInput) as refused:
        digest(Arguments(search), "secret", exact=object())

    assert refused.value.field == "exact"
    assert "secret" not in str(refused.value)
    assert "object at 0x" not in str(refused.value)


def test_ignored_names_have_no_part_in_a_digest() -> None:
    """They may be parameters, or further keywords of a function that takes any."""
    arguments = Arguments(search, ("page", "request"))

    assert digest(arguments, "a", 1, request=object()) == digest(arguments, "a", 2)
    assert digest(arguments, "a", other=1) != digest(arguments, "a")


@pytest.mark.parametrize("ignore", ["term", ("unknown",), ("use_cache", "self")])
def test_a_wrong_name_is_refused_at_once(ignore: Any) -> None:
    """A name that no parameter has is a ConfigurationError, and so is a text in place of names."""
    with pytest.raises(ConfigurationError) as refused:
        Arguments(bypassed, ignore)

    assert blamed(refused.value) == "ignore"


def test_use_cache_bypasses_and_is_not_part_of_a_digest() -> None:
    """S4-19, S4-49: only a false `use_cache` bypasses, and only if it is a parameter of that name."""
    arguments = Arguments(bypassed)
    called, bypass = arguments.bind(("a",), {}), arguments.bind(("a",), {"use_cache": False})

    assert arguments.digest(called, b"") == arguments.digest(bypass, b"")
    assert (arguments.is_bypassed(called), arguments.is_bypassed(bypass)) == (False, True)
    assert not arguments.is_bypassed(arguments.bind(("a",), {"use_cache": 0}))
    assert not Arguments(variadic).is_bypassed(Arguments(variadic).bind((False,), {}))
    assert digest(Arguments(variadic), False) != digest(Arguments(variadic))


def test_a_function_without_a_signature_is_refused() -> None:
    """Some functions written in C have none."""
    with pytest.raises(ConfigurationError):
        Arguments(max)


SCALARS = st.integers(0, 2) | st.booleans() | st.sampled_from(["", "0", "1"])


@given(st.lists(SCALARS, max_size=3), st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from("abc"), SCALARS))
def test_no_two_calls_meet(one: list[Any], other: list[Any], named: dict[str, Any]) -> None:
    """Two calls share a digest only if each argument is of the same type and value in both."""

    def everything(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    arguments = Arguments(everything)
    typed = [[(type(value), value) for value in values] for values in (one, other)]

    assert (digest(arguments, *one, **named) == digest(arguments, *other, **named)) == (typed[0] == typed[1])
    assert (digest(arguments, *one) == digest(arguments, *one, **named)) == (not named)
