"""Refusals: the problem details that answer a request before any application sees it, and end its connection."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from typing import Final

from msgspec import Struct

from tollhouse.asgi.response import HttpResponse, header_lines, problem_response, start_message
from tollhouse.serving.deadlines import Activity

CLOSE: Final = (b"connection", b"close")
"""The header of the last response of a connection."""


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a request is not served."""

    status: int
    kind: str
    title: str
    detail: str

    def response(self) -> HttpResponse:
        """Return the problem details."""
        return problem_response(self.status, self.kind, self.title, self.detail)


class Refused(Exception):
    """Stops the parser."""


def malformed(detail: str) -> Refusal:
    """Return the refusal of a request that cannot be understood."""
    return Refusal(status=400, kind="invalid-request", title="Invalid Request", detail=detail)


def not_implemented(detail: str) -> Refusal:
    """Return the refusal of a part of HTTP that is not served."""
    return Refusal(status=501, kind="not-implemented", title="Not Implemented", detail=detail)


def head_too_large(bytes_max: int) -> Refusal:
    """Return the refusal of a head above its bound."""
    detail = f"request line and headers are longer than {bytes_max} bytes"
    return Refusal(status=431, kind="head-too-large", title="Request Head Too Large", detail=detail)


def too_slow(activity: Activity, bound_ms: int | None) -> Refusal:
    """Return the refusal of a head or a body that takes longer than it may."""
    detail = f"the {activity} of the request did not arrive within {bound_ms} ms"
    return Refusal(status=408, kind="request-timeout", title="Request Timeout", detail=detail)


def last_response_bytes(
    response: HttpResponse, default_headers: Iterable[tuple[bytes, bytes]], *, is_head: bool
) -> bytes:
    """Return a response after which the connection ends; the answer to HEAD has no content."""
    lines = header_lines([*default_headers, *start_message(response)["headers"], CLOSE])
    return b"".join((status_line(response.status), lines, b"\r\n", b"" if is_head else response.body))


@cache
def status_line(status: int) -> bytes:
    """Return the line that begins a response."""
    return b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
