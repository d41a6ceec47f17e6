"""The answers to attempts at accounts that are refused: by the limit of sign-ups, and by the throttle of guesses."""

from __future__ import annotations

from typing import Any

from litestar import Response

from tollhouse.accounts.outcomes import AttemptThrottled
from tollhouse.asgi.ratelimit.headers import retry_after
from tollhouse.asgi.response import problem_response
from tollhouse.http.limits.responses import TakeResponses
from tollhouse.http.problems import litestar_response
from tollhouse.limits.decision import Decision


def limited(responses: TakeResponses, decision: Decision) -> Response[Any]:
    """Return 429 without the key, which would reveal the user name."""
    return litestar_response(responses.refusal(decision, reveal_key=False))


def throttled(refusal: AttemptThrottled) -> Response[Any]:
    """Return 429 with the time to wait: the same for every name, and for right and wrong passwords."""
    detail = "too many attempts that failed: wait before the next one, or use a device that logged in before"
    members, headers = {"retry_after_ms": refusal.retry_after_ms}, retry_after(refusal.retry_after_ms)
    return litestar_response(problem_response(429, "throttled", "Throttled", detail, members, headers=headers))
