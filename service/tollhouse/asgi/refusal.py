"""What a request is answered when it was not let through: problem details (RFC 9457).

Pure functions from the outcome to status, fields and body, for every edge that speaks HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from tollhouse.errors import InvalidInput
from tollhouse.limits.decision import Decision
from tollhouse.limits.headers import fields, named_limits

MEDIA_TYPE: Final = "application/problem+json"
QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
TEMPORARY_REDUCED_CAPACITY: Final = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
URN: Final = "urn:tollhouse:problem:"
"""Begins the types of our own problems."""
RETRY_AFTER_S: Final = 1
"""How long to wait for a store that is down: a failover is over within seconds."""


class Refusal(Struct, frozen=True, kw_only=True):
    """An answer without its request; `headers` leave out the media type and the length of the body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    media_type: str = MEDIA_TYPE


def refusal(decision: Decision, *, reveal_key: bool = True) -> Refusal:
    """Answer a refused take: 429, or 422 where its cost is above the limit, so that no wait will help.

    The body has the members of the decision; `reveal_key` leaves out the key, which may be a secret of the
    application.
    """
    members = msgspec.to_builtins(decision)
    if not reveal_key:
        del members["key"]
    members["violated-policies"] = [name for name, limit in named_limits(decision) if limit.remaining < decision.cost]
    headers = fields(decision)
    if decision.retry_after_ms is None:
        detail = f"a cost of {decision.cost} is above the limit {decision.refused_by}, and no wait will change that"
        return _problem(422, f"{URN}cost-above-limit", "Cost Above Limit", detail, members, headers)
    detail = f"the limit {decision.refused_by} of policy {decision.policy} is reached; see Retry-After"
    return _problem(429, QUOTA_EXCEEDED, "Quota Exceeded", detail, members, headers)


def unavailable(policies: Sequence[str]) -> Refusal:
    """Answer a request whose limits could not be asked, because the store does not answer: 503."""
    detail = "the limits cannot be asked at the moment; nothing was counted"
    headers = [("Retry-After", str(RETRY_AFTER_S))]
    members = {"violated-policies": list(policies)}
    return _problem(503, TEMPORARY_REDUCED_CAPACITY, "Temporary Reduced Capacity", detail, members, headers)


def invalid(error: InvalidInput) -> Refusal:
    """Answer a request that holds a value which cannot be used, without repeating the value: 422."""
    members = {"field": error.field, "remedy": error.remedy}
    return _problem(422, URN + error.kind, "Invalid Input", f"{error.field}: {error.remedy}", members, [])


def _problem(
    status: int,
    kind: str,
    title: str,
    detail: str,
    members: Mapping[str, object],
    headers: Sequence[tuple[str, str]],
) -> Refusal:
    body = {"type": kind, "title": title, "status": status, "detail": detail, **members}
    return Refusal(
        status=status,
        headers=(*headers, ("Cache-Control", "no-store")),
        body=msgspec.json.encode(body),
    )
