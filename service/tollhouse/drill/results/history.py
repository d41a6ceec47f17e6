"""The history of a round: every call from the moment at which it was due to its end, and every event meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

Operation = Literal["take", "hot", "create", "verify", "revoke", "put", "get"]
"""A take on its own key · a take on the one shared key, with a trace on its own key · create, verify and revoke a
session · fill and read the cache."""
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)

Failure = Literal["not-sent", "rejected", "ambiguous", "defect"]
"""The first two changed nothing · the third may have run · the fourth is a defect of the client, and may have run."""
FAILURES: Final[tuple[Failure, ...]] = get_args(Failure)
CHANGED_NOTHING: Final[frozenset[Failure]] = frozenset({"not-sent", "rejected"})

Kind = Literal["fault", "healed", "sdown", "odown", "promoted", "demoted", "switch", "generation"]
"""Two of the drill itself · two announced by Sentinels · two seen in ROLE · announced by Sentinels · of the client."""

OnMark = Callable[[Kind, str, str], None]
"""Called with the kind of an event, its server, Sentinel or client, and the details."""


class Call(Struct, frozen=True, kw_only=True):
    """One call; times are milliseconds since the round began, and `failure` is None if it got a reply.

    `accepted` means that a take was admitted, that `verify` found the session alive, or that `revoke` ended one.
    A `degraded` reply came from the outage rule and not from the store; a `foreign` one belonged to another call.
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
        """True if a store answered it."""
        return self.failure is None and not self.degraded


class Mark(Struct, frozen=True, kw_only=True):
    """An event at the server, Sentinel or client `who`, with its details in `what`."""

    at_ms: float
    kind: Kind
    who: str = ""
    what: str = ""


class HistoryEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a written history; `call` joins the beginning and the end of a call."""

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


def encode(client: str, calls: Sequence[Call], marks: Sequence[Mark]) -> bytes:
    """Return a history as JSON lines in the order of time."""
    events = [*_events(client, calls), *(_mark_event(client, mark) for mark in marks)]
    events.sort(key=lambda event: event.at_ms)
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def _events(client: str, calls: Sequence[Call]) -> Iterator[HistoryEvent]:
    for number, call in enumerate(calls):
        event = partial(HistoryEvent, client=client, call=number, operation=call.operation, id=call.id)
        yield event(type="invoke", at_ms=round(call.began_ms, 3), due_ms=round(call.due_ms, 3))
        yield event(
            type=_type(call),
            at_ms=round(call.ended_ms, 3),
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


def _mark_event(client: str, mark: Mark) -> HistoryEvent:
    return HistoryEvent(
        type="mark", at_ms=round(mark.at_ms, 3), client=client, kind=mark.kind, who=mark.who, what=mark.what
    )
