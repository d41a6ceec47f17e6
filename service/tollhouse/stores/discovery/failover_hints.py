"""What a failed call suggests about the primary: a reason to look again, never proof. A pure decision."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from tollhouse.stores.addresses import parse_host_port
from tollhouse.stores.transport.errors import ConnectionLost, DeadlinePassed, ServerError
from tollhouse.stores.urls import Host

HintReason = Literal["eof", "connect", "stall", "readonly", "redirect", "noreplicas", "masterdown", "loading"]

_CODES: Final[dict[str, HintReason]] = {
    "READONLY": "readonly",
    "UNBLOCKED": "readonly",
    "REDIRECT": "redirect",
    "NOREPLICAS": "noreplicas",
    "MASTERDOWN": "masterdown",
    "LOADING": "loading",
}


class FailoverHint(Struct, frozen=True, kw_only=True):
    """Why to look again, and where first if the server named somebody."""

    why: HintReason
    candidate: Host | None = None


def failover_hint(error: Exception) -> FailoverHint | None:
    """Read what a call or an attempt to connect raised; None where it says nothing about who is the primary."""
    match error:
        case ServerError():
            why = _CODES.get(error.code)
            if why is None:
                return None
            return FailoverHint(why=why, candidate=_named(str(error)) if why == "redirect" else None)
        case ConnectionLost():
            return FailoverHint(why="eof")
        case DeadlinePassed():
            return FailoverHint(why="stall")
        case OSError():
            return FailoverHint(why="connect")
        case _:
            return None


def _named(text: str) -> Host | None:
    """Read `REDIRECT host:port`; inside a script more words follow."""
    words = text.split()
    return parse_host_port(words[1]) if len(words) > 1 else None
