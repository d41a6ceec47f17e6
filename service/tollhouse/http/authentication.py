"""Authentication: the caller is an administrator, a service, a user with a session, or anonymous.

The middleware only identifies the caller; guards refuse. So a request that a guard refuses is still counted against the
limit of its address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from tollhouse.asgi.client_address import clients_of
from tollhouse.asgi.credentials import api_key_of, cookie_name, is_by_cookie, is_passive, session_token
from tollhouse.asgi.ratelimit.headers import RateLimitFields
from tollhouse.asgi.ratelimit.refusal_response import refusal_response
from tollhouse.asgi.response import send_response
from tollhouse.asgi.types import resolve
from tollhouse.http.api_keys import NO_KEY, NO_ROLES, ApiKeys, Role, Roles
from tollhouse.http.challenges import InsufficientAuthentication, login_rules
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.renewal import Renewals
from tollhouse.limits.decision import Decision
from tollhouse.sessions import tokens
from tollhouse.sessions.outcomes import Rotation
from tollhouse.sessions.records import Session
from tollhouse.sessions.tokens import Token
from tollhouse.wiring import Tollhouse

Connection = ASGIConnection[Any, Any, Any, Any]
_SESSION: Final[Roles] = frozenset({"session"})
Guard = Callable[[Connection, BaseRouteHandler], None]


class Caller(Struct, frozen=True, kw_only=True):
    """Who sent a request, and from which address; without roles the caller is anonymous.

    A caller with a session has its token, which its cookie holds if it came `by_cookie`. `session_is_over` is true if
    a session token was sent that opens no session (any more). If the token was `renewed`, session and token are those
    of the renewal. A session that is `locked` opens nothing, but a step-up opens it. A session whose authentication is
    `insufficient` has the role, and the guards refuse it.
    """

    roles: Roles = NO_ROLES
    session: Session | None = None
    token: Token | None = None
    by_cookie: bool = False
    renewed: Rotation | None = None
    session_is_over: bool = False
    locked: Session | None = None
    insufficient: InsufficientAuthentication | None = None
    address: str = ""
    key_name: str = ""


class Authentication(ASGIMiddleware):
    """Puts the Caller into the request's state, with roles and session on a route that has `auth` in its opt.

    `auth` is True, or a function of the scope for a route that reads credentials only sometimes.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, tollhouse: Tollhouse, keys: ApiKeys) -> None:
        settings = tollhouse.settings
        self._tollhouse = tollhouse
        self._keys = keys
        self._cookie = cookie_name(plain_http=settings.plain_http)
        self._clients = clients_of(settings)
        self._fields = RateLimitFields(settings.limits.headers)
        cookies = SessionCookies(tollhouse.sessions.policies, plain_http=settings.plain_http)
        self._rules = login_rules(settings)
        self._renewals = Renewals(tollhouse.sessions, tollhouse.metrics, cookies)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Identify the caller and continue; 429 for an address that sent too many wrong keys."""
        request = cast("dict[str, Any]", scope)
        address = self._clients.client_of(request)
        outcome: Caller | Decision = Caller(address=address)
        if await resolve(scope["route_handler"].opt.get("auth", False), request):
            outcome = await self._identify(request, address)
        if isinstance(outcome, Decision):
            fields = self._fields.of(outcome, self._tollhouse.limits.policies)
            await send_response(refusal_response(outcome, fields, reveal_key=False), cast("Any", send))
            return
        request["state"]["caller"] = outcome
        if outcome.renewed is not None:
            send = self._renewals.setting_cookie(outcome.renewed, send)
        await next_app(scope, receive, send)

    async def _identify(self, scope: Mapping[str, Any], address: str) -> Caller | Decision:
        key = api_key_of(scope)
        known = await self._keys.identify(key, address) if key else NO_KEY
        if isinstance(known, Decision):
            return known
        if known.roles:
            return Caller(roles=known.roles, address=address, key_name=known.name)
        return await self._user(scope, address)

    async def _user(self, scope: Mapping[str, Any], address: str) -> Caller:
        text, passive = session_token(scope, self._cookie), is_passive(scope)
        if not text:
            return Caller(address=address)
        token = tokens.parse(text)
        shown, by_cookie = text if token is None else token, is_by_cookie(scope)
        session = await self._tollhouse.sessions.verify(shown, passive=passive, locked=True)
        if token is None or session is None:
            return Caller(address=address, session_is_over=token is not None)
        if session.locked:
            return Caller(address=address, session_is_over=True, locked=session, token=token, by_cookie=by_cookie)
        renewed = None
        if session.renewal_due and by_cookie and not passive:
            renewed = await self._renewals.renew(token)
        if renewed is not None:
            session, token = renewed.session, renewed.token
        return Caller(
            roles=_SESSION,
            session=session,
            token=token,
            by_cookie=by_cookie,
            renewed=renewed,
            insufficient=self._rules.lacks_level(session),
            address=address,
        )


def require_role(*accepted: Role) -> Guard:
    """Make a guard that refuses callers without any of the accepted roles: 401 if anonymous, 403 otherwise.

    A session must have the level of the settings, too, on every route with this guard.
    """

    def guard(connection: Connection, _: BaseRouteHandler) -> None:
        check_role(connection, *accepted)
        if (insufficient := current_caller(connection).insufficient) is not None:
            raise insufficient

    return guard


def check_role(connection: Connection, *accepted: Role) -> None:
    """Refuse a caller without any of the accepted roles, as a guard of `require_role` does."""
    caller = current_caller(connection)
    if caller.roles.intersection(accepted):
        return
    if caller.session_is_over and "session" in accepted:
        raise no_session()
    if caller.roles:
        raise PermissionDeniedException(f"this route needs {' or '.join(accepted)} credentials")
    raise NotAuthorizedException(f"send {' or '.join(_CREDENTIALS[role] for role in accepted)}")


def current_caller(connection: Connection) -> Caller:
    """Return the caller that the middleware identified."""
    return cast("Caller", cast("dict[str, Any]", connection.scope)["state"]["caller"])


def current_session(connection: Connection) -> Session:
    """Return the caller's session; raise NotAuthorizedException if there is none."""
    session = current_caller(connection).session
    if session is None:
        raise no_session()
    return session


def current_token(connection: Connection) -> Token:
    """Return the token of the caller's session; raise NotAuthorizedException if there is none."""
    caller = current_caller(connection)
    if caller.session is None or caller.token is None:
        raise no_session()
    return caller.token


def no_session() -> NotAuthorizedException:
    """Return 401 for a caller whose token opens no live session, also if that ended since the caller was identified."""
    return NotAuthorizedException(_OVER)


def rate_key(scope: Any) -> str:
    """Return the key under which our own limits count the caller: the user, the API key, or the address."""
    caller = cast("Caller", scope["state"]["caller"])
    if caller.session is not None:
        return f"user:{caller.session.user}"
    return f"key:{caller.key_name}" if caller.key_name else f"address:{caller.address}"


_OVER: Final = "this token opens no live session: log in again; `GET /v1/session/why` may tell why it is over"
_CREDENTIALS: Final[dict[Role, str]] = {
    "session": "a session cookie, or its token as `Authorization: Bearer`",
    "service": "a valid service key as `Authorization: Bearer` or `X-Api-Key`",
    "admin": "a valid admin key as `Authorization: Bearer` or `X-Api-Key`",
}
