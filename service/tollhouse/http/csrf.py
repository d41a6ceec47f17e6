"""Protection against cross-site request forgery: which unsafe requests of browsers are accepted.

Fetch Metadata decides, or Origin for old browsers, as in Go's CrossOriginProtection. A client that sends neither header
is not a browser. Because bodies must also be `application/json`, no form on another site can change anything. The one
exception, introspection, changes nothing and reads no cookie.
"""

from __future__ import annotations

import re
from typing import Any, Final

from litestar import Request
from litestar.exceptions import HTTPException, PermissionDeniedException

from tollhouse.suggest import one_of

JSON: Final = "application/json"
"""The media type of a request body, unless a route names another one as `media_type` in its opt."""
FORM: Final = "application/x-www-form-urlencoded"
"""The media type of forms. A form of another site can send it, so only a route that reads no cookie may take it."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_WORD = re.compile(r"[A-Za-z_-]{1,32}")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def refuse_cross_site(request: Request[Any, Any, Any]) -> None:
    """Raise 403 for an unsafe request that another site made a browser send, 415 for a body of another media type."""
    if request.method in _SAFE:
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise PermissionDeniedException("the browser reports that another site sent this request")
    origin = request.headers.get("origin")
    if site is None and origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise PermissionDeniedException(f"Origin {origin[:100]} is not this host")
    expected = request.route_handler.opt.get("media_type", JSON)
    if request.method in _WITH_BODY and not _is_of_type_or_empty(request, expected):
        raise HTTPException(f"send the body as {expected}", status_code=415)


def refuse_unwanted_query(request: Request[Any, Any, Any]) -> None:
    """Raise 400 for a query parameter that the route does not have, or has once: no part of a query must be ignored.

    A name that is no plain word is not repeated, because it may be a token in the wrong place.
    """
    known, several = (request.route_handler.opt.get(name, ()) for name in ("query", "several"))
    given: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            shown = name if _WORD.fullmatch(name) else "query"
            raise _wrong_query("unknown", shown, one_of(name, known) if known else "this route has none")
        if name in given and name not in several:
            raise _wrong_query("repeated", name, f"give {name} once")
        given.add(name)


def _wrong_query(what: str, name: str, remedy: str) -> HTTPException:
    extra = {"field": name, "remedy": remedy}
    return HTTPException(f"{what} query parameter {name!r}; {remedy}", status_code=400, extra=extra)


def _is_of_type_or_empty(request: Request[Any, Any, Any], expected: str) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type:
        return media_type == expected
    return request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
