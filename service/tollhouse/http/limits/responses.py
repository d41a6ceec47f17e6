"""Responses to takes: status, RateLimit fields and body of a decision.

The documented handlers, the fast path and the login build their responses here, so all of them use the dialect of the
settings. Verbs that take units carry the RateLimit fields of the decision; the other verbs answer with a body alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from tollhouse.asgi.ratelimit.headers import RateLimitFields, SingleLimit
from tollhouse.asgi.ratelimit.refusal_response import refusal_response
from tollhouse.asgi.response import HttpResponse
from tollhouse.http.limits.schemas import HoldAnswer
from tollhouse.limits.decision import Decision, TakeAllResult
from tollhouse.wiring import Tollhouse

encode: Final = msgspec.json.Encoder().encode
"""Returns the body that tells an outcome."""


class TakeResponses:
    """Builds responses in the dialect of the settings, by the policies in force when the response is built."""

    def __init__(self, tollhouse: Tollhouse) -> None:
        self._limits = tollhouse.limits
        self._fields = RateLimitFields(tollhouse.settings.limits.headers)

    def single(self, decision: Decision) -> SingleLimit | None:
        """Return what the fields of an admitted take are made of; None if it takes `take` to write them."""
        return self._fields.single(decision, self._limits.policies) if decision.allowed else None

    def take(self, outcome: Decision | TakeAllResult) -> HttpResponse:
        """Return 200 with the decision and its fields, or a problem with the same members."""
        return self._response(outcome, outcome)

    def hold(self, decision: Decision, hold_id: str | None) -> HttpResponse:
        """Return the response to a reservation or a lease: that of a take, with the id of the hold."""
        return self._response(decision, HoldAnswer(decision=decision, id=hold_id))

    def refusal(self, outcome: Decision | TakeAllResult, *, reveal_key: bool = True) -> HttpResponse:
        """Return the problem that a refusal is answered with; without `reveal_key` it does not repeat the key."""
        return refusal_response(outcome, self._fields.of(outcome, self._limits.policies), reveal_key=reveal_key)

    def _response(self, outcome: Decision | TakeAllResult, body: object) -> HttpResponse:
        if not outcome.allowed:
            return self.refusal(outcome)
        return HttpResponse(body=encode(body), headers=self._fields.of(outcome, self._limits.policies))


def batch_response(decisions: Sequence[Decision]) -> HttpResponse:
    """Return 200 with the decisions of a batch in order, refusals included."""
    return HttpResponse(body=encode(decisions))
