"""The context of one request or websocket: the decisions about it, and what its response says of them.

All edges that limit one request share what its response needs. The outermost puts its context into the scope; those
inside have their own limiter and rules for keys, and hand on the rest. So one place decides fields and charges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any, Final

from tollhouse.asgi.ratelimit.headers import RateLimitFields
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource
from tollhouse.asgi.ratelimit.refunds import Charged, start_refunds
from tollhouse.asgi.ratelimit.refusal_response import (
    LimitError,
    Refusal,
    refusal_of,
    refusal_response,
    refusal_status,
    undecided_response,
)
from tollhouse.asgi.response import HttpResponse, discard, send_response, start_message
from tollhouse.asgi.types import Headers, Message, Scope, Send
from tollhouse.errors import InvalidInput, StoreError
from tollhouse.limits.decision import Decision, RateLimited, TakeAllResult
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.policy import Policy

IN_SCOPE: Final = "tollhouse.request"
"""The outermost context of a request in its ASGI scope."""

_NO_PARAMETERS: Final[Mapping[str, Any]] = {}
_ERRORS: Final = 400
_BODIES: Final = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})
_HANDSHAKES: Final = {"websocket.accept": 101, "websocket.http.response.start": 200}
_ENDS: Final = frozenset({"websocket.close", "websocket.http.response.body"})
_DENIED: Final = 403
"""The status of a handshake that ends in `websocket.close`."""


class RequestContext:
    """One request at one edge, from its first limit until its response is sent.

    It passes through three states. *Open*: decisions are added. *Started*: the response has begun, its status has
    settled the charges, and later decisions are not shown. *Detached*: the request is over, and a task that outlives it
    is outside of it.

    `outer` is the outermost context of the request, or None if this is it; only there the attributes below have a
    meaning. The response describes `decisions`. It settles `charges`, by `charge` if that `settles` any of them, and
    `taken`, the one take of most requests. `refusal` is the latest that the application got as an exception. The
    response is that refusal if it `is_refused`, because we rendered the response or the exception has ended the route;
    if it has the refusal's status; or if it is the framework's 500, in whose place the refusal is sent. `on_fields` is
    called with the fields whenever a decision is added, for edges that see no message of the response.
    """

    outer: RequestContext | None = None
    path_parameters: Mapping[str, Any] = _NO_PARAMETERS
    decisions: Sequence[Decision] = ()
    taken: Decision | None = None
    charges: Sequence[Charged] = ()
    settles = False
    refusal: Refusal | TakeAllResult | None = None
    leases: AsyncExitStack | None = None
    refunds: Sequence[asyncio.Task[None]] = ()
    on_fields: Callable[[Mapping[str, str]], object] | None = None
    started = False
    is_detached = False
    is_refused = False
    _replacement: bytes | None = None

    def __init__(self, source: LimiterSource, limiter: Limiter, scope: Scope, send: Send) -> None:
        self.source = source
        self.limiter = limiter
        self.began_ms = limiter.now_ms()
        self.policies = limiter.policies
        self.scope: Scope = scope
        self.loop = asyncio.get_running_loop()
        self._send: Send = send
        outer: RequestContext = scope.setdefault(IN_SCOPE, self)
        if outer is not self:
            self._join(outer)

    @property
    def outermost(self) -> RequestContext:
        """The context that all edges of the request share."""
        return self.outer or self

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application; the fields are added behind the headers of its response.

        Leases are released before the final body message is passed on: a client that has the whole response may come
        again at once.
        """
        kind = message["type"]
        if kind == "http.response.start":
            return self._send(self.start(message))
        if self.leases is not None and kind in _BODIES and (self._replacement or not message.get("more_body")):
            return self._send_last(message)
        if self._replacement is not None:
            return self._send_replacement()
        return self._send(message)

    def send_websocket(self, message: Message) -> Awaitable[None]:
        """Send a message of a websocket; the response to the handshake has the fields, and its end the leases."""
        kind = message["type"]
        if not self.started and kind in _HANDSHAKES:
            message = self.start(message, status=message.get("status", _HANDSHAKES[kind]))
        elif not self.started and kind == "websocket.close":
            self.started = True
            self.settle(_DENIED, is_refusal=self.is_refused)
        if self.leases is not None and kind in _ENDS and not message.get("more_body"):
            return self._send_last(message)
        return self._send(message)

    def start(self, message: Message, *, status: int | None = None) -> Message:
        """Settle the charges by the first message of a response, and return it with the fields added."""
        self.started = True
        headers: Sequence[tuple[bytes, bytes]] = message.get("headers", ())
        if self.refusal is not None:
            return self._start_after_refusal(message, status or message["status"], headers)
        if self.settles:
            self.settle(status or message["status"], headers)
        if not self.decisions:
            return message
        return {**message, "headers": [*headers, *self.source.fields.status(self.decisions, self.policies)]}

    def add_policy(self, policy: Policy) -> None:
        """Add a policy of another limiter, or one that was registered after the request began, for its fields."""
        if self.policies.get(policy.name) is not policy:
            self.policies = {**self.policies, policy.name: policy}

    def add_decision(self, decision: Decision) -> None:
        """Show a decision in the response, in place of an earlier one by its policy; no effect once it has started."""
        if not self.started:
            self.decisions = [*self._others(decision), decision]
        if self.on_fields is not None:
            self.on_fields({name.decode(): value.decode() for name, value in self.fields()})

    def add_charge(self, charged: Charged) -> None:
        """Add a charge that the response settles; no effect once it has started."""
        if not self.started:
            self.charges = (*self.charges, charged)
            self.settles = self.settles or charged[2] is not None

    def fields(self) -> Headers:
        """Return the fields of the decisions so far."""
        if not self.decisions:
            return []
        return self.source.fields.status(self.decisions, self.policies)

    def refuse(self, refusal: Refusal | TakeAllResult, policies: Sequence[str] = ()) -> HttpResponse:
        """Return the response for a refusal, which is the response to this request; it describes earlier decisions.

        `policies` are those that an error left undecided.
        """
        self.end_by(refusal)
        if isinstance(refusal, InvalidInput | StoreError):
            return undecided_response(refusal, policies)
        return refusal_response(refusal, self._refusal_fields(refusal), reveal_key=False)

    def is_answered(self, error: LimitError) -> bool:
        """Return True if a limit of this request raised the error, and not the application for a reason of its own."""
        return isinstance(error, RateLimited) or error is self.refusal

    def end_by(self, refusal: Refusal | TakeAllResult) -> None:
        """Treat the response as this refusal, if its status is 400 or above."""
        self.refusal, self.is_refused = refusal, True

    def keep(self, held: AsyncExitStack) -> None:
        """Hold leases until the response is sent; if it was sent meanwhile, until this edge ends, or else `held`."""
        holder = self if self.outermost.is_detached else self.outermost
        if holder.is_detached:
            return
        if holder.leases is None:
            holder.leases = AsyncExitStack()
        holder.leases.push_async_exit(held.pop_all())

    async def respond(self, error: LimitError, send: Send) -> None:
        """Send the response to what a limit raised, unless it replaced the framework's 500 already.

        Raises the error if the response has started, because it can no longer be replaced; and if no limit of this
        request raised it.
        """
        if self._replacement is None:
            if self.started or not self.is_answered(error):
                self.fail()
                raise error
            await send_response(self.refuse(refusal_of(error)), send)

    def settle(self, status: int, headers: Sequence[tuple[bytes, bytes]] = (), *, is_refusal: bool = False) -> None:
        """Refund what a response is not charged for; later calls have no effect."""
        charges, self.charges = self.charges, ()
        if self.taken is not None:
            charges, self.taken = ((self.limiter, (self.taken,), None), *charges), None
        if charges:
            age_ms = self.limiter.now_ms() - self.began_ms
            self.refunds = start_refunds(charges, status, headers, is_refusal=is_refusal, age_ms=age_ms)

    def fail(self) -> None:
        """Settle the charges of an application that raised or was cancelled: the server's response will be 500."""
        if self.outer is None and not self.started:
            self.settle(500)

    def detach(self) -> None:
        """Drop the references to the request, so that background tasks that it leaves behind do not keep it alive.

        Each handle of the event loop copies the context variables, and so refers to this object. Freeing whole
        requests late, and many at once, costs more than everything else that is done here for them.
        """
        self.is_detached = True
        self.scope, self._send = {}, discard
        self.refusal = None

    async def release(self) -> None:
        """Release the leases, and wait for the refunds; if the caller is cancelled both go on."""
        leases, self.leases = self.leases, None
        if leases is not None:
            await leases.aclose()
        if self.refunds:
            await asyncio.wait(self.refunds)

    def _join(self, outer: RequestContext) -> None:
        """Share the response with the outermost context, unless that is of a request that is over."""
        if outer.is_detached:
            self.scope[IN_SCOPE] = self
        else:
            self.outer = outer

    def _others(self, outcome: Decision | TakeAllResult) -> Sequence[Decision]:
        """Return the decisions by policies that an outcome does not name."""
        named = {outcome.policy} if isinstance(outcome, Decision) else {one.policy for one in outcome.decisions}
        return [one for one in self.decisions if one.policy not in named]

    def _refusal_fields(self, refusal: Refusal | TakeAllResult) -> Headers:
        if isinstance(refusal, InvalidInput | StoreError):
            return self.fields()
        return self.source.fields.of(refusal, self.policies, self._others(refusal))

    def _start_after_refusal(self, message: Message, status: int, headers: Sequence[tuple[bytes, bytes]]) -> Message:
        """Start a response that may be the refusal; if it is, complete its fields and give back what others charged."""
        assert self.refusal is not None
        if status == 500 and message["type"] == "http.response.start":
            instead = self.refuse(self.refusal)
            self._replacement = instead.body
            self.settle(instead.status, instead.headers, is_refusal=True)
            return start_message(instead)
        is_refusal = status == refusal_status(self.refusal) or (self.is_refused and status >= _ERRORS)
        self.settle(status, headers, is_refusal=is_refusal)
        given = {name.lower() for name, _ in headers} if is_refusal else ()
        fields = self._refusal_fields(self.refusal) if is_refusal else self.fields()
        return {**message, "headers": [*headers, *(field for field in fields if field[0] not in given)]}

    async def _send_last(self, message: Message) -> None:
        leases, self.leases = self.leases, None
        assert leases is not None
        await leases.aclose()
        await self.send(message)

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


def request_in(scope: Scope) -> RequestContext | None:
    """Return the innermost context of the request with this scope, or None if no edge of ours has limited it yet."""
    found: RequestContext | None = scope.get(IN_SCOPE)
    if found is None or found.is_detached:
        return None
    current = current_request()
    return current if current is not None and current.outer is found else found


def rate_limited_response(refused: RateLimited) -> HttpResponse:
    """Return the response to a refusal, for an exception handler of the application's own to send.

    It is what a refused request gets without a handler: 429, the RateLimit fields, `Retry-After` and problem details.
    The handler may change it; with a status of 400 or above it stays the refusal, and other limits charge nothing.
    """
    origin = refused.origin if isinstance(refused.origin, RequestContext) else None
    context = current_request() if origin is None or origin.is_detached else origin
    context = context or origin
    if context is None:
        return refusal_response(refused.decision, RateLimitFields().of(refused.decision), reveal_key=False)
    return context.outermost.refuse(refused.decision)
