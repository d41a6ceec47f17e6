"""The history of a round: every call from the moment it was due to its end, and what happened meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

Operation = Literal["take", "hot", "create", "verify", "revoke", "put", "get"]
"""Take on a key of its own · take on the one shared key, which leaves a trace of its own too · begin, verify and end
a session · fill and read the cache."""
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)

Failure = Literal["not-sent", "rejected", "ambiguous", "defect"]
"""Two that changed nothing · one that may have run · one that no client should ever show, and that may have run."""
FAILURES: Final[tuple[Failure, ...]] = get_args(Failure)
CHANGED_NOTHING: Final[frozenset[Failure]] = frozenset({"not-sent", "rejected"})

Kind = Literal["fault", "healed", "sdown", "odown", "promoted", "demoted", "switch", "generation"]
"""Two that the drill did · two that Sentinels say · two seen in a server's ROLE · said by Sentinels · the client's."""


class Call(Struct, frozen=True, kw_only=True):
    """One call; times are milliseconds since the round began, and `failure` is None where it was answered.

    `accepted` tells of a take that it was admitted, of `verify` that the session lives, of `revoke` that it did.
    `degraded` answers came from a rule for outages and not from the store; `foreign` ones were somebody else's.
    """

    operation: Operation
    id: str
    due_ms: float
    began_ms: float
    ended_ms: float
    failure: Failure | None = None
    error: str = ""
    accepted: bool = True
    durable: bool | None = None
    degraded: bool = False
    foreign: bool = False

    @property
    def served(self) -> bool:
        """Tell whether a store answered it."""
        return self.failure is None and not self.degraded


class Mark(Struct, frozen=True, kw_only=True):
    """Something that happened: at the server, Sentinel or client `who`, with the details that came along."""

    at_ms: float
    kind: Kind
    who: str = ""
    what: str = ""


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a written history; `call` brings the beginning and the end of a call together."""

    type: Literal["invoke", "ok", "fail", "unknown", "mark"]
    at_ms: float
    client: str
    call: int | None = None
    operation: Operation | None = None
    id: str = ""
    due_ms: float | None = None
    failure: Failure | None = None
    error: str = ""
    accepted: bool | None = None
    durable: bool | None = None
    degraded: bool = False
    foreign: bool = False
    kind: Kind | None = None
    who: str = ""
    what: str = ""


def lines(client: str, calls: Sequence[Call], marks: Sequence[Mark]) -> bytes:
    """Write a history as JSON lines in the order of time."""
    events = [*_events(client, calls), *(_marked(client, mark) for mark in marks)]
    events.sort(key=lambda event: event.at_ms)
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def _events(client: str, calls: Sequence[Call]) -> Iterator[Event]:
    for number, call in enumerate(calls):
        yield Event(
            type="invoke",
            at_ms=_rounded(call.began_ms),
            client=client,
            call=number,
            operation=call.operation,
            id=call.id,
            due_ms=_rounded(call.due_ms),
        )
        yield Event(
            type=_type(call),
            at_ms=_rounded(call.ended_ms),
            client=client,
            call=number,
            operation=call.operation,
            id=call.id,
            failure=call.failure,
            error=call.error,
            accepted=call.accepted if call.failure is None else None,
            durable=call.durable,
            degraded=call.degraded,
            foreign=call.foreign,
        )


def _type(call: Call) -> Literal["ok", "fail", "unknown"]:
    if call.failure is None:
        return "ok"
    return "fail" if call.failure in CHANGED_NOTHING else "unknown"


def _marked(client: str, mark: Mark) -> Event:
    return Event(type="mark", at_ms=_rounded(mark.at_ms), client=client, kind=mark.kind, who=mark.who, what=mark.what)


def _rounded(at_ms: float) -> float:
    return round(at_ms, 3)
