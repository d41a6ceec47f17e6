"""The bytes of replies, in RESP 3."""

from __future__ import annotations

from typing import Any

from tests.simulation.valkey.keyspace import CommandError, Status


def encode_reply(value: Any) -> bytes:
    """Return the bytes of a reply."""
    match value:
        case None:
            return b"_\r\n"
        case Status():
            return b"+%b\r\n" % value
        case bytes() | str():
            text = value if isinstance(value, bytes) else value.encode()
            return b"$%d\r\n%b\r\n" % (len(text), text)
        case int():
            return b":%d\r\n" % value
        case list():
            return b"*%d\r\n" % len(value) + b"".join(map(encode_reply, value))
        case dict():
            return b"%%%d\r\n" % len(value) + b"".join(encode_reply(part) for pair in value.items() for part in pair)
        case _:
            assert isinstance(value, CommandError), value
            return b"-%b\r\n" % str(value).encode()


def encode_push(*parts: Any) -> bytes:
    """Return the bytes of a message that answers no command."""
    return b">%d\r\n" % len(parts) + b"".join(map(encode_reply, parts))
