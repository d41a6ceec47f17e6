"""The ASGI middleware: limits around any application, with no help from its framework."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.asgi import (
    FailingStore,
    blamed,
    connections,
    django_application,
    get,
    hello,
    limiter_with,
    until_connections,
)
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings

POLICIES = {"api": "2/minute", "login": "1/minute"}


def limiter(world: StoreWorld) -> Limiter:
    return limiter_with(world, POLICIES)


async def test_a_request_within_the_limit_is_served_with_its_fields(world: StoreWorld) -> None:
    """An allowed request reaches the application, and its response tells where the limit stands (C-9)."""
    app = RateLimitMiddleware(hello, limiter=limiter(world), policy="api")

    response = await get(app)

    assert (response.status_code, response.text) == (200, "hello")
    assert response.headers["x-app"] == "yes"
    assert response.headers["ratelimit-policy"] == '"api";q=2;w=60'
    assert response.headers["ratelimit"].startswith('"api";r=1;t=')


async def test_a_request_above_the_limit_is_answered_with_a_problem(world: StoreWorld) -> None:
    """A refused request does not reach the application: 429 problem+json, which no cache may keep."""
    app = RateLimitMiddleware(hello, limiter=limiter(world), policy="api")
    for _ in range(2):
        await get(app)

    response = await get(app)

    problem = response.json()
    assert response.status_code == 429
    assert "x-app" not in response.headers
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["ratelimit"].startswith('"api";r=0;t=')
    assert int(response.headers["retry-after"]) == -(-problem["retry_after_ms"] // 1000)
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert (problem["status"], problem["allowed"], problem["policy"]) == (429, False, "api")
    assert problem["violated-policies"] == ["api"]
    assert problem["limits"][0]["remaining"] == 0
    assert "192.0.2.1" not in response.text


async def test_the_refusal_ends_when_it_says(world: StoreWorld) -> None:
    """After Retry-After the same request is served."""
    app = RateLimitMiddleware(hello, limiter=limiter(world), policy="login")
    await get(app)
    refused = await get(app)

    await world.advance(int(refused.headers["retry-after"]) * 1000)

    assert (await get(app)).status_code == 200


async def test_every_client_has_its_own_limit(world: StoreWorld) -> None:
    """The key is the client's address: IPv6 by /64, forwarding headers only from trusted proxies."""
    app = RateLimitMiddleware(hello, limiter=limiter(world), policy="login", trusted_proxies=["10.0.0.0/8"])

    assert (await get(app, peer="2001:db8::1")).status_code == 200
    assert (await get(app, peer="2001:db8::2")).status_code == 429
    assert (await get(app, peer="192.0.2.1", **{"X-Forwarded-For": "198.51.100.1"})).status_code == 200
    assert (await get(app, peer="192.0.2.1", **{"X-Forwarded-For": "198.51.100.2"})).status_code == 429
    assert (await get(app, peer="10.0.0.1", **{"X-Forwarded-For": "198.51.100.1"})).status_code == 200
    assert (await get(app, peer="10.0.0.2", **{"X-Forwarded-For": "198.51.100.1"})).status_code == 429


async def test_key_policy_and_cost_may_depend_on_the_request(world: StoreWorld) -> None:
    """Functions of the scope, plain or async, choose whom to count, by which policy, and how much."""

    async def key(scope: Any) -> str:
        return dict(scope["headers"]).get(b"x-user", b"nobody").decode()

    app = RateLimitMiddleware(
        hello,
        limiter=limiter(world),
        policy=lambda scope: {"/login": "login", "/free": None}.get(scope["path"], "api"),
        key=key,
        cost=lambda scope: 2 if scope["path"] == "/dear" else 1,
        exempt=lambda scope: scope["path"] == "/health",
    )

    assert [(await get(app, "/dear", **{"X-User": "ada"})).status_code for _ in range(2)] == [200, 429]
    assert [(await get(app, "/", **{"X-User": "bob"})).status_code for _ in range(3)] == [200, 200, 429]
    assert [(await get(app, "/login", **{"X-User": "ada"})).status_code for _ in range(2)] == [200, 429]
    for path in ("/free", "/health"):
        response = await get(app, path, **{"X-User": "ada"})
        assert (response.status_code, "ratelimit" in response.headers) == (200, False)


