"""Units that are held until it is known how many are needed, and then charged."""

from __future__ import annotations

import re
import secrets
from typing import Final

from tollhouse import keys
from tollhouse.clock import MonotonicClock
from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.limits.calls.decider import Decider
from tollhouse.limits.calls.refusal_cache import RefusalCache
from tollhouse.limits.decision import Reservation, Settlement
from tollhouse.limits.outage.fallback import LOCAL, Fallback
from tollhouse.limits.wire.reply import FIRST_DECISION, count_discarded, decision_from_verdict, limit_states_at
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.metrics import Metrics
from tollhouse.scripts import ScriptRunner

HOLD_MS: Final = 60_000
HOLD_MS_MAX: Final = 86_400_000

_ID: Final = re.compile(rf"(?:{LOCAL})?[0-9a-f]{{32}}")


class Reservations:
    """Holds units and settles them, once each; what is never settled is given back when its time is over."""

    def __init__(
        self,
        store: ScriptRunner,
        metrics: Metrics,
        answers: Decider,
        refused: RefusalCache,
        outage: Fallback,
        *,
        clock: MonotonicClock,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._decider = answers
        self._refusals = refused
        self._fallback = outage
        self._clock = clock

    async def reserve(self, asked: TakeRequest, hold_ms: int) -> Reservation:
        """Hold units; where they do not fit, or the policy lets pass without counting, nothing is held."""
        if type(hold_ms) is not int or not 1 <= hold_ms <= HOLD_MS_MAX:
            raise InvalidInput("hold_ms", hold_ms, f"give a whole number from 1 to {HOLD_MS_MAX:,}")
        known = self._decider.without_store(asked)
        if known is not None:
            return Reservation(decision=known, id=None)
        reservation_id = secrets.token_hex(16)
        sent_ms = self._clock()
        try:
            reply = await self._store.run(
                "limits/reserve", [asked.state_key], [reservation_id, asked.cost, hold_ms, *asked.compiled.arguments]
            )
        except StoreUnavailable:
            reservation_id = LOCAL + reservation_id
            decision, held = self._fallback.reserve(asked, reservation_id, hold_ms)
        else:
            self._decider.on_reply(reply)
            decision, held = self._decider.decode(asked, reply, FIRST_DECISION, sent_ms), reply[FIRST_DECISION] == 0
        return Reservation(decision=self._decider.record(decision), id=reservation_id if held else None)

    async def settle(self, asked: TakeRequest, reservation_id: str) -> Settlement:
        """Charge the cost that is asked in place of what was held."""
        if not _ID.fullmatch(reservation_id):
            raise InvalidInput("id", reservation_id, "give the id of the reservation")
        if reservation_id.startswith(LOCAL):
            return self._fallback.settle(asked, reservation_id)
        try:
            reply = await self._store.run(
                "limits/settle",
                [asked.state_key],
                [reservation_id, asked.cost, keys.rate_clearings(), *asked.compiled.arguments],
            )
        finally:
            self._refusals.evict(asked.state_key)
        count_discarded(self._metrics, reply)
        decision = decision_from_verdict(asked, 0, 0, limit_states_at(asked, reply, FIRST_DECISION + 1))
        return Settlement(settled=reply[FIRST_DECISION] == 1, decision=decision)
