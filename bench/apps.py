"""The applications that `bench.middleware` measures: two frameworks, bare and with each limiter, one process each.

All answer `GET /` with the same few bytes. All that limit find the client in the same header, and report the client's
limits in fields of the response. The limiters are set up as their documentation shows: slowapi by its decorator
and by both of its middleware classes, Litestar's own with its `RedisStore`. slowapi writes its fields only if told
to, and calls the server a second time for them; its decorator is measured without them too.

All processes have called `tollhouse.tune_gc()`, whatever limits them, but for those that are named as not tuned. Our
middleware is measured in three states: the store decides each request; the process remembers that the client is
refused; it has a quota lease for a client that comes often.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import redis.asyncio as redis
import uvicorn
from litestar import Litestar, MediaType, get
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.stores.redis import RedisStore
from msgspec import Struct
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.middleware import SlowAPIASGIMiddleware, SlowAPIMiddleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import tollhouse
from bench.load import HOST
from bench.middleware_report import LEASED, NOT_TUNED, REFUSED
from bench.pauses import Pauses, record
from tollhouse.litestar import TollhousePlugin

ANSWER = "hello"
CLIENT = "x-client"
Create = Callable[[str, int], Any]
"""Makes an application from the URL of the server and the requests an hour that each client has."""


async def hello(request: Request) -> PlainTextResponse:  # noqa: ARG001 - slowapi wants an argument of this name
    return PlainTextResponse(ANSWER)


@get("/", media_type=MediaType.TEXT)
async def hello_litestar() -> str:
    return ANSWER


def client_of_scope(scope: Any) -> str:
    name = CLIENT.encode()
    return next(value.decode() for key, value in scope["headers"] if key == name)


def client_of_request(request: Any) -> str:
    return request.headers[CLIENT]


def starlette(_url: str, _limit: int) -> Any:
    return Starlette(routes=[Route("/", hello)])


def starlette_tollhouse(url: str, limit: int) -> Any:
    return _limited(url, _policies(limit))


def starlette_refused(url: str, _limit: int) -> Any:
    return _limited(url, _policies(1), "refused")


def starlette_leased(url: str, limit: int) -> Any:
    return _limited(url, {"api": {"limit": _policies(limit)["api"], "lease": "auto"}}, "leased")


def starlette_slowapi(url: str, limit: int) -> Any:
    return _decorated(Limiter(key_func=client_of_request, headers_enabled=True, storage_uri=_for_limits(url)), limit)


def starlette_slowapi_silent(url: str, limit: int) -> Any:
    return _decorated(Limiter(key_func=client_of_request, storage_uri=_for_limits(url)), limit)


def starlette_slowapi_middleware(url: str, limit: int) -> Any:
    return _around(SlowAPIMiddleware, url, limit)


def starlette_slowapi_asgi(url: str, limit: int) -> Any:
    return _around(SlowAPIASGIMiddleware, url, limit)


def litestar(_url: str, _limit: int) -> Any:
    return Litestar([hello_litestar], openapi_config=None)


def litestar_tollhouse(url: str, limit: int) -> Any:
    plugin = TollhousePlugin(url, policies=_policies(limit), policy="api", key=client_of_scope)
    return Litestar([hello_litestar], openapi_config=None, plugins=[plugin])


def litestar_own(url: str, limit: int) -> Any:
    config = RateLimitConfig(rate_limit=("hour", limit), identifier_for_request=client_of_request)
    return Litestar(
        [hello_litestar],
        openapi_config=None,
        middleware=[config.middleware],
        # Not `RedisStore.with_client`: it gives every connection a port, which one to a unix socket refuses.
        stores={"rate_limit": RedisStore(redis.Redis.from_url(url), handle_client_shutdown=True)},
    )


APPS: dict[str, Create] = {
    "Starlette": starlette,
    "Starlette + Tollhouse": starlette_tollhouse,
    REFUSED: starlette_refused,
    LEASED: starlette_leased,
    f"Starlette{NOT_TUNED}": starlette,
    f"Starlette + Tollhouse{NOT_TUNED}": starlette_tollhouse,
    "Starlette + slowapi decorator": starlette_slowapi,
    "Starlette + slowapi decorator, no fields": starlette_slowapi_silent,
    "Starlette + SlowAPIMiddleware": starlette_slowapi_middleware,
    "Starlette + SlowAPIASGIMiddleware": starlette_slowapi_asgi,
    "Litestar": litestar,
    "Litestar + Tollhouse": litestar_tollhouse,
    "Litestar + RateLimitConfig": litestar_own,
}


class Served(Struct, frozen=True, kw_only=True):
    """A process that serves one of them."""

    port: int
    pid: int
    pauses: Pauses


@contextlib.contextmanager
def served(app: str, url: str, limit: int) -> Iterator[Served]:
    """Start a process that serves one of them, with its limits in the server at `url`."""
    pauses = Pauses()
    with socket.create_server((HOST, 0), backlog=1024) as listening:
        descriptors = [listening.fileno(), pauses.descriptor]
        child = [sys.executable, "-m", "bench.apps", app, url, str(limit), *map(str, descriptors)]
        with subprocess.Popen(child, pass_fds=descriptors) as process:
            try:
                yield Served(port=listening.getsockname()[1], pid=process.pid, pauses=pauses)
            finally:
                process.terminate()


def _limited(url: str, policies: Any, namespace: str | None = None) -> Starlette:
    app = Starlette(routes=[Route("/", hello)])
    app.add_middleware(
        tollhouse.RateLimitMiddleware,
        url=url,
        namespace=namespace,
        policies=policies,
        policy="api",
        key=client_of_scope,
    )
    return app


def _decorated(limiter: Limiter, limit: int) -> Any:
    limited = limiter.limit(_policies(limit)["api"])(hello)
    return _with_slowapi(limiter, Starlette(routes=[Route("/", limited)]))


def _around(middleware: Any, url: str, limit: int) -> Any:
    limiter = Limiter(
        key_func=client_of_request,
        headers_enabled=True,
        default_limits=[_policies(limit)["api"]],
        storage_uri=_for_limits(url),
    )
    app = _with_slowapi(limiter, Starlette(routes=[Route("/", hello)]))
    app.add_middleware(middleware)
    return app


def _with_slowapi(limiter: Limiter, app: Starlette) -> Starlette:
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)
    return app


def _policies(limit: int) -> dict[str, str]:
    return {"api": f"{limit}/hour"}


def _for_limits(url: str) -> str:
    return url.replace("unix://", "redis+unix://")


def main() -> None:
    """Serve one application on a bound socket."""
    parser = argparse.ArgumentParser(description="Serve one application of the benchmark.")
    parser.add_argument("app", choices=APPS)
    parser.add_argument("url")
    parser.add_argument("limit", type=int)
    parser.add_argument("descriptor", type=int)
    parser.add_argument("pauses", type=int)
    options = parser.parse_args()
    config = uvicorn.Config(
        APPS[options.app](options.url, options.limit),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=3600,  # connections wait while the others have their turns
    )
    config.load()
    if not options.app.endswith(NOT_TUNED):
        tollhouse.tune_gc()
    record(options.pauses)
    uvicorn.Server(config).run([socket.socket(fileno=options.descriptor)])


if __name__ == "__main__":
    main()