async def test_a_cost_above_the_limit_can_never_pass(world: StoreWorld) -> None:
    """A request that costs more than its limit is 422 `cost-above-limit`, without Retry-After."""
    app = RateLimitMiddleware(hello, limiter=limiter(world), policy="api", cost=3)

    response = await get(app)

    assert response.status_code == 422
    assert "retry-after" not in response.headers
    assert response.json()["type"].endswith("cost-above-limit")
    assert response.json()["retry_after_ms"] is None


async def test_a_key_that_cannot_be_counted_is_the_clients_fault(world: StoreWorld) -> None:
    """A key out of bounds, which a client may have sent, is 422; a policy out of nowhere is our own fault."""
    app = RateLimitMiddleware(hello, limiter=limiter(world), policy="api", key=lambda _: "k" * 1000)
    wrong = RateLimitMiddleware(hello, limiter=limiter(world), policy=lambda _: "missing")

    response = await get(app)

    assert response.status_code == 422
    assert response.json()["field"] == "key"
    assert "kkkk" not in response.text
    with pytest.raises(ConfigurationError) as refused:
        await get(wrong)
    assert (refused.value.setting, refused.value.value) == ("policy", "missing")


def outage(tmp_path: Path, on_outage: str) -> Settings:
    """Name a server that is not there, and a policy that says what then."""
    policies = {"api": PolicySettings(limit="2/minute", on_outage=on_outage)}
    return Settings(url=f"unix://{tmp_path}/no.sock", deadline_ms=50, limits=LimitSettings(policies=policies))


async def test_a_policy_that_closes_in_an_outage_is_answered_with_503(tmp_path: Path) -> None:
    """A store that does not answer is 503 `temporary-reduced-capacity` with Retry-After, never 500."""
    app = RateLimitMiddleware(hello, settings=outage(tmp_path, "closed"), policy="api")

    response = await get(app)
    await app.aclose()

    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["type"].endswith("#temporary-reduced-capacity")
    assert response.json()["violated-policies"] == ["api"]
    assert "ratelimit" not in response.headers
    assert "x-app" not in response.headers


async def test_a_policy_that_opens_in_an_outage_tells_nothing(tmp_path: Path) -> None:
    """While the count is unknown the request is served, without fields."""
    app = RateLimitMiddleware(hello, settings=outage(tmp_path, "open"), policy="api")

    responses = [await get(app) for _ in range(3)]
    await app.aclose()

    assert [response.status_code for response in responses] == [200] * 3
    assert "ratelimit" not in responses[0].headers


async def test_a_policy_that_counts_locally_in_an_outage_tells_what_it_counts(tmp_path: Path) -> None:
    """While the process counts for itself, limits hold and are told of as ever."""
    app = RateLimitMiddleware(hello, settings=outage(tmp_path, "local"), policy="api")

    responses = [await get(app) for _ in range(3)]
    await app.aclose()

    assert [response.status_code for response in responses] == [200, 200, 429]
    assert responses[0].headers["ratelimit"].startswith('"api";r=1;t=')
    assert responses[2].json()["degraded"] is True


async def test_a_defect_of_the_store_is_no_defect_of_the_application(world: StoreWorld) -> None:
    """A store that answers with an error is 503 too, and the application does not see the request."""
    policies = {"api": parse_policy("api", "2/minute")}
    limits = Limiter(FailingStore(), policies, world.keyring, world.metrics)

    response = await get(RateLimitMiddleware(hello, limiter=limits, policy="api"))

    assert response.status_code == 503
    assert response.json()["violated-policies"] == ["api"]


