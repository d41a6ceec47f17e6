"""Which limit a request meets: by method and path, with a rule of its own, or by several policies at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi import get, hello, limiter_with
from tests.structured_fields import parse_list
from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.asgi.ratelimit.rules import RateLimitRule, require_policies
from tollhouse.asgi.route_patterns import RoutePatterns
from tollhouse.errors import ConfigurationError
from tollhouse.limits.policy.notation import parse_policy

POLICIES = {"site": "9/minute", "login": "1/minute", "user": "2/minute", "tenant": "3/minute"}


def scope(request: str, root_path: str = "") -> dict[str, Any]:
    method, path = request.split(" ", 1)
    if method == "WS":
        return {"type": "websocket", "path": path, "root_path": root_path}
    return {"type": "http", "method": method, "path": path, "root_path": root_path}


#   pattern                   matches                                            does not match
MATCHES = [
    ("/login", ["GET /login", "POST /login", "WS /login", "GET /login/", "GET /Login"], ["GET /", "GET /login/x"]),
    ("POST /login", ["POST /login"], ["GET /login", "WS /login", "HEAD /login"]),
    ("GET /login", ["GET /login", "HEAD /login"], ["POST /login"]),
    ("GET|PUT /x", ["GET /x", "PUT /x", "HEAD /x"], ["POST /x"]),
    ("WS /chat", ["WS /chat"], ["GET /chat"]),
    (
        "/api/*",
        ["GET /api/", "GET /api/a", "PUT /api/a/b/", "GET /api/a\nb"],
        ["GET /api", "GET /apis/a", "GET /x/api/a"],
    ),
    ("/users/{id}", ["GET /users/7", "GET /users/7/"], ["GET /users/", "GET /users/7/x"]),
    ("/{a}/of/{b}/*", ["GET /x/of/y/z"], ["GET /of/y/z"]),
    ("/a.b", ["GET /a.b"], ["GET /axb"]),
    ("/", ["GET /"], ["GET /x"]),
    ("/*", ["GET /", "GET /x/y"], []),
]


@pytest.mark.parametrize(("pattern", "matching", "others"), MATCHES)
def test_a_pattern_is_methods_and_a_path(pattern: str, matching: list[str], others: list[str]) -> None:
    """A pattern holds for its methods and for paths of its form, with or without a slash at the end."""
    paths = RoutePatterns({pattern: "found"})

    assert [request for request in matching if paths.find(scope(request)) is None] == []
    assert [request for request in others if paths.find(scope(request)) is not None] == []


def test_the_first_pattern_that_matches_wins() -> None:
    """Of several patterns for a request the one that was written first holds, with its own parameters."""
    paths = RoutePatterns({"/users/me": 1, "/users/{id}": 2, "/{kind}/{id}": 3, "/*": 4})

    assert paths.find(scope("GET /users/me")) == (1, {})
    assert paths.find(scope("GET /users/7")) == (2, {"id": "7"})
    assert paths.find(scope("GET /cats/7")) == (3, {"kind": "cats", "id": "7"})
    assert paths.find(scope("GET /a/b/c")) == (4, {})


MOUNTED = [("GET /app/login", "/app"), ("GET /login", "/app"), ("GET /login", "")]


@pytest.mark.parametrize(("request_line", "root_path"), MOUNTED)
def test_paths_begin_where_the_application_is_mounted(request_line: str, root_path: str) -> None:
    """What stands before the application's own path, because it is mounted there, is no part of it."""
    assert RoutePatterns({"/login": True}).find(scope(request_line, root_path)) is not None


def test_a_path_that_only_begins_alike_is_not_mounted() -> None:
    """`/apple` is not `le` below `/app`; and the place itself is the path `/`."""
    assert RoutePatterns({"/apple": True}).find(scope("GET /apple", "/app")) is not None
    assert RoutePatterns({"/": True}).find(scope("GET /app", "/app")) is not None


MISTAKES = ["login", "post /login", "/a*", "/a/*/b", "/*/*", "/{id:int}", "/{a}/{a}", "/{a-b}", "/a b", ""]


@pytest.mark.parametrize("pattern", MISTAKES)
def test_a_pattern_that_cannot_be_meant_is_refused(pattern: str) -> None:
    """What is no pattern is a ConfigurationError that names it and shows how to write one."""
    with pytest.raises(ConfigurationError) as refused:
        RoutePatterns({pattern: True})

    assert (refused.value.setting, refused.value.value) == ("routes", pattern)


