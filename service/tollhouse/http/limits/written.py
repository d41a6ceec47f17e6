"""Responses as the fast path writes them: a status, the lines of the headers, and a body.

A head is longer than what a take has to say, and most of it is the same for each take of a policy. So the head of takes
that are admitted under one limit is a template for each policy in force, which lacks three numbers: what remains, the
seconds until all of it is restored, and the length of the body. All other responses are written line by line.
"""

from __future__ import annotations

from functools import cache

from tollhouse.asgi.ratelimit.headers import SingleLimit
from tollhouse.asgi.response import NO_STORE, HttpResponse, header_lines, start_message
from tollhouse.http.csrf import JSON
from tollhouse.http.headers import complete_headers
from tollhouse.http.limits.responses import TakeResponses, encode
from tollhouse.limits.decision import Decision

Written = tuple[int, bytes, bytes]
"""The status, the lines of the headers, and the body."""


class WrittenTakes:
    """Writes the responses to takes: the same bytes as `written`, by the template of the policy if it fits."""

    def __init__(self, responses: TakeResponses) -> None:
        self._responses = responses
        self._heads: dict[str, tuple[SingleLimit, bytes]] = {}

    def take(self, decision: Decision) -> Written:
        """Return the response to a take."""
        single = self._responses.single(decision)
        if single is None:
            return written(self._responses.take(decision))
        kept = self._heads.get(decision.policy)
        if kept is None or kept[0] is not single:
            kept = self._heads[decision.policy] = single, single.lines + _ending(JSON, 0)
        state, body = decision.limits[0], encode(decision)
        return 200, kept[1] % (state.remaining, -(-state.reset_after_ms // 1_000), len(body)), body


def written(answer: HttpResponse) -> Written:
    """Return the response with the headers that every response of the service has."""
    ending = _ending(answer.media_type, answer.headers.count(NO_STORE))
    return answer.status, header_lines(answer.headers) + ending % len(answer.body), answer.body


@cache
def _ending(media_type: str, marks: int) -> bytes:
    """Return the header lines behind those of an outcome, as a template whose one field is the length of the body.

    The outcome may be marked already as one that no cache stores: `marks` is 1 then, else 0.
    """
    own = [NO_STORE] * marks
    headers = start_message(HttpResponse(body=b"", headers=own, media_type=media_type))["headers"]
    complete_headers(headers, reads_credentials=True)
    lines = [(name, value.replace(b"%", b"%%")) for name, value in headers[len(own) :]]
    return header_lines([(name, b"%d" if name == b"content-length" else value) for name, value in lines])
