"""The fast path and the documented handlers send the same bytes for the two hot routes."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.http.client import ADMIN_KEY, SERVICE_KEY
from tests.http.twins import BODY_BYTES, HEADERS, HttpRequest, Line, Messages, Twin, Twins, twins
from tollhouse.asgi.ratelimit.headers import DIALECTS
from tollhouse.errors import Outcome, ScriptFailed, StoreUnavailable
from tollhouse.serving.bounds import WAITING_MAX
from tollhouse.settings.model import Dialect

BATCH = "/v1/limits/take-batch"
PLAIN = HttpRequest()


def body(value: Any, **changes: Any) -> HttpRequest:
    return replace(PLAIN, chunks=(json.dumps(value).encode(),), **changes)


def take(key: str = "ada", **members: Any) -> HttpRequest:
    return body({"policy": "api", "key": key, **members})


def batch(*takes: Any) -> HttpRequest:
    return body(list(takes), path=BATCH)


def with_headers(*headers: tuple[bytes, bytes], without: bytes = b"") -> HttpRequest:
    return replace(PLAIN, headers=(*((name, value) for name, value in HEADERS if name != without), *headers))


def with_key(name: bytes, value: bytes) -> HttpRequest:
    return with_headers((name, value), without=b"authorization")


KEY = SERVICE_KEY.encode()
ONE = {"policy": "api", "key": "ada"}

#   answered in front of routing
IN_FRONT = {
    "a take": PLAIN,
    "a cost": take(cost=2),
    "no cost": take(cost=None),
    "a look": take(cost=0),
    "a take that is refused": take(cost=5),
    "a cost above the limit": take(cost=9),
    "a key on the deny list": take("mallory", policy="banned"),
    "a shadow that would refuse": take(policy="watched", cost=3),
    "a key on the allow list": take("root", policy="banned", cost=9),
    "a bucket": take(policy="bucket", cost=3),
    "a key that is no ASCII": take("Zoë 🗝"),
    "members twice": replace(PLAIN, chunks=(b'{"policy":"login","key":"a","cost":9,"cost":1,"policy":"api"}',)),
    "an API key in its own header": with_key(b"x-api-key", KEY),
    "an administrator": with_key(b"authorization", b"Bearer " + ADMIN_KEY.encode()),
    "the scheme in small letters": with_key(b"authorization", b"bearer " + KEY),
    "two spaces": with_key(b"authorization", b"Bearer  " + KEY),
    "a charset": with_headers((b"content-type", b"application/json; charset=utf-8"), without=b"content-type"),
    "headers that change nothing": with_headers((b"accept", b"text/html"), (b"user-agent", b"\xff\xfe")),
    "a body in parts": replace(PLAIN, chunks=(b'{"policy":"api",', b'"key":"ada"}')),
    "a body after its head": replace(PLAIN, chunks=(b"", b'{"policy":"api","key":"ada"}')),
    "a batch": batch(ONE, {**ONE, "cost": 4}, ONE, {"policy": "plenty", "key": "b"}),
    "an empty batch": batch(),
}

#   passed on to the application
PASSED_ON = {
    "no key": with_headers(without=b"authorization"),
    "a key that is not known": with_key(b"x-api-key", b"a-guess-at-a-key-of-another"),
    "a key that is no ASCII": with_key(b"x-api-key", b"\xe9" * 20),
    "another scheme": with_key(b"authorization", b"Basic " + KEY),
    "an API key and a bearer": with_headers((b"x-api-key", KEY)),
    "the same header twice": with_headers((b"authorization", b"Bearer a-guess-at-a-key")),
    "a cookie": with_headers((b"cookie", b"tollhouse-dev=x")),
    "another site": with_headers((b"sec-fetch-site", b"cross-site")),
    "the same site": with_headers((b"sec-fetch-site", b"same-origin")),
    "another origin": with_headers((b"origin", b"https://evil.example")),
    "text": with_headers((b"content-type", b"text/plain"), without=b"content-type"),
    "JSON in capitals": with_headers((b"content-type", b"Application/JSON"), without=b"content-type"),
    "no media type": with_headers(without=b"content-type"),
    "a query": replace(PLAIN, query=b"cost=2"),
    "a slash behind": replace(PLAIN, path="/v1/limits/take/"),
    "another method": replace(PLAIN, method="PUT"),
    "options": replace(PLAIN, method="OPTIONS"),
    "a body without a length": replace(PLAIN, length=None),
    "a body in chunks": replace(with_headers((b"transfer-encoding", b"chunked")), length=None),
    "no body": replace(PLAIN, chunks=(b"",)),
    "a length above the bound": replace(PLAIN, length=b"%d" % (BODY_BYTES + 1)),
    "a length of many digits": replace(PLAIN, length=b"0" * 5_000 + b"28"),
    "a body above the bound": replace(take("x" * BODY_BYTES), length=b"28"),
    "half of JSON": replace(PLAIN, chunks=(b'{"policy":"api"',)),
    "no UTF-8": replace(PLAIN, chunks=(b'{"policy":"api","key":"\xff"}',)),
    "half a surrogate pair": replace(PLAIN, chunks=(b'{"policy":"api","key":"\\ud800"}',)),
    "null": body(None),
    "a list": body([ONE]),
    "a take where a batch should be": replace(PLAIN, path=BATCH),
    "a member too many": take(unit=1),
    "a member too few": body({"policy": "api"}),
    "a fraction": take(cost=1.5),
    "a fraction that is whole": take(cost=1.0),
    "a number in quotes": take(cost="1"),
    "a truth": take(cost=True),
    "a number of many digits": replace(PLAIN, chunks=(b'{"policy":"api","key":"a","cost":%s}' % (b"9" * 500),)),
    "a cost below zero": take(cost=-1),
    "no key at all": take(""),
    "a key too long": take("x" * 513),
    "a policy that does not exist": take(policy="appi"),
    "a policy of leases": take(policy="jobs"),
    "one bad take in a batch": batch(ONE, {**ONE, "cost": -1}),
    "a batch that is too long": batch(*[{"policy": "api", "key": "b"}] * 257),
}

NAMES = st.sampled_from(["api", "plenty", "banned", "watched", "bucket", "jobs", "login", "appi", ""])
KEYS = st.sampled_from(["ada", "bob", "mallory", "root", "{a}b", "Zoë"]) | st.text(max_size=4)
COSTS = st.integers(-1, 7) | st.sampled_from([None, 10**9, 10**9 + 1, 2**64, 1.0, 1.5, "1", True, [], {}])
TAKES = st.fixed_dictionaries({"policy": NAMES, "key": KEYS}, optional={"cost": COSTS}) | st.dictionaries(
    st.sampled_from(["policy", "key", "cost", "takes"]), NAMES | COSTS, max_size=3
)
JSON_BODIES = (TAKES | st.lists(TAKES, max_size=5)).map(lambda value: json.dumps(value).encode())
BODIES = JSON_BODIES | st.binary(max_size=40)
CREDENTIALS = [KEY, b"Bearer " + KEY, b"bearer " + KEY, b"Bearer"]
VALUES = st.sampled_from([*CREDENTIALS, b"application/json", b"text/plain", b"same-origin", b"a=b", b""])
ODD_HEADERS = st.tuples(
    st.sampled_from(
        [b"authorization", b"x-api-key", b"content-type", b"cookie", b"origin", b"sec-fetch-site", b"host", b"accept"]
    ),
    VALUES,
)


@st.composite
def plain_requests(draw: st.DrawFn) -> HttpRequest:
    """Draw a plain request; only its body may be unusual."""
    path, bodies = draw(st.sampled_from([("/v1/limits/take", TAKES), (BATCH, st.lists(TAKES, max_size=5))]))
    return body(draw(bodies), path=path)


@st.composite
def odd_requests(draw: st.DrawFn) -> HttpRequest:
    """Draw a request of which every part may be unusual."""
    given_headers = draw(st.lists(st.sampled_from(HEADERS), unique=True)) + draw(st.lists(ODD_HEADERS, max_size=2))
    return HttpRequest(
        path=draw(st.sampled_from(["/v1/limits/take", BATCH, "/v1/limits/take/", "/v1/limits"])),
        method=draw(st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "OPTIONS"])),
        query=draw(st.sampled_from([b"", b"", b"cost=1", b"%"])),
        headers=tuple(given_headers),
        chunks=tuple(draw(st.lists(BODIES, min_size=1, max_size=2))),
        length=draw(st.sampled_from([b"as it is", b"as it is", None, b"7", b"-1", b"9999"])),
    )


@pytest.fixture
async def both() -> AsyncIterator[Twins]:
    async with twins() as made:
        yield made


@pytest.fixture(scope="module")
async def lasting() -> AsyncIterator[Twins]:
    async with twins() as made:
        yield made


@pytest.fixture
async def renewed(lasting: Twins) -> Twins:
    """The twins of all tests of the module, which know of no earlier request."""
    for twin in (lasting.served, lasting.documented):
        await twin.renew()
    return lasting


@pytest.mark.parametrize("name", IN_FRONT)
async def test_a_plain_request_is_answered_in_front_of_routing(renewed: Twins, name: str) -> None:
    """Three times in a row, so that a limit is reached: the messages are equal, and the handlers got no request."""
    pairs = [await renewed.answers(IN_FRONT[name]) for _ in range(3)]

    assert [served for served, _ in pairs] == [documented for _, documented in pairs]
    assert (renewed.served.passed_on, renewed.documented.passed_on) == (0, 3)
    assert renewed.served.counts == renewed.documented.counts


@pytest.mark.parametrize("name", PASSED_ON)
async def test_any_other_request_is_passed_on_whole(renewed: Twins, name: str) -> None:
    """A request that a rule of the application may refuse reaches the application, once and with its whole body."""
    served, documented = await renewed.answers(PASSED_ON[name])

    assert served == documented
    assert renewed.served.passed_on == 1
    assert renewed.served.counts == renewed.documented.counts


@given(asked=st.lists(plain_requests() | odd_requests(), min_size=1, max_size=5))
async def test_a_client_cannot_tell_which_of_the_two_answered(both: Twins, asked: list[HttpRequest]) -> None:
    """For any requests in any order, the status, the headers in their order and the body are the same bytes."""
    pairs = [await both.answers(one) for one in asked]

    assert [served for served, _ in pairs] == [documented for _, documented in pairs]
    assert both.served.counts == both.documented.counts


# x-ratelimit-epoch contains the wall-clock time, which differs between the two requests.
@pytest.mark.parametrize("dialect", [dialect for dialect in DIALECTS if dialect != "x-ratelimit-epoch"])
async def test_both_speak_the_dialect_that_the_settings_chose(dialect: Dialect) -> None:
    """Responses and refusals have the fields of the dialect in the same order."""
    async with twins(limits={"headers": dialect}) as both:
        pairs = [await both.answers(asked) for asked in (PLAIN, take(cost=5), take(policy="bucket", cost=3))]

    assert [served for served, _ in pairs] == [documented for _, documented in pairs]
    assert both.served.passed_on == 0


BOTH_ROUTES = pytest.mark.parametrize("asked", [PLAIN, batch(ONE, {**ONE, "cost": 2})], ids=["take", "take-batch"])


@BOTH_ROUTES
async def test_an_outage_is_answered_alike(both: Twins, asked: HttpRequest) -> None:
    """P8: in an outage both follow the outage policy, 200 `degraded` here."""
    for twin in (both.served, both.documented):
        twin.store.failure = StoreUnavailable("limits", "ambiguous", "no reply")

    served, documented = await both.answers(asked)

    assert served == documented
    assert served[0]["status"] == 200
    assert b'"degraded":true' in served[1]["body"]
    assert both.served.passed_on == 0


@BOTH_ROUTES
async def test_a_failure_is_answered_by_the_application_and_tried_once(both: Twins, asked: HttpRequest) -> None:
    """An error of a take becomes the application's problem details; the take is not sent again."""
    for twin in (both.served, both.documented):
        twin.store.failure = ScriptFailed("the server refused the script")

    served, documented = await both.answers(asked)

    assert served == documented
    assert served[0]["status"] == 503
    assert both.served.store.calls == both.documented.store.calls == 1


