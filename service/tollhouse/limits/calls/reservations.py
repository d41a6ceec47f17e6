"""Reservations: an estimate is held until it is settled, and then the actual number of units is charged."""

from __future__ import annotations

import asyncio
from typing import Final

from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.limits.calls.calls import Calls, is_id, new_id
from tollhouse.limits.decision import Reservation, Settlement
from tollhouse.limits.outage.fallback import LOCAL
from tollhouse.limits.wire.reply import FIRST_DECISION, decision_from_verdict, limit_states_at
from tollhouse.limits.wire.request import TakeRequest, with_cost

HOLD_MS: Final = 60_000
HOLD_MS_MAX: Final = 86_400_000


class Reservations:
    """Holds units and settles them, once each; units that are never settled return when the hold expires."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def reserve(self, request: TakeRequest, hold_ms: int) -> Reservation:
        """Hold units; nothing is held if they do not fit, or if the policy admits without counting."""
        if type(hold_ms) is not int or not 1 <= hold_ms <= HOLD_MS_MAX:
            raise InvalidInput("hold_ms", hold_ms, f"give a whole number from 1 to {HOLD_MS_MAX:,}")
        calls, decider = self._calls, self._calls.decider
        known = decider.without_store(request, may_lease=False)
        if known is not None:
            return Reservation(decision=known, id=None)
        reservation_id = new_id()
        sent_ms = calls.clock()
        try:
            args = [reservation_id, request.cost, hold_ms, *request.compiled.arguments]
            reply = await calls.run("limits/reserve", request, args)
        except asyncio.CancelledError:
            # The call may have set units aside, and no caller will settle them.
            calls.cleanups.start(self.settle(with_cost(request, 0), reservation_id))
            raise
        except StoreUnavailable:
            reservation_id = LOCAL + reservation_id
            decision, is_held = calls.fallback.reserve(request, reservation_id, hold_ms)
        else:
            decision, is_held = decider.decode(request, reply, FIRST_DECISION, sent_ms), reply[FIRST_DECISION] == 0
        return Reservation(decision=decider.record(decision), id=reservation_id if is_held else None)

    async def settle(self, request: TakeRequest, reservation_id: str) -> Settlement:
        """Charge the cost of the request in place of the units that were held."""
        if not is_id(reservation_id):
            raise InvalidInput("id", reservation_id, "give the id of the reservation")
        if reservation_id.startswith(LOCAL):
            return self._calls.fallback.settle(request, reservation_id)
        args = [reservation_id, request.cost, self._calls.clearings, *request.compiled.arguments]
        reply = await self._calls.run_clearing("limits/settle", request, args)
        self._calls.decider.on_reply(reply)
        decision = decision_from_verdict(request, 0, 0, limit_states_at(request, reply, FIRST_DECISION + 1))
        return Settlement(settled=reply[FIRST_DECISION] == 1, decision=decision)
