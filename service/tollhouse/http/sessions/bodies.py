"""Bodies that several routes send: a session, one in a list, and a session with its token.

Times are integer milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Response
from litestar.datastructures import Cookie
from msgspec import UNSET, Struct, UnsetType, convert
from msgspec.structs import asdict

from tollhouse.accounts.throttling.devices import DeviceToken
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import durable_header
from tollhouse.sessions.outcomes import Issued, Rotation
from tollhouse.sessions.records import Session


class ImpersonationBody(Struct, frozen=True, kw_only=True):
    """Who acts as the user of a session, and why."""

    actor: str
    reason: str


class SessionBody(Struct, frozen=True, kw_only=True):
    """A session as its user sees it; if `renewal_due`, a client without cookies is to ask for another token.

    `authenticated_at`, `acr` and `amr` tell of the last authentication: when, at which level, by which methods. A
    session that is `anonymous` is a visitor's, who has not logged in. `impersonation` is null if the user acts.
    """

    sid: str
    user: str
    created_at: int
    expires_at: int
    idle_expires_at: int
    authenticated_at: int
    acr: str | None
    amr: list[str]
    renewal_due: bool
    anonymous: bool
    impersonation: ImpersonationBody | None


class DeviceBody(Struct, frozen=True, kw_only=True):
    """One of a user's sessions in a list; only the user's own list says which is the `current` one.

    A session that is `locked` was idle for too long, and opens nothing until a step-up.
    """

    sid: str
    user: str
    created_at: int
    expires_at: int
    idle_expires_at: int
    last_seen_at: int
    authenticated_at: int
    acr: str | None
    amr: list[str]
    device: str | None
    policy: str
    locked: bool
    impersonation: ImpersonationBody | None
    current: bool | UnsetType = UNSET


class TokenAnswer(Struct, frozen=True, kw_only=True):
    """A session and whether what was done is durable; tokens only for a client that keeps them without cookies."""

    session: SessionBody
    durable: bool
    token: str | UnsetType = UNSET
    device_token: str | UnsetType = UNSET


def session_body(session: Session) -> SessionBody:
    """Return the members of a session that its user may see."""
    return convert(session, SessionBody, from_attributes=True)


def device_bodies(sessions: tuple[Session, ...], own: Session | None = None) -> dict[str, list[DeviceBody]]:
    """Return the list of a user's sessions, the most recently used first, with the user's own one if it is known."""
    recent = sorted(sessions, key=lambda session: session.last_seen_at, reverse=True)
    return {"sessions": [_device_body(session, own) for session in recent]}


def token_response(
    result: Issued | Rotation,
    cookies: SessionCookies,
    *,
    by_cookie: bool,
    status_code: int = 200,
    others: Sequence[Cookie] = (),
    device: DeviceToken | None = None,
) -> Response[TokenAnswer]:
    """Return a session with its new token in a cookie or in the body, never in both: scripts read no cookie of ours.

    `others` are the cookies that change beside it. The value of a `device` goes the way of the token.
    """
    body = TokenAnswer(
        session=session_body(result.session),
        durable=result.durable,
        token=UNSET if by_cookie else result.token.reveal(),
        device_token=UNSET if by_cookie or device is None else device.reveal(),
    )
    cookie = [cookies.holding(result.token, result.session)] if by_cookie else []
    return Response(
        body, status_code=status_code, cookies=[*cookie, *others], headers=durable_header(durable=result.durable)
    )


def _device_body(session: Session, own: Session | None) -> DeviceBody:
    current = {} if own is None else {"current": session.sid == own.sid}
    return convert({**asdict(session), **current}, DeviceBody, from_attributes=True)