WRONG = [
    ({"policy": "missing"}, "policy", "missing"),
    ({"policies": {"api": "5/mn"}}, "policies.api", "5/mn"),
    ({"url": "nonsense://h"}, "url", "nonsense"),
    ({"url": "fake://", "settings": Settings()}, "url", "fake://"),
    ({"trusted_proxies": ["everyone"]}, "trusted_proxies", "everyone"),
    ({"ipv6_prefix_bits": 128}, "ipv6_prefix_bits", 128),
    ({"limiter": object(), "url": "fake://"}, "limiter", "given"),
    ({"limiter": object(), "policies": POLICIES}, "policies", ["api", "login"]),
    ({"policy": ["default", "missing"]}, "policy", "missing"),
    ({"messages": "missing"}, "policy", "missing"),
    ({"key": {"missing": "user"}}, "policy", "missing"),
    ({"key": "adress"}, "key", "adress"),
    ({"key": "header"}, "key", "header"),
    ({"key": "session", "url": "redis://elsewhere"}, "key", "session"),
    ({"charge": "4x"}, "charge", "4x"),
    ({"routes": {"login": "default"}}, "routes", "login"),
    ({"routes": {"/login": "missing"}}, "policy", "missing"),
]


@pytest.mark.parametrize(("arguments", "named", "value"), WRONG)
def test_what_cannot_work_is_refused_at_once(arguments: dict[str, Any], named: str, value: object) -> None:
    """A wrong policy, limit, server or network raises when the middleware is made, not on the first request."""
    with pytest.raises((ConfigurationError, InvalidInput)) as refused:
        RateLimitMiddleware(hello, **arguments)

    assert (blamed(refused.value), refused.value.value) == (named, value)


async def test_no_more_than_the_limit_passes_at_once(world: StoreWorld) -> None:
    """Of many requests at the same time exactly as many pass as the limit admits."""
    app = RateLimitMiddleware(hello, limiter=limiter(world), policy="api")

    responses = await asyncio.gather(*(get(app) for _ in range(20)))

    assert sorted(response.status_code for response in responses) == [200] * 2 + [429] * 18


@pytest.mark.parametrize("kind", ["lifespan", "something-new"])
async def test_other_scopes_pass_through_untouched(kind: str) -> None:
    """The lifespan and scopes that are not known reach the application as they came."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([scope, receive])
        await send({"type": "http.response.start"})

    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind}
    await RateLimitMiddleware(app, url="fake://", policies=POLICIES, policy="api")(scope, receive, send)

    assert seen[0] is scope
    assert seen[1] is receive
    assert sent == [{"type": "http.response.start"}]


async def test_an_application_that_refuses_the_lifespan_may(world: StoreWorld) -> None:
    """What the application raises for a scope reaches the server, which then goes on without a lifespan."""
    app = RateLimitMiddleware(hello, limiter=limiter(world), policy="api")

    with pytest.raises(ValueError, match="only HTTP"):
        await app({"type": "lifespan"}, None, None)  # pyright: ignore[reportArgumentType] - nothing is received or sent


async def test_a_limiter_that_was_handed_in_stays_open(world: StoreWorld) -> None:
    """The end of the middleware does not close a limiter that its owner opened."""
    own = limiter(world)
    app = RateLimitMiddleware(hello, limiter=own, policy="api")

    await app.aclose()

    assert (await own.take("api", "ada")).allowed


async def test_a_stream_passes_untouched(world: StoreWorld) -> None:
    """A streamed response keeps its chunks and its own fields; the limit's fields come behind them."""

    async def chunks() -> AsyncIterator[bytes]:
        for part in (b"a", b"b", b"c"):
            yield part

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(chunks(), headers={"RateLimit": '"inner";r=9;t=1'})

    app = RateLimitMiddleware(Starlette(routes=[Route("/", stream)]), limiter=limiter(world), policy="api")

    response = await get(app)

    assert response.content == b"abc"
    assert response.headers.get_list("ratelimit")[0] == '"inner";r=9;t=1'
    assert response.headers.get_list("ratelimit")[1].startswith('"api";r=1')


