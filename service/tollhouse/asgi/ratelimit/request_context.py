"""The context of one request or websocket: the decisions about it, and what its response says of them.

All edges that limit one request share what its response needs. The outermost puts its context into the scope; those
inside have their own limiter and rules for keys, and hand on the rest. So one place decides fields and charges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from tollhouse.asgi.ratelimit.headers import tightest
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource
from tollhouse.asgi.ratelimit.refunds import Charged, start_refunds
from tollhouse.asgi.ratelimit.refusal_handlers import OwnResponse
from tollhouse.asgi.ratelimit.refusal_response import (
    UNDECIDED,
    LimitError,
    Refusal,
    decisions_beside,
    decisions_of,
    error_of,
    refusal_status,
)
from tollhouse.asgi.response import HttpResponse, body_message, discard, start_message
from tollhouse.asgi.types import Headers, Message, Scope, Send
from tollhouse.errors import InvalidInput
from tollhouse.limits.decision import Decision, RateLimited, TakeAllResult
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.policy import Policy
from tollhouse.runtime.home_loop import running_loop

IN_SCOPE: Final = "tollhouse.request"
"""The outermost context of a request in its ASGI scope."""
STATE: Final = "rate_limit"
"""The attribute of `request.state` that has the decision nearest to a refusal."""

NO_PARAMETERS: Final[Mapping[str, Any]] = {}
_ERRORS: Final = 400
_BODIES: Final = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})


class RequestContext:
    """One request at one edge, from its first limit until its response is sent.

    It passes through three states. *Open*: decisions are added. *Started*: the response has begun, its status has
    settled the charges, and later decisions are not shown. *Detached*: the request is over, and a task that outlives it
    is outside of it.

    `outer` is the outermost context of the request, or None if this is it; only there the attributes below have a
    meaning. The response describes `decisions`. It settles `charges`, by `charge` if that `settles` any of them, and
    `taken`, the one take of most requests. `refusal` is the latest that the application got as an exception. The
    response is that refusal if it `is_refused`, because we rendered the response or the exception has ended the route;
    if it has the refusal's status; or if it is the framework's 500, in whose place the refusal is sent, unless a
    function `falls_back` in place of what was refused. A refusal is sent by `own_response` if an edge has one, and is
    free unless it `is_charged`; `sends_refusal` is true from then on. `on_fields` is called with the fields whenever a
    decision is added, for edges that see no message of the response.
    """

    # What few requests change is an attribute of the class until then.
    outer: RequestContext | None = None
    path_parameters: Mapping[str, Any] = NO_PARAMETERS
    decisions: Sequence[Decision] = ()
    taken: Decision | None = None
    charges: Sequence[Charged] = ()
    settles = False
    refusal: Refusal | TakeAllResult | None = None
    own_response: OwnResponse | None = None
    leases: AsyncExitStack | None = None
    refunds: Sequence[asyncio.Task[None]] = ()
    on_fields: Callable[[Mapping[str, str]], object] | None = None
    started = is_detached = is_refused = is_charged = falls_back = sends_refusal = False
    _with_fields: Message | None = None

    def __init__(self, source: LimiterSource, limiter: Limiter, scope: Scope, send: Send) -> None:
        self.source = source
        self.limiter = limiter
        self.began_ms = limiter.now_ms()
        self.policies = limiter.policies
        self.scope: Scope = scope
        self.loop = running_loop()
        self.pass_on: Send = send
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
            if self.refusal is None and not self.settles:
                self.started = True
                if decisions := self.decisions:
                    fields = self.source.fields.status(decisions, self.policies)
                    message = {**message, "headers": [*message.get("headers", ()), *fields]}
                return self.pass_on(message)
            if self.refusal is not None and message["status"] == 500 and not (self.sends_refusal or self.falls_back):
                return self._send_in_place_of(message)
            return self.pass_on(self.start(message))
        if self.leases is not None and kind in _BODIES and not message.get("more_body"):
            return self.send_last(message)
        return self.pass_on(message)

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

    def admits(self, outcome: object) -> bool:
        """Show the outcome and charge it if it is the first decision here and allows; else return False.

        It does for most requests what `add_decision` and `add_charge` do for all.
        """
        if type(outcome) is Decision and outcome.allowed and self.outer is None and not self.decisions:
            self.taken, self.decisions = outcome, (outcome,)
            self.scope.setdefault("state", {})[STATE] = outcome
            return True
        return False

    def add_decision(self, decision: Decision) -> None:
        """Show a decision in the response, in place of an earlier one by its policy; no effect once it has started."""
        if not self.started:
            self.decisions = [*decisions_beside(decision, self.decisions), decision]
            self._show()
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
        assert self.refusal is not None
        return self.source.refusals.response(self.refusal, self.policies, self.decisions, policies)

    def is_answered(self, error: LimitError) -> bool:
        """Return True if a limit of this request raised the error, and not the application for a reason of its own."""
        return isinstance(error, RateLimited) or error is self.refusal

    def end_by(self, refusal: Refusal | TakeAllResult) -> None:
        """Treat the response as this refusal, if its status is 400 or above."""
        self.record_refusal(refusal)
        self.is_refused = True

    def record_refusal(self, refusal: Refusal | TakeAllResult) -> None:
        """Treat the response as this refusal, if it has its status or is the framework's 500."""
        met = self.refusal
        self.is_charged = self.is_charged and refusal is met
        if not (isinstance(met, TakeAllResult) and isinstance(refusal, Decision) and refusal in met.decisions):
            self.refusal, self.falls_back = refusal, False
        self._show()

    def answer_input(self, error: InvalidInput) -> None:
        """Treat the response as this error, but charge for it: the application has begun to serve the request."""
        if not (request := self.outermost).is_detached:
            request.record_refusal(error)
            request.is_charged = True

    def decisions_met(self) -> Sequence[Decision]:
        """Return the decisions about the request so far, a refusal among them."""
        if self.refusal is None or isinstance(self.refusal, UNDECIDED):
            return self.decisions
        if not self.decisions:
            return decisions_of(self.refusal)
        return [*decisions_beside(self.refusal, self.decisions), *decisions_of(self.refusal)]

    def keep(self, held: AsyncExitStack) -> None:
        """Hold leases until the response is sent; if it was sent meanwhile, until this edge ends, or else `held`."""
        holder = self if self.outermost.is_detached else self.outermost
        if holder.is_detached:
            return
        holder.leases = holder.leases or AsyncExitStack()
        holder.leases.push_async_exit(held.pop_all())

    async def send_refusal(self, ours: HttpResponse, send: Send, kind: str = "http") -> None:
        """Send the response to `refusal`: that of the application if it has one of its own, else ours."""
        assert self.refusal is not None
        self.sends_refusal = True
        if self.own_response is not None and isinstance(error := error_of(self.refusal, self), RateLimited):
            own, self.own_response = self.own_response, None
            await (await own(error))(send)
            return
        start = start_message(ours, kind)
        self._with_fields = None if isinstance(self.refusal, UNDECIDED) else start
        await send(start)
        await send(body_message(ours, kind))

    def claim_own_response(self) -> OwnResponse | None:
        """Return `own_response` once, so that a handler of the application may call one of ours for its response."""
        own, self.own_response = self.own_response, None
        return own

    def settle(self, status: int, headers: Sequence[tuple[bytes, bytes]] = (), *, is_refusal: bool = False) -> None:
        """Refund what a response is not charged for; later calls have no effect."""
        charges, self.charges = self.charges, ()
        if self.taken is not None:
            charges, self.taken = ((self.limiter, (self.taken,), None), *charges), None
        if charges:
            age_ms = self.limiter.now_ms() - self.began_ms
            is_free = is_refusal and not self.is_charged
            self.refunds = start_refunds(charges, status, headers, is_refusal=is_free, age_ms=age_ms)

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
        self.scope, self.pass_on = {}, discard
        self.refusal = self.own_response = None

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

    def _start_after_refusal(self, message: Message, status: int, headers: Sequence[tuple[bytes, bytes]]) -> Message:
        """Start a response that may be the refusal; if it is, complete its fields and give back what others charged."""
        assert self.refusal is not None
        if message is self._with_fields:
            self.settle(status, headers, is_refusal=True)
            return message
        is_refusal = status == refusal_status(self.refusal) or (self.is_refused and status >= _ERRORS)
        self.settle(status, headers, is_refusal=is_refusal)
        if not is_refusal:
            return {**message, "headers": [*headers, *self.fields()]}
        given = {name.lower() for name, _ in headers}
        fields = self.source.refusals.fields(self.refusal, self.policies, self.decisions)
        return {**message, "headers": [*headers, *(field for field in fields if field[0] not in given)]}

    async def send_last(self, message: Message) -> None:
        """Release the leases, and then send the message with which the response ends."""
        leases, self.leases = self.leases, None
        assert leases is not None
        await leases.aclose()
        await self.pass_on(message)

    async def _send_in_place_of(self, _: Message) -> None:
        """Send the refusal in place of the framework's 500, and drop the rest that the framework sends."""
        assert self.refusal is not None
        await self.send_refusal(self.refuse(self.refusal), self.send)
        self.pass_on = discard

    def _show(self) -> None:
        """Put the decision that is nearest to a refusal into `request.state`."""
        if decisions := self.decisions_met():
            self.scope.setdefault("state", {})[STATE] = tightest(decisions, self.policies)
