"""Session records as callers see them, decoded from the replies of the scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

_LISTED_FIELDS: Final = 7
_OVER: Final = (3, 4)
"""The states of a session that expired or was revoked, and whose record is to be removed."""


class Session(Struct, frozen=True, kw_only=True):
    """A session that was alive when it was read; times are milliseconds of the server's clock.

    `idle_expires_at` moves with use, `expires_at` never does. `last_seen_at` may lag by a minute. Both count a verify;
    it is recorded soon after, and if it cannot be, the session may end before `idle_expires_at`. If `renewal_due`, the
    client is to get the token that `renew` returns.
    """

    sid: str
    user: str
    policy: str
    device: str | None
    created_at: int
    last_seen_at: int
    expires_at: int
    idle_expires_at: int
    renewal_due: bool = False


def session_created(sid: str, user: str, policy: str, device: str, reply: Sequence[Any]) -> Session:
    """Return the session of a sessions/create reply that created one."""
    _, created_at, expires_at, idle_expires_at = reply
    return _session(sid, user, policy, device, (created_at, created_at, expires_at, idle_expires_at))


def session_verified(sid: str, reply: Sequence[Any]) -> tuple[Session, int]:
    """Return the live session of a reply that accepted its token, and the epoch in which it began."""
    user, policy, device = (text.decode() for text in reply[8:])
    return _session(sid, user, policy, device, reply[1:5], renewal_due=is_renewal_due(reply)), reply[5]


def is_touch_due(reply: Sequence[Any]) -> bool:
    """Return whether a sessions/verify reply leaves something to be written: a use, a first use, or a removal."""
    return reply[0] in _OVER or (reply[0] == 1 and reply[6] == 1)


def is_renewal_due(reply: Sequence[Any]) -> bool:
    """Return whether the client of a reply that accepted its token is to hold another token."""
    return reply[7] == 1


def sessions_listed(user: str, sids: Sequence[str], reply: Sequence[Any]) -> Iterator[Session]:
    """Yield the sessions of a sessions/list reply; the first element of a row counts in `sids`, from 1 on."""
    for start in range(0, len(reply), _LISTED_FIELDS):
        row = reply[start : start + _LISTED_FIELDS]
        number: int = row[0]
        yield _session(sids[number - 1], user, row[5].decode(), row[6].decode(), row[1:5])


def _session(
    sid: str, user: str, policy: str, device: str, times_ms: Sequence[int], *, renewal_due: bool = False
) -> Session:
    created_at, last_seen_at, expires_at, idle_expires_at = times_ms
    return Session(
        sid=sid,
        user=user,
        policy=policy,
        device=device or None,
        created_at=created_at,
        last_seen_at=last_seen_at,
        expires_at=expires_at,
        idle_expires_at=idle_expires_at,
        renewal_due=renewal_due,
    )
