"""A store against servers that forget scripts, refuse, die mid-call or never answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.failures.primaries import answered
from tests.failures.test_connection import scripted_server
from tests.worlds import StoreWorld
from tollhouse.errors import ConfigurationError, ScriptFailed, StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.scripts import PRIMARY, Argument, FixedArguments, Script, Scripts
from tollhouse.stores.discovery.locator import StaticLocator
from tollhouse.stores.store import Store
from tollhouse.stores.transport.dialer import Login
from tollhouse.stores.transport.redial import ConnectionTiming
from tollhouse.stores.urls import StoreUrl, UnixAddress

HELLO = b"%3\r\n+server\r\n+valkey\r\n+version\r\n+9.1\r\n+role\r\n+master\r\n"


def script(name: str, text: str, *, idempotent: bool, primary_at: int | None = None) -> Script:
    return Script(
        name=name,
        text=text,
        plain=text,
        sha="0" * 40,
        idempotent=idempotent,
        primary_at=primary_at,
        may_be_large=False,
    )


ONCE = script("test/once", "return 1", idempotent=False)
AGAIN = script("test/again", "return 2", idempotent=True)
BOUND = script("test/bound", "return 3", idempotent=False, primary_at=0)


class Server:
    """A scripted server: a perfect handshake, then what `answer` returns for each EVALSHA or EVAL."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        self.handshakes = 0
        self.calls: list[bytes] = []

    def __call__(self, chunk: bytes) -> bytes:
        if b"HELLO" in chunk:
            self.handshakes += 1
            return (
                HELLO
                + b"+OK\r\n"
                + _bulk(b"master_replid:abc\r\naof_enabled:0\r\n")
                + b"+OK\r\n"
                + b"+sha\r\n" * chunk.count(b"LOAD")
            )
        verb = b"EVALSHA" if b"EVALSHA" in chunk else b"EVAL" if b"EVAL" in chunk else b"OTHER"
        self.calls.append(verb)
        return self.answer(verb)


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


@asynccontextmanager
async def store_on(
    tmp_path: Path, server: Server, deadline_s: float = 0.3, scripts: Scripts | None = None
) -> AsyncIterator[Store]:
    async with scripted_server(tmp_path, server) as path, aclosing(store_at(path, deadline_s, scripts)) as store:
        yield store


def store_at(path: Path, deadline_s: float = 0.3, scripts: Scripts | None = None, **timing: float) -> Store:
    async def locate() -> UnixAddress:
        return UnixAddress(path=str(path))

    known = {one.name: one for one in (ONCE, AGAIN, BOUND)} if scripts is None else scripts
    url = StoreUrl(target=UnixAddress(path=str(path)))
    locator, times = StaticLocator(locate, Login()), ConnectionTiming(**timing)
    return Store("sessions", url, locator, known, Metrics(), deadline_s=deadline_s, timing=times)


async def test_a_flushed_script_is_sent_again(embedded: StoreWorld) -> None:
    """After SCRIPT FLUSH the next call of a script works: NOSCRIPT falls back to EVAL, which also loads it."""
    key = "tollhouse:rate:{t}:x"
    await embedded.stores.limits.run("limits/reset", [key], [])

    await embedded.command("limits", "SCRIPT", "FLUSH")

    assert await embedded.stores.limits.run("limits/reset", [key], []) == [0]


