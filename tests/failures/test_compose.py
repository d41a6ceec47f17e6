"""The compose file, tested with its own commands as local processes."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import secrets
import signal
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from tests.authenticators import ORIGIN, RP_ID, Authenticator
from tests.composed import SENTINELS, SERVERS, Composed, await_true, facts
from tollhouse import wiring
from tollhouse.accounts.factors.outcomes import RecoveryCodesMade, TotpEnrolment
from tollhouse.accounts.factors.totp import otp, step_at
from tollhouse.accounts.outcomes import (
    AccountCreated,
    AccountDeleted,
    LoginSucceeded,
    SecondFactorDue,
    WrongCode,
    WrongCredentials,
)
from tollhouse.accounts.passkeys.options import PasskeyOptions
from tollhouse.accounts.passkeys.outcomes import PasskeyAdded
from tollhouse.errors import ScriptFailed, StoreUnavailable
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.records import Session
from tollhouse.sessions.tokens import Token
from tollhouse.settings import Settings
from tollhouse.settings.passkeys import PasskeySettings
from tollhouse.stores.embedded.blocking_client import call
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import STORES, StoreName, parse
from tollhouse.wiring import Tollhouse, load_settings

OWN_KEY: dict[StoreName, str] = {
    "sessions": "tollhouse:session:{0}:x",
    "limits": "tollhouse:rate:{0}:x",
    "cache": "tollhouse:ai:langid:{0}:x",
    "accounts": "tollhouse:account:{0}:x",
}


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    """The servers and Sentinels of the file, running; tests may leave another primary behind."""
    composed = Composed()
    try:
        composed.start()
        yield composed
    finally:
        composed.stop()


@pytest.fixture
def primary(composed: Composed) -> str:
    """The current primary, once it has a replica, so that it accepts writes, and no failover is running."""
    await_true(lambda: all(flags(composed, name) == "master" for name in SENTINELS))
    return the_primary(composed)


def flags(composed: Composed, sentinel: str) -> str:
    return facts(composed.ask(sentinel, "tollhouse", "SENTINEL", "MASTER", "main"))["flags"]


def the_primary(composed: Composed, *but_not: str) -> str:
    def found() -> bool:
        name = composed.primary()
        return name is not None and name not in but_not and has_replica(composed, name)

    await_true(found)
    return str(composed.primary())


def has_replica(composed: Composed, name: str) -> bool:
    return "min_slaves_good_slaves:0" not in composed.ask(name, "replica", "INFO", "replication")


def denied(composed: Composed, name: str) -> int:
    """Count the commands that the server denied."""
    text = composed.ask(name, "replica", "INFO", "stats")
    return sum(map(int, re.findall(r"acl_access_denied_(?:cmd|key|channel|db):(\d+)", text)))


def service_settings(composed: Composed) -> Settings:
    """The settings of the file's service, with passkeys: each store through the Sentinels, at their local addresses."""
    settings = load_settings(environ=composed.environment("tollhouse"))
    passkeys = PasskeySettings(rp_id=RP_ID, origins=(ORIGIN,))
    return replace(settings, accounts=replace(settings.accounts, passkeys=passkeys))


def at(composed: Composed, name: str) -> Tollhouse:
    """A Tollhouse with the settings of the file's service, but with one server instead of the Sentinels."""
    settings = service_settings(composed)
    host = composed.address(name).host
    urls = {store: parse(store, str(url)) for store, url in settings.store_urls().items()}
    direct = {
        f"{store}_url": f"redis://{url.username}:{url.password}@{host}:6379/{url.db}" for store, url in urls.items()
    }
    return wiring.open(replace(settings, host="127.0.0.1", **direct))


async def use_every_store(tollhouse: Tollhouse) -> None:
    """Write and read in all four stores, through the features."""

    async def load() -> str:
        return "fresh"

    issued = await tollhouse.sessions.create(user="ada")
    assert isinstance(issued, Issued)
    assert await tollhouse.sessions.verify(issued.token) is not None
    assert len(await tollhouse.sessions.list("ada")) >= 1
    assert (await tollhouse.sessions.revoke_all("ada")).removed >= 1
    assert (await tollhouse.limits.take("default", "ada")).allowed
    assert await tollhouse.limits.reset("default", "ada")
    assert await tollhouse.cache.get_or_load("answer", load, ttl_s=60, tags=["a"]) == "fresh"
    assert await tollhouse.cache.get_or_load("answer", load, ttl_s=60, tags=["a"]) == "fresh"
    await tollhouse.cache.invalidate_tags("a")
    assert (await tollhouse.cache.stats()).available
    assert await tollhouse.cache.delete_pattern("*") >= 0
    await use_accounts(tollhouse, f"grace-{secrets.token_hex(4)}")


