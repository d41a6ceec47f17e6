"""The headers that every response of the service has, set in one place.

No response is stored by a cache, and none is read as another type than it says. A response of a route that reads
credentials also says that it depends on them. A browser that shows a response runs nothing of it, embeds it in no page
and tells no other site its address; takes that are answered without the framework leave that out, because no browser
asks for them. A route that ends or begins sessions says whether that is durable.
"""

from __future__ import annotations

from typing import Any, Final, cast

from litestar.datastructures import ResponseHeader
from litestar.types import Message, Scope

from tollhouse.asgi.head import allow_head
from tollhouse.asgi.response import NO_SNIFFING, NO_STORE
from tollhouse.asgi.types import Headers

DURABLE_FIELD: Final = ResponseHeader(
    name="Tollhouse-Durable",
    documentation_only=True,
    description="`true` if what was done survives a failover, `false` if no replica has confirmed it.",
)
"""The header of `durable_header` in the OpenAPI document."""

CLEAR_SITE_DATA: Final = {"Clear-Site-Data": '"cache", "storage"'}
"""Makes a browser that logs out drop what its pages kept of this origin (ASVS 14.3.1).

It does not say `"cookies"`, which would be all cookies of the registrable domain, those of other applications too; the
session cookie is cleared by itself. Nor `"executionContexts"`, which would reload the page that sent the logout.
"""

_FOR_BROWSERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
)
_VARY: Final = (b"vary", b"Authorization, Cookie, X-Api-Key")


def durable_header(*, durable: bool) -> dict[str, str]:
    """Return the header that says whether what was done survives a failover: a 204 has no body that could."""
    return {"Tollhouse-Durable": "true" if durable else "false"}


def complete_headers(headers: Headers, *, reads_credentials: bool) -> None:
    """Add the headers that a response lacks."""
    if NO_SNIFFING not in headers:
        headers.append(NO_SNIFFING)
    if NO_STORE not in headers:
        headers.append(NO_STORE)
    headers.extend(_FOR_BROWSERS)
    if reads_credentials:
        headers.append(_VARY)


async def complete_response(message: Message, scope: Scope) -> None:
    """Complete the headers of a response of the application, also of one that no handler made."""
    if message["type"] == "http.response.start":
        handler = cast("Any", scope).get("route_handler")
        headers = cast("Headers", message["headers"])
        allow_head(headers)
        complete_headers(headers, reads_credentials=handler is not None and bool(handler.opt.get("auth")))
