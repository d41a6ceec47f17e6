"""The response to a request that was not admitted: problem details (RFC 9457).

Pure functions from the outcome to status, fields and body, for every edge that speaks HTTP, and what remembers the
responses that were made last.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from tollhouse.asgi.ratelimit.headers import RateLimitFields, SingleLimit, named_limits, retry_after
from tollhouse.asgi.response import (
    NO_STORE,
    PROBLEM_JSON,
    RETRY_SOON,
    TEMPORARY_REDUCED_CAPACITY,
    HttpResponse,
    problem_response,
    unavailable_response,
)
from tollhouse.asgi.types import Headers
from tollhouse.errors import InvalidInput, StoreError
from tollhouse.limits.decision import Decision, LimitState, RateLimited, TakeAllResult
from tollhouse.limits.policy.policy import Policy
from tollhouse.limits.wire.request import checked_units
from tollhouse.runtime.functions import checked_function

LimitError = RateLimited | InvalidInput | StoreError
"""What a limit raises that the client gets an answer to: a refusal, or that there is no decision."""
Refusal = Decision | InvalidInput | StoreError
"""Why a limit does not let a request pass: by its decision, or for want of one."""

UNDECIDED: Final = (InvalidInput, StoreError)
"""The types of the errors in the place of a decision."""
QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
TEMPLATES_MAX: Final = 256
"""Templates of responses that are remembered; so many take 300 KB."""
STORE_DOWN: Final = "the store of the limits does not answer"


class _Problem(Struct, frozen=True, kw_only=True):
    """The problem of a refusal, by its reason; a refusal for another reason has reached a limit."""

    status: int
    kind: str
    title: str


_QUOTA: Final = _Problem(status=429, kind=QUOTA_EXCEEDED, title="Quota Exceeded")
_PROBLEMS: Final[Mapping[str, _Problem]] = {
    "deny-listed": _Problem(status=403, kind="deny-listed", title="Deny Listed"),
    "cost-above-limit": _Problem(status=422, kind="cost-above-limit", title="Cost Above Limit"),
    "outage": _Problem(status=503, kind=TEMPORARY_REDUCED_CAPACITY, title="Temporary Reduced Capacity"),
}
"""The most severe reason first: it decides the response to takes that were refused as one."""
_GAPS: Final = (9_007_199_254_740_881, 9_007_199_254_740_847)
"""Waits that no refusal has, in place of which a template has gaps."""
_SEVERITY: Final[Mapping[str, int]] = {reason: i for i, reason in enumerate(_PROBLEMS)}


def refusal_response(
    outcome: Decision | TakeAllResult, fields: Iterable[tuple[bytes, bytes]] = (), *, reveal_key: bool = True
) -> HttpResponse:
    """Return 429; 403 for a denied key, 422 for a cost above the limit, or 503 in an outage.

    `fields` are those of the outcome (see `RateLimitFields`). The body has the members of the outcome; `reveal_key`
    leaves out keys, which may be secrets of the application.
    """
    refusal, problem = _refusal(outcome)
    members = _members(outcome, reveal_key=reveal_key)
    if isinstance(outcome, TakeAllResult):
        members["violated-policies"] = [name for decision in outcome.decisions for name in _violated(decision)]
    else:
        members["violated-policies"] = _violated(outcome)
    if problem.status == 503 and outcome.retry_after_ms is None:
        fields = (*fields, RETRY_SOON)
    return problem_response(problem.status, problem.kind, problem.title, _detail(refusal), members, fields)


class _Template(Struct, frozen=True, kw_only=True, eq=False):
    """The body of refusals by one limit that differ in their waits only: `reset_after_ms` and `retry_after_ms`."""

    single: SingleLimit
    body: bytes


class RefusalRenderer:
    """Renders the refusals of an application, in its dialect and for the request as a whole.

    In a flood of requests by one key, refusals differ in their waits only. So the body of most is rendered once, with
    gaps for these two numbers.
    """

    def __init__(self, fields: RateLimitFields, *, templates_max: int = TEMPLATES_MAX) -> None:
        self._fields = fields
        self._templates_max = templates_max
        self._templates: dict[tuple[str, int, int], _Template] = {}

    def response(
        self,
        refusal: Refusal | TakeAllResult,
        policies: Mapping[str, Policy],
        decisions: Sequence[Decision],
        undecided: Sequence[str],
    ) -> HttpResponse:
        """Return the response to a refusal after earlier `decisions`; an error left the policies `undecided`."""
        if isinstance(refusal, UNDECIDED):
            return undecided_response(refusal, undecided)
        if not decisions and type(refusal) is Decision and refusal.reason == "limit-reached" and not refusal.degraded:
            single, wait_ms = self._fields.single(refusal, policies), refusal.retry_after_ms
            if single is not None and wait_ms is not None:
                return self._from_template(refusal, single, wait_ms)
        return refusal_response(refusal, self.fields(refusal, policies, decisions), reveal_key=False)

    def _from_template(self, refusal: Decision, single: SingleLimit, wait_ms: int) -> HttpResponse:
        state = refusal.limits[0]
        kind = refusal.policy, refusal.cost, state.remaining
        template = self._templates.get(kind)
        if template is None or template.single is not single:
            if len(self._templates) >= self._templates_max:
                self._templates.clear()
            template = self._templates[kind] = _Template(single=single, body=_body_template(refusal, state))
        return HttpResponse(
            status=_QUOTA.status,
            headers=(*single.fields(state), *retry_after(wait_ms), NO_STORE),
            body=template.body % (state.reset_after_ms, wait_ms),
            media_type=PROBLEM_JSON,
        )

    def fields(
        self, refusal: Refusal | TakeAllResult, policies: Mapping[str, Policy], decisions: Sequence[Decision]
    ) -> Headers:
        """Return the fields of a refusal and of earlier decisions; of an error there are only those."""
        if isinstance(refusal, UNDECIDED):
            return self._fields.status(decisions, policies) if decisions else []
        return self._fields.of(refusal, policies, decisions_beside(refusal, decisions))


def refusal_status(refusal: Refusal | TakeAllResult) -> int:
    """Return the status of the response to a refusal, or to the error in its place."""
    if isinstance(refusal, UNDECIDED):
        return 503 if isinstance(refusal, StoreError) else 422
    return _refusal(refusal)[1].status


def decisions_beside(outcome: Decision | TakeAllResult, decisions: Sequence[Decision]) -> Sequence[Decision]:
    """Return the decisions by policies that an outcome does not name."""
    if not decisions:
        return ()
    named = {one.policy for one in decisions_of(outcome)}
    return [one for one in decisions if one.policy not in named]


def refusal_of(error: LimitError) -> Refusal:
    """Return the refusal that an exception of a limit stands for."""
    return error.decision if isinstance(error, RateLimited) else error


def error_of(refusal: Refusal | TakeAllResult, origin: object = None) -> LimitError:
    """Return the exception that stands for a refusal; of takes that were refused as one, the refusal that decides."""
    return refusal if isinstance(refusal, UNDECIDED) else RateLimited(_refusal(refusal)[0], origin)


def decisions_of(outcome: Decision | TakeAllResult) -> tuple[Decision, ...]:
    """Return the decisions of an outcome."""
    return outcome.decisions if isinstance(outcome, TakeAllResult) else (outcome,)


def fields_of_client(*, key: object, cost: object) -> frozenset[str]:
    """Return which of the fields may hold what a client sent: those that functions of the request return.

    A constant in the code of the application cannot: raises InvalidInput if such a cost is no number of units, and
    ConfigurationError for a generator function.
    """
    if cost is not None and not callable(cost):
        checked_units("cost", cost)
    functions = {field: value for field, value in (("key", key), ("cost", cost)) if callable(value)}
    for field, function in functions.items():
        checked_function(field, function)
    return frozenset(functions)


def is_answered(error: StoreError | InvalidInput, of_client: Container[str]) -> bool:
    """Return True if the client gets an answer: the store is silent, or a field of the client has the wrong value.

    Any other error is a mistake of the application, and is raised. This is the only place that decides it.
    """
    return isinstance(error, StoreError) or error.field.rpartition(".")[2] in of_client


def undecided_response(error: StoreError | InvalidInput, policies: Sequence[str] = ()) -> HttpResponse:
    """Return 503 if the store gave no decision, or 422 if the key or the cost cannot be used."""
    detail = undecided_detail(error)
    if isinstance(error, StoreError):
        return unavailable_response(detail, {"violated-policies": list(policies), "outcome": error.outcome})
    return problem_response(422, error.kind, "Invalid Input", detail, {"field": error.field, "remedy": error.remedy})


def undecided_detail(error: StoreError | InvalidInput) -> str:
    """Return why there is no decision, in words for the client; the value is not repeated."""
    return STORE_DOWN if isinstance(error, StoreError) else f"{error.field}: {error.remedy}"


def _body_template(refusal: Decision, state: LimitState) -> bytes:
    """Return the body of a refusal, with gaps for its two waits, in their order there."""
    marked = replace(refusal, limits=(replace(state, reset_after_ms=_GAPS[0]),), retry_after_ms=_GAPS[1])
    body = refusal_response(marked, reveal_key=False).body
    assert b"%" not in body  # no name of a policy has one
    for gap in _GAPS:
        before, _, behind = body.partition(b":%d" % gap)  # no name of a policy has a colon
        body = before + b":%d" + behind
    return body


def _refusal(outcome: Decision | TakeAllResult) -> tuple[Decision, _Problem]:
    """Return the refusal that decides the response, and its problem."""
    refusal = outcome
    if isinstance(outcome, TakeAllResult):
        refusals = (one for one in outcome.decisions if not one.allowed and one.reason != "all-or-nothing")
        refusal = min(refusals, key=_severity)
    assert isinstance(refusal, Decision)
    return refusal, _PROBLEMS.get(refusal.reason, _QUOTA)


def _severity(decision: Decision) -> tuple[int, int]:
    """Order refusals: the first decides the response, by its reason and then the longest wait."""
    return _SEVERITY.get(decision.reason, len(_SEVERITY)), -(decision.retry_after_ms or 0)


def _members(outcome: Decision | TakeAllResult, *, reveal_key: bool) -> dict[str, Any]:
    """Return the members of an outcome, which the encoder writes as they are."""
    members = asdict(outcome)
    if isinstance(outcome, TakeAllResult):
        members["decisions"] = [_members(decision, reveal_key=reveal_key) for decision in outcome.decisions]
    elif not reveal_key:
        del members["key"]
    return members


def _violated(decision: Decision) -> list[str]:
    """Name the limits that the cost does not fit, or the policy if it refuses without consulting them."""
    if not decision.limits:
        return [] if decision.allowed else [decision.policy]
    if len(decision.limits) == 1:
        return [decision.policy] if decision.limits[0].remaining < decision.cost else []
    return [name for name, limit in named_limits(decision) if limit.remaining < decision.cost]


def _detail(decision: Decision) -> str:
    match decision.reason:
        case "deny-listed":
            return f"policy {decision.policy} denies this key, and no wait will change that"
        case "cost-above-limit":
            return f"a cost of {decision.cost} is above the limit {decision.refused_by}, and no wait will change that"
        case "outage":
            return STORE_DOWN
        case _:
            return f"the limit {decision.refused_by} of policy {decision.policy} is reached; see Retry-After"