async def test_routes_have_their_own_policies(world: StoreWorld) -> None:
    """A request is counted by the first route that matches, by `policy` if none does, or not at all if it is None."""
    app = RateLimitMiddleware(
        hello,
        limiter=limiter_with(world, POLICIES),
        policy="site",
        routes={"POST /login": "login", "/health": None, "/users/{id}": "user"},
    )

    logins = [(await get(app, "/login", method="POST")).status_code for _ in range(2)]
    users = [(await get(app, path)).status_code for path in ("/users/1", "/users/2", "/users/3")]
    health = await get(app, "/health")
    other = await get(app, "/login")

    assert logins == [200, 429]
    assert users == [200, 200, 429]
    assert "ratelimit" not in health.headers
    assert other.headers["ratelimit-policy"] == '"site";q=9;w=60'


async def test_a_route_may_say_more_than_a_policy(world: StoreWorld) -> None:
    """A rule gives a route a key and a cost of its own; what it leaves open is as the middleware says."""
    app = RateLimitMiddleware(
        hello,
        limiter=limiter_with(world, POLICIES),
        policy="site",
        key="header:x-tenant",
        routes={
            "/users/{id}": RateLimitRule(policy="user", key="path:id"),
            "/dear": RateLimitRule(policy="user", cost=lambda _: 2),
        },
    )

    by_path = [(await get(app, path, **{"x-tenant": "a"})).status_code for path in ["/users/1"] * 3 + ["/users/2"]]
    by_cost = [(await get(app, "/dear", **{"x-tenant": tenant})).status_code for tenant in ("a", "a", "b")]

    assert by_path == [200, 200, 429, 200]
    assert by_cost == [200, 429, 200]


async def test_parameters_of_a_mounted_application_stay_its_own(world: StoreWorld) -> None:
    """Inside a mount the patterns are those of the part that is mounted there."""
    app = Starlette(
        routes=[
            Mount(
                "/sub",
                RateLimitMiddleware(
                    hello, limiter=limiter_with(world, POLICIES), routes={"/login": "login"}, policy=None
                ),
            )
        ]
    )

    assert [(await get(app, "/sub/login")).status_code for _ in range(2)] == [200, 429]
    assert (await get(app, "/sub/other")).status_code == 200


async def test_a_policy_may_say_whom_it_counts(world: StoreWorld) -> None:
    """Without a key the policy's own rule holds, and that of the middleware before it."""
    policies = {"site": parse_policy("site", "1/minute", key="header:x-tenant")}
    own = RateLimitMiddleware(hello, limiter=limiter_with(world, policies), policy="site")
    other = RateLimitMiddleware(hello, limiter=limiter_with(world, policies), policy="site", key="address")

    by_tenant = [(await get(own, **{"x-tenant": tenant})).status_code for tenant in ("a", "b", "a")]
    by_address = [(await get(other, **{"x-tenant": tenant})).status_code for tenant in ("a", "b")]

    assert by_tenant == [200, 200, 429]
    assert by_address == [200, 429]


async def test_a_request_costs_what_its_policy_says(world: StoreWorld) -> None:
    """Without a cost a request costs as much as a take of the policy does."""
    app = RateLimitMiddleware(
        hello, limiter=limiter_with(world, {"site": parse_policy("site", "5/minute", cost=2)}), policy="site"
    )

    assert [(await get(app)).status_code for _ in range(3)] == [200, 200, 429]


SEVERAL: Mapping[str, Any] = {
    "policy": ["tenant", "user"],
    "key": {"tenant": "header:x-tenant", "user": "header:x-user"},
}


async def test_several_policies_are_decided_as_one(world: StoreWorld) -> None:
    """Each policy counts by its own key; a request that one of them refuses is charged to none."""
    limits = limiter_with(world, POLICIES)
    app = RateLimitMiddleware(hello, limiter=limits, **SEVERAL)

    statuses = [
        (await get(app, **{"x-tenant": "acme", "x-user": user})).status_code
        for user in ("ada", "ada", "ada", "ada", "bob", "bob")
    ]

    assert statuses == [200, 200, 429, 429, 200, 429]
    assert (await limits.peek("tenant", "header:x-tenant:acme")).limits[0].remaining == 0
    assert (await limits.peek("user", "header:x-user:bob")).limits[0].remaining == 1