@pytest.mark.parametrize("outcome", ["not-sent", "rejected", "ambiguous"])
async def test_a_store_without_a_reply_is_503_with_what_became_of_the_request(
    both: Twins, caplog: pytest.LogCaptureFixture, outcome: Outcome
) -> None:
    """Only what may have been done is called so, in body and log: a client decides by it whether to repeat."""
    both.documented.store.failure = StoreUnavailable("limits", outcome, "no reply")

    start, content, _ = await both.documented.answer(replace(PLAIN, path="/v1/limits/refund"))

    problem = json.loads(content["body"])
    assert (start["status"], problem["outcome"]) == (503, outcome)
    assert ("may have been done" in problem["detail"]) == (outcome == "ambiguous")
    logged = [vars(record) for record in caplog.records if vars(record).get("event") == "store unavailable"]
    assert [each["outcome"] for each in logged] == [outcome]


TAKE = PLAIN.segments[0]
BAD = replace(PLAIN, chunks=(b'{"policy":"api","key":"ada" ',)).segments[0]
WRONG = with_key(b"authorization", b"Bearer a-guess-at-a-key").segments[0]
IN_X_API_KEY = with_key(b"x-api-key", b"%s").segments[0]
BATCHED = batch(ONE, ONE).segments[0]
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD, BODY = TAKE[: TAKE.index(b"\r\n\r\n") + 4], TAKE[TAKE.index(b"\r\n\r\n") + 4 :]


