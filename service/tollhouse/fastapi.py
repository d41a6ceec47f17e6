"""Limits as FastAPI dependencies: `dependencies=[Depends(RateLimit("5/minute; 100/hour"))]` on a route or a router.

No setup is needed. The limiter is the one given as `limiter`; else that of the `RateLimitMiddleware` that serves the
request, which may limit nothing itself (`policy=None`); else one that is opened as `tollhouse.open()` does, once per
event loop. A refusal is 429 `application/problem+json`, unless the application has a handler of its own for
`tollhouse.RateLimited`. A key or a cost of the request that no limiter accepts is 422, and a store that does not answer
503, unless it has one for `tollhouse.InvalidInput` or `tollhouse.StoreError`.
"""

# Annotations are evaluated here, not kept as text: FastAPI reads those of `__call__`, and not every version of it
# looks names up in the module of a class.

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from tollhouse import wiring
from tollhouse.asgi.matched_route import route_name
from tollhouse.asgi.ratelimit.current import CURRENT_REQUEST, rate_limited_response, refused_request, request_in
from tollhouse.asgi.ratelimit.inline import InlineLimit, InlineTake, record_error
from tollhouse.asgi.ratelimit.key_rules import KeyValue, address, check_rule, key_finder, policy_key_finder, resolve_key
from tollhouse.asgi.ratelimit.limiter_source import LimiterSource, default_source, source_if_given
from tollhouse.asgi.ratelimit.refusal_handlers import response_app
from tollhouse.asgi.ratelimit.refusal_response import LimitError, fields_of_client
from tollhouse.asgi.ratelimit.request_context import IN_SCOPE, RequestContext
from tollhouse.asgi.ratelimit.rules import is_preflight
from tollhouse.asgi.ratelimit.websocket import close_reason
from tollhouse.asgi.response import HttpResponse, discard
from tollhouse.asgi.types import App, Message, Receive, Scope, Send, resolve
from tollhouse.errors import InvalidInput, StoreError
from tollhouse.extras import not_installed
from tollhouse.limits.decision import RateLimited
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.policy import Policy
from tollhouse.runtime.functions import checked_function
from tollhouse.settings import Settings
from tollhouse.wiring import Tollhouse

try:
    from fastapi import Response, WebSocket
    from starlette.requests import HTTPConnection
    from starlette.websockets import WebSocketState
except ModuleNotFoundError as error:
    raise not_installed("tollhouse.fastapi", "fastapi", error) from error

__all__ = ["RateLimit", "answer"]

_TAKEN: Final = "tollhouse.taken"
_HANDLERS: Final = "starlette.exception_handlers"
_UNTIL_RETURN: Final = "fastapi_function_astack"
"""What FastAPI ends between the return of the route and the start of its response, if it ends dependencies later."""


