"""HTTP responses made without a framework: a value, problem details (RFC 9457), and the ASGI messages that send them.

The `type` of a problem is stable: a URN of ours, or the IANA address that the RateLimit draft asks for. `title` and
`detail` are for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from tollhouse.asgi.types import Headers, Message, Send

PROBLEM_JSON: Final = "application/problem+json"
URN: Final = "urn:tollhouse:problem:"
"""Begins the types of our own problems."""
TEMPORARY_REDUCED_CAPACITY: Final = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
RETRY_AFTER_S: Final = 1
"""Retry-After while a store is down: a failover is over within seconds."""
RETRY_SOON: Final = (b"retry-after", b"%d" % RETRY_AFTER_S)

NO_STORE: Final = (b"cache-control", b"no-store")
NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
"""Makes browsers believe the content type: a text that a client chose is never run as a script."""


class HttpResponse(Struct, frozen=True, kw_only=True):
    """A response that every edge can send; `headers` are as ASGI has them, without content-type and content-length."""

    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    status: int = 200
    media_type: str = "application/json"

    def text_headers(self) -> dict[str, str]:
        """Return the headers as text, for frameworks."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}


def problem_response(
    status: int,
    kind: str,
    title: str,
    detail: str,
    members: Mapping[str, object] | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> HttpResponse:
    """Return problem details that no cache stores; `kind` is a word of ours or a whole URI."""
    problem = {
        "type": kind if ":" in kind else URN + kind,
        "title": title,
        "status": status,
        "detail": detail,
        **(members or {}),
    }
    body = msgspec.json.encode(problem)
    return HttpResponse(status=status, headers=(*headers, NO_STORE), body=body, media_type=PROBLEM_JSON)


def unavailable_response(detail: str, members: Mapping[str, object] | None = None) -> HttpResponse:
    """Return 503: a store does not answer."""
    title = "Temporary Reduced Capacity"
    return problem_response(503, TEMPORARY_REDUCED_CAPACITY, title, detail, members, [RETRY_SOON])


async def send_response(response: HttpResponse, send: Send, kind: str = "http") -> None:
    """Send the response to an HTTP request, or with the kind `websocket.http` to a handshake."""
    await send(start_message(response, kind))
    await send(body_message(response, kind))


def start_message(response: HttpResponse, kind: str = "http") -> Message:
    """Return the message that begins the response."""
    headers = [
        *response.headers,
        (b"content-type", response.media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(response.body)),
        NO_SNIFFING,
    ]
    return {"type": f"{kind}.response.start", "status": response.status, "headers": headers}


def body_message(response: HttpResponse, kind: str = "http") -> Message:
    """Return the message that ends the response."""
    return {"type": f"{kind}.response.body", "body": response.body, "more_body": False}


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as HTTP/1.1 sends them."""
    return b"".join([name + b": " + value + b"\r\n" for name, value in headers])


async def discard(_: Message) -> None:
    """Replace `send` for a request that is over, and for one whose response we do not see."""


def encode_headers(headers: Mapping[str, str]) -> Headers:
    """Return headers as ASGI has them: names in lower case, all in bytes."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
