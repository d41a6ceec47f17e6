"""Session records as callers see them, decoded from the replies of the scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from tollhouse.sessions.logins import Impersonation, LoginContext, read_login
from tollhouse.sessions.validation import is_anonymous

_LISTED_FIELDS: Final = 9
_OVER: Final = (3, 4)
"""The states of a session that expired or was revoked, and whose record is to be removed."""
_LOCKED: Final = 10


class Session(Struct, frozen=True, kw_only=True):
    """A session that was alive when it was read; times are milliseconds of the server's clock.

    `idle_expires_at` moves with use, `expires_at` with a step-up alone. `last_seen_at` may lag by a minute. Both count
    a verify; it is recorded soon after, and if it cannot be, the session may end before `idle_expires_at`. If
    `renewal_due`, the client is to get the token that `renew` returns.

    `authenticated_at`, `acr` and `amr` tell of the last authentication: when, at which level, by which methods.
    `impersonation` tells who acts as the user, None if it is the user. A session that is `locked` was idle for too long
    and opens nothing until a step-up: `list` shows it, and `verify` if that is asked for.
    """

    sid: str
    user: str
    policy: str
    device: str | None
    created_at: int
    last_seen_at: int
    expires_at: int
    idle_expires_at: int
    authenticated_at: int
    acr: str | None = None
    amr: tuple[str, ...] = ()
    impersonation: Impersonation | None = None
    renewal_due: bool = False
    locked: bool = False

    @property
    def anonymous(self) -> bool:
        """Whether the session is a visitor's, who has not logged in; its user is a random name."""
        return is_anonymous(self.user)

    @property
    def authenticated(self) -> bool:
        """Whether its user was authenticated: it is no visitor's, and no administrator acts in it as the user."""
        return self.impersonation is None and not self.anonymous


def session_created(
    sid: str, user: str, policy: str, device: str, login: LoginContext, reply: Sequence[Any]
) -> Session:
    """Return the session of a sessions/create reply that created one."""
    _, created_at, expires_at, idle_expires_at = reply
    times_ms = (created_at, created_at, expires_at, idle_expires_at)
    return _session(sid, user, policy, device, times_ms, (created_at, login))


def session_resumed(sid: str, reply: Sequence[Any]) -> Session:
    """Return the session of a sessions/resume reply that began one."""
    _, created_at, expires_at, idle_expires_at, *texts = reply
    user, policy, device, login = map(bytes.decode, texts)
    times_ms = (created_at, created_at, expires_at, idle_expires_at)
    return _session(sid, user, policy, device, times_ms, read_login(login))


def session_verified(sid: str, reply: Sequence[Any]) -> tuple[Session, tuple[int, int]]:
    """Return the session of a reply that accepted its token, live or locked, and the epochs in which it began.

    Every request of a logged-in user passes here, so nothing is packed only to be unpacked.
    """
    _, created_at, last_seen_at, expires_at, idle_expires_at, began, all_began, _, _, user, policy, label, login = reply
    authenticated_at, context = read_login(login.decode())
    session = Session(
        sid=sid,
        user=user.decode(),
        policy=policy.decode(),
        device=None if label == b"" else label.decode(),
        created_at=created_at,
        last_seen_at=last_seen_at,
        expires_at=expires_at,
        idle_expires_at=idle_expires_at,
        authenticated_at=authenticated_at,
        acr=context.acr,
        amr=context.amr,
        impersonation=context.impersonation,
        renewal_due=is_renewal_due(reply),
        locked=reply[0] == _LOCKED,
    )
    return session, (began, all_began)


def is_touch_due(reply: Sequence[Any]) -> bool:
    """Return whether a sessions/verify reply leaves something to be written: a use, a first use, or a removal."""
    return reply[0] in _OVER or (reply[0] == 1 and reply[7] == 1)


def is_renewal_due(reply: Sequence[Any]) -> bool:
    """Return whether the client of a reply that accepted its token is to hold another token."""
    return reply[8] == 1


def sessions_listed(user: str, sids: Sequence[str], reply: Sequence[Any]) -> Iterator[Session]:
    """Yield the sessions of a sessions/list reply; the first element of a row counts in `sids`, from 1 on."""
    for start in range(0, len(reply), _LISTED_FIELDS):
        row = reply[start : start + _LISTED_FIELDS]
        number: int = row[0]
        policy, device, login = (text.decode() for text in row[6:])
        sid, locked = sids[number - 1], row[5] == 1
        yield _session(sid, user, policy, device, row[1:5], read_login(login), locked=locked)


def _session(
    sid: str,
    user: str,
    policy: str,
    device: str,
    times_ms: Sequence[int],
    authentication: tuple[int, LoginContext],
    *,
    locked: bool = False,
) -> Session:
    created_at, last_seen_at, expires_at, idle_expires_at = times_ms
    authenticated_at, login = authentication
    return Session(
        sid=sid,
        user=user,
        policy=policy,
        device=device or None,
        created_at=created_at,
        last_seen_at=last_seen_at,
        expires_at=expires_at,
        idle_expires_at=idle_expires_at,
        authenticated_at=authenticated_at,
        acr=login.acr,
        amr=login.amr,
        impersonation=login.impersonation,
        locked=locked,
    )
