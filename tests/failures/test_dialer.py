"""Connecting: over TLS with one context for all, and to authorities that cannot be used."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from tests.failures.primaries import SCRIPTS, Primary
from tollhouse.errors import StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.stores.discovery.locator import StaticLocator
from tollhouse.stores.store import Store
from tollhouse.stores.transport import dialer as dial
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.redial import TIMING, ConnectionTiming
from tollhouse.stores.urls import TcpAddress, parse


def served(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def store_at(server: Primary, ca: Path, dialer: Dialer, wait_s: float = TIMING.wait_s) -> Store:
    url = parse("TOLLHOUSE_URL", f"rediss://127.0.0.1:{server.host[1]}/0?ca={ca}")
    assert isinstance(url.target, TcpAddress)
    target = url.target

    async def locate() -> TcpAddress:
        return target

    locator, timing = StaticLocator(locate, Login()), ConnectionTiming(wait_s=wait_s)
    return Store("sessions", url, locator, SCRIPTS, Metrics(), dialer=dialer, deadline_s=5.0, timing=timing)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


async def test_a_store_speaks_tls(authority: trustme.CA, ca: Path) -> None:
    """`rediss://` with `ca=` reaches a server whose certificate that authority signed."""
    server = await Primary().open(served(authority, "127.0.0.1"))
    store = store_at(server, ca, Dialer())
    try:
        assert await store.run("test/once", [], []) == [1]
    finally:
        await store.aclose()
        await server.close()


async def test_connections_share_one_context(authority: trustme.CA, ca: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections a dialer makes, the authorities are read once."""
    made: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def counted(**options: str) -> ssl.SSLContext:
        made.append(make(**options))
        return made[-1]

    server = await Primary().open(served(authority, "127.0.0.1"))
    monkeypatch.setattr(dial.ssl, "create_default_context", counted)
    dialer = Dialer()
    stores = [store_at(server, ca, dialer) for _ in range(3)]
    try:
        await asyncio.gather(*(store.run("test/once", [], []) for store in stores))

        assert server.accepted == 3
        assert len(made) == 1
    finally:
        for store in stores:
            await store.aclose()
        await server.close()


@pytest.mark.parametrize(
    ("signed_by_other", "name", "words"),
    [(True, "127.0.0.1", "certificate verify failed"), (False, "elsewhere.example", "IP address mismatch")],
)
async def test_a_certificate_that_does_not_fit_is_refused(
    authority: trustme.CA,
    ca: Path,
    *,
    signed_by_other: bool,
    name: str,
    words: str,
) -> None:
    """A certificate of another authority, or for another address, is refused with a reason that says so."""
    server = await Primary().open(served(trustme.CA() if signed_by_other else authority, name))
    store = store_at(server, ca, Dialer(), wait_s=0.4)
    try:
        with pytest.raises(StoreUnavailable) as raised:
            await store.run("test/once", [], [])

        assert raised.value.outcome == "not-sent"
        assert words in raised.value.reason
        assert server.seen == []
    finally:
        await store.aclose()
        await server.close()


async def test_authorities_that_cannot_be_read_are_named(authority: trustme.CA, ca: Path) -> None:
    """A file of authorities that is missing is named in the reason; once it is there, it is read."""
    server = await Primary().open(served(authority, "127.0.0.1"))
    late = ca.with_name("late.pem")
    dialer = Dialer()
    first, second = store_at(server, late, dialer, wait_s=0.3), store_at(server, late, dialer, wait_s=2)
    try:
        with pytest.raises(StoreUnavailable) as raised:
            await first.run("test/once", [], [])
        assert str(late) in raised.value.reason

        await asyncio.to_thread(ca.rename, late)

        assert await second.run("test/once", [], []) == [1]
    finally:
        for store in (first, second):
            await store.aclose()
        await server.close()


def test_a_login_does_not_show_its_password() -> None:
    """The repr of a login names the user and hides the password, which HELLO carries."""
    login = Login(username="ada", password="sesame")

    assert repr(login) == "Login('ada')"
    assert b"sesame" in login.hello("tollhouse")
    assert b"AUTH" not in Login().hello("tollhouse")
