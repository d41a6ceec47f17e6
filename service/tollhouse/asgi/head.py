"""HEAD for an application whose routes answer GET (RFC 9110, 9.3.2)."""

from __future__ import annotations

from typing import Final

from tollhouse.asgi.types import App, Headers, Message, Receive, Scope, Send

_ALLOW: Final = b"allow"


def answer_head(app: App) -> App:
    """Wrap an application so that HEAD runs what GET does, and its response ends with its fields."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            await app({**scope, "method": "GET"}, receive, _without_content(send))
        else:
            await app(scope, receive, send)

    return answering


def allow_head(headers: Headers) -> None:
    """Name HEAD beside GET in the `Allow` field of a response, if it has one."""
    for number, (name, value) in enumerate(headers):
        if name.lower() == _ALLOW and b"GET" in (methods := value.split(b", ")) and b"HEAD" not in methods:
            headers[number] = (name, value.replace(b"GET", b"GET, HEAD"))


def _without_content(send: Send) -> Send:
    """End the response before its content: that of a stream may have no end."""
    is_over = False

    async def sending(message: Message) -> None:
        nonlocal is_over
        if message["type"] != "http.response.body":
            await send(message)
        elif not is_over:
            is_over = True
            await send({**message, "body": b"", "more_body": False})

    return sending
