"""Credentials that change while a process runs: files read anew, functions of the application, and renewed logins."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tollhouse
from tests.failures.fake_sentinel import PATIENCE_S, ErrorReply, FakeSentinel, FakeServer
from tests.failures.primaries import SCRIPTS, Primary
from tests.failures.scenes import QUIET
from tests.worlds import StoreWorld
from tollhouse.errors import ConfigurationError, StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.settings.credentials import CredentialsFunction, StoreCredentials
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver
from tollhouse.stores.opening import Stores, open_stores
from tollhouse.stores.store import Store
from tollhouse.stores.transport.credentials import CredentialsSource, read_file
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.redial import ConnectionTiming
from tollhouse.stores.transport.renewal import renew_login
from tollhouse.stores.urls import SentinelService, TcpAddress, UnixAddress, urls_by_store


class Account:
    """An account on the real server whose password a test changes."""

    def __init__(self, world: StoreWorld, socket: Path) -> None:
        self.name = f"rotating-{secrets.token_hex(4)}"
        self._world = world
        self.socket = socket

    async def rotate(self, password: str) -> None:
        """Accept this password only, and close the connections that logged in with another."""
        rules = ("on", "resetpass", f">{password}", "~*", "&*", "+@all")
        await self._world.command("limits", "ACL", "SETUSER", self.name, *rules)
        await self._world.command("limits", "CLIENT", "KILL", "USER", self.name)

    async def remove(self) -> None:
        await self._world.command("limits", "ACL", "DELUSER", self.name)


@pytest.fixture
async def account(embedded: StoreWorld, valkey_socket: Path) -> AsyncIterator[Account]:
    made = Account(embedded, valkey_socket)
    await made.rotate("first")
    yield made
    await made.remove()


async def pinged(stores: Stores) -> float:
    """Ping until there is an answer, for a bounded time."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await stores.limits.ping()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


async def test_files_are_read_anew_at_each_login(account: Account, tmp_path: Path) -> None:
    """A password that changes in its file, and at the server, is used by the next connection; so is a user name."""
    password, user = tmp_path / "password", tmp_path / "user"
    password.write_text("first\n")
    user.write_text(account.name)
    url = f"unix://{account.socket}?username_file={user}&password_file={password}"
    async with tollhouse.open(url) as th:
        assert await th.stores.limits.ping() >= 0

        password.write_text("second")
        await account.rotate("second")

        assert await pinged(th.stores) >= 0


async def test_a_name_in_the_url_goes_with_a_password_in_a_file(account: Account, tmp_path: Path) -> None:
    """The URL may give the user name, and a file the password."""
    password = tmp_path / "password"
    password.write_text("first")
    async with tollhouse.open(f"unix://{account.name}@{account.socket}?password_file={password}") as th:
        assert await th.stores.limits.ping() >= 0


CONTENTS = [
    (None, "cannot be read: No such file"),
    (b"", "the file is empty or longer than"),
    (b"\n", "the file is empty or longer than"),
    (b"sesame" * 4_000, "the file is empty or longer than"),
    (b"sesame\xff", "it is no text in UTF-8"),
]


@pytest.mark.parametrize(("content", "words"), CONTENTS)
async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """The error names the file and what is wrong with it, and quotes nothing of it."""
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(OSError, match=words) as raised:
        await read_file(str(path), "password")

    assert str(path) in str(raised.value)
    assert "sesame" not in str(raised.value)


