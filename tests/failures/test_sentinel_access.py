"""Access to Sentinels and servers: logins, certificates, wrong names, and malformed replies."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.failures.fake_sentinel import PATIENCE_S, ErrorReply, replica
from tests.failures.scenes import RESTLESS, scene
from tollhouse.stores.discovery.locator import NoPrimary
from tollhouse.stores.transport.connection import encode
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.urls import Tls, UnixAddress


async def test_sentinels_and_servers_have_logins_of_their_own() -> None:
    """The resolver logs in at the Sentinels with their credentials, and at the servers with the store's."""
    here, there = ("watcher", "sesame"), ("store", "poppy")
    async with scene(sentinel_login=here, server_login=there, known=(here, there)) as s:
        assert await s.located() == s.hosts[0]


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ((("watcher", "wrong"), ("store", "poppy")), "WRONGPASS .* sentinel_user and sentinel_password"),
        ((None, ("store", "poppy")), "NOAUTH .* sentinel_user and sentinel_password"),
        ((("watcher", "sesame"), ("store", "wrong")), "WRONGPASS .* server's user and password"),
        ((("watcher", "sesame"), None), "NOAUTH .* server's user and password"),
    ],
)
async def test_a_refused_login_is_raised_at_once(known: Any, words: str) -> None:
    """The error of a wrong login names the server and the remedy, and holds no password."""
    async with scene(sentinel_login=("watcher", "sesame"), server_login=("store", "poppy"), known=known) as s:
        with pytest.raises(NoPrimary, match=words) as raised:
            await s.located()

    assert not any(secret in str(raised.value) for secret in ("wrong;", "sesame", "poppy"))


async def test_logins_hide_their_passwords() -> None:
    """The repr of a login shows its user only."""
    assert "sesame" not in repr(Login(username="ada", password="sesame"))


async def test_an_unknown_service_is_named_with_the_remedy() -> None:
    """A service that no Sentinel monitors is named, with how to list those that they do monitor."""
    async with scene(service="mian") as s:
        with pytest.raises(NoPrimary, match=r"'mian'.*SENTINEL MASTERS"):
            await s.located()


async def test_a_nil_address_is_an_unknown_service() -> None:
    """A Sentinel that returns no address does not know the service either."""
    async with scene(configured=1) as s:
        s.sentinels[0].overrides["SENTINEL GET-MASTER-ADDR-BY-NAME"] = None

        with pytest.raises(NoPrimary, match="no service 'main'"):
            await s.located()


async def test_a_server_in_the_place_of_a_sentinel_is_named() -> None:
    """If the URL names servers instead of Sentinels, the error says so."""
    async with scene(configured=1) as s:
        for name in ("MYID", "MASTER"):
            s.sentinels[0].overrides[f"SENTINEL {name}"] = ErrorReply("ERR unknown command 'SENTINEL', with args")

        with pytest.raises(NoPrimary, match="name the Sentinels in the URL"):
            await s.located()


@pytest.mark.parametrize(
    ("name", "reply", "words"),
    [
        ("SENTINEL MASTER", "OK", "does not reply as a Sentinel"),
        ("SENTINEL MASTER", {"quorum": "many"}, "does not reply as a Sentinel"),
        ("SENTINEL SENTINELS", 7, "does not reply as a Sentinel"),
        ("SENTINEL GET-MASTER-ADDR-BY-NAME", ["h", "0"], "without a usable address"),
        ("SENTINEL GET-MASTER-ADDR-BY-NAME", "h", "does not reply as a Sentinel"),
    ],
)
async def test_malformed_replies_are_named(name: str, reply: Any, words: str) -> None:
    """A reply that no Sentinel would send is a reason, and ends no connection."""
    async with scene(configured=1) as s:
        s.sentinels[0].overrides[name] = reply

        with pytest.raises(NoPrimary, match=words):
            await s.located()


async def test_flat_replies_of_older_sentinels_are_read() -> None:
    """A Sentinel that sends its maps as flat arrays is read as well."""
    async with scene(configured=1) as s:
        flat = ["config-epoch", "4", "quorum", "2", "num-other-sentinels", "0"]
        s.sentinels[0].overrides["SENTINEL MASTER"] = flat

        await s.located()

        assert (await s.next_generation()).epoch == 4


async def test_peers_and_replicas_without_an_address_are_skipped() -> None:
    """An entry with an unusable address is left out, and the rest is used."""
    async with scene(configured=1) as s:
        for entry in (s.sentinels[0].replicas, unreachable := []):
            entry.append(replica(("a b", 6379)))
        s.sentinels[0].overrides["SENTINEL SENTINELS"] = [{**unreachable[0], "runid": "x"}]
        await s.located()

        assert s.resolver.health().promotable == 2


async def test_host_names_are_used_as_announced() -> None:
    """A Sentinel that announces host names gives the name to connect to, and to check certificates against."""
    async with scene() as s:
        s.all_name(("localhost", s.hosts[0][1]), epoch=0)

        assert await s.located() == ("localhost", s.hosts[0][1])


async def test_over_tls_sentinels_and_servers_prove_who_they_are(tmp_path: Path) -> None:
    """With rediss+sentinel both Sentinels and servers are connected to over TLS, under the authority of the URL."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with scene(tls=(context, tmp_path / "ca.pem")) as s:
        assert await s.located() == s.hosts[0]

        generation = await s.next_generation()
        assert generation.address.tls == Tls(ca=str(tmp_path / "ca.pem"))


async def test_a_certificate_of_a_stranger_is_refused(tmp_path: Path) -> None:
    """A Sentinel whose certificate the authority did not sign is not used, and callers get the reason."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with scene(tls=(context, tmp_path / "ca.pem")) as s:
        with pytest.raises(NoPrimary, match="certificate verify failed"):
            await s.located()


async def test_a_file_of_authorities_is_read_again_after_it_failed(tmp_path: Path) -> None:
    """A file that cannot be used is named; once corrected, it is used without a restart. One context serves all."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with scene(tls=(context, tmp_path / "ca.pem"), timing=RESTLESS) as s:
        with pytest.raises(NoPrimary, match=r"a file for TLS cannot be read: .*ca\.pem"):
            await s.located()

        authority.cert_pem.write_to_path(tmp_path / "ca.pem")

        await s.until(lambda: s.resolver.health().generation is not None)


async def test_a_dialer_also_opens_sockets(valkey_socket: Path) -> None:
    """A server behind a unix socket is dialled like any other; it has no peer address."""
    lost = asyncio.Event()
    lane, peer = await Dialer().dial(UnixAddress(path=str(valkey_socket)), on_lost=lost.set)

    assert await lane.send(encode("ECHO", "x"), asyncio.get_running_loop().time() + PATIENCE_S) == b"x"
    assert peer is None
    lane.close()
    await lost.wait()
