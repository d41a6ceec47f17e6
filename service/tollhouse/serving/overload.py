"""Overload: what happens to connections above the bound of a worker, before descriptors run out.

A connection that cannot be accepted is reset, and its client cannot tell overload from a dead service. So some
descriptors are reserved. The next connections are accepted for one request, which gets 503, or the truth if it asks for
liveness: a restart would not help. Those beyond get the same 503 unasked.
"""

from __future__ import annotations

import sys
from typing import Final

from tollhouse.asgi.response import RETRY_SOON, problem_response, send_response
from tollhouse.asgi.types import App, Receive, Scope, Send

ONE_REQUEST_EACH: Final = 32
"""How many connections above the bound may ask for something."""
ONE_REQUEST_MS: Final = 1000
"""How long each may take to ask."""
OVERLOADED: Final = problem_response(
    503, "overloaded", "Overloaded", "this worker has as many connections as it may have", headers=[RETRY_SOON]
)
_LIVENESS: Final = "/livez"
_RESERVED: Final = 128
"""Descriptors for stores, files, the connections above the bound, and those that are just being refused."""


def connections_bound(connections_max: int, descriptors: int | None) -> int:
    """Return how many connections a worker serves that may open so many descriptors; None means any number."""
    if descriptors is None:
        return connections_max
    return max(1, min(connections_max, descriptors - _RESERVED))


def descriptors() -> int | None:
    """Return how many descriptors this process may open; None if any number."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def liveness_only(app: App) -> App:
    """Return an application that leaves liveness to `app`, and answers everything else with 503."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == _LIVENESS:
            await app(scope, receive, send)
        else:
            await send_response(OVERLOADED, send)

    return answer
