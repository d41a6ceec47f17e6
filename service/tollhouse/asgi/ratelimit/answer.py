"""Sends a refusal as the response to a request."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from tollhouse.asgi.ratelimit.refusal_response import Refusal
from tollhouse.asgi.types import Headers, Message, Send

_NAMES: Final = 64


async def respond(refused: Refusal, send: Send, kind: str = "http") -> None:
    """Answer an HTTP request, or with the kind `websocket.http` a handshake, where the server can."""
    await send(start_of(refused, kind))
    await send({"type": f"{kind}.response.body", "body": refused.body})


def start_of(refused: Refusal, kind: str = "http") -> Message:
    """Give the message that begins the response."""
    headers = [
        *encoded(refused.headers),
        (b"content-type", refused.media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(refused.body)),
    ]
    return {"type": f"{kind}.response.start", "status": refused.status, "headers": headers}


def encoded(given: Sequence[tuple[str, str]]) -> Headers:
    """Give fields as ASGI wants them: names in lower case, all in bytes."""
    return [(_name(name), value.encode("latin-1")) for name, value in given]


@lru_cache(maxsize=_NAMES)
def _name(name: str) -> bytes:
    return name.lower().encode("latin-1")