async def use_accounts(tollhouse: Tollhouse, user: str) -> None:
    """Sign up, guess, log in, add a passkey and log in by it, add codes, log in as far as those, delete the account."""
    accounts, password = tollhouse.accounts, "otters juggle nine plums"
    assert isinstance(await accounts.sign_up(user, password, address="192.0.2.1"), AccountCreated)
    assert isinstance(await accounts.login(user, "otters juggle one plum", address="192.0.2.1"), WrongCredentials)
    login = await accounts.login(user, password, address="192.0.2.1")
    assert isinstance(login, LoginSucceeded)
    device = Authenticator()
    asked = await accounts.passkeys.creation_options(login.issued.session)
    assert isinstance(asked, PasskeyOptions)
    credential = device.create(asked.public_key)
    added = await accounts.passkeys.register(login.issued.session, credential, "a phone")
    assert isinstance(added, PasskeyAdded)
    login = await accounts.passkeys.login(device.get(accounts.passkeys.login_options().public_key))
    assert isinstance(login, LoginSucceeded)
    enrolment = await accounts.factors.begin_totp(login.issued.session)
    assert isinstance(enrolment, TotpEnrolment)
    code = otp(base64.b32decode(enrolment.secret), step_at(int(time.time() * 1000)))
    confirmed = await accounts.factors.confirm_totp(login.issued.session, code)
    assert isinstance(confirmed, RecoveryCodesMade)
    due = await accounts.login(user, password, address="192.0.2.1")
    assert isinstance(due, SecondFactorDue)
    wrong = await accounts.login_by_code(due.ticket, "totp", code, address="192.0.2.1")
    assert isinstance(wrong, WrongCode)
    assert isinstance(await accounts.delete_account(user), AccountDeleted)


@pytest.mark.sentinel
@pytest.mark.parametrize("name", SENTINELS)
def test_the_sentinels_agree(composed: Composed, name: str) -> None:
    """Each Sentinel knows two others and two replicas, and they name one primary, by address."""
    primary = facts(composed.ask(name, "tollhouse", "SENTINEL", "MASTER", "main"))

    assert (primary["num-slaves"], primary["num-other-sentinels"], primary["quorum"]) == ("2", "2", "2")
    await_true(lambda: composed.primary() in SERVERS)
    assert composed.ask(name, "tollhouse", "SENTINEL", "CKQUORUM", "main").startswith("OK 3 usable")


@pytest.mark.sentinel
async def test_a_killed_primary_is_replaced(composed: Composed, primary: str) -> None:
    """After kill -9 of the primary another is promoted, on which every store's user can work (C-7, C-10).

    The old one returns without a replica, so it refuses writes that would be lost when Sentinel turns it into one.
    """
    os.kill(composed.pid(primary), signal.SIGKILL)
    promoted = the_primary(composed, primary)
    composed.run(primary)
    await_true(lambda: composed.healthy(primary))

    with pytest.raises(ServerError, match=r"NOREPLICAS|READONLY"):
        composed.ask(primary, "sessions", "HSET", OWN_KEY["sessions"], "u", "x")
    async with at(composed, promoted) as tollhouse:
        await use_every_store(tollhouse)


@pytest.mark.sentinel
@pytest.mark.parametrize("namespace", ["", "shop"])
async def test_a_namespace_needs_no_other_permission(composed: Composed, primary: str, namespace: str) -> None:
    """Keys, channels and markers of a namespace match the patterns of every store's user: nothing is denied."""
    before = denied(composed, primary)

    settings = replace(service_settings(composed), host="127.0.0.1")
    async with wiring.open(settings, namespace=namespace) as tollhouse:
        await use_every_store(tollhouse)

    assert denied(composed, primary) == before


@pytest.mark.sentinel
@pytest.mark.usefixtures("primary")
async def test_no_user_lacks_a_command(composed: Composed) -> None:
    """`tollhouse check` has nothing to say about the accounts of the file, which have no right too many either."""
    async with wiring.open(service_settings(composed)) as tollhouse:
        assert [await store.missing_commands() for store in tollhouse.stores.all()] == [()] * 4


@pytest.mark.sentinel
async def test_every_user_may_watch_replication(composed: Composed, primary: str) -> None:
    """With `max_unreplicated_ms` every store is confirmed by a replica again and again: nothing is denied or fails."""
    before = denied(composed, primary)

    async with wiring.open(replace(service_settings(composed), max_unreplicated_ms=1000)) as tollhouse:
        await use_every_store(tollhouse)
        await asyncio.sleep(1.5)  # longer than a primary is trusted without a confirmation
        await use_every_store(tollhouse)
        decision = await tollhouse.limits.take("default", "alan")

    assert not decision.degraded
    assert denied(composed, primary) == before