async def test_a_file_that_comes_later_is_used(account: Account, tmp_path: Path) -> None:
    """Without its file a store is unavailable with the reason; once the file is there, it is used."""
    password = tmp_path / "password"
    async with tollhouse.open(f"unix://{account.name}@{account.socket}?password_file={password}") as th:
        with pytest.raises(StoreUnavailable, match=f"the password in {password} cannot be read"):
            await th.stores.limits.ping()

        password.write_text("first")

        assert await pinged(th.stores) >= 0


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_is_called_at_each_login(account: Account, *, is_async: bool) -> None:
    """`open(credentials=…)` takes a sync or an async function, which is asked again after the password changed."""
    passwords = ["first"]
    places: list[str] = []

    def now(place: str) -> StoreCredentials:
        places.append(place)
        return StoreCredentials(username=account.name, password=passwords[-1])

    async def later(place: str) -> StoreCredentials:
        await asyncio.sleep(0)
        return now(place)

    function: CredentialsFunction = later if is_async else now
    async with tollhouse.open(f"unix://{account.socket}", credentials=function) as th:
        assert await th.stores.limits.ping() >= 0

        passwords.append("second")
        await account.rotate("second")

        assert await pinged(th.stores) >= 0
        assert set(places) == {"server"}


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_may_take_longer_than_an_attempt_to_connect(account: Account, *, is_async: bool) -> None:
    """Calls do not wait for it, and say what is missing; it is called once, and then they are answered."""
    places: list[str] = []

    def slow(place: str) -> StoreCredentials:
        places.append(place)
        time.sleep(0.4)
        return StoreCredentials(username=account.name, password="first")

    async def slow_later(place: str) -> StoreCredentials:
        places.append(place)
        await asyncio.sleep(0.4)
        return StoreCredentials(username=account.name, password="first")

    urls = urls_by_store(f"unix://{account.socket}", {})
    timing = ConnectionTiming(connect_s=0.15, wait_s=0.05)
    stores = open_stores(urls, SCRIPTS, Metrics(), timing=timing, credentials=slow_later if is_async else slow)
    with pytest.raises(StoreUnavailable) as raised:
        await stores.limits.ping()
    assert (raised.value.outcome, "credentials" in raised.value.reason) == ("not-sent", True)

    assert await pinged(stores) >= 0
    assert places == ["server"]
    await stores.aclose()


async def test_a_password_in_the_url_is_used_without_the_function(account: Account) -> None:
    """A URL with a password asks no function, and one with a user name takes the password alone from it."""

    def never(_: str) -> StoreCredentials:
        raise AssertionError

    async with tollhouse.open(f"unix://{account.name}:first@{account.socket}", credentials=never) as th:
        assert await th.stores.limits.ping() >= 0
    only_password = StoreCredentials(password="first")
    async with tollhouse.open(f"unix://{account.name}@{account.socket}", credentials=lambda _: only_password) as th:
        assert await th.stores.limits.ping() >= 0


async def test_a_function_may_give_no_credentials(valkey_socket: Path) -> None:
    """None means to log in without credentials."""
    async with tollhouse.open(f"unix://{valkey_socket}", credentials=lambda _: None) as th:
        assert await th.stores.limits.ping() >= 0


async def test_sentinels_and_servers_have_credentials_of_their_own() -> None:
    """The function is called with the place: a resolver logs in at Sentinels and at servers with what it gives each."""
    known = {"sentinel": ("watcher", "sesame"), "server": ("store", "poppy")}
    server = await FakeServer(login=known["server"]).open()
    sentinel = await FakeSentinel(1, login=known["sentinel"]).open()
    sentinel.watch(server.host)

    def function(place: str) -> StoreCredentials:
        username, password = known[place]
        return StoreCredentials(username=username, password=password)

    target = SentinelService(hosts=(sentinel.host,), service="main")
    login, sentinel_login = Login(source=CredentialsSource(function, "server")), CredentialsSource(function, "sentinel")
    resolver = SentinelResolver(
        target, login, Dialer(), sentinel_login=Login(source=sentinel_login), timing=QUIET, jitter=lambda low, _: low
    )
    async with asyncio.timeout(PATIENCE_S):
        assert (await resolver.locate()).port == server.host[1]
    await resolver.aclose()
    for fake in (server, sentinel):
        await fake.listener.close()