def with_lines(lines: bytes, version: bytes = b"1.1") -> bytes:
    return HEAD.replace(b"1.1", version)[:-2] + lines + b"\r\n" + BODY


CHUNKED = TAKE.partition(b"content-length")[0] + b"transfer-encoding: chunked\r\n\r\n1c\r\n" + BODY
#   what a connection sends, by segment, and how many of its takes do not reach ASGI
BYTES: dict[str, tuple[list[bytes], int]] = {
    "one after the other": ([TAKE] * 7, 7),
    "three in a segment": ([TAKE * 3], 1),
    "a batch behind a take": ([TAKE + BATCHED], 1),
    "as many as may wait": ([TAKE * 33], 1),
    "more than may wait": ([TAKE * 40], 1),
    "decisions without the store": ([take("mallory", policy="banned").segments[0] * 4], 4),
    "another route between": ([TAKE + LIVEZ + TAKE], 1),
    "a take behind another route": ([LIVEZ + TAKE], 0),
    "bad JSON between": ([TAKE, BAD, TAKE], 2),
    "a wrong key between": ([TAKE, WRONG, TAKE], 2),
    "another header with the accepted value": ([TAKE, IN_X_API_KEY % (b"Bearer " + KEY), TAKE], 2),
    "a key in either header": ([TAKE, IN_X_API_KEY % KEY, TAKE], 3),
    "an accepted key and another one": ([TAKE, with_headers((b"x-api-key", KEY)).segments[0], TAKE], 2),
    "half a head behind": ([TAKE + TAKE[:60], TAKE[60:]], 2),
    "byte by byte": ([TAKE[at : at + 1] for at in range(len(TAKE))] + [TAKE], 2),
    "a body that does not end": ([TAKE[:-1]], 1),
    "nothing behind a head": ([HEAD], 1),
    "small letters": ([TAKE.replace(b"content-type", b"Content-Type").replace(b"host", b"HOST")], 1),
    "whitespace around a value": ([TAKE.replace(b"host: testserver", b"host:\t testserver \t")], 1),
    "keep-alive": ([with_lines(b"connection: keep-alive\r\n")] * 2, 2),
    "close": ([with_lines(b"connection: close\r\n") + TAKE], 0),
    "an expectation": ([with_lines(b"expect: 100-continue\r\n"), TAKE], 1),
    "an expectation without its body": ([with_lines(b"expect: 100-continue\r\n")[: -len(BODY)], BODY + TAKE], 0),
    "an expectation of another kind": ([with_lines(b"expect: tea\r\n"), TAKE], 2),
    "an offer to upgrade": ([with_lines(b"connection: upgrade\r\nupgrade: h2c\r\n") + TAKE], 1),
    "HTTP/1.0": ([with_lines(b"", b"1.0")], 0),
    "HTTP/1.0 that is kept": ([with_lines(b"connection: keep-alive\r\n", b"1.0"), TAKE], 0),
    "HTTP/2.0": ([with_lines(b"connection: keep-alive\r\n", b"2.0"), TAKE], 0),
    "two lengths": ([with_lines(b"content-length: 5\r\n")], 0),
    "a signed length": ([TAKE.replace(b"content-length: ", b"content-length: +")], 0),
    "two hosts": ([with_lines(b"host: x\r\n")], 0),
    "no host": ([TAKE.replace(b"host: testserver\r\n", b"")], 0),
    "a host that is none": ([TAKE.replace(b"testserver", b"a b")], 0),
    "a target with its host": ([TAKE.replace(b"/v1", b"http://testserver/v1")], 0),
    "an encoded target": ([TAKE.replace(b"take", b"tak%65")], 0),
    "chunks and a trailer": (
        [CHUNKED, b"\r\n0\r\nx-api-key: abc\r\n\r\n", TAKE],
        1,
    ),
    "a head above the bound": ([with_lines(b"x: " + b"a" * 70_000 + b"\r\n")], 0),
    "a head above the bound in parts": ([HEAD[:-2] + b"x: ", *[b"a" * 9_000] * 8], 0),
    "garbage behind": ([TAKE + b"\x00"], 1),
    "a head that is refused behind": ([TAKE + b"GET / HTTP/1.1\r\n\r\n"], 1),
}


