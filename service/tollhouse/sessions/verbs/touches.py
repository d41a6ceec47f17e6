"""Touches: what a verify leaves to be written, the use of a session or its removal, is written after the answer.

No answer depends on a touch, and its failure is only counted: the next verify of the session sends another. What that
costs: the idle time counts from the last use that was recorded. A session in steady use has at least 19/20 of it left
when touches begin to fail, and ends too early only if they fail for longer than that. One that was used for the first
time in long may end at its former idle end. A use within the last moments before it may come too late.
"""

from __future__ import annotations

from typing import Final

from tollhouse.errors import ConfigurationError, StoreError
from tollhouse.metrics import Metrics
from tollhouse.runtime.background import BackgroundTasks
from tollhouse.scripts import ScriptRunner
from tollhouse.sessions.presentation import Presentation

UNDER_WAY_MAX: Final = 256
"""Touches under way at a time; others are left to a later verify."""


class Touches:
    """Sends touches in the background, one at a time for each session; each ends with its call of the store."""

    def __init__(self, store: ScriptRunner, metrics: Metrics, *, under_way_max: int = UNDER_WAY_MAX) -> None:
        self._store = store
        self._metrics = metrics
        self._under_way_max = under_way_max
        self._sids: set[str] = set()
        self._tasks = BackgroundTasks()

    def start(self, shown: Presentation, *, passive: bool = False) -> None:
        """Start a touch; leave it out, and count that, if too many are under way. A `passive` one records no use."""
        sid = shown.token.sid
        if sid in self._sids:
            return
        if len(self._sids) >= self._under_way_max:
            self._metrics.session("touch", "skipped")
            return
        self._sids.add(sid)
        self._tasks.start(self._touch(shown, sid, int(passive)), "tollhouse-touch")

    async def aclose(self) -> None:
        """Wait for the touches under way."""
        await self._tasks.aclose()

    async def _touch(self, shown: Presentation, sid: str, passive: int) -> None:
        try:
            await self._store.run("sessions/touch", shown.names, (sid, shown.own.digest, shown.verifier, passive))
        except (StoreError, ConfigurationError):  # of a store that was closed in the meantime
            self._metrics.session("touch", "failed")
        else:
            self._metrics.session("touch", "ok")
        finally:
            self._sids.discard(sid)