async def test_it_connects_on_the_first_request_and_closes_with_the_lifespan(embedded: StoreWorld) -> None:
    """Nothing connects before a request; when the lifespan ends, no connection is left (no lifespan is needed)."""
    inner = Starlette(routes=[Route("/", lambda _: PlainTextResponse("ok"))])
    app = RateLimitMiddleware(inner, url=embedded.url, policies=POLICIES, policy="api")
    before = await connections(embedded)
    first = await get(app)
    during = await connections(embedded)

    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    completed: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        if message["type"] == "lifespan.shutdown.complete":
            await until_connections(embedded, before)
            completed.append(message)

    await app({"type": "lifespan", "app": inner, "state": {}}, receive, send)
    again = await get(app)
    await app.aclose()

    assert (first.status_code, again.status_code) == (200, 200)
    assert during > before
    assert len(completed) == 1


async def test_what_was_never_opened_needs_no_end() -> None:
    """An application that saw no request has nothing to close, and can be closed more than once."""
    app = RateLimitMiddleware(hello, url="fake://", policies=POLICIES, policy="api")

    await app.aclose()
    await app.aclose()


async def test_each_event_loop_has_its_own_connections(embedded: StoreWorld) -> None:
    """One middleware serves several event loops, which share the limit; what one opened closes when it ends."""
    app = RateLimitMiddleware(hello, url=embedded.url, policies=POLICIES, policy="api")
    before = await connections(embedded)

    responses = [await asyncio.to_thread(lambda: asyncio.run(get(app))) for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 429]
    await until_connections(embedded, before)


async def test_a_loop_that_ended_without_order_is_forgotten() -> None:
    """A loop that was closed without letting anything end does not keep the next one from being served."""
    app = RateLimitMiddleware(hello, url="fake://forgotten", policies=POLICIES, policy="api")

    def serve_and_drop() -> int:
        loop = asyncio.new_event_loop()
        status = loop.run_until_complete(get(app)).status_code
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))
        loop.close()
        return status

    assert [await asyncio.to_thread(serve_and_drop) for _ in range(2)] == [200, 200]


def django_app() -> Any:
    from django.http import HttpResponse
    from django.urls import path

    return django_application([path("", lambda _: HttpResponse(b"ok"))])


def starlette_app() -> Any:
    return Starlette(routes=[Route("/", lambda _: PlainTextResponse("ok"))])


def fastapi_app() -> Any:
    app = FastAPI()
    app.add_api_route("/", lambda: "ok")
    return app


async def test_it_needs_no_lifespan(embedded: StoreWorld) -> None:
    """A test client that runs every request in a loop of its own, without a lifespan, sees the limit too."""
    client = TestClient(RateLimitMiddleware(starlette_app(), url=embedded.url, policies=POLICIES, policy="api"))

    responses = [await asyncio.to_thread(client.get, "/") for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 429]


@pytest.mark.parametrize("make", [django_app, starlette_app, fastapi_app])
async def test_any_framework_can_be_limited(embedded: StoreWorld, make: Callable[[], Any]) -> None:
    """Django, Starlette and FastAPI applications are limited by one line around them (C-9)."""
    app = RateLimitMiddleware(make(), url=embedded.url, policies=POLICIES, policy="api")

    statuses = [(await get(app)).status_code for _ in range(3)]
    await app.aclose()

    assert statuses == [200, 200, 429]


def test_it_is_added_as_starlette_and_fastapi_add_middleware() -> None:
    """`add_middleware` takes it, and the framework's own test client, with its lifespan, sees the limit."""
    app = fastapi_app()
    app.add_middleware(RateLimitMiddleware, url="fake://added", policies=POLICIES, policy="api")

    with TestClient(app) as client:
        statuses = [client.get("/").status_code for _ in range(3)]

    assert statuses == [200, 200, 429]