class RateLimit:
    """A dependency that counts each request, or each websocket that connects, before the route sees it.

    `policy` is the name of a policy, or a limit such as `5/minute` that every route counts for itself; routes that give
    it the same `name` share one counter; or a function of the request, plain or async, that returns one of up to 256
    limits. The same limit on a router and on its route counts once. `key` is a rule in words (`address`, `user`,
    `api-key`, `header:x-tenant`, `path:tenant`, ...) or a function of the request, plain or async; `cost` is a number
    or such a function. Without a key the policy's own rule applies, else the client's address. Applications that share
    the server of `limiter` need a `namespace` each, else they share counters. CORS preflights of a route that answers
    OPTIONS itself pass uncounted, unless `preflights` is true.

    The response has the RateLimit fields; that of a route that returns its own Response has them only behind the
    middleware. The lease of a `concurrency` policy is held until the response was sent; behind the middleware it is
    released just before the last part of it, so that a client that has the whole response finds it free.

    `on_refusal` makes the response to a refusal by this limit, in place of the application's handler for RateLimited: a
    function of the request or the websocket and the RateLimited, plain or async, that returns an ASGI response. The
    fields are added; with a status below 400 the response is no refusal, and is charged.
    """

    def __init__(
        self,
        policy: str | Callable[[Any], str | Awaitable[str]],
        *,
        key: str | Callable[[Any], KeyValue | Awaitable[KeyValue]] | None = None,
        cost: int | Callable[[Any], int | Awaitable[int | None] | None] | None = None,
        on_refusal: Callable[[Any, RateLimited], Any] | None = None,
        name: str | None = None,
        algorithm: str = "sliding-window",
        limiter: Limiter | Tollhouse | Settings | str | None = None,
        namespace: str | None = None,
        strict: bool | None = None,
        preflights: bool = False,
    ) -> None:
        self._limit = InlineLimit(text=policy, algorithm=algorithm, name=name)
        self._source = source_if_given(limiter, namespace, strict=strict)
        self._rule = key_finder(key) if isinstance(key, str) else None
        self._key = None if isinstance(key, str) else key
        self._cost = cost
        self._on_refusal = None if on_refusal is None else checked_function("on_refusal", on_refusal)
        self._exempts_preflights = not preflights
        self._of_client = fields_of_client(key=self._key or address, cost=cost)
        if self._source is not None:
            check_rule(key, self._source)

    async def __call__(self, connection: HTTPConnection, response: Response) -> AsyncGenerator[None, None]:
        """Admit the request, or raise RateLimited before the route runs."""
        if self._exempts_preflights and is_preflight(connection.scope):
            yield
            return
        context = request_in(connection.scope)
        if context is not None:
            async with self._admitted(connection, context):
                yield
            return
        source = self._source or _own_source()
        context = RequestContext(source, await source.limiter(), connection.scope, discard)
        context.on_fields = response.headers.update
        if (until_return := connection.scope.get(_UNTIL_RETURN)) is not None:
            until_return.push(partial(_start_if_returned, context))
        async with _own_request(context, connection), self._admitted(connection, context):
            yield

    @asynccontextmanager
    async def _admitted(self, connection: HTTPConnection, context: RequestContext) -> AsyncGenerator[None, None]:
        """Admit the request; a refusal that ends the route is the response, whichever limit it is by."""
        _add_handler(connection)
        is_admitted = False
        try:
            admission = await self._admission(connection, context)
            if not _is_first(connection.scope, admission):
                yield
                return
            async with admission.admitted():
                is_admitted = True
                yield
        except RateLimited as refused:
            refused.origin = refused.origin or context
            context.outermost.end_by(refused.decision)
            if is_admitted or self._on_refusal is None:
                raise
            raise _RefusedWithResponse(refused, self._on_refusal) from None

    async def _admission(self, connection: HTTPConnection, context: RequestContext) -> InlineTake:
        source = self._source or context.source
        limiter = context.limiter if self._source is None else await source.limiter()
        limit = self._limit
        text = limit.text if isinstance(limit.text, str) else await limit.choose(limiter, connection)
        name = limit.register(_place(connection.scope), limiter, text)
        return InlineTake(
            source=source,
            limiter=limiter,
            policy=name,
            key=await self._key_of(connection, context, limiter.policies.get(name)),
            of_client=self._of_client,
            cost=await resolve(self._cost, connection),
            request=context,
            holds=True,
        )

    async def _key_of(self, connection: HTTPConnection, context: RequestContext, policy: Policy | None) -> str:
        finder = self._rule or policy_key_finder(policy)
        try:
            return await resolve_key(finder(context) if self._key is None else self._key(connection), context)
        except InvalidInput as error:
            record_error(context, error, self._of_client)
            raise


class _RefusedWithResponse(RateLimited):
    """A refusal by a limit that has a response of its own, which goes before the application's handlers."""

    def __init__(self, refused: RateLimited, on_refusal: Callable[[Any, RateLimited], Any]) -> None:
        self.on_refusal = on_refusal
        super().__init__(refused.decision, refused.origin)


def _start_if_returned(context: RequestContext, _: object, error: BaseException | None, __: object) -> None:
    """Treat the response as started if the route has returned: what its body or a background task raises comes late."""
    context.started = error is None