@pytest.mark.parametrize("name", BYTES)
async def test_bytes_are_answered_alike_however_they_come(renewed: Twins, name: str) -> None:
    """Pipelined, cut anywhere, refused, or for ASGI: both connections get the same bytes, and the same end."""
    segments, fast = BYTES[name]

    served, documented = await renewed.exchanges(segments)

    assert served == documented
    assert renewed.documented.passed_on - renewed.served.passed_on == fast
    assert renewed.served.counts == renewed.documented.counts


async def test_a_response_is_one_write(renewed: Twins) -> None:
    """The head and the body of a response leave in one write, whichever of the two answers."""
    for twin in (renewed.served, renewed.documented):
        line = Line(twin.config)

        for request in (TAKE, take(cost=9).segments[0], BAD, WRONG, LIVEZ):
            await line.send([request])

        assert len(line.wire.writes) == 5
        await line.end()


Happening = Callable[[Twin, Line], Awaitable[None]]


async def client_leaves(_: Twin, line: Line) -> None:
    line.wire.is_closed = True
    line.protocol.connection_lost(None)


async def service_stops(_: Twin, line: Line) -> None:
    line.protocol.shutdown()


async def grace_ends(_: Twin, line: Line) -> None:
    line.protocol.shutdown()
    for task in list(line.state.tasks):
        task.cancel(msg="graceful shutdown exceeded")
    await line.rest()


