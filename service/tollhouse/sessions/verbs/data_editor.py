"""Session data: small values under names, which end with their session.

Each change is one script: it begins by reading the record, so none brings a session back, and it changes only the names
that it is given, so that changes of other names are kept whatever happens side by side. Values are stored as JSON.

A call without an answer is not repeated, because it may have run: StoreUnavailable says `ambiguous`. Changes are not
sent over the durable connection: what a failover loses of them is lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from tollhouse.errors import InvalidInput, require_type
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument, ScriptRunner
from tollhouse.sessions.presentation import REUSED, Presentation, Presentations
from tollhouse.sessions.tokens import Token

DATA_BYTES_MAX: Final = 16_384
"""The most bytes of all names and values of a session."""
DATA_NAMES_MAX: Final = 64
"""The most values of a session."""
CHANGES_MAX: Final = 128
"""The most changes of one patch."""
NUMBER_MAX: Final = 10**14
"""Sums stay below: every JSON reader has such whole numbers exactly."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder()

RefusedBecause = Literal["over", "version", "too-large", "not-a-number"]


class SessionData(Struct, frozen=True, kw_only=True):
    """The values of a session by name, and their version, which every change raises."""

    values: Mapping[str, Any]
    version: int


class DataResult(Struct, frozen=True, kw_only=True):
    """A change of session data: the version after it; the value that was taken or the sum, None if there is none."""

    version: int
    value: Any = None

    def __bool__(self) -> Literal[True]:
        """Return True, so that a type checker knows a false result as `DataRefused`."""
        return True


class DataRefused(Struct, frozen=True, kw_only=True):
    """Nothing was changed.

    `over`: the token opens no live session. `version`: the data has another one. `too-large`: it would exceed 16 KiB or
    64 values. `not-a-number`: the value is no whole number, or the sum has more than 14 digits. The field `version` is
    that of the data; None if it is not known.
    """

    reason: RefusedBecause
    version: int | None = None

    def __bool__(self) -> Literal[False]:
        """Return False, so that a type checker knows a true result as `DataResult`."""
        return False


_OVER: Final = DataRefused(reason="over")
_REASONS: Final[Mapping[int, RefusedBecause]] = {7: "version", 8: "too-large", 9: "not-a-number"}


class DataEditor:
    """Reads and changes the data of sessions."""

    def __init__(self, store: ScriptRunner, metrics: Metrics, presentations: Presentations) -> None:
        self._store = store
        self._metrics = metrics
        self._presentations = presentations

    async def read(self, token: Token | str) -> SessionData | None:
        """Return the data of a session, as `Sessions.data` does."""
        found = await self._run_script("data", token)
        if isinstance(found, DataRefused):
            return None
        version, *pairs = found
        names = (name.decode()[1:] for name in pairs[::2])
        return SessionData(values=dict(zip(names, map(_DECODER.decode, pairs[1::2]), strict=True)), version=version)

    async def patch(
        self, token: Token | str, changes: Mapping[str, Any], version: int | None
    ) -> DataResult | DataRefused:
        """Change values, as `Sessions.patch` does."""
        expected = 0 if version is None else _whole("version", version, least=1)
        pairs = _pairs(changes)
        if sum(map(len, pairs)) > DATA_BYTES_MAX + CHANGES_MAX * 64:
            self._metrics.session("patch", "too-large")
            return DataRefused(reason="too-large")
        found = await self._run_script("patch", token, expected, DATA_BYTES_MAX, DATA_NAMES_MAX, *pairs)
        return found if isinstance(found, DataRefused) else DataResult(version=found[0])

    async def take(self, token: Token | str, name: str) -> DataResult | DataRefused:
        """Remove a value, as `Sessions.take` does."""
        found = await self._run_script("take", token, _field(name))
        if isinstance(found, DataRefused):
            return found
        version, *value = found
        return DataResult(version=version, value=_DECODER.decode(value[0]) if value else None)

    async def increment(self, token: Token | str, name: str, by: int) -> DataResult | DataRefused:
        """Add to a number, as `Sessions.increment` does."""
        step = _whole("by", by, least=1 - NUMBER_MAX)
        found = await self._run_script("increment", token, DATA_BYTES_MAX, DATA_NAMES_MAX, _field(name), step)
        return found if isinstance(found, DataRefused) else DataResult(version=found[0], value=found[1])

    async def _run_script(self, verb: str, token: Token | str, *args: Argument) -> Sequence[Any] | DataRefused:
        """Run a script of one session; return its reply from the version on."""
        shown = self._presentations.read(verb, token)
        if shown is None:
            return _OVER
        call = f"sessions/{verb}", shown.read_names, (shown.own.digest, shown.verifier, *args)
        return await self._judged(verb, shown, await self._store.run(*call))

    async def _judged(self, verb: str, shown: Presentation, reply: Sequence[Any]) -> Sequence[Any] | DataRefused:
        reason = _REASONS.get(reply[0])
        if reason is not None:
            self._metrics.session(verb, reason)
            return DataRefused(reason=reason, version=reply[1])
        if reply[0] == REUSED:
            await self._presentations.end(shown, reply)
        return reply[4:] if self._presentations.accepts(verb, shown, reply) else _OVER


def initial_data(values: Mapping[str, Any] | None) -> tuple[Argument, ...]:
    """Return the fields of a record that hold the data of a new session; raises InvalidInput if it is too large."""
    if values is None:
        return ()
    require_type("data", values, Mapping, "give names and values")
    fields = [(_field(name), _encoded(name, value)) for name, value in values.items() if value is not None]
    bytes_ = sum(len(name) + len(value) for name, value in fields)
    if bytes_ > DATA_BYTES_MAX or len(fields) > DATA_NAMES_MAX:
        given = f"{bytes_} bytes of {len(fields)} values"
        raise InvalidInput("data", given, f"use at most {DATA_BYTES_MAX} bytes of {DATA_NAMES_MAX} values")
    return "z", bytes_, "k", len(fields), *chain.from_iterable(fields)


def _pairs(changes: Mapping[str, Any]) -> list[str | bytes]:
    """Return the names and values of a patch as the script takes them."""
    require_type("changes", changes, Mapping, "give names and values, None for those to remove")
    if not 1 <= len(changes) <= CHANGES_MAX:
        raise InvalidInput("changes", len(changes), f"give 1 to {CHANGES_MAX} of them")
    pairs: list[str | bytes] = []
    for name, value in changes.items():
        pairs += (_field(name), b"" if value is None else _encoded(name, value))
    return pairs


def _encoded(name: str, value: Any) -> bytes:
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(name, type(value).__name__, "give what JSON can hold") from error


def _field(name: str) -> str:
    require_type("name", name, str, "give the name as text")
    if _NAME.fullmatch(name) is None:
        raise InvalidInput("name", name, "use 1 to 64 of a-z, A-Z, 0-9, '_', '.', ':' and '-'")
    return f".{name}"


def _whole(field: str, value: int, *, least: int) -> int:
    require_type(field, value, int, "give a whole number")
    if isinstance(value, bool) or not least <= value < NUMBER_MAX:
        raise InvalidInput(field, value, f"give a whole number from {least} to {NUMBER_MAX - 1}")
    return value
