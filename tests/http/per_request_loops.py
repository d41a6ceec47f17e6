"""Apps as their tests drive them, on one server: `python -m tests.http.per_request_loops` prints what they answered."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

import tollhouse
from tollhouse.fastapi import RateLimit

REQUESTS: Final = 3


def behind_middleware(url: str) -> Any:
    """An app with one line around it."""
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("ok"))])
    policy = _fresh()
    return tollhouse.RateLimitMiddleware(app, url=url, policies={policy: "2/minute"}, policy=policy)


def with_dependency(url: str) -> Any:
    """A FastAPI app with a dependency on one route."""
    app = FastAPI()
    app.add_api_route("/", lambda: "ok", dependencies=[Depends(RateLimit("2/minute", name=_fresh(), limiter=url))])
    return app


def with_function(url: str) -> Any:
    """An app whose endpoint calls a function with a limit of its own."""

    @tollhouse.limit("2/minute", key="all", name=_fresh(), limiter=url)
    async def work() -> None:
        """Do what is limited."""

    return _app_calling(work)


def with_plain_function(url: str) -> Any:
    """The same with a function that is not async, which the framework runs in a thread."""

    @tollhouse.limit("2/minute", key="all", name=_fresh(), limiter=url)
    def endpoint(request: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/", endpoint)], exception_handlers={tollhouse.RateLimited: _refuse})


APPS: Final[Mapping[str, Callable[[str], Any]]] = {
    made.__name__: made for made in (behind_middleware, with_dependency, with_function, with_plain_function)
}


def statuses(app: Any, *, lifespan: bool) -> list[int]:
    """Return what each request of a test client is answered; without a lifespan each has an event loop of its own."""
    client = TestClient(app)
    life: AbstractContextManager[Any] = client if lifespan else nullcontext()
    with life:
        return [client.get("/").status_code for _ in range(REQUESTS)]


def _fresh() -> str:
    return f"p{secrets.token_hex(4)}"


def _app_calling(work: Any) -> Starlette:
    async def endpoint(request: Request) -> Response:
        await work()
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/", endpoint)], exception_handlers={tollhouse.RateLimited: _refuse})


async def _refuse(_: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 429)


if __name__ == "__main__":
    # Made first, and kept: the server ends with the last app that uses it, also if garbage collection ends that one.
    apps = {
        f"{name}{'-with-lifespan' if lifespan else ''}": (make(sys.argv[1]), lifespan)
        for lifespan in (False, True)
        for name, make in APPS.items()
    }
    found = {name: statuses(app, lifespan=lifespan) for name, (app, lifespan) in apps.items()}
    print(json.dumps(found))  # noqa: T201 - the specification reads it
