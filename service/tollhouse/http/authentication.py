"""Who is calling: an administrator, a service, a user with a session, or nobody.

The middleware only looks; guards refuse. So a request that will be refused is still counted against the
limit of its address.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, cast

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, NotAuthorizedException, PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from tollhouse.asgi.client_address import client_address
from tollhouse.sessions.records import Session
from tollhouse.settings import Network
from tollhouse.wiring import Tollhouse

Role = Literal["session", "service", "admin"]
Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], None]


class Caller(Struct, frozen=True, kw_only=True):
    """Who calls, and from where."""

    roles: frozenset[Role] = frozenset()
    session: Session | None = None
    address: str = ""
    key_name: str = ""

    @property
    def rate_key(self) -> str:
        """The subject that our own limits count: the user, the key, or the address."""
        if self.session is not None:
            return f"user:{self.session.user}"
        return f"key:{self.key_name}" if self.key_name else f"address:{self.address}"


class ApiKeys:
    """The keys of services and administrators, held only as digests."""

    def __init__(self, service: Iterable[str], admin: Iterable[str]) -> None:
        self._digests: tuple[tuple[bytes, frozenset[Role]], ...] = (
            *((_digest(key), frozenset[Role]({"service"})) for key in service),
            *((_digest(key), frozenset[Role]({"service", "admin"})) for key in admin),
        )

    def roles(self, key: str) -> frozenset[Role]:
        """Give what a key may do; nothing where it is unknown. Every key is compared, in constant time each."""
        given = _digest(key)
        found: frozenset[Role] = frozenset()
        for known, roles in self._digests:
            if hmac.compare_digest(known, given):
                found = roles
        return found


class Authentication(ASGIMiddleware):
    """Puts the Caller into the request's state, for routes that say `auth` in their opt."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, tollhouse: Tollhouse, keys: ApiKeys, cookie: str, proxies: tuple[Network, ...]) -> None:
        self._tollhouse = tollhouse
        self._keys = keys
        self._cookie = cookie
        self._proxies = proxies

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Find the caller, then go on whoever it is."""
        connection: Connection = ASGIConnection(scope)
        address = client_address(cast("Any", scope), self._proxies)
        wants_auth = bool(scope["route_handler"].opt.get("auth"))
        caller = await self._find(connection, address) if wants_auth else Caller(address=address)
        cast("dict[str, Any]", scope)["state"]["caller"] = caller
        await next_app(scope, receive, send)

    async def _find(self, connection: Connection, address: str) -> Caller:
        given = connection.headers.get("authorization", "")
        bearer = given[7:].strip() if given[:7].lower() == "bearer " else ""
        api_key = connection.headers.get("x-api-key", "") or bearer
        cookie = connection.cookies.get(self._cookie, "")
        roles = self._keys.roles(api_key) if api_key else frozenset[Role]()
        if roles:
            name = hashlib.sha256(api_key.encode()).hexdigest()[:16]
            return Caller(roles=roles, address=address, key_name=name)
        if bearer and cookie and bearer != cookie:
            raise HTTPException(
                "a bearer token and a session cookie were sent, and they differ; send one", status_code=400
            )
        token = bearer or cookie
        session = await self._tollhouse.sessions.verify(token) if token else None
        if session is None:
            return Caller(address=address)
        return Caller(roles=frozenset({"session"}), session=session, address=address)


def require_role(*accepted: Role) -> Guard:
    """Refuse callers that have none of the accepted roles: 401 where nobody is known, 403 otherwise."""

    def guard(connection: Connection, _: BaseRouteHandler) -> None:
        caller = current_caller(connection)
        if caller.roles.intersection(accepted):
            return
        if caller.roles:
            raise PermissionDeniedException(f"this needs {' or '.join(accepted)} credentials")
        raise NotAuthorizedException(f"send {' or '.join(_CREDENTIALS[role] for role in accepted)}")

    return guard


def current_caller(connection: Connection) -> Caller:
    """Give the caller that the middleware found."""
    return cast("Caller", cast("dict[str, Any]", connection.scope)["state"]["caller"])


def current_session(connection: Connection) -> Session:
    """Give the caller's session, behind a guard that made sure of it."""
    session = current_caller(connection).session
    if session is None:
        raise NotAuthorizedException(f"send {_CREDENTIALS['session']}")
    return session


def rate_key(scope: Any) -> str:
    """Give the subject for the rate-limit middleware."""
    return cast("Caller", scope["state"]["caller"]).rate_key


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


_CREDENTIALS: Final[dict[Role, str]] = {
    "session": "a session cookie, or its token as `Authorization: Bearer`",
    "service": "a service key as `Authorization: Bearer` or `X-Api-Key`",
    "admin": "an admin key as `Authorization: Bearer` or `X-Api-Key`",
}
