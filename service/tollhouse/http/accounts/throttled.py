"""The answer to an attempt that a limit of accounts refuses."""

from __future__ import annotations

from typing import Any

from litestar import Response

from tollhouse.http.limits.responses import TakeResponses
from tollhouse.http.problems import litestar_response
from tollhouse.limits.decision import Decision


def throttled(responses: TakeResponses, decision: Decision) -> Response[Any]:
    """Return 429 without the key, which would reveal the user name."""
    return litestar_response(responses.refusal(decision, reveal_key=False))