async def test_a_sentinel_reads_its_files() -> None:
    """The user name and the password for Sentinels may be in files of their own."""
    url = "redis+sentinel://h/main?sentinel_user_file=/u&sentinel_password_file=/p&password_file=/s"
    parsed = urls_by_store(url, {})["limits"]

    assert isinstance(parsed.target, SentinelService)
    assert (parsed.target.username_file, parsed.target.password_file) == ("/u", "/p")
    assert (parsed.username_file, parsed.password_file) == (None, "/s")


def raising(_: str) -> StoreCredentials:
    raise ValueError("sesame is wrong")


async def raising_later(_: str) -> StoreCredentials:
    raise ValueError("sesame is wrong")


async def cancelled(_: str) -> StoreCredentials:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (raising, "raised ValueError"),
        (raising_later, "raised ValueError"),
        (cancelled, "raised CancelledError"),
        (lambda _: ("ada", "sesame"), "returned tuple; return StoreCredentials or None"),
    ],
)
async def test_a_function_that_fails_is_named_without_its_words(function: Any, words: str) -> None:
    """Whatever a function raises, or returns in place of credentials, is an OSError that quotes nothing of it."""
    with pytest.raises(OSError, match=words) as raised:
        await CredentialsSource(function, "server").get()

    assert "sesame" not in str(raised.value)
    assert raised.value.__cause__ is None


class Provider:
    """Credentials from an object of the application, as the libraries of clouds have them."""

    async def __call__(self, place: str) -> StoreCredentials:
        return StoreCredentials(password=place)


@pytest.mark.parametrize("function", [Provider(), partial(Provider()), lambda place: Provider()(place)])
async def test_whatever_returns_an_awaitable_is_awaited(function: CredentialsFunction) -> None:
    """An object, a partial or a lambda is called like a function, and its coroutine is no credentials."""
    assert await CredentialsSource(function, "server").get() == StoreCredentials(password="server")


async def test_a_function_that_hangs_is_given_up_and_started_once() -> None:
    """A function that does not return in time is an OSError; its thread goes on, and serves the next login."""
    calls: list[str] = []
    go_on = threading.Event()

    def hanging(place: str) -> StoreCredentials:
        calls.append(place)
        go_on.wait()
        return StoreCredentials(password="sesame")

    source = CredentialsSource(hanging, "server", timeout_s=0.02)
    for _ in range(2):
        with pytest.raises(OSError, match=r"did not return within 0\.02 s"):
            await source.get()
    go_on.set()
    await _patient(source)

    assert calls == ["server"]


async def test_logins_that_meet_share_an_answer() -> None:
    """A function is not called again for a second: three connections of a store log in with one answer."""
    calls: list[str] = []

    async def function(place: str) -> StoreCredentials:
        calls.append(place)
        return StoreCredentials(password="sesame")

    source = CredentialsSource(function, "server")

    assert [await source.get() for _ in range(3)] == [StoreCredentials(password="sesame")] * 3
    assert len(calls) == 1


def test_a_function_that_hangs_in_a_loop_that_has_ended_is_called_again() -> None:
    """The thread of another event loop is not waited for."""
    calls: list[str] = []
    go_on = threading.Event()

    def function(place: str) -> StoreCredentials:
        calls.append(place)
        if len(calls) == 1:
            go_on.wait()
        return StoreCredentials(password="sesame")

    source = CredentialsSource(function, "server", timeout_s=0.02)

    async def first() -> None:
        with pytest.raises(OSError, match="did not return"):
            await source.get()
        go_on.set()

    asyncio.run(first())

    assert asyncio.run(source.get()) == StoreCredentials(password="sesame")
    assert len(calls) == 2


async def _patient(source: CredentialsSource) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await source.get()
            except OSError:
                continue
            return


def test_credentials_hide_their_password_and_have_a_lifetime_of_a_second_or_more() -> None:
    """The repr shows no password; a lifetime below a second would renew without end."""
    assert "sesame" not in repr(StoreCredentials(username="ada", password="sesame", lifetime_s=900))
    with pytest.raises(ConfigurationError):
        StoreCredentials(password="sesame", lifetime_s=0.5)


