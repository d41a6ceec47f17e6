"""What the verbs of the limiter are answered: status, fields and body, whoever sends them.

Both the documented handlers and the path in front of routing answer with these. Where units are taken, the fields of
the decision go with the answer; other verbs tell in the body alone where a limit stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Response
from litestar.di import NamedDependency
from msgspec import Struct

from tollhouse.asgi.ratelimit.headers import Dialect, fields
from tollhouse.asgi.ratelimit.refusal_response import Refusal, refusal_response
from tollhouse.http.limits.schemas import HoldAnswer
from tollhouse.limits.decision import Decision, TakeAllResult
from tollhouse.limits.limiter import Limiter
from tollhouse.settings import Settings

_ENCODER: Final = msgspec.json.Encoder()


class Answer(Struct, frozen=True, kw_only=True):
    """A 200 without its request; `headers` leave out the media type and the length of the body."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    media_type: str = "application/json"


class TakeResponses:
    """Answers in the dialect that the settings chose, by the policies that hold at the time."""

    def __init__(self, limits: Limiter, dialect: Dialect) -> None:
        self._limits = limits
        self._dialect: Dialect = dialect

    def take(self, outcome: Decision | TakeAllResult) -> Answer | Refusal:
        """Answer a take: what was decided, with its fields, or a problem with the same members."""
        return self._answer(outcome, outcome)

    def hold(self, decision: Decision, held_id: str | None) -> Answer | Refusal:
        """Answer a reservation or a lease as a take is answered, with the name of what is held."""
        return self._answer(decision, HoldAnswer(decision=decision, id=held_id))

    def _answer(self, outcome: Decision | TakeAllResult, body: object) -> Answer | Refusal:
        policies = self._limits.policies
        if not outcome.allowed:
            return refusal_response(outcome, dialect=self._dialect, policies=policies)
        headers = fields(outcome, self._dialect, policies=policies)
        return Answer(body=_ENCODER.encode(body), headers=tuple(headers))


def take_responses(limits: NamedDependency[Limiter], settings: NamedDependency[Settings]) -> TakeResponses:
    """Give handlers their answers."""
    return TakeResponses(limits, settings.limits.headers)


def batch_response(decisions: Sequence[Decision]) -> Answer:
    """Answer a batch: the decisions in order, refusals among them."""
    return Answer(body=_ENCODER.encode(decisions))


def response(answer: Answer | Refusal) -> Response[Any]:
    """Give the answer in Litestar's words."""
    return Response(answer.body, status_code=answer.status, headers=dict(answer.headers), media_type=answer.media_type)
