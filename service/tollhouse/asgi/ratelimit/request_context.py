"""The context of one request or websocket: the decisions about it, and what its response says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any, Final

from tollhouse.asgi.ratelimit.limiter_source import LimiterSource
from tollhouse.asgi.ratelimit.refunds import IsCharged, refund
from tollhouse.asgi.ratelimit.refusal_response import refusal_response, undecided_response
from tollhouse.asgi.response import HttpResponse, send_response, start_message
from tollhouse.asgi.types import Headers, Message, Scope, Send
from tollhouse.errors import InvalidInput, StoreError
from tollhouse.limits.decision import Decision, RateLimited, TakeAllResult
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.policy import Policy

LimitError = RateLimited | InvalidInput | StoreError
"""What a limit raises that the client gets an answer to: a refusal, or that there is no decision."""

_NO_PARAMETERS: Final[Mapping[str, Any]] = {}


class RequestContext:
    """One request, from its first limit until its response is sent.

    It passes through three states. *Open*: decisions are added. *Started*: the response has begun, its status has
    settled the charge, and later decisions are not shown. *Detached*: the request is over, and a task that outlives it
    is outside of it.

    `decisions` are those that the response describes. `pending` is what the application got as an exception from a
    limit: if its framework answers that with 500, the response to it is sent instead. `charge` has the decisions that
    the response settles, and the function that says whether it is charged; if it is not, their units are refunded.
    """

    path_parameters: Mapping[str, Any] = _NO_PARAMETERS
    decisions: Sequence[Decision] = ()
    charge: tuple[IsCharged, Sequence[Decision]] | None = None
    pending: LimitError | None = None
    leases: AsyncExitStack | None = None
    refund: asyncio.Task[None] | None = None
    started = False
    is_detached = False
    _replacement: bytes | None = None

    def __init__(self, source: LimiterSource, limiter: Limiter, scope: Scope, send: Send) -> None:
        self.source = source
        self.limiter = limiter
        self.policies = limiter.policies
        self.scope: Scope = scope
        self.loop = asyncio.get_running_loop()
        self._send: Send = send

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application; the fields are added behind the headers of its response."""
        if message["type"] == "http.response.start":
            return self._send(self._start(message))
        if self._replacement is not None:
            return self._send_replacement()
        return self._send(message)

    def add_policy(self, policy: Policy) -> None:
        """Add a policy that was registered after the request began, for its fields."""
        if self.policies.get(policy.name) is not policy:
            self.policies = {**self.policies, policy.name: policy}

    def add_decision(self, decision: Decision) -> None:
        """Show a decision in the response, in place of an earlier one by its policy; no effect once it has started."""
        if not self.started:
            self.decisions = [*(one for one in self.decisions if one.policy != decision.policy), decision]

    def fields(self) -> Headers:
        """Return the fields of the decisions so far."""
        if not self.decisions:
            return []
        return self.source.fields.status(self.decisions, self.policies)

    def refusal_response(self, outcome: Decision | TakeAllResult) -> HttpResponse:
        """Return the response for a refusal; its fields describe the earlier decisions too."""
        fields = self.source.fields.of(outcome, self.policies, self.decisions)
        return refusal_response(outcome, fields, reveal_key=False)

    def is_answered(self, error: LimitError) -> bool:
        """Return True if a limit of this request raised the error, and not the application for a reason of its own."""
        return isinstance(error, RateLimited) or error is self.pending

    def response_to(self, error: LimitError) -> HttpResponse:
        """Return the response to what a limit raised."""
        return self.refusal_response(error.decision) if isinstance(error, RateLimited) else undecided_response(error)

    def take_response(self, error: LimitError) -> HttpResponse:
        """Return the response to what the application got as an exception, for its framework to send."""
        response = self.response_to(error)
        self.pending, self.decisions = None, ()
        return response

    async def hold(self, limiter: Limiter, policy: str, key: str) -> Decision:
        """Hold a lease until the request is over; return the decision, which may be a refusal."""
        if self.leases is None:
            self.leases = AsyncExitStack()
        lease = await self.leases.enter_async_context(limiter.hold(policy, key))
        if lease.decision.allowed:
            self.decisions = [*self.decisions, lease.decision]
        return lease.decision

    async def respond(self, error: LimitError) -> None:
        """Send the response to what a limit raised, unless it replaced the framework's 500 already.

        Raises the error if the response has started, because it can no longer be replaced; and if no limit of this
        request raised it.
        """
        if self._replacement is None:
            if self.started or not self.is_answered(error):
                self.on_error()
                raise error
            response = self.response_to(error)
            await send_response(response, self._send)
            self.refund_unless_charged(response.status, ())

    def refund_unless_charged(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Settle the charge once: start a refund if the response is not charged; nothing waits for it."""
        charge, self.charge = self.charge, None
        if charge is not None and not charge[0](status, headers):
            self.refund = self.loop.create_task(refund(self.limiter, charge[1]))

    def on_error(self) -> None:
        """Settle the charge for an application that raised: the server's own response will be 500."""
        if not self.started:
            self.refund_unless_charged(500, ())

    def detach(self) -> None:
        """Drop the references to the request, so that background tasks that it leaves behind do not keep it alive.

        Each handle of the event loop copies the context variables, and so refers to this object. Freeing whole
        requests late, and many at once, costs more than everything else that is done here for them.
        """
        self.is_detached = True
        self.scope, self._send, self.pending = {}, _discard, None

    async def release(self) -> None:
        """Release the leases, and wait for the refund."""
        if self.leases is not None:
            await self.leases.aclose()
        if self.refund is not None:
            await self.refund

    def _start(self, message: Message) -> Message:
        self.started = True
        if message["status"] == 500 and self.pending is not None:
            instead = self.response_to(self.pending)
            self._replacement = instead.body
            self.refund_unless_charged(instead.status, ())
            return start_message(instead)
        headers = message.get("headers", ())
        if self.charge is not None:
            self.refund_unless_charged(message["status"], headers)
        return {**message, "headers": [*headers, *self.fields()]}

    async def _send_replacement(self) -> None:
        """Send the refusal's body in place of the first body message of the application, and drop the rest."""
        body, self._replacement = self._replacement, b""
        if body:
            await self._send({"type": "http.response.body", "body": body})


CURRENT_REQUEST: Final[ContextVar[RequestContext | None]] = ContextVar("tollhouse_request", default=None)
"""The request that the running task serves; read it with `current_request`."""


def current_request() -> RequestContext | None:
    """Return the request that is being served here; None outside of one, and in a task that has outlived its own."""
    context = CURRENT_REQUEST.get()
    return None if context is None or context.is_detached else context


async def _discard(_: Message) -> None:
    """Replace the server's `send` once the request is over."""
