"""Sentences and tables that `tollhouse sessions` prints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from tollhouse.cli.query import print_line
from tollhouse.sessions.records import Session
from tollhouse.sessions.verbs.explainer import EndReason, SessionEnd

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
_COLUMNS: Final = ("began", "last used", "ends", "policy", "device")
REASONS: Final[Mapping[EndReason, str]] = {
    "idle": "it was not used for too long",
    "locked": "it was not used for too long, and a step-up opens it again",
    "expired": "it reached its absolute end",
    "evicted": "a later login of its user exceeded the cap",
    "logged-out": "its client logged out",
    "revoked": "its user ended it from another session",
    "revoked-all": "its user ended all sessions, or all others",
    "revoked-by-admin": "an administrator ended it",
    "replaced": "a new login in the same client ended it",
    "reused": "its former token came back, so two clients had it",
    "impersonation-ended": "the administrator who acted as its user stopped, or was logged out",
    "disabled": "its user was disabled",
    "everyone": "all sessions of all users were ended",
}
_NOT_DURABLE: Final = "not durable: not every replica or no synced file has it, so a failover may undo it"


class SessionSource(Struct, frozen=True, kw_only=True):
    """Which sessions a command knows: those of a store, under the secrets of these key ids."""

    store: str
    key_ids: tuple[str, ...]


class SessionList(Struct, frozen=True, kw_only=True):
    """The output of `list --json`."""

    user: str
    disabled: bool
    sessions: tuple[Session, ...]
    source: SessionSource


class RevokedSession(Struct, frozen=True, kw_only=True):
    """The output of `revoke --json`."""

    user: str
    sid: str
    found: bool
    durable: bool
    source: SessionSource


class RevokedUser(Struct, frozen=True, kw_only=True):
    """The output of `revoke-all --json`; `revoked` is false if the session to keep is over, and nothing was done."""

    user: str
    revoked: bool
    kept: str | None
    removed: int
    durable: bool
    source: SessionSource


class RevokedEveryone(Struct, frozen=True, kw_only=True):
    """The output of `revoke-everyone --json`."""

    durable: bool
    source: SessionSource


class UserStatusReport(Struct, frozen=True, kw_only=True):
    """The output of `disable --json` and `enable --json`."""

    user: str
    disabled: bool
    removed: int
    durable: bool
    source: SessionSource


class SessionFate(Struct, frozen=True, kw_only=True):
    """The output of `why --json`: `end` is null for a session that is alive, and if nothing is known.

    `secret_known` is false for a token under a secret that is not set, so that nothing can be known.
    """

    sid: str
    alive: bool
    end: SessionEnd | None
    secret_known: bool
    source: SessionSource


def show_list(found: SessionList, now_ms: int) -> None:
    """Print a row for each session."""
    console, number = Console(), len(found.sessions)
    if found.disabled:
        print_line(console, f"{found.user!r} is disabled, and gets no session")
    if number == 0:
        print_line(console, f"{found.user!r} has no session: {_searched(found.source)}")
        return
    print_line(console, f"{found.user!r} has {_sessions(number)}: {found.source.store}")
    table = Table(Column("session", no_wrap=True), *(Column(name, overflow="fold") for name in _COLUMNS))
    for one in found.sessions:
        began = f"{_local(one.created_at)}\n{_span(now_ms - one.created_at)} ago"
        used = f"{_span(now_ms - one.last_seen_at)} ago"
        idle = "locked" if one.locked else f"idle in {_span(one.idle_expires_at - now_ms)}"
        ends = f"{idle}\nin {_span(one.expires_at - now_ms)}"
        table.add_row(one.sid, began, used, ends, one.policy, _device(one))
    console.print(table)


def show_revoked(done: RevokedSession) -> None:
    """Print whether the session was ended."""
    if done.found:
        print_line(Console(), f"session {done.sid} of {done.user!r} is over; {_durability(durable=done.durable)}")
    else:
        print_line(Console(), f"{done.user!r} has no live session {done.sid}: {_searched(done.source)}")


def show_all_revoked(done: RevokedUser) -> None:
    """Print how many sessions were ended."""
    if not done.revoked:
        print_line(Console(), f"{done.user!r} has no session to keep, so none was ended: {_searched(done.source)}")
        return
    ended = f"{_sessions(done.removed)} of {done.user!r} ended"
    kept = "" if done.kept is None else f", {done.kept} lives on"
    print_line(Console(), f"{ended}{kept}; {_durability(durable=done.durable)}; {done.source.store}")


def show_fate(found: SessionFate) -> None:
    """Print why a session is over."""
    console, end = Console(), found.end
    if found.alive:
        print_line(console, f"session {found.sid} is alive")
    elif end is not None:
        print_line(console, f"session {found.sid} is over since {_local(end.at)}: {end.reason}, {REASONS[end.reason]}")
    elif found.secret_known:
        what = "its token was never issued, was replaced by another, or is over for more than 24 hours"
        print_line(console, f"nothing is known of session {found.sid}: {what}; {found.source.store}")
    else:
        print_line(console, f"the token of session {found.sid} is under another secret: {_searched(found.source)}")


def show_status(done: UserStatusReport) -> None:
    """Print whether the user may log in now."""
    status = f"is disabled, {_sessions(done.removed)} ended" if done.disabled else "is enabled"
    print_line(Console(), f"{done.user!r} {status}; {_durability(durable=done.durable)}; {done.source.store}")


def show_everyone_revoked(done: RevokedEveryone) -> None:
    """Print that all sessions are over."""
    print_line(Console(), f"all sessions of all users ended; {_durability(durable=done.durable)}; {done.source.store}")


def _sessions(number: int) -> str:
    return f"{number:,} {'session' if number == 1 else 'sessions'}"


def _searched(source: SessionSource) -> str:
    """Return what was searched; a token has the key id of its secret behind `v1.`."""
    return f"{source.store}, secrets with the key ids {', '.join(source.key_ids)}; others were not searched"


def _durability(*, durable: bool) -> str:
    return "durable" if durable else _NOT_DURABLE


def _device(session: Session) -> Text:
    """Return the device's label, and who impersonates the user."""
    device = "-" if session.device is None else _plain(session.device)
    impersonation = session.impersonation
    return Text(device if impersonation is None else f"{device}\nimpersonated by {_plain(impersonation.actor)}")


def _plain(text: str) -> str:
    """Return a text that a client chose so that it looks like no other part of the table."""
    return text if text.isprintable() else ascii(text)


def _local(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1_000, UTC).astimezone().replace(tzinfo=None).isoformat()


def _span(ms: int) -> str:
    """Return a time in the largest unit of which there is one; clocks that differ make none negative."""
    name, unit_ms = next(((name, unit_ms) for name, unit_ms in _UNITS if ms >= unit_ms), _UNITS[-1])
    return f"{max(ms, 0) // unit_ms} {name}"
