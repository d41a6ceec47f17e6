"""Rate limits for any ASGI application: one line around it, no lifespan needed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, MutableMapping, Sequence
from inspect import isawaitable
from typing import Any, Protocol, TypeVar, cast

from tollhouse import wiring
from tollhouse.asgi.address import client_address
from tollhouse.asgi.loops import PerLoop
from tollhouse.asgi.refusal import Refusal, invalid, refusal, unavailable
from tollhouse.errors import ConfigurationError, InvalidInput, StoreError
from tollhouse.limits.decision import Decision
from tollhouse.limits.headers import fields
from tollhouse.metrics import Metrics
from tollhouse.settings import Settings, trusted_networks

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

T = TypeVar("T")
PerRequest = T | Callable[[Scope], T | Awaitable[T]]
"""A value, or a function of the ASGI scope that gives it, plain or async."""

_log = logging.getLogger("tollhouse.asgi")


class Takes(Protocol):
    """Anything that units can be taken from."""

    async def take(self, policy: str, key: str, cost: int = 1) -> Decision:
        """Decide and charge in one step; a refusal is a value and charges nothing."""
        ...


class RateLimitMiddleware:
    """Takes from a policy for every HTTP request, before the application sees it.

    Give the server as `url` or `settings`, or a `limiter` that is open already and stays its owner's to
    close. `policy`, `key` and `cost` are values or functions of the scope; a policy of None, like a true
    `exempt`, lets the request through uncounted. The key is the client's address unless said otherwise;
    forwarding headers are believed only from `trusted_proxies`.

    The middleware connects on the first request, once per event loop, and closes when it sees the lifespan
    end. Websockets and scopes that it does not know pass through untouched.
    """

    def __init__(
        self,
        app: App,
        *,
        url: str | None = None,
        settings: Settings | None = None,
        limiter: Takes | None = None,
        policies: Mapping[str, str] | None = None,
        policy: PerRequest[str | None] = "default",
        key: PerRequest[str] | None = None,
        cost: PerRequest[int] = 1,
        exempt: PerRequest[bool] = False,
        trusted_proxies: Sequence[str] = (),
        metrics: Metrics | None = None,
    ) -> None:
        self.app = app
        self._policy, self._cost, self._exempt = policy, cost, exempt
        self._opened: PerLoop | None = None
        if limiter is not None and (url, settings, policies) != (None, None, None):
            raise ConfigurationError(
                "limiter", "given", "it knows its server and policies; drop url, settings, policies"
            )
        if limiter is None:
            target = _target(url, settings)
            trusted_proxies = trusted_proxies or target.trusted_proxies
            shared = Metrics() if metrics is None else metrics
            limiter = self._opened = PerLoop(lambda: wiring.open(target, policies=policies, metrics=shared))
            known = wiring.open(target, policies=policies, metrics=shared).policies
            check_policies([policy] if isinstance(policy, str) else [], known)
        self._limiter = limiter
        self._trusted = trusted_networks(trusted_proxies)
        self._key: PerRequest[str] = self._client if key is None else key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, self._closing(send))
        elif scope["type"] != "http" or await resolve(self._exempt, scope):
            await self.app(scope, receive, send)
        else:
            await self._limited(scope, receive, send)

    async def aclose(self) -> None:
        """Close what this event loop opened, in an application without a lifespan."""
        if self._opened is not None:
            await self._opened.aclose()

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        policy = await resolve(self._policy, scope)
        if policy is None:
            await self.app(scope, receive, send)
            return
        key, cost = await resolve(self._key, scope), await resolve(self._cost, scope)
        await answer(self._limiter.take(policy, key, cost), policy, self.app, scope, receive, send)

    def _client(self, scope: Scope) -> str:
        return client_address(scope, self._trusted)

    def _closing(self, send: Send) -> Send:
        """Close before the server hears that the shutdown is complete, because it may end the loop then."""

        async def closing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self.aclose()
            await send(message)

        return closing


async def resolve(given: PerRequest[T], scope: Scope) -> T:
    """Give the value, asking the function with this request's scope where it is one."""
    value = given(scope) if callable(given) else given
    return await cast("Awaitable[T]", value) if isawaitable(value) else cast("T", value)


def check_policies(named: Iterable[object], known: Container[object]) -> None:
    """Raise ConfigurationError where a policy is named that does not exist."""
    for policy in named:
        if policy not in known:
            raise ConfigurationError("policy", policy, "name a policy that exists, or add it to `policies`")


async def answer(taken: Awaitable[Decision], policy: str, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Await the decision; let the request through and add the limit's fields, or answer it with a problem.

    A store that does not answer is 503, and a key that no limiter takes is 422, never 500: keys often hold
    what a client sent. In both cases the application does not see the request.
    """
    try:
        decision = await taken
    except StoreError as error:
        _log.debug("limit not decided", extra={"policy": policy, "reason": str(error)})
        await _respond(unavailable([policy]), send)
        return
    except InvalidInput as error:
        if error.field != "key":
            raise
        await _respond(invalid(error), send)
        return
    if decision.allowed:
        await app(scope, receive, _adding(fields(decision), send))
    else:
        await _respond(refusal(decision, reveal_key=False), send)


async def _respond(refused: Refusal, send: Send) -> None:
    sent = [
        *refused.headers,
        ("content-type", refused.media_type),
        ("content-length", str(len(refused.body))),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": _encoded(sent)})
    await send({"type": "http.response.body", "body": refused.body})


def _adding(added: Sequence[tuple[str, str]], send: Send) -> Send:
    """Put the fields behind those of the response; everything else of it passes untouched."""
    encoded = _encoded(added)

    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *encoded]}
        await send(message)

    return adding


def _encoded(given: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given]


def _target(url: str | None, settings: Settings | None) -> Settings:
    if url is not None and settings is not None:
        raise ConfigurationError("url", url, "settings name the server too; give one of them")
    if settings is not None:
        return settings
    return Settings() if url is None else Settings(url=url)
