"""A head that a connection was accepted with is not looked at again; whatever differs from it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.http.client import SERVICE_KEY
from tests.http.twins import BODY_BYTES, HEADERS, HttpRequest, Twins, twins
from tollhouse.asgi.forwarding_notices import FORWARDING_FIELDS
from tollhouse.asgi.types import Headers
from tollhouse.http.api_keys import ApiKeys
from tollhouse.http.limits.fast_path import FastPath, TakeConnection
from tollhouse.http.limits.kept_head import KeptHead

TARGET = b"/v1/limits/take"
KEY = b"Bearer " + SERVICE_KEY.encode()


def take(key: str = "ada", *headers: tuple[bytes, bytes], without: bytes = b"") -> HttpRequest:
    kept = [header for header in HEADERS if header[0] != without]
    chunk = json.dumps({"policy": "plenty", "key": key}).encode()
    return HttpRequest(headers=(*kept, *headers), chunks=(chunk,))


PLAIN = take()
REQUESTS = {
    "the same": PLAIN,
    "another length": take("ada-2"),
    "another order": replace(PLAIN, headers=HEADERS[::-1]),
    "one header more": take("ada", (b"accept", b"*/*")),
    "one header less": replace(PLAIN, headers=(*HEADERS[1:], (b"host", b"another"))),
    "a trace": take("ada", (b"traceparent", b"00-1-2-01")),
    "another trace": take("ada", (b"traceparent", b"00-1-3-01")),
    "kept alive": take("ada", (b"connection", b"keep-alive")),
    "closed": take("ada", (b"connection", b"close")),
    "another host": take("ada", (b"host", b"elsewhere"), without=b"host"),
    "a host that is none": take("ada", (b"host", b"a b"), without=b"host"),
    "another type": take("ada", (b"content-type", b"text/plain"), without=b"content-type"),
    "another key": take("ada", (b"authorization", b"Bearer no-key-of-this-service"), without=b"authorization"),
    "a key of its own": take("ada", (b"x-api-key", SERVICE_KEY.encode()), without=b"authorization"),
    "two keys": take("ada", (b"x-api-key", SERVICE_KEY.encode())),
    "no key": take("ada", without=b"authorization"),
    "a cookie": take("ada", (b"cookie", b"a=b")),
    "an offer to upgrade": take("ada", (b"connection", b"upgrade"), (b"upgrade", b"h2c")),
    "a body to ask for": take("ada", (b"expect", b"100-continue")),
    "a body in chunks": replace(take("ada", (b"transfer-encoding", b"chunked")), length=None),
    "no length": replace(PLAIN, chunks=(b"",), length=None),
    "two lengths": take("ada", (b"content-length", b"33")),
    "a body too long": take("x" * BODY_BYTES),
    "another target": replace(PLAIN, path="/v1/limits/take-batch"),
    "another method": replace(PLAIN, method="PUT"),
    "a query": replace(PLAIN, query=b"a=b"),
    "no take": replace(PLAIN, chunks=(b"[]",)),
}


@pytest.fixture(scope="module")
async def lasting() -> AsyncIterator[Twins]:
    async with twins() as made:
        yield made


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_head_that_differs_is_looked_at(lasting: Twins, name: str) -> None:
    """Between two accepted ones it is answered as the documented handler answers it."""
    segments = [segment for one in (PLAIN, REQUESTS[name], PLAIN) for segment in one.segments]

    served, documented = await lasting.exchanges(segments)

    assert served == documented


@given(st.lists(st.sampled_from(sorted(REQUESTS)), max_size=12))
async def test_heads_of_one_connection_are_answered_alike(lasting: Twins, names: list[str]) -> None:
    """In any order, each in a segment of its own or all in one."""
    each = [segment for name in names for segment in REQUESTS[name].segments]

    for segments in (each, [b"".join(each)]):
        for twin in (lasting.served, lasting.documented):
            await twin.renew()
        served, documented = await lasting.exchanges(segments)

        assert served == documented


@pytest.mark.parametrize("asked", ["the same", "kept alive"])
async def test_the_version_is_a_part_of_the_head(lasting: Twins, asked: str) -> None:
    """The same headers under HTTP/1.0 are answered as that version is: its connection ends, or is said to be kept."""
    (newer,) = REQUESTS[asked].segments
    segments = [newer, newer.replace(b"HTTP/1.1", b"HTTP/1.0"), newer]

    served, documented = await lasting.exchanges(segments)

    assert served == documented


HEAD: Headers = [(b"host", b"app"), (b"content-type", b"application/json"), (b"authorization", KEY)]
LENGTHS = st.sampled_from([b"7", b"31", b"", b"007", b"+1"])


@given(place=st.integers(0, 3), length=LENGTHS, data=st.data())
def test_a_kept_head_tells_the_length_of_an_equal_one(place: int, length: bytes, data: st.DataObject) -> None:
    """Wherever the length stands, any other value, name, order or number of headers is another head."""
    kept_headers = [*HEAD[:place], (b"content-length", b"12"), *HEAD[place:]]
    kept = KeptHead(TARGET, kept_headers, b"authorization")
    headers = [*HEAD[:place], (b"content-length", length), *HEAD[place:]]
    at = data.draw(st.integers(0, 3))
    name, value = headers[at]
    others = [
        [*headers, (b"a", b"b")],
        headers[:at] + headers[at + 1 :],
        [*headers[:at], (name + b"x", value), *headers[at + 1 :]],
        *([] if at == place else [[*headers[:at], (name, value + b"x"), *headers[at + 1 :]]]),
    ]

    assert all(kept.length_of(TARGET, other) is None for other in others)
    assert kept.length_of(TARGET + b"-batch", headers) is None
    assert kept.length_of(TARGET, headers) == length


def traced(number: int) -> Headers:
    return [*HEAD, (b"content-length", b"2"), (b"traceparent", b"00-%d" % number)]


def is_routed(connection: TakeConnection, headers: Headers) -> bool:
    """Return whether the head is one with a route, as the protocol asks for it."""
    scope = {"headers": headers, "client": ("192.0.2.1", 1), "root_path": ""}
    return connection.route(b"POST", TARGET, dict(headers), scope) is not None


async def test_a_connection_whose_heads_all_differ_compares_no_more(lasting: Twins) -> None:
    """A client that traces each request has each head read; one whose heads differ now and then is compared again."""
    tollhouse = lasting.served.tollhouse
    path = FastPath(ignore, tollhouse, ApiKeys(tollhouse))
    tracing, plain = path.fast_connection(), path.fast_connection()

    for number in range(9):
        assert tracing.repeated(b"POST", TARGET, traced(number)) is None
        assert is_routed(tracing, traced(number))
        plain.repeated(b"POST", TARGET, traced(number // 2))
        assert is_routed(plain, traced(number // 2))

    assert tracing.repeated(b"POST", TARGET, traced(8)) is None
    assert plain.repeated(b"POST", TARGET, traced(4)) is not None


@pytest.mark.parametrize("name", sorted(FORWARDING_FIELDS))
async def test_a_head_that_names_a_client_is_looked_at_each_time(lasting: Twins, name: bytes) -> None:
    """A proxy tells another client in it, or is to be told about itself in the log."""
    tollhouse = lasting.served.tollhouse
    connection = FastPath(ignore, tollhouse, ApiKeys(tollhouse)).fast_connection()
    headers = [*HEAD, (b"content-length", b"2"), (name, b"192.0.2.7")]

    assert is_routed(connection, headers)
    assert connection.repeated(b"POST", TARGET, headers) is None


async def ignore(scope: object, receive: object, send: object) -> None: ...