async def test_a_flushed_script_is_sent_again_with_arguments_that_were_packed_before(embedded: StoreWorld) -> None:
    """What is sent as text after NOSCRIPT has the same arguments as what was sent by its hash."""
    key, take = "tollhouse:rate:{t}:x", FixedArguments((2, "TH2;60/16=", 100, 60_000, 16))
    run = embedded.stores.limits.run
    first = await run("limits/take_one", [key], cast("Sequence[Argument]", take))

    await embedded.command("limits", "SCRIPT", "FLUSH")
    second, third = [await run("limits/take_one", [key], cast("Sequence[Argument]", take)) for _ in range(2)]

    assert [-reply[0] // 120_002 for reply in (first, second, third)] == [98, 96, 94]


async def test_a_call_that_may_have_run_is_not_repeated(tmp_path: Path) -> None:
    """A call that was sent on a connection that then ended is ambiguous, and not sent twice."""
    server = Server(lambda _: b"?what\r\n")
    async with store_on(tmp_path, server) as store:
        with pytest.raises(StoreUnavailable) as raised:
            await store.run("test/once", [], [])

    assert raised.value.outcome == "ambiguous"
    assert server.calls == [b"EVALSHA"]


async def test_an_idempotent_call_is_repeated_once(tmp_path: Path) -> None:
    """A call whose script says idempotent is sent once more on a new connection."""
    replies = iter([b"?what\r\n", b"*1\r\n:7\r\n"])
    server = Server(lambda _: next(replies))
    async with store_on(tmp_path, server) as store:
        assert await store.run("test/again", [], []) == [7]

    assert server.handshakes == 2


async def test_a_refusal_of_a_replica_finds_the_primary_again(tmp_path: Path) -> None:
    """READONLY means that nothing ran: the store connects anew and sends the call once more."""
    replies = iter([b"-READONLY You can't write against a read only replica.\r\n", b":1\r\n"])
    server = Server(lambda _: next(replies))
    async with store_on(tmp_path, server) as store:
        assert await store.run("test/once", [], []) == [1]

    assert server.handshakes == 2


async def test_a_primary_that_stays_read_only_is_an_outage(tmp_path: Path) -> None:
    """READONLY twice is StoreUnavailable with the outcome `rejected`: nothing was changed."""
    server = Server(lambda _: b"-READONLY You can't write\r\n")
    async with store_on(tmp_path, server) as store:
        with pytest.raises(StoreUnavailable) as raised:
            await store.run("test/once", [], [])

    assert raised.value.outcome == "rejected"
    assert len(server.calls) == 2


REFUSALS = [
    b"OOM command not allowed",
    b"ERR max number of clients reached",
    b"ERR The user executing the script can't run this command or subcommand",
    b"ERR ACL failure in script: User x has no permissions to run the 'zadd' command script: test/once",
]


@pytest.mark.parametrize("error", REFUSALS)
async def test_a_full_server_is_an_outage_at_once(tmp_path: Path, error: bytes) -> None:
    """Errors that another try cannot mend are StoreUnavailable, after one try."""
    server = Server(lambda _: b"-" + error + b"\r\n")
    async with store_on(tmp_path, server) as store:
        with pytest.raises(StoreUnavailable) as raised:
            await store.run("test/once", [], [])

    assert raised.value.outcome == "rejected"
    assert len(server.calls) == 1


async def test_a_wrong_call_is_a_defect_not_an_outage(tmp_path: Path) -> None:
    """Any other error reply is ScriptFailed, which names store and script."""
    server = Server(lambda _: b"-ERR wrong number of keys\r\n")
    async with store_on(tmp_path, server) as store:
        with pytest.raises(ScriptFailed, match=r"'sessions': test/once"):  # which call is the specification
            await store.run("test/once", [], [])


async def test_no_reply_in_time_is_ambiguous(tmp_path: Path) -> None:
    """A call whose reply does not come inside the deadline is ambiguous, idempotent or not."""
    server = Server(lambda _: b"")
    async with store_on(tmp_path, server, deadline_s=0.05) as store:
        with pytest.raises(StoreUnavailable) as raised:
            await store.run("test/again", [], [])

    assert raised.value.outcome == "ambiguous"
    assert server.calls == [b"EVALSHA"]


async def test_the_epoch_of_the_primary_is_filled_in(tmp_path: Path) -> None:
    """PRIMARY in the arguments becomes the replication id of the server that the call is sent to."""
    sent: list[bytes] = []

    class Keeping(Server):
        def __call__(self, chunk: bytes) -> bytes:
            sent.append(chunk)
            return super().__call__(chunk)

    async with store_on(tmp_path, Keeping(lambda _: b":1\r\n")) as store:
        await store.run("test/bound", [], [PRIMARY, 5])

    assert sent[-1].endswith(b"$1\r\n0\r\n$3\r\nabc\r\n$1\r\n5\r\n")


async def test_an_absent_server_is_not_sent_and_cheap(tmp_path: Path) -> None:
    """Without a server calls are `not-sent`; after the first, they fail without waiting again."""
    store = store_at(tmp_path / "nobody", wait_s=0.5)
    loop = asyncio.get_running_loop()

    with pytest.raises(StoreUnavailable) as raised:
        await store.run("test/once", [], [])
    began_s = loop.time()
    with pytest.raises(StoreUnavailable):
        await store.run("test/once", [], [])

    assert raised.value.outcome == "not-sent"
    assert f"unix://{tmp_path}/nobody: cannot connect" in str(raised.value)
    assert loop.time() - began_s < 0.25
    await store.aclose()


async def test_a_store_recovers_when_its_server_does(tmp_path: Path) -> None:
    """A store whose server comes back answers again by itself."""
    store = store_at(tmp_path / "s", deadline_s=2, wait_s=0.02)
    with pytest.raises(StoreUnavailable):
        await store.run("test/once", [], [])

    async with scripted_server(tmp_path, Server(lambda _: b":1\r\n")):
        assert await answered(store) == [1]
        await store.aclose()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """After aclose every call is a ConfigurationError, which no outage rule hides, and nothing connects."""
    server = Server(lambda _: b":1\r\n")
    async with store_on(tmp_path, server) as store:
        await store.aclose()

        with pytest.raises(ConfigurationError) as raised:
            await store.run("test/once", [], [])
        assert raised.value.value == "closed"

    assert server.handshakes == 0


@pytest.mark.parametrize(
    ("what", "word", "remedy"),
    [
        ("login", "WRONGPASS invalid username-password pair", "user and password"),
        ("login", "NOPERM no permissions", "user and password"),
        ("handshake", "ERR something else", "log of the server"),
    ],
)
async def test_a_mistake_is_reported_at_once(tmp_path: Path, what: str, word: str, remedy: str) -> None:
    """P8: what no waiting mends is tried once, and names the place and the server's word, never the password."""
    handshakes: list[bytes] = []

    def refuse(chunk: bytes) -> bytes:
        handshakes.append(chunk)
        return f"-{word}\r\n".encode() * 4

    async with scripted_server(tmp_path, refuse) as path:

        async def locate() -> UnixAddress:
            return UnixAddress(path=str(path))

        url = StoreUrl(target=UnixAddress(path=str(path)), username="ada", password="sesame")
        locator = StaticLocator(locate, Login(username="ada", password="sesame"))
        store = Store("sessions", url, locator, {}, Metrics(), timing=ConnectionTiming(wait_s=5, probe_s=60))
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as raised:
                await store.command("PING")
            assert f"{path}: refused the {what}: {word}" in str(raised.value)
            assert remedy in raised.value.reason
            assert "sesame" not in str(raised.value)
        await store.aclose()

    assert len(handshakes) <= 2  # the call's, and that of the breaker's first probe


async def test_plain_commands_fail_as_scripts_do(embedded: StoreWorld) -> None:
    """A wrong plain command is ScriptFailed, naming the command."""
    with pytest.raises(ScriptFailed, match="NOSUCH"):
        await embedded.command("limits", "NOSUCH")


async def test_without_file_or_replicas_nothing_is_durable(embedded: StoreWorld) -> None:
    """On a server that appends to no file and has no replicas, a durable call says False."""
    reply, durable = await embedded.stores.limits.run_durably("limits/reset", ["tollhouse:rate:{t}:x"], [])

    assert (reply, durable) == ([0], False)


async def test_a_walk_over_keys_meets_every_one(embedded: StoreWorld) -> None:
    """Bounded steps from cursor 0 back to 0 meet every key that matches, and no other."""
    store = embedded.stores.limits
    wanted = {f"tollhouse:rate:{number}" for number in range(50)}
    for key in (*wanted, "other:1"):
        await store.command("SET", key, "1", "PX", 60_000)

    found: set[str] = set()
    cursor, steps = -1, 0
    while cursor:
        cursor, keys = await store.scan(max(cursor, 0), "tollhouse:rate:*", 10)
        found.update(keys)
        steps += 1

    assert found == wanted
    assert steps > 1
