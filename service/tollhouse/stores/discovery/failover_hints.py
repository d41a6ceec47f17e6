"""What a failed call suggests about the primary: a reason to look again, never proof. A pure decision."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from tollhouse.stores.transport.errors import ConnectionLost, DeadlinePassed, ServerError
from tollhouse.stores.urls import Host, parse_host_port

HintReason = Literal["eof", "connect", "stall", "readonly", "redirect", "noreplicas", "masterdown", "loading"]

_REASONS: Final[dict[str, HintReason]] = {
    "READONLY": "readonly",
    "UNBLOCKED": "readonly",
    "REDIRECT": "redirect",
    "NOREPLICAS": "noreplicas",
    "MASTERDOWN": "masterdown",
    "LOADING": "loading",
}


class FailoverHint(Struct, frozen=True, kw_only=True):
    """Why to look again, and the server to ask first if the failed one named it."""

    why: HintReason
    candidate: Host | None = None


def failover_hint(error: Exception) -> FailoverHint | None:
    """Return what a failed call or connect suggests; None if it says nothing about which server is the primary."""
    match error:
        case ServerError():
            why = _REASONS.get(error.code)
            if why is None:
                return None
            return FailoverHint(why=why, candidate=_redirect_target(str(error)) if why == "redirect" else None)
        case ConnectionLost():
            return FailoverHint(why="eof")
        case DeadlinePassed():
            return FailoverHint(why="stall")
        case OSError():
            return FailoverHint(why="connect")
        case _:
            return None


def _redirect_target(text: str) -> Host | None:
    """Read `REDIRECT host:port`; an error raised inside a script has more words after it."""
    words = text.split()
    return parse_host_port(words[1]) if len(words) > 1 else None
