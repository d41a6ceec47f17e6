"""The bytes of replies, in RESP 3."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from hiredis import pack_command

from tests.simulation.valkey.keyspace import CommandError, Status


class Fields(dict[str, str]):
    """A map of text."""


def encode_reply(value: Any) -> bytes:
    """Return the bytes of a reply."""
    return _ENCODERS[type(value)](value)


@lru_cache(maxsize=4096)
def _text(value: str) -> bytes:
    return _bulk(value.encode())


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def _map(value: dict[Any, Any]) -> bytes:
    parts = [encode_reply(part) for pair in value.items() for part in pair]
    return b"%%%d\r\n%b" % (len(value), b"".join(parts))


def _fields(value: Fields) -> bytes:
    return _packed(tuple(value), tuple(value.values()))


@lru_cache(maxsize=4096)
def _packed(names: tuple[str, ...], values: tuple[str, ...]) -> bytes:
    """Return a map; Sentinels repeat most of theirs at every poll."""
    pairs = tuple(chain.from_iterable(zip(names, values, strict=True)))
    packed = pack_command(pairs)  # an array: only its first line is another one
    return b"%%%d\r\n%b" % (len(names), packed[packed.index(b"\n") + 1 :])


_ENCODERS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"_\r\n",
    Status: lambda value: b"+%b\r\n" % value,
    bytes: _bulk,
    str: _text,
    int: lambda value: b":%d\r\n" % value,
    list: lambda value: b"*%d\r\n%b" % (len(value), b"".join(map(encode_reply, value))),
    dict: _map,
    Fields: _fields,
    CommandError: lambda value: b"-%b\r\n" % str(value).encode(),
}


def encode_push(*parts: Any) -> bytes:
    """Return the bytes of a message that answers no command."""
    return b">%d\r\n" % len(parts) + b"".join(map(encode_reply, parts))
