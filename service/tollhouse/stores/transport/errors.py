"""What a failed call may have done, and whether it may be sent again."""

from __future__ import annotations

from typing import Final, Literal, TypeGuard

from tollhouse.errors import ConfigurationError, Outcome

Verdict = Literal["load-script", "reconnect", "await-replica", "refuse", "defect"]
"""Load the script and send again · find the primary and send again · wait until the primary has a replica and send
again · an outage · a defect of the call."""

LOGIN_CODES: Final = ("NOAUTH", "WRONGPASS", "NOPERM")
"""Error codes of a refused login: only other credentials or rights help."""
_CODES: Final[dict[Verdict, tuple[str, ...]]] = {
    "load-script": ("NOSCRIPT",),
    "reconnect": ("READONLY", "REDIRECT", "MASTERDOWN", "LOADING", "UNBLOCKED"),
    "await-replica": ("NOREPLICAS",),
    "refuse": ("BUSY", "OOM", "MISCONF", *LOGIN_CODES, "MAXCLIENTS", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"),
}
_DENIED_INSIDE: Final = ("ERR The user executing the script can't", "ERR ACL failure in script")
"""A right that a script lacks for one of its commands or keys: Redis 7.0, and later servers."""
_REFUSING: Final = ("ERR max number of clients", *_DENIED_INSIDE)
"""Outages and missing rights without a code of their own."""
_ARGUMENTS: Final = ", with args beginning with"
_VERDICTS: Final[dict[str, Verdict]] = {code: verdict for verdict, codes in _CODES.items() for code in codes}


class ServerError(Exception):
    """An error reply: the server answered, and did not run the call.

    A server that does not know a command repeats its arguments, in which a password or a key may be: they are left out.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.partition(_ARGUMENTS)[0])

    @property
    def code(self) -> str:
        """Return the first word, such as READONLY; scripts add their own text behind it."""
        return str(self).partition(" ")[0]


class ConnectionLost(Exception):
    """The connection ended after the call was sent: it may or may not have run."""


class ConnectionFull(Exception):
    """The connection has no room, or got none in time: the call was not sent."""


class DeadlinePassed(Exception):
    """No reply arrived in time: the call was sent and may run still."""


class Unreachable(Exception):
    """There is no connection, or it ended before the call was sent."""


CALL_FAILED: Final = (ServerError, ConnectionLost, ConnectionFull, DeadlinePassed, Unreachable)
"""All that a call on a connection can raise."""


def outcome(error: Exception) -> Outcome:
    """Return what a call that failed with one of CALL_FAILED may have done."""
    if isinstance(error, ServerError):
        return "rejected"
    return "not-sent" if isinstance(error, ConnectionFull | Unreachable) else "ambiguous"


def verdict(error: ServerError) -> Verdict:
    """Return what to do after an error reply; an unknown one is a defect of the call."""
    if str(error).startswith(_REFUSING):
        return "refuse"
    return _VERDICTS.get(error.code, "defect")


def awaits_replica(error: Exception) -> TypeGuard[ServerError]:
    """Return True if the server refused to write for want of a replica: it is the primary, and may soon have one."""
    return isinstance(error, ServerError) and verdict(error) == "await-replica"


def is_lacking(error: object) -> bool:
    """Return True if the account may not run the command, or the server does not have it under this name."""
    return isinstance(error, ServerError) and (error.code == "NOPERM" or str(error).startswith("ERR unknown command"))


def is_denied(error: object) -> bool:
    """Return True if the account lacks a right: to the command itself, or inside of a script."""
    return is_lacking(error) or (isinstance(error, ServerError) and str(error).startswith(_DENIED_INSIDE))


def needs_text(error: Exception) -> bool:
    """Return True if a script that was sent by its hash may be sent as text: the server lacks it, or the command."""
    return isinstance(error, ServerError) and (verdict(error) == "load-script" or is_lacking(error))


def is_mistake(error: Exception) -> bool:
    """Return True for what waiting cannot mend: a refused login, a defect (no such database), a server too old."""
    if isinstance(error, ConfigurationError):
        return True
    return isinstance(error, ServerError) and (error.code in LOGIN_CODES or verdict(error) == "defect")


def may_retry(error: Exception, *, idempotent: bool) -> bool:
    """Return True when the server did not run the call, or when it may have and running it twice does no harm."""
    if isinstance(error, ServerError):
        return verdict(error) == "reconnect"
    return isinstance(error, Unreachable) or (isinstance(error, ConnectionLost) and idempotent)
