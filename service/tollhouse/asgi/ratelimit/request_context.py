"""A request or a connection while it is served: what was decided about it, and what its response shall tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any, Final

from tollhouse.asgi.ratelimit.limiter_source import LimiterSource
from tollhouse.asgi.ratelimit.refunds import IsCharged, refund
from tollhouse.asgi.ratelimit.refusal_response import refusal_response
from tollhouse.asgi.response import HttpResponse, send_response, start_message
from tollhouse.asgi.types import Headers, Message, Scope, Send
from tollhouse.limits.decision import Decision, RateLimited, TakeAllResult
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.policy import Policy

_NO_PARAMETERS: Final[Mapping[str, Any]] = {}


class RequestContext:
    """One request, from when a limit is asked until its response is sent.

    `decisions` are those that the response shall tell of. `refused` is a refusal that the application was told of by
    an exception: where the framework answers that with 500, the refusal is sent instead. `taken` and `charged` belong
    together: what was taken is given back where the response is none that is charged.
    """

    path_parameters: Mapping[str, Any] = _NO_PARAMETERS
    decisions: Sequence[Decision] = ()
    refundable: Sequence[Decision] = ()
    is_charged: IsCharged | None = None
    pending_refusal: Decision | None = None
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
        """Send on what the application sends, with the fields behind those of its response."""
        if message["type"] == "http.response.start":
            return self._send(self._start(message))
        if self._replacement is not None:
            return self._send_replacement()
        return self._send(message)

    def add_policy(self, policy: Policy) -> None:
        """Have a policy at hand that was not there when the context began, for its fields."""
        if self.policies.get(policy.name) is not policy:
            self.policies = {**self.policies, policy.name: policy}

    def add_decision(self, decision: Decision) -> None:
        """Let the response tell of a decision, in place of an earlier one by its policy, unless it has begun."""
        if not self.started:
            self.decisions = [*(one for one in self.decisions if one.policy != decision.policy), decision]

    def fields(self) -> Headers:
        """Encode the fields that tell of the decisions so far."""
        if not self.decisions:
            return []
        return self.source.fields.status(self.decisions, self.policies)

    def refusal_response(self, outcome: Decision | TakeAllResult) -> HttpResponse:
        """Answer this request with a refusal, and tell of the other decisions too."""
        fields = self.source.fields.of(outcome, self.policies, self.decisions)
        return refusal_response(outcome, fields, reveal_key=False)

    def take_response(self, refused: RateLimited) -> HttpResponse:
        """Give the answer to a refusal that the application was told of, for its framework to send."""
        answer = self.refusal_response(refused.decision)
        self.pending_refusal, self.decisions = None, ()
        return answer

    async def hold(self, limiter: Limiter, policy: str, key: str) -> Decision:
        """Hold a permit from now until the context is finished, if there is one."""
        if self.leases is None:
            self.leases = AsyncExitStack()
        lease = await self.leases.enter_async_context(limiter.hold(policy, key))
        if lease.decision.allowed:
            self.decisions = [*self.decisions, lease.decision]
        return lease.decision

    async def respond(self, refused: RateLimited) -> None:
        """Answer with a refusal that the application raised, unless its framework has answered already."""
        if self._replacement is None:
            if self.started:
                raise refused
            await send_response(self.refusal_response(refused.decision), self._send)
            self.refund_unless_charged(429, ())

    def refund_unless_charged(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begin to give back what was taken, if such a response is not charged; the response does not wait for it."""
        if self.is_charged is not None and self.refundable and not self.is_charged(status, headers):
            self.refund = self.loop.create_task(refund(self.limiter, self.refundable))
        self.is_charged = None

    def on_error(self) -> None:
        """Take note that there will be no response but the server's own, which is 500."""
        if not self.started:
            self.refund_unless_charged(500, ())

    def detach(self) -> None:
        """Let go of the request: tasks that it leaves behind are served no more, and keep nothing of it alive.

        Each handle of the event loop has a copy of the context, and so the context. To free whole requests so late,
        many at once, costs more than all that is done here for them.
        """
        self.is_detached = True
        self.scope, self._send = {}, _discard

    async def release(self) -> None:
        """Give permits back, and wait for what is being refunded."""
        if self.leases is not None:
            await self.leases.aclose()
        if self.refund is not None:
            await self.refund

    def _start(self, message: Message) -> Message:
        self.started = True
        if message["status"] == 500 and self.pending_refusal is not None:
            instead = self.refusal_response(self.pending_refusal)
            self._replacement = instead.body
            self.refund_unless_charged(instead.status, ())
            return start_message(instead)
        headers = message.get("headers", ())
        if self.is_charged is not None:
            self.refund_unless_charged(message["status"], headers)
        return {**message, "headers": [*headers, *self.fields()]}

    async def _send_replacement(self) -> None:
        """Send the refusal's body in place of the first part of the application's, and nothing for the rest."""
        body, self._replacement = self._replacement, b""
        if body:
            await self._send({"type": "http.response.body", "body": body})


CURRENT_REQUEST: Final[ContextVar[RequestContext | None]] = ContextVar("tollhouse_request", default=None)
"""The request that is being served, for `current`."""


def current_request() -> RequestContext | None:
    """Give the request that is being served here; None outside of one, and in a task that has outlived its own."""
    context = CURRENT_REQUEST.get()
    return None if context is None or context.is_detached else context


async def _discard(_: Message) -> None:
    """Take the place of the server's own for a context that is over."""
