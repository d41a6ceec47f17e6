"""The one refusal that is an exception: for functions, which have no other way to say no."""

from __future__ import annotations

from tollhouse.errors import TollhouseError
from tollhouse.limits.decision import Decision


class RateLimited(TollhouseError):
    """A call that a limit refused; nothing was charged, and `decision` says until when.

    Inside a request that our middleware or plugin serves it needs no handler: the client gets the same answer as for
    a refused request.
    """

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        wait_ms = decision.retry_after_ms
        until = "no wait will change that" if wait_ms is None else f"retry in {wait_ms} ms"
        super().__init__(f"policy {decision.policy} refuses ({decision.reason}); {until}")
