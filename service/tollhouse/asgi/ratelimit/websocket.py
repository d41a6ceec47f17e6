"""Websockets behind limits: refused before they are accepted, and each message counted if the rule says so."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from tollhouse.asgi.ratelimit.refusal_response import LimitError, error_of, is_answered, refusal_of, undecided_detail
from tollhouse.asgi.ratelimit.request_context import RequestContext
from tollhouse.asgi.ratelimit.rules import CompiledRule
from tollhouse.asgi.response import HttpResponse
from tollhouse.asgi.types import App, Message, Receive, Send
from tollhouse.errors import InvalidInput, StoreError
from tollhouse.limits.decision import Decision, RateLimited

TRY_AGAIN_LATER: Final = 1013
"""The close code of a connection that a limit ends, or a store that does not answer."""
POLICY_VIOLATION: Final = 1008
"""The close code if no limiter accepts the key or the cost: a later try would fare no better."""

_DENIAL: Final = "websocket.http.response"
_HANDSHAKES: Final = {"websocket.accept": 101, "websocket.http.response.start": 200}
_ENDS: Final = frozenset({"websocket.close", "websocket.http.response.body"})
_DENIED: Final = 403
"""The status of a handshake that ends in `websocket.close`."""
_FAILURES: Final = frozenset({1011, 4500})
"""The close codes by which servers and frameworks report that the application failed."""
_REASON_BYTES_MAX: Final = 123


class LimitedWebSocket:
    """A websocket while it is served.

    If it is refused before it was accepted, the client gets the same response as for a request if the server can send
    one, else 403. Above the limit of messages the connection is closed with code 1013 and the application sees it end;
    or the message is dropped, and the application never sees it. A key that no limiter accepts ends it with 1008.
    """

    def __init__(self, rule: CompiledRule, context: RequestContext, receive: Receive, send: Send) -> None:
        self._rule = rule
        self._context = context
        self._receive = receive
        self._send = self._send_outermost if context.outer is None else send
        self._is_accepted = False
        self._ended: Message | None = None

    async def serve(self, app: App, refused: HttpResponse | None) -> None:
        """Serve the connection, or refuse it in place of the application."""
        if refused is not None:
            await self._receive()
            await self._deny(refused)
            return
        receive = self._receive if self._rule.messages is None else self.receive
        try:
            await app(self._context.scope, receive, self.send)
        except (RateLimited, InvalidInput, StoreError) as error:
            if not self._context.outermost.is_answered(error):
                raise
            await self._refuse(error)

    async def receive(self) -> Message:
        """Return the next message that the limit admits."""
        while self._ended is None:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                return message
            refused = await self._refused()
            if refused is None:
                return message
            if not self._rule.drops_messages:
                await self._close(*close_reason(refused))
        return self._ended

    async def send(self, message: Message) -> None:
        """Send a message of the application, until a limit has ended the connection."""
        kind = message["type"]
        if self._ended is not None:
            return
        request = self._context.outermost
        failed = kind == "websocket.close" and message.get("code", 1000) in _FAILURES
        if failed and request.refusal is not None and not request.falls_back:
            await self._refuse(error_of(request.refusal))
            return
        self._is_accepted = self._is_accepted or kind == "websocket.accept"
        await self._send(message)

    def _send_outermost(self, message: Message) -> Awaitable[None]:
        """Send a message; the response to the handshake has the fields, and the end of the connection the leases."""
        context, kind = self._context, message["type"]
        if not context.started and kind in _HANDSHAKES:
            message = context.start(message, status=message.get("status", _HANDSHAKES[kind]))
        elif not context.started and kind == "websocket.close":
            context.started = True
            context.settle(_DENIED, is_refusal=context.is_refused)
        if context.leases is not None and kind in _ENDS and not message.get("more_body"):
            return context.send_last(message)
        return context.pass_on(message)

    async def _refused(self) -> LimitError | None:
        """Take for one message; return what refuses it, or None."""
        context, policy = self._context, self._rule.messages
        assert policy is not None
        try:
            started = self._rule.start_take(policy, context.policies.get(policy), context)
            decision = started if isinstance(started, Decision) else await started
        except (StoreError, InvalidInput) as error:
            if not is_answered(error, self._rule.of_client):
                raise
            return error
        return None if decision.allowed else RateLimited(decision)

    async def _refuse(self, error: LimitError) -> None:
        """End the connection by what a limit raised."""
        if self._ended is not None:
            return
        request = self._context.outermost
        if self._is_accepted:
            await self._close(*close_reason(error))
        elif request.started:
            raise error
        else:
            await self._deny(request.refuse(refusal_of(error)))

    async def _deny(self, refused: HttpResponse) -> None:
        if _DENIAL in (self._context.scope.get("extensions") or {}):
            self._ended = {"type": "websocket.disconnect", "code": TRY_AGAIN_LATER}
            await self._context.outermost.send_refusal(refused, self._send, "websocket.http")
        else:
            await self._close(*_WITHOUT_RESPONSE.get(refused.status, _TRY_AGAIN))

    async def _close(self, code: int, reason: str) -> None:
        self._ended = {"type": "websocket.disconnect", "code": code, "reason": reason}
        await self._send({"type": "websocket.close", "code": code, "reason": reason})


def close_reason(error: LimitError) -> tuple[int, str]:
    """Return the close code and the reason of a websocket that a limit ends."""
    if isinstance(error, RateLimited):
        return TRY_AGAIN_LATER, _short(str(error))
    code = POLICY_VIOLATION if isinstance(error, InvalidInput) else TRY_AGAIN_LATER
    return code, _short(undecided_detail(error))


def _short(reason: str) -> str:
    return reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore")


_TRY_AGAIN: Final = (TRY_AGAIN_LATER, "a limit is reached; try again later")
_WITHOUT_RESPONSE: Final = {422: (POLICY_VIOLATION, "a limit does not accept this key or cost")}
"""What ends a websocket whose server cannot send the response, by the response's status."""
