"""Looks that meet: those of one tick of the event loop go out as one script call.

A look asks for the valid entry of a key, and for nothing else: what a miss leads to, a lease or a permit, is a call of
its own. While few looks are under way, the next one is best sent at once by its caller, and needs nothing of this.
Those that come while `ALONE_MAX` are under way are gathered until the end of the tick; so callers that are answered
together, and ask again together, stay together. Each is answered on its own, and came before the call was sent: so a
caller that leaves changes nothing for the others, and none gets what was invalidated before it came.

A reply has room for `ROOM_BYTES` of envelopes. The callers of those beyond it look by themselves, and from then on
so do those of an entry above `LARGE_BYTES`: small values do not wait for large ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from tollhouse.cache.key_names import EntryKeys
from tollhouse.errors import ConfigurationError, StoreError
from tollhouse.runtime.background import BackgroundTasks
from tollhouse.runtime.home_loop import HomeLoop, running_loop
from tollhouse.runtime.receiver import fail
from tollhouse.scripts import PRIMARY, Argument

ALONE_MAX: Final = 6
"""While fewer looks are under way, to gather the next ones would cost their callers more than it saves. Measured with
50 callers: 0.7 of the CPU of a read here, a third of that on the server; with 2 to 6, and a bound of 1, 1.05."""
LOOKS_MAX: Final = 32
"""The most looks of one call; `lua/cache/look_up.lua` has room for the tags of so many."""
ROOM_BYTES: Final = 64 * 1024
"""The most bytes of envelopes in one reply."""
LARGE_BYTES: Final = 16 * 1024
"""Larger envelopes are looked up by themselves."""
LARGE_MAX: Final = 4_096
"""How many large entries are remembered; beyond it the eldest is forgotten."""
APART: Final = 0
"""The answer that leaves the caller to a look of its own."""


class Hit(Struct, frozen=True, kw_only=True):
    """A valid entry, at the server's time `now_ms`."""

    envelope: bytes
    now_ms: int


class LookStore(Protocol):
    """The method of a store that looks use."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script and return its reply; raises StoreError."""
        ...


Answer = Hit | int
"""A valid entry, or the number of the cause of its miss; 0 if the caller is to look by itself."""

_Look = tuple[EntryKeys, bool, "asyncio.Future[Answer]"]
"""An entry, whether its miss is final, and the answer."""


class Looks:
    """The looks of this process at entries that share one clock.

    `under_way` is how many are sent and not answered; callers that look by themselves count theirs.
    """

    def __init__(self, store: LookStore, clock: str, *, alone_max: int = ALONE_MAX, large_max: int = LARGE_MAX) -> None:
        self.under_way = 0
        self._alone_max = alone_max
        self._large_max = large_max
        self._store = store
        self._clock = clock
        self._gathered: list[_Look] = []
        self._large: dict[str, None] = {}
        self._home = HomeLoop("cache")
        self._calls = BackgroundTasks()

    def meet(self, entry: EntryKeys) -> bool:
        """Return whether a look at an entry is best sent together with others."""
        return self.under_way >= self._alone_max and entry.digest not in self._large

    def join(self, entry: EntryKeys, *, final: bool = False) -> asyncio.Future[Answer]:
        """Look at an entry together with others of this tick; a `final` miss is counted, because no other call follows.

        The future raises StoreError as the store does.
        """
        if (loop := running_loop()) is not self._home.loop:
            loop = self._home.enter()
        answer: asyncio.Future[Answer] = loop.create_future()
        if not self._gathered:
            loop.call_soon(self._send)
        self._gathered.append((entry, final, answer))
        return answer

    def note_size(self, entry: EntryKeys, size_bytes: int) -> None:
        """Keep later looks at a large entry apart from others."""
        if size_bytes > LARGE_BYTES:
            self._large[entry.digest] = None
            if len(self._large) > self._large_max:
                del self._large[next(iter(self._large))]

    async def aclose(self) -> None:
        """Wait for the calls in progress; the store bounds each."""
        await self._calls.aclose()

    def _send(self) -> None:
        """Send what was gathered in this tick."""
        waiting = [look for look in self._gathered if not look[2].done()]
        self._gathered.clear()
        for first in range(0, len(waiting), LOOKS_MAX):
            looks = waiting[first : first + LOOKS_MAX]
            if len(looks) == 1:
                looks[0][2].set_result(APART)
            else:
                self.under_way += len(looks)
                self._calls.start(self._call(looks), "tollhouse-cache-looks")

    async def _call(self, looks: Sequence[_Look]) -> None:
        names = [self._clock, *(entry.entry for entry, _, _ in looks)]
        finals = "".join("1" if final else "0" for _, final, _ in looks)
        try:
            now_ms, *found = await self._store.run("cache/look_up", names, (PRIMARY, ROOM_BYTES, finals))
        except (StoreError, ConfigurationError) as error:
            _fail(looks, error)
        except BaseException as error:
            _fail(looks, error)
            raise
        else:
            self._answer(looks, now_ms, found)
        finally:
            self.under_way -= len(looks)

    def _answer(self, looks: Sequence[_Look], now_ms: int, found: Sequence[bytes | int]) -> None:
        for (entry, _, answer), each in zip(looks, found, strict=True):
            if isinstance(each, bytes):
                self.note_size(entry, len(each))
            if not answer.done():
                answer.set_result(Hit(envelope=each, now_ms=now_ms) if isinstance(each, bytes) else each)


def _fail(looks: Sequence[_Look], error: BaseException) -> None:
    for _, _, answer in looks:
        fail(answer, error)
