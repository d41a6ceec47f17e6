"""Expectation: what becomes of a connection whose client may wait for 100 (Continue) before it sends the body.

If such a request is answered before its body was asked for, its client may send the body or leave it out, and nothing
in the bytes tells which (RFC 9110 10.1.1). The next request would be taken for that body. So the connection ends.
"""

from __future__ import annotations

from collections.abc import Iterable

from tollhouse.asgi.types import App, Message, Receive, Scope, Send

_CLOSE = (b"connection", b"close")


def expects_continue(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return True if a request, with the names of its headers in lower case, expects 100 (Continue)."""
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


def body_or_close(app: App) -> App:
    """Return the application, which closes the connection with a response that it starts before it reads the body."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        reads = False

        async def read() -> Message:
            nonlocal reads
            reads = True
            return await receive()

        async def respond(message: Message) -> None:
            if message["type"] == "http.response.start" and not reads:
                message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
            await send(message)

        await app(scope, read, respond)

    return answer