async def test_several_policies_are_told_of_in_one_field(world: StoreWorld) -> None:
    """Served or refused, the response tells of all policies; the problem says which of them refuse, and until when."""
    app = RateLimitMiddleware(hello, limiter=limiter_with(world, POLICIES), **SEVERAL)

    served = await get(app, **{"x-tenant": "acme", "x-user": "ada"})
    await get(app, **{"x-tenant": "acme", "x-user": "ada"})
    refused = await get(app, **{"x-tenant": "acme", "x-user": "ada"})

    problem = refused.json()
    assert [name for name, _ in parse_list(served.headers["ratelimit"])] == ["tenant", "user"]
    assert [name for name, _ in parse_list(refused.headers["ratelimit"])] == ["tenant", "user"]
    assert problem["violated-policies"] == ["user"]
    assert int(refused.headers["retry-after"]) == -(-problem["retry_after_ms"] // 1000)
    assert "acme" not in refused.text


async def test_the_policies_may_depend_on_the_request(world: StoreWorld) -> None:
    """A function of the scope names one policy, several, or none."""

    async def choose(scope: Any) -> Any:
        return {"/both": ["login", "user"], "/none": None}.get(scope["path"], "user")

    app = RateLimitMiddleware(hello, limiter=limiter_with(world, POLICIES), policy=choose)

    both = await get(app, "/both")
    none = await get(app, "/none")
    one = await get(app, "/")

    assert both.headers["ratelimit-policy"] == '"login";q=1;w=60, "user";q=2;w=60'
    assert "ratelimit" not in none.headers
    assert one.headers["ratelimit"].startswith('"user";r=0;')


async def test_the_limit_may_depend_on_the_request(world: StoreWorld) -> None:
    """A function of the scope returns limits as well as names, alone or several; each limit counts for itself."""
    plans: dict[str, Any] = {
        "/free": "1/minute",
        "/paid": "2/minute",
        "/both": ["1/minute", "user"],
        "/none": None,
        "/named": "tenant",
    }

    async def plan(scope: Any) -> Any:
        return plans[scope["path"]]

    app = RateLimitMiddleware(
        hello, limiter=limiter_with(world, POLICIES), policy=None, routes={"/*": RateLimitRule(policy=plan)}
    )

    statuses = {path: [(await get(app, path)).status_code for _ in range(3)] for path in ("/free", "/paid", "/none")}
    both, named = await get(app, "/both"), await get(app, "/named")

    assert statuses == {"/free": [200, 429, 429], "/paid": [200, 200, 429], "/none": [200, 200, 200]}
    assert both.status_code == 429
    assert both.headers["ratelimit-policy"].partition(";")[2] == 'q=1;w=60, "user";q=2;w=60'
    assert named.headers["ratelimit-policy"] == '"tenant";q=3;w=60'


@pytest.mark.parametrize("value", ["5/mn", "silver", 7, ["silver"], [7]])
async def test_a_choice_that_is_no_limit_is_told(world: StoreWorld, value: Any) -> None:
    """What the function returned is in the ConfigurationError; the client is not blamed for it."""
    app = RateLimitMiddleware(hello, limiter=limiter_with(world, POLICIES), policy=lambda _: value)

    with pytest.raises(ConfigurationError) as refused:
        await get(app)

    assert refused.value.setting == "policy"
    assert refused.value.value in (value, *(value if isinstance(value, list) else ()))


async def test_clients_are_told_in_the_dialect_that_was_chosen(world: StoreWorld) -> None:
    """`headers` chooses the fields of every response, served or refused."""
    app = RateLimitMiddleware(hello, limiter=limiter_with(world, POLICIES), policy="login", headers="x-ratelimit")

    served, refused = await get(app), await get(app)

    assert (served.headers["x-ratelimit-limit"], served.headers["x-ratelimit-remaining"]) == ("1", "0")
    assert (refused.status_code, refused.headers["x-ratelimit-remaining"]) == (429, "0")
    assert "ratelimit" not in refused.headers


def test_a_misspelled_policy_is_told() -> None:
    """A policy that does not exist is refused with the nearest one."""
    with pytest.raises(ConfigurationError) as caught:
        require_policies(["api", "lgoin"], {"api": 1, "login": 2})

    assert (caught.value.setting, caught.value.value) == ("policy", "lgoin")
    assert "did you mean 'login'?" in caught.value.remedy