async def script_fails(twin: Twin, _: Line) -> None:
    twin.store.failure = ScriptFailed("the server refused the script")


async def store_is_down(twin: Twin, _: Line) -> None:
    twin.store.failure = StoreUnavailable("limits", "ambiguous", "no reply")


async def others_wait(_: Twin, line: Line) -> None:
    await line.receive(TAKE + LIVEZ)


async def others_wait_and_the_script_fails(twin: Twin, line: Line) -> None:
    await others_wait(twin, line)
    await script_fails(twin, line)


async def garbage_follows(_: Twin, line: Line) -> None:
    await line.receive(b"\x00")


async def an_hour_passes(_: Twin, line: Line) -> None:
    for now_ms in (0, 3_600_000):
        line.protocol.check(now_ms)


async def the_client_reads_nothing(_: Twin, line: Line) -> None:
    line.wire.unread_bytes = 100
    for now_ms in (0, 3_600_000):
        line.protocol.check(now_ms)


HAPPENINGS: list[tuple[Happening, list[int]]] = [
    (client_leaves, []),
    (service_stops, [200]),
    (grace_ends, [503]),
    (script_fails, [503]),
    (store_is_down, [200]),
    (others_wait, [200, 200, 200]),
    (others_wait_and_the_script_fails, [503, 503, 200]),
    (garbage_follows, [200]),
    (an_hour_passes, [200]),
    (the_client_reads_nothing, []),
]