async def test_a_connection_logs_in_anew_before_its_credentials_end() -> None:
    """With a lifetime a connection sends AUTH with new credentials in time, and stays; no task outlives it."""
    primary = await Primary().open()
    given = iter(range(100))

    def function(_: str) -> StoreCredentials:
        return StoreCredentials(username="ada", password=f"token-{next(given)}", lifetime_s=1)

    urls = urls_by_store(f"redis://127.0.0.1:{primary.host[1]}", {})
    stores = open_stores(urls, SCRIPTS, Metrics(), credentials=function)
    assert await stores.limits.command("PING") == 1

    await primary.until(lambda: primary.verbs().count("AUTH") == 2)
    connections = stores.limits.connections if isinstance(stores.limits, Store) else 0
    await stores.aclose()
    await primary.close()

    sent = [command for _, command in primary.seen if command[0] == "AUTH"]
    assert [command[1] for command in sent] == ["ada", "ada"]
    assert sent[0] != sent[1]
    assert connections == 1
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "tollhouse-renew-login"]


async def test_a_renewal_that_fails_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """A refused renewal is a warning without the password, and tried again soon; the connection is kept."""
    primary = await Primary(lambda command: ErrorReply("WRONGPASS no") if command[0] == "AUTH" else 1).open()
    connection, _ = await Dialer().dial(TcpAddress(host="127.0.0.1", port=primary.host[1]), on_lost=lambda: None)
    source = CredentialsSource(lambda _: StoreCredentials(password="sesame", lifetime_s=1), "server")

    renew_login(connection, Login(source=source), Login(password="sesame", lifetime_s=1))
    await primary.until(lambda: primary.verbs().count("AUTH") == 2)

    assert connection.alive
    assert {vars(record)["event"] for record in caplog.records} == {"a connection cannot renew its login"}
    assert not any("sesame" in str(vars(record)) for record in caplog.records)
    await connection.aclose()
    await primary.close()


@pytest.mark.parametrize("following", [None, StoreCredentials(password="sesame")])
async def test_renewal_ends_with_credentials_that_do(following: StoreCredentials | None) -> None:
    """When there are no credentials any more, or some without a lifetime, a connection does not log in anew again."""
    primary = await Primary().open()
    connection, _ = await Dialer().dial(TcpAddress(host="127.0.0.1", port=primary.host[1]), on_lost=lambda: None)
    renew_login(connection, Login(source=CredentialsSource(lambda _: following, "server")), Login(lifetime_s=1))
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "tollhouse-renew-login"]

    async with asyncio.timeout(PATIENCE_S):
        await task

    assert primary.verbs() == ([] if following is None else ["AUTH"])
    await connection.aclose()
    await primary.close()


async def test_a_task_of_a_connection_that_has_ended_is_cancelled(valkey_socket: Path) -> None:
    """A renewal that begins when its connection has ended is over at once."""
    connection, _ = await Dialer().dial(UnixAddress(path=str(valkey_socket)), on_lost=lambda: None)
    await connection.aclose()

    renew_login(connection, Login(), Login(password="sesame", lifetime_s=1))
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "tollhouse-renew-login"]
    await asyncio.wait({task})

    assert task.cancelled()


async def test_a_server_that_forgets_the_login_gets_another() -> None:
    """A connection whose server answers NOAUTH is left, and the next call logs in anew."""
    replies = iter([1, ErrorReply("NOAUTH Authentication required."), *[1] * 20])
    primary = await Primary(lambda _: next(replies)).open()
    stores = open_stores(urls_by_store(f"redis://127.0.0.1:{primary.host[1]}", {}), {}, Metrics())
    store = stores.limits
    await store.command("PING")

    with pytest.raises(StoreUnavailable) as raised:
        await store.command("PING")
    assert raised.value.outcome == "rejected"

    assert await store.command("PING") == 1
    assert primary.accepted == 2
    await stores.aclose()
    await primary.close()
