"""Lists the global names that a Lua 5.1 chunk reads and writes, from its compiled form."""

from __future__ import annotations

import struct
from typing import Any

from lupa.lua51 import LuaRuntime
from msgspec import Struct

_HEADER_BYTES = 12
_GET_GLOBAL, _SET_GLOBAL = 5, 7
_NIL, _BOOLEAN, _NUMBER, _STRING = 0, 1, 3, 4


class Globals(Struct, frozen=True, kw_only=True):
    """Names that a chunk takes from, and puts into, the global table."""

    read: frozenset[str]
    written: frozenset[str]


def compile_globals(source: str) -> Globals:
    """Compile `source` with Lua 5.1 and return its globals; raises SyntaxError with the compiler's message."""
    lua = LuaRuntime(encoding=None)
    compiled: Any = lua.eval(
        b"function(text) local f, said = loadstring(text, '=script') return f and string.dump(f), said end"
    )(source.encode())
    text, said = compiled if isinstance(compiled, tuple) else (compiled, None)
    if not text:
        raise SyntaxError(said.decode())
    reader = _Reader(text[_HEADER_BYTES:])
    reader.function()
    return Globals(read=frozenset(reader.read), written=frozenset(reader.written))


class _Reader:
    """Walks the functions of a chunk, as `lundump.c` of Lua 5.1 does on a 64-bit machine."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.read: set[str] = set()
        self.written: set[str] = set()

    def function(self) -> None:
        """Read one function and those inside it."""
        self._string()
        self._take("<ii4B")
        code = [self._take("<I")[0] for _ in range(self._count())]
        constants = [self._constant() for _ in range(self._count())]
        for _ in range(self._count()):
            self.function()
        self._skip_debug()
        for instruction in code:
            operation, constant = instruction & 0x3F, instruction >> 14
            if operation == _GET_GLOBAL:
                self.read.add(constants[constant])
            elif operation == _SET_GLOBAL:
                self.written.add(constants[constant])

    def _skip_debug(self) -> None:
        self._take(f"<{self._count()}i")
        for _ in range(self._count()):
            self._string()
            self._take("<ii")
        for _ in range(self._count()):
            self._string()

    def _constant(self) -> Any:
        kind = self._take("<B")[0]
        if kind == _STRING:
            return self._string()
        return self._take({_NIL: "<", _BOOLEAN: "<B", _NUMBER: "<d"}[kind])

    def _string(self) -> str:
        length = self._take("<Q")[0]
        text = self.data[self.at : self.at + length]
        self.at += length
        return text[:-1].decode("latin-1")

    def _count(self) -> int:
        return self._take("<i")[0]

    def _take(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return found
