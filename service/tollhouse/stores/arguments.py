"""The arguments and the replies of calls, and the write that is confirmed after one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from tollhouse.scripts import PRIMARY, Argument, FixedArguments
from tollhouse.stores.transport.connection import encode, pack

BULK_BYTES: Final = 16 * 1024
"""A call with a larger value goes over a connection of its own: small calls behind it would wait for the socket."""

_BEFORE_ARGUMENTS: Final = 5
"""EVALSHA, the hash, the number of keys, the one key, and the time."""
PROBE_MS: Final = 2_000
"""How long the key of a probe lives."""
_MARKER_MS: Final = 60_000


def with_primary(args: Sequence[Argument], at: int, primary: str) -> Sequence[Argument]:
    """Return the arguments with the name of the primary at position `at`, if they do not name one themselves."""
    if args[at] is not PRIMARY:
        return args
    filled = list(args)
    filled[at] = primary
    return filled


def packed_call(sha: str, keys: Sequence[str], now_ms: int, args: FixedArguments) -> bytes:
    """Return the bytes of a call of a script on one key: those that `pack` returns, in a third of the time."""
    if args.packed is None:
        args.packed = pack(args.values).partition(b"\r\n")[2]
    (name,) = keys
    key, now = name.encode(), b"%d" % now_ms
    return b"*%d\r\n$7\r\nEVALSHA\r\n$%d\r\n%b\r\n$1\r\n1\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b" % (
        len(args.values) + _BEFORE_ARGUMENTS,
        len(sha),
        sha.encode(),
        len(key),
        key,
        len(now),
        now,
        args.packed,
    )


def is_bulky(args: Sequence[Argument]) -> bool:
    """Return True if one of the arguments is a large value."""
    return bytes in map(type, args) and any(isinstance(one, bytes) and len(one) > BULK_BYTES for one in args)


def marker_write(marker: str) -> bytes:
    """Return the command that writes a marker, which replicas or a file then confirm together with what came before."""
    return encode("SET", marker, "1", "PX", _MARKER_MS)


def scanned(reply: Any) -> tuple[int, list[str]]:
    """Return the cursor and the names of a reply to SCAN; one that is not UTF-8, of another program, is altered."""
    following, found = reply
    return int(following), [name.decode(errors="replace") for name in found]


def as_list(reply: Any) -> list[Any]:
    """Return the reply of a script, which is a list or one value."""
    return cast("list[Any]", reply) if isinstance(reply, list) else [reply]