@asynccontextmanager
async def _own_request(context: RequestContext, connection: HTTPConnection) -> AsyncGenerator[None, None]:
    """Share a context among all limits of a request whose response we do not see: no middleware of ours serves it."""
    outside = CURRENT_REQUEST.get()
    CURRENT_REQUEST.set(context)
    try:
        yield
    except (RateLimited, InvalidInput, StoreError) as error:
        if context.is_answered(error) and not context.started and not _is_accepted(connection):
            context.settle(429, is_refusal=True)
        raise
    finally:
        CURRENT_REQUEST.set(outside)
        refusal = context.refusal
        context.detach()
        context.on_fields, context.refusal = None, refusal  # `answer` comes later
        await context.release()


def _own_source() -> LimiterSource:
    """Return the source of the settings that `tollhouse.open()` reads, which all routes of an event loop share."""
    source = default_source(wiring.default_settings)
    assert source is not None
    return source


def _place(scope: Scope) -> str:
    """Return a route's methods and template, the same in every process, and its function in case both repeat."""
    endpoint = scope.get("endpoint")
    function = f"{getattr(endpoint, '__module__', '')}.{getattr(endpoint, '__qualname__', '')}"
    return f"{route_name(scope)}\n{function}"


def _is_first(scope: Scope, take: InlineTake) -> bool:
    """Return False if the request has met the same limit already: that of a router, which is that of its route too."""
    policy = take.limiter.policies.get(take.policy)
    cost = policy.cost if policy is not None and take.cost is None else take.cost
    limit = f"{id(take.limiter)} {take.policy} {cost!r} {take.key}"
    taken: set[str] = scope.setdefault(_TAKEN, set())
    if limit in taken:
        return False
    taken.add(limit)
    return True


def _add_handler(connection: HTTPConnection) -> None:
    """Add handlers for what limits raise unless the application has some; this is all the setup there is."""
    handlers: dict[Any, Any] = connection.scope.get(_HANDLERS, ({},))[0]
    for error in (RateLimited, InvalidInput, StoreError):
        if handlers.keys().isdisjoint(error.__mro__):
            handlers[error] = answer
    handlers.setdefault(_RefusedWithResponse, answer)


async def answer(connection: HTTPConnection, error: Exception) -> Any:
    """Answer what a limit raised as routes with a RateLimit do; for applications in which only functions are limited.

    `app.add_exception_handler(tollhouse.RateLimited, tollhouse.fastapi.answer)`
    """
    assert isinstance(error, RateLimited | InvalidInput | StoreError)
    response = _response_to(connection, error)
    if isinstance(connection, WebSocket) and not _takes_response(connection):
        await connection.close(*close_reason(error))
        return None
    if isinstance(error, RateLimited) and (own := await _own_response(connection, error)) is not None:
        return own
    return Response(response.body, response.status, headers=response.text_headers(), media_type=response.media_type)


async def _own_response(connection: HTTPConnection, refused: RateLimited) -> App | None:
    """Return the application's own response: that of the limit, else of the middleware; None if it has none."""
    request = refused_request(refused)
    if request is not None and isinstance(refused, _RefusedWithResponse):
        plain = RateLimited(refused.decision, refused.origin)  # for which `answer` does not call the handler again
        return partial(_with_fields, request, response_app(await resolve(refused.on_refusal, connection, plain)))
    own = None if request is None else request.claim_own_response()
    return None if own is None else partial(_sent_by, await own(refused))


async def _sent_by(respond: Callable[[Send], Awaitable[None]], _: Scope, __: Receive, send: Send) -> None:
    await respond(send)


async def _with_fields(request: RequestContext, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a response with the fields of the refusal, which our middleware would add."""

    async def sent(message: Message) -> None:
        is_start = message["type"].endswith("http.response.start")
        await send(request.start(message) if is_start and request.is_detached else message)

    await app(scope, receive, sent)


def _response_to(connection: HTTPConnection, error: LimitError) -> HttpResponse:
    if isinstance(error, RateLimited):
        return rate_limited_response(error)
    context: RequestContext | None = connection.scope.get(IN_SCOPE)
    if context is None or not context.is_answered(error):
        raise error
    response, context.refusal = context.refuse(error), None
    return response


def _takes_response(websocket: WebSocket) -> bool:
    return not _is_accepted(websocket) and "websocket.http.response" in (websocket.scope.get("extensions") or {})


def _is_accepted(connection: HTTPConnection) -> bool:
    return isinstance(connection, WebSocket) and connection.application_state is not WebSocketState.CONNECTING
