"""Scripts: the real Lua, compiled once per process, over the keyspace of whichever server runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

from lupa.lua51 import LuaRuntime, lua_type

from tests.simulation.valkey.keyspace import CommandError, Status

Call = Callable[..., Any]
"""Runs a command of a script: `call(name, *args)`."""


class _Current:
    """The call of the script that runs now: one at a time, as on a server."""

    def __init__(self) -> None:
        self.call: Call = lambda *_: None


_LUA: Final = LuaRuntime(encoding=None, unpack_returned_tuples=False, register_eval=False, register_builtins=False)
_CURRENT: Final = _Current()


def flags(text: bytes) -> frozenset[bytes] | None:
    """Return the flags of a script's shebang; None if it has no shebang."""
    if not text.startswith(b"#!lua"):
        return None
    _, _, listed = text.partition(b"\n")[0].partition(b"flags=")
    return frozenset(listed.split(b",")) if listed else frozenset()


def run_script(text: bytes, keys: Sequence[bytes], args: Sequence[bytes], call: Call) -> Any:
    """Run a script; raise CommandError for an error of a command, or one that the script returns."""
    spaces = _LUA.globals()
    spaces[b"KEYS"], spaces[b"ARGV"] = _LUA.table_from(keys), _LUA.table_from(args)
    _CURRENT.call = call
    return _from_lua(_compiled(text)())


@cache
def _compiled(text: bytes) -> Callable[[], Any]:
    body = text.partition(b"\n")[2] if text.startswith(b"#!") else text
    return _LUA.compile(body)


def _call(*words: Any) -> Any:
    return _to_lua(_CURRENT.call(*map(_argument, words)))


def _pcall(*words: Any) -> Any:
    try:
        return _call(*words)
    except CommandError as error:
        return _LUA.table_from({b"err": str(error).encode()})


def _argument(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"%d" % value if value == int(value) else b"%.17g" % value


def _to_lua(reply: Any) -> Any:
    if reply is None:
        return False
    if isinstance(reply, Status):
        return _LUA.table_from({b"ok": bytes(reply)})
    return _LUA.table_from([_to_lua(each) for each in reply]) if isinstance(reply, list) else reply


def _from_lua(value: Any) -> Any:
    if lua_type(value) == "table":
        return _from_table(value)
    if value is None or value is False:
        return None
    return value if isinstance(value, bytes) else int(value)


def _from_table(table: Any) -> Any:
    if table[b"err"] is not None:
        raise CommandError(table[b"err"].decode())
    if table[b"ok"] is not None:
        return Status(table[b"ok"])
    items: list[Any] = []
    while (item := table[len(items) + 1]) is not None:
        items.append(_from_lua(item))
    return items


_LUA.globals()[b"redis"] = _LUA.table_from(
    {
        b"call": _call,
        b"pcall": _pcall,
        b"error_reply": lambda text: _LUA.table_from({b"err": text}),
        b"status_reply": lambda text: _LUA.table_from({b"ok": text}),
    }
)
