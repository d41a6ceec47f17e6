"""Every edge under generated requests: keys, costs, paths and websockets of clients never make an application fail."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from itertools import combinations
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.edges import EDGES, POLICIES
from tests.fuzz import hostile
from tests.fuzz.harness import Request, Target, examples, scope_of
from tests.worlds import fake_world
from tollhouse.limits.limiter import Limiter

PATHS: Final = ("/", "/job", "/user", "/key/{}", "/function", "/thread", "/waiting", "/socket", "/a/b")
SEVERAL: Final = 3
"""How many edges get one request: to draw it takes longer than to send it."""
SOCKETS: Final = ("middleware", "several", "words", "plugin", "dependency", "function", "bare")


@pytest.fixture(scope="module")
def targets() -> Generator[Mapping[str, Target]]:
    opened = fake_world()
    with asyncio.Runner() as runner:
        world = runner.run(opened.__aenter__())
        limits = Limiter(world.stores.limits, POLICIES, world.keyring, world.metrics)
        targets = {name: Target(make(limits), runner) for name, make in EDGES.items()}
        yield targets
        for target in targets.values():
            target.close()
        runner.run(opened.__aexit__(None, None, None))


VALUES: Final = (hostile.VALUES.map(hostile.json_text) | hostile.HEADER_VALUES).map(
    lambda raw: raw.translate(None, b"\r\n\x00")
)


@st.composite
def _headers(draw: st.DrawFn) -> tuple[tuple[bytes, bytes], ...]:
    headers = [(b"host", b"testserver"), *draw(hostile.HEADERS)]
    if draw(st.booleans()):
        headers.append((b"x-key", draw(VALUES)))
    if draw(st.integers(0, 2)) == 0:
        headers.append((b"x-cost", draw(VALUES)))
    return tuple(headers)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    path = draw(st.sampled_from(PATHS)).replace("{}", draw(hostile.PATH_PARTS))
    if draw(st.integers(0, 7)) == 0:
        path = "/" + draw(hostile.PATH_PARTS) + path
    method = draw(st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "PROPFIND"]))
    return Request(
        method=method, path=path, query=draw(hostile.QUERIES), headers=draw(_headers()), chunks=(b"",), wait_ms=20
    )


def test_no_request_makes_an_edge_fail(targets: Mapping[str, Target]) -> None:
    """Every request to every kind of application is answered within its time and without a 500."""

    @examples(0.3 / SEVERAL)
    @given(st.sampled_from(list(combinations(sorted(EDGES), SEVERAL))), requests())
    def answers(edges: tuple[str, ...], request: Request) -> None:
        for edge in edges:
            targets[edge].send(request)

    answers()

    for name, target in targets.items():
        target.report(name)
        target.statuses.clear()


def _socket_scope(request: Request, *, can_deny: bool) -> dict[str, Any]:
    scope = {**scope_of(request), "type": "websocket", "scheme": "ws", "subprotocols": []}
    del scope["method"]
    return {**scope, "extensions": {"websocket.http.response": {}}} if can_deny else scope


def test_no_websocket_makes_an_edge_fail(targets: Mapping[str, Target]) -> None:
    """Every websocket is served, refused or closed for a reason, and never because the application failed."""

    @examples(0.05)
    @given(st.sampled_from(SOCKETS), requests(), st.lists(hostile.TEXTS, max_size=3), st.booleans())
    def ends(edge: str, request: Request, texts: list[str], can_deny: bool) -> None:
        path = "/socket" if edge in ("plugin", "dependency", "function") else request.path
        scope = _socket_scope(Request(method="GET", path=path, headers=request.headers), can_deny=can_deny)
        targets[edge].connect(scope, texts)

    ends()

    for name, target in targets.items():
        target.report(f"websockets of {name}")