@pytest.mark.sentinel
async def test_the_service_carries_on(composed: Composed, primary: str) -> None:
    """With the settings of the file, every store works before and after the primary is killed (C-7, P9, S4-63)."""
    async with wiring.open(service_settings(composed)) as tollhouse:
        await use_every_store(tollhouse)
        issued = await _durably_issued(tollhouse)

        os.kill(composed.pid(primary), signal.SIGKILL)
        await asyncio.to_thread(the_primary, composed, primary)
        composed.run(primary)

        async with asyncio.timeout(10):
            while (session := await _verified(tollhouse, issued.token)) is None:
                pass
        assert session.user == "alan"
        assert (await tollhouse.limits.take("default", "after")).allowed


async def _durably_issued(tollhouse: Tollhouse) -> Issued:
    """Create sessions until every replica confirms one: after a failover the old primary needs some time."""
    async with asyncio.timeout(30):
        while True:
            issued = await tollhouse.sessions.create(user="alan")
            assert isinstance(issued, Issued)
            if issued.durable:
                return issued


async def _verified(tollhouse: Tollhouse, token: Token) -> Session | None:
    try:
        return await tollhouse.sessions.verify(token)
    except StoreUnavailable:
        return None


@pytest.mark.sentinel
def test_a_primary_is_handed_over(composed: Composed, primary: str) -> None:
    """The Sentinels' user has every permission that a failover needs: no command is denied."""
    before = {name: denied(composed, name) for name in SERVERS}

    composed.ask("sentinel-1", "operator", "SENTINEL", "FAILOVER", "main", "COORDINATED")
    the_primary(composed, primary)

    assert {name: denied(composed, name) for name in SERVERS} == before


@pytest.mark.sentinel
@pytest.mark.parametrize("name", STORES)
async def test_a_user_stays_in_its_store(composed: Composed, primary: str, name: StoreName) -> None:
    """A store's user reaches no key and no database of another store, directly or from a script."""
    async with at(composed, primary) as tollhouse:
        store = getattr(tollhouse.stores, name)
        foreign = "secret" if name == "cache" else OWN_KEY["sessions" if name != "sessions" else "limits"]
        read = "HGET" if name in ("sessions", "accounts") else "GET"
        rest = ("f",) if read == "HGET" else ()
        other = (STORES.index(name) + 1) % len(STORES)

        assert await store.command(read, OWN_KEY[name], *rest) is None
        for refused in (
            (read, foreign, *rest),
            ("EVAL", f"return redis.call('{read}', KEYS[1], 'f')", 1, foreign),
            ("SELECT", other),
            ("EVAL", f"return redis.call('SELECT', '{other}')", 0),
        ):
            with pytest.raises((StoreUnavailable, ScriptFailed), match=r"No permissions to access|ACL failure"):
                await store.command(*refused)


@pytest.mark.sentinel
@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize(
    "refused",
    ["FLUSHALL", "FLUSHDB", "KEYS *", "SWAPDB 0 1", "CONFIG GET *", "SCRIPT FLUSH", "ACL LIST", "MONITOR", "SHUTDOWN"],
)
async def test_a_user_cannot_harm_the_server(composed: Composed, primary: str, name: StoreName, refused: str) -> None:
    """No store's user may empty, list, configure, watch or stop a server."""
    async with at(composed, primary) as tollhouse:
        with pytest.raises(StoreUnavailable, match="NOPERM"):
            await getattr(tollhouse.stores, name).command(*refused.split())


@pytest.mark.sentinel
@pytest.mark.parametrize("name", [SERVERS[0], SENTINELS[0]])
def test_nobody_enters_without_a_name(composed: Composed, name: str) -> None:
    """The default user is disabled on servers and Sentinels."""
    with pytest.raises(ServerError, match="WRONGPASS"):
        call(composed.address(name), ("default", ""), "PING")


@pytest.mark.sentinel
@pytest.mark.parametrize(
    "refused", ["SENTINEL FAILOVER main", "SENTINEL RESET *", "SENTINEL SET main quorum 1", "SHUTDOWN"]
)
def test_tollhouse_only_looks_at_sentinels(composed: Composed, refused: str) -> None:
    """On Sentinels, Tollhouse's user may query and subscribe, but neither start a failover nor change anything."""
    assert composed.ask("sentinel-1", "tollhouse", "SUBSCRIBE", "+switch-master")[0] == "subscribe"

    with pytest.raises(ServerError, match="NOPERM"):
        composed.ask("sentinel-1", "tollhouse", *refused.split())
