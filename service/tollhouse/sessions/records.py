"""Sessions as callers see them, and how the scripts' replies become them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

_LISTED_FIELDS: Final = 7


class Session(Struct, frozen=True, kw_only=True):
    """A session that was alive when it was read; times are milliseconds of the server's clock.

    `idle_expires_at` moves with use, `expires_at` never does. `last_seen_at` may lag by a minute.
    """

    sid: str
    user: str
    policy: str
    device: str | None
    created_at: int
    last_seen_at: int
    expires_at: int
    idle_expires_at: int


def created(sid: str, user: str, policy: str, device: str, reply: Sequence[Any]) -> Session:
    """Read the reply of sessions/create that made a session."""
    _, created_at, expires_at, idle_expires_at = reply
    return _session(sid, user, policy, device, (created_at, created_at, expires_at, idle_expires_at))


def verified(sid: str, reply: Sequence[Any]) -> tuple[Session, int]:
    """Read the reply of sessions/verify that found a live session; give it with the epoch that it began in."""
    user, policy, device = (text.decode() for text in reply[6:])
    return _session(sid, user, policy, device, reply[1:5]), reply[5]


def listed(user: str, reply: Sequence[Any]) -> Iterator[Session]:
    """Read the reply of sessions/list."""
    for start in range(0, len(reply), _LISTED_FIELDS):
        row = reply[start : start + _LISTED_FIELDS]
        sid, policy, device = (text.decode() for text in row[4:])
        yield _session(sid, user, policy, device, row[:4])


def _session(sid: str, user: str, policy: str, device: str, times_ms: Sequence[int]) -> Session:
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
    )
