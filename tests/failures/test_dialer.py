"""Connecting: over TLS with one context for all, and to authorities that cannot be used."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.failures.primaries import SCRIPTS, Primary, answered
from tollhouse.errors import StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.stores.discovery.locator import StaticLocator
from tollhouse.stores.store import Store
from tollhouse.stores.transport import tls_contexts
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.transport.redial import TIMING, ConnectionTiming
from tollhouse.stores.transport.tls_contexts import TlsContexts
from tollhouse.stores.urls import TcpAddress, parse


def served(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def store_at(server: Primary, ca: Path, dialer: Dialer, wait_s: float = TIMING.wait_s, *, options: str = "") -> Store:
    url = parse("TOLLHOUSE_URL", f"rediss://127.0.0.1:{server.host[1]}/0?ca={ca}{options}")
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
    monkeypatch.setattr(tls_contexts.ssl, "create_default_context", counted)
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


def own_files(authority: trustme.CA, folder: Path, password: bytes | None = None) -> tuple[Path, Path]:
    """Write a client certificate and its key, encrypted if there is a password; return their paths."""
    issued = authority.issue_cert("client@tollhouse.example")
    certificate, key = folder / "client.pem", folder / "client.key"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    private = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    how = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    kind = serialization.PrivateFormat.TraditionalOpenSSL
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, kind, how))
    return certificate, key


def mutual(authority: trustme.CA, clients: trustme.CA) -> ssl.SSLContext:
    """Return the context of a server that asks its clients for a certificate that `clients` signed."""
    context = served(authority, "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    clients.configure_trust(context)
    return context


@pytest.mark.parametrize("password", [None, "sesame"])
async def test_a_client_certificate_is_shown(
    authority: trustme.CA, ca: Path, tmp_path: Path, password: str | None
) -> None:
    """A server that wants a certificate gets that of `ssl_certfile`; its key may have a password."""
    certificate, key = own_files(authority, tmp_path, None if password is None else password.encode())
    options = f"&ssl_certfile={certificate}&ssl_keyfile={key}" + (f"&ssl_password={password}" if password else "")
    server = await Primary().open(mutual(authority, authority))
    store = store_at(server, ca, Dialer(), options=options)
    try:
        assert await store.run("test/once", [], []) == [1]
    finally:
        await store.aclose()
        await server.close()


async def test_why_a_server_ended_the_connection_is_told(authority: trustme.CA, ca: Path) -> None:
    """A server that wants a certificate ends the connection after the handshake: the reason is what the socket said."""
    server = await Primary().open(mutual(authority, authority))
    store = store_at(server, ca, Dialer(), wait_s=0.3)
    try:
        with pytest.raises(StoreUnavailable, match=r"the connection ended: ."):
            await store.run("test/once", [], [])
    finally:
        await store.aclose()
        await server.close()


@pytest.mark.parametrize(
    ("password", "keyfile"), [("", "client.key"), ("wrong", "client.key"), ("sesame", "client.pem")]
)
async def test_a_key_that_does_not_open_is_named(
    authority: trustme.CA, ca: Path, tmp_path: Path, password: str, keyfile: str
) -> None:
    """A key without its password, or that is none, is an error with the file and the remedy; no terminal is asked."""
    certificate, _ = own_files(authority, tmp_path, b"sesame")
    given = f"&ssl_password={password}" if password else ""
    options = f"&ssl_certfile={certificate}&ssl_keyfile={tmp_path / keyfile}{given}"
    server = await Primary().open(mutual(authority, authority))
    store = store_at(server, ca, Dialer(), wait_s=0.3, options=options)
    try:
        with pytest.raises(StoreUnavailable, match=r"client\.pem cannot be used: .*ssl_password") as raised:
            await store.run("test/once", [], [])
        assert "sesame" not in str(raised.value)
        assert server.accepted == 0
    finally:
        await store.aclose()
        await server.close()


async def test_renewed_certificates_are_read_anew(authority: trustme.CA, ca: Path, tmp_path: Path) -> None:
    """Certificates that are renewed on disk are used by the next connection; until then one context serves all."""
    other = trustme.CA()
    certificate, key = own_files(other, tmp_path)
    server = await Primary().open(mutual(authority, authority))
    dialer = Dialer()
    store = store_at(server, ca, dialer, wait_s=2, options=f"&ssl_certfile={certificate}&ssl_keyfile={key}")
    try:
        with pytest.raises(StoreUnavailable):
            await store.run("test/once", [], [])

        await asyncio.to_thread(own_files, authority, tmp_path)

        assert await answered(store) == [1]
        tls = store.url.target.tls  # type: ignore[union-attr] - a server over TLS
        contexts = TlsContexts()
        assert await contexts.context(tls) is await contexts.context(tls)
    finally:
        await store.aclose()
        await server.close()


async def test_without_verification_any_server_is_believed_and_it_is_said(
    authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    """`ssl_cert_reqs=none` reaches a server of an unknown authority and another name, and warns of it once."""
    server = await Primary().open(served(authority, "elsewhere.example"))
    url = parse("TOLLHOUSE_URL", f"rediss://127.0.0.1:{server.host[1]}/0?ssl_cert_reqs=none")
    assert isinstance(url.target, TcpAddress)
    dialer = Dialer()
    try:
        with caplog.at_level(logging.WARNING, logger="tollhouse.stores"):
            for _ in range(2):
                connection, _ = await dialer.dial(url.target, on_lost=lambda: None)
                await connection.aclose()
        assert [vars(record)["event"] for record in caplog.records] == [
            "certificates of store servers are not verified: any server is believed"
        ]
    finally:
        await server.close()


async def test_authorities_that_are_none_are_named(authority: trustme.CA, ca: Path) -> None:
    """A file of authorities that holds none is named in the reason."""
    server = await Primary().open(served(authority, "127.0.0.1"))
    await asyncio.to_thread(ca.write_text, "no certificate")
    store = store_at(server, ca, Dialer(), wait_s=0.3)
    try:
        with pytest.raises(StoreUnavailable, match=f"the authorities in {ca} cannot be used"):
            await store.run("test/once", [], [])
    finally:
        await store.aclose()
        await server.close()


def test_a_login_does_not_show_its_password() -> None:
    """The repr of a login names the user and hides the password, which HELLO carries."""
    login = Login(username="ada", password="sesame")

    assert repr(login) == "Login('ada')"
    assert b"sesame" in login.hello("tollhouse")
    assert b"AUTH" not in Login().hello("tollhouse")