def statuses(outcome: Messages) -> list[int]:
    return [message["status"] for message in outcome if message["type"] == "start"]


@pytest.mark.parametrize(("happen", "wanted"), HAPPENINGS, ids=[happen.__name__ for happen, _ in HAPPENINGS])
async def test_what_happens_while_a_take_is_under_way_is_answered_alike(
    both: Twins, happen: Happening, wanted: list[int]
) -> None:
    """Ends, failures, timeouts and later requests meet a take of the fast path as they meet any other request."""
    outcomes: list[Messages] = []
    for twin in (both.served, both.documented):
        line = Line(twin.config)
        twin.store.gate.clear()
        await line.receive(TAKE)
        while not twin.store.calls:
            await line.receive(b"")

        await happen(twin, line)
        twin.store.gate.set()
        await line.rest()
        outcomes.append(line.outcome)
        await line.end()

    assert outcomes[0] == outcomes[1]
    assert statuses(outcomes[0]) == wanted
    assert both.documented.passed_on == max(len(wanted), 1)
    assert both.served.store.calls == both.documented.store.calls
    if happen is not grace_ends:  # a take that is cancelled is counted if its reply comes all the same
        assert both.served.counts == both.documented.counts


async def test_a_body_that_is_too_slow_is_408_on_both(both: Twins) -> None:
    """The sweep ends a take whose body does not come, as any other request."""
    outcomes: list[Messages] = []
    for twin in (both.served, both.documented):
        line = Line(twin.config)
        await line.receive(TAKE[:-1])
        await an_hour_passes(twin, line)
        outcomes.append(line.outcome)
        await line.end()

    assert outcomes[0] == outcomes[1]
    assert statuses(outcomes[0]) == [408]


async def test_a_request_whose_body_is_missing_when_the_grace_ends_is_503_on_both(both: Twins) -> None:
    """A take whose body has begun is a task from the shutdown on: it is served, or ended, as any other request."""
    outcomes: list[Messages] = []
    for twin in (both.served, both.documented):
        for behind in (b"", TAKE[-1:] + TAKE):
            line = Line(twin.config)
            await line.receive(TAKE[:-1])
            line.protocol.shutdown()
            await line.receive(behind)
            for task in () if behind else list(line.state.tasks):
                task.cancel(msg="graceful shutdown exceeded")
            await line.rest()
            outcomes.append(line.outcome)
            await line.end()

    assert outcomes[:2] == outcomes[2:]
    assert [statuses(outcome) for outcome in outcomes[:2]] == [[503], [200]]
    assert (both.served.store.calls, both.documented.store.calls) == (1, 1)


