"""Responses to takes: status, RateLimit fields and body of a decision.

The documented handlers, the fast path and the login build their responses here, so all of them use the dialect of the
settings. Verbs that take units carry the RateLimit fields of the decision; the other verbs answer with a body alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Response
from msgspec import Struct

from tollhouse.asgi.ratelimit.headers import Dialect, fields
from tollhouse.asgi.ratelimit.refusal_response import Refusal, refusal_response
from tollhouse.http.limits.schemas import HoldAnswer
from tollhouse.limits.decision import Decision, TakeAllResult
from tollhouse.wiring import Tollhouse

_ENCODER: Final = msgspec.json.Encoder()


class Answer(Struct, frozen=True, kw_only=True):
    """A response without its request; `headers` leave out the media type and the length of the body."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    media_type: str = "application/json"


class TakeResponses:
    """Builds responses in the dialect of the settings, by the policies in force when the response is built."""

    def __init__(self, tollhouse: Tollhouse) -> None:
        self._limits = tollhouse.limits
        self._dialect: Dialect = tollhouse.settings.limits.headers

    def take(self, outcome: Decision | TakeAllResult) -> Answer | Refusal:
        """Return 200 with the decision and its fields, or a problem with the same members."""
        return self._response(outcome, outcome)

    def hold(self, decision: Decision, hold_id: str | None) -> Answer | Refusal:
        """Return the response to a reservation or a lease: that of a take, with the id of the hold."""
        return self._response(decision, HoldAnswer(decision=decision, id=hold_id))

    def refusal(self, outcome: Decision | TakeAllResult, *, reveal_key: bool = True) -> Refusal:
        """Return the problem that a refusal is answered with; without `reveal_key` it does not repeat the key."""
        return refusal_response(outcome, dialect=self._dialect, policies=self._limits.policies, reveal_key=reveal_key)

    def _response(self, outcome: Decision | TakeAllResult, body: object) -> Answer | Refusal:
        if not outcome.allowed:
            return self.refusal(outcome)
        headers = fields(outcome, self._dialect, policies=self._limits.policies)
        return Answer(body=_ENCODER.encode(body), headers=tuple(headers))


def batch_response(decisions: Sequence[Decision]) -> Answer:
    """Return 200 with the decisions of a batch in order, refusals included."""
    return Answer(body=_ENCODER.encode(decisions))


def response(answer: Answer | Refusal) -> Response[Any]:
    """Return the same response as Litestar's own type."""
    return Response(answer.body, status_code=answer.status, headers=dict(answer.headers), media_type=answer.media_type)
