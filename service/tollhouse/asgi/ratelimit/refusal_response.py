"""What a request is answered when it was not let through: problem details (RFC 9457).

Pure functions from the outcome to status, fields and body, for every edge that speaks HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from tollhouse.asgi.ratelimit.headers import Dialect, fields, named_limits
from tollhouse.errors import InvalidInput
from tollhouse.limits.decision import Decision, TakeAllResult
from tollhouse.limits.policy.policy import Policy

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


class _Kind(Struct, frozen=True, kw_only=True):
    """How a refusal is answered, by what refused."""

    status: int
    type: str
    title: str


_QUOTA: Final = _Kind(status=429, type=QUOTA_EXCEEDED, title="Quota Exceeded")
_KINDS: Final[Mapping[str, _Kind]] = {
    "deny-listed": _Kind(status=403, type=f"{URN}deny-listed", title="Deny Listed"),
    "cost-above-limit": _Kind(status=422, type=f"{URN}cost-above-limit", title="Cost Above Limit"),
    "outage": _Kind(status=503, type=TEMPORARY_REDUCED_CAPACITY, title="Temporary Reduced Capacity"),
}
"""The more final one first: of takes that were decided as one, it answers for all."""
_NO_POLICIES: Final[Mapping[str, Policy]] = {}
_ORDER: Final[Mapping[str, int]] = {reason: i for i, reason in enumerate(_KINDS)}
_UNASKED: Final = "the limits cannot be asked at the moment; nothing was counted"


def refusal_response(
    outcome: Decision | TakeAllResult,
    *,
    reveal_key: bool = True,
    dialect: Dialect = "draft-11",
    also: Sequence[Decision] = (),
    policies: Mapping[str, Policy] = _NO_POLICIES,
) -> Refusal:
    """Answer what was refused: 429, or 403 for a denied key, 422 for a cost above the limit, 503 in an outage.

    The body has the members of the outcome; `reveal_key` leaves out keys, which may be secrets of the application.
    The other arguments are those of `fields`.
    """
    decisions = outcome.decisions if isinstance(outcome, TakeAllResult) else (outcome,)
    guilty = _deciding_refusal(decisions)
    kind = _KINDS.get(guilty.reason, _QUOTA)
    members = _members(outcome, reveal_key=reveal_key)
    members["violated-policies"] = [name for decision in decisions for name in _violated(decision)]
    headers = fields(outcome, dialect, also=also, policies=policies)
    if kind.status == 503 and outcome.retry_after_ms is None:
        headers.append(("Retry-After", str(RETRY_AFTER_S)))
    return _problem(kind.status, kind.type, kind.title, _detail(guilty), members, headers)


def unavailable_response(policies: Sequence[str]) -> Refusal:
    """Answer a request whose limits could not be asked, because the store does not answer: 503."""
    kind = _KINDS["outage"]
    headers = [("Retry-After", str(RETRY_AFTER_S))]
    members = {"violated-policies": list(policies)}
    return _problem(kind.status, kind.type, kind.title, _UNASKED, members, headers)


def invalid_input_response(error: InvalidInput) -> Refusal:
    """Answer a request that holds a value which cannot be used, without repeating the value: 422."""
    members = {"field": error.field, "remedy": error.remedy}
    return _problem(422, URN + error.kind, "Invalid Input", f"{error.field}: {error.remedy}", members, [])


def _deciding_refusal(decisions: Sequence[Decision]) -> Decision:
    """Give the decision that the answer is about."""
    refused = [decision for decision in decisions if not decision.allowed and decision.reason != "all-or-nothing"]
    return min(refused, key=_severity)


def _severity(decision: Decision) -> tuple[int, int]:
    """Order refusals: by what refuses, then the one that lasts longest first."""
    return _ORDER.get(decision.reason, len(_ORDER)), -(decision.retry_after_ms or 0)


def _members(outcome: Decision | TakeAllResult, *, reveal_key: bool) -> dict[str, object]:
    members = msgspec.to_builtins(outcome)
    if not reveal_key:
        for decision in members["decisions"] if isinstance(outcome, TakeAllResult) else [members]:
            del decision["key"]
    return members


def _violated(decision: Decision) -> Iterator[str]:
    """Name the limits that the cost does not fit, or the policy where it refuses without asking them."""
    if not decision.limits and not decision.allowed:
        yield decision.policy
    for name, limit in named_limits(decision):
        if limit.remaining < decision.cost:
            yield name


def _detail(decision: Decision) -> str:
    match decision.reason:
        case "deny-listed":
            return f"policy {decision.policy} denies this key, and no wait will change that"
        case "cost-above-limit":
            return f"a cost of {decision.cost} is above the limit {decision.refused_by}, and no wait will change that"
        case "outage":
            return _UNASKED
        case _:
            return f"the limit {decision.refused_by} of policy {decision.policy} is reached; see Retry-After"


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
