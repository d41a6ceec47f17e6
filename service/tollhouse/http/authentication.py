"""Authentication: the caller is an administrator, a service, a user with a session, or anonymous.

The middleware only identifies the caller; guards refuse. So a request that a guard refuses is still counted against the
limit of its address.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, cast

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from tollhouse.asgi.client_address import client_address
from tollhouse.asgi.credentials import api_key_of, cookie_name, session_token
from tollhouse.sessions.records import Session
from tollhouse.settings import Settings
from tollhouse.settings.networks import trusted_networks
from tollhouse.wiring import Tollhouse

Role = Literal["session", "service", "admin"]
Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], None]


class Caller(Struct, frozen=True, kw_only=True):
    """Who sent a request, and from which address; without roles the caller is anonymous."""

    roles: frozenset[Role] = frozenset()
    session: Session | None = None
    address: str = ""
    key_name: str = ""


class ApiKeys:
    """The keys of services and administrators, kept only as digests."""

    def __init__(self, settings: Settings) -> None:
        self._digests: tuple[tuple[bytes, frozenset[Role]], ...] = (
            *((_digest(key), frozenset[Role]({"service"})) for key in settings.service_key),
            *((_digest(key), frozenset[Role]({"service", "admin"})) for key in settings.admin_key),
        )

    def roles(self, key: str) -> frozenset[Role]:
        """Return the roles of a key, none if it is unknown. Every known key is compared, each in constant time."""
        given = _digest(key)
        found: frozenset[Role] = frozenset()
        for digest, roles in self._digests:
            if hmac.compare_digest(digest, given):
                found = roles
        return found


class Authentication(ASGIMiddleware):
    """Puts the Caller into the request's state; routes with `auth` in their opt get roles and session too."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, tollhouse: Tollhouse) -> None:
        settings = tollhouse.settings
        self._tollhouse = tollhouse
        self._keys = ApiKeys(settings)
        self._cookie = cookie_name(plain_http=settings.plain_http)
        self._proxies = trusted_networks(settings.trusted_proxies)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Identify the caller and continue."""
        address = client_address(cast("Any", scope), self._proxies)
        wants_auth = bool(scope["route_handler"].opt.get("auth"))
        caller = await self._authenticate(cast("Any", scope), address) if wants_auth else Caller(address=address)
        cast("dict[str, Any]", scope)["state"]["caller"] = caller
        await next_app(scope, receive, send)

    async def _authenticate(self, scope: Mapping[str, Any], address: str) -> Caller:
        key = api_key_of(scope)
        roles = self._keys.roles(key) if key else frozenset[Role]()
        if roles:
            name = hashlib.sha256(key.encode()).hexdigest()[:16]
            return Caller(roles=roles, address=address, key_name=name)
        token = session_token(scope, self._cookie)
        session = await self._tollhouse.sessions.verify(token) if token else None
        if session is None:
            return Caller(address=address)
        return Caller(roles=frozenset({"session"}), session=session, address=address)


def require_role(*accepted: Role) -> Guard:
    """Make a guard that refuses callers without any of the accepted roles: 401 if anonymous, 403 otherwise."""

    def guard(connection: Connection, _: BaseRouteHandler) -> None:
        caller = current_caller(connection)
        if caller.roles.intersection(accepted):
            return
        if caller.roles:
            raise PermissionDeniedException(f"this route needs {' or '.join(accepted)} credentials")
        raise NotAuthorizedException(f"send {' or '.join(_CREDENTIALS[role] for role in accepted)}")

    return guard


def current_caller(connection: Connection) -> Caller:
    """Return the caller that the middleware identified."""
    return cast("Caller", cast("dict[str, Any]", connection.scope)["state"]["caller"])


def current_session(connection: Connection) -> Session:
    """Return the caller's session; raise NotAuthorizedException if there is none."""
    session = current_caller(connection).session
    if session is None:
        raise NotAuthorizedException(f"send {_CREDENTIALS['session']}")
    return session


def rate_key(scope: Any) -> str:
    """Return the key under which our own limits count the caller: the user, the API key, or the address."""
    caller = cast("Caller", scope["state"]["caller"])
    if caller.session is not None:
        return f"user:{caller.session.user}"
    return f"key:{caller.key_name}" if caller.key_name else f"address:{caller.address}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


_CREDENTIALS: Final[dict[Role, str]] = {
    "session": "a session cookie, or its token as `Authorization: Bearer`",
    "service": "a service key as `Authorization: Bearer` or `X-Api-Key`",
    "admin": "an admin key as `Authorization: Bearer` or `X-Api-Key`",
}