async def test_many_takes_in_one_segment_do_not_hold_up_the_others(both: Twins) -> None:
    """Takes that need no store are bounded as those that wait: a connection that sends too many at once is ended."""
    denied = body({"policy": "banned", "key": "mallory"}).segments[0]
    answered: list[int] = []
    for twin in (both.served, both.documented):
        line = Line(twin.config)
        await line.send([denied * 100])
        answered.append(len(statuses(line.outcome)))
        assert line.wire.is_closed
        await line.end()

    assert answered == [WAITING_MAX + WAITING_MAX + 1, WAITING_MAX + 1]


async def test_a_connection_keeps_nothing_of_what_it_answered(both: Twins) -> None:
    """The body of a take is dropped with its decision, and a connection that has ended is freed at once."""
    line = Line(both.served.config)
    await line.send(body([ONE] * 100, path=BATCH).segments)
    assert line.protocol.cycle.body == b""

    await line.end()
    protocol = weakref.ref(line.protocol)
    gc.disable()
    try:
        del line
        await asyncio.sleep(0)
        assert protocol() is None
    finally:
        gc.enable()


async def test_a_head_that_is_refused_is_not_kept(both: Twins) -> None:
    """While the request before it is answered, a head above the bound costs no memory."""
    line = Line(both.served.config)
    both.served.store.gate.clear()
    await line.receive(TAKE)
    while not both.served.store.calls:
        await line.receive(b"")

    await line.receive(b"POST / HTTP/1.1\r\n" + b"a:\r\n" * 30_000)

    assert line.protocol.headers == []
    both.served.store.gate.set()
    await line.rest()
    assert statuses(line.outcome) == [200]
    await line.end()


async def test_a_failure_is_logged_though_the_client_has_left(both: Twins, caplog: pytest.LogCaptureFixture) -> None:
    """The operator learns of a script that fails, whether or not its client waits for the answer."""
    logged: list[list[str]] = []
    for twin in (both.served, both.documented):
        line = Line(twin.config)
        twin.store.gate.clear()
        await line.receive(TAKE)
        while not twin.store.calls:
            await line.receive(b"")
        await client_leaves(twin, line)
        await script_fails(twin, line)
        caplog.clear()

        twin.store.gate.set()
        await line.rest()

        logged.append([record.getMessage() for record in caplog.records if record.name.startswith("tollhouse")])
        assert line.wire.writes == []

    assert logged[0] == logged[1]
    assert logged[0]


async def test_a_client_that_reads_nothing_is_sent_no_more(both: Twins) -> None:
    """While what was written is not read, the next take waits in front of its response, and is answered afterwards."""
    for twin in (both.served, both.documented):
        line = Line(twin.config)
        line.protocol.pause_writing()
        await line.receive(TAKE)
        while not twin.store.calls:
            await line.receive(b"")
        assert line.wire.writes == []

        line.protocol.resume_writing()
        await line.rest()
        assert statuses(line.outcome) == [200]
        await line.end()


async def test_a_connection_above_the_bound_takes_nothing() -> None:
    """A take on a connection above `connections_max` is 503, and is not charged."""
    async with twins(connections_max=1) as both:
        for twin in (both.served, both.documented):
            first = Line(twin.config)
            above = Line(twin.config, state=first.state)

            await above.send([TAKE])
            await first.send([TAKE])

            assert (statuses(above.outcome), statuses(first.outcome)) == ([503], [200])
            assert above.wire.is_closed
            assert twin.store.calls == 1
            for line in (above, first):
                await line.end()


async def test_disabled_limits_are_answered_alike(both: Twins) -> None:
    """While limits are off, both allow every take without the store."""
    for twin in (both.served, both.documented):
        twin.tollhouse.limits.switch(on=False)

    served, documented = await both.exchanges([TAKE * 3, BATCHED])

    assert served == documented
    assert statuses(served) == [200] * 4
    assert (both.served.passed_on, both.served.store.calls) == (0, 0)
