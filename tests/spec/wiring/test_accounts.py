"""Accounts over the store of credentials that an application gives."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import HERE, RIGHT, WRONG
from tests.spec.stored import keys_of
from tests.worlds import StoreWorld
from tollhouse import wiring
from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore, WriteResult
from tollhouse.accounts.outcomes import AccountCreated, AccountDeleted, LoginSucceeded, WrongCredentials
from tollhouse.errors import ConfigurationError, StoreUnavailable
from tollhouse.settings import Settings
from tollhouse.wiring import Tollhouse

SECRET = b"a secret of 32 bytes, or of more"
WRITTEN = WriteResult(durable=True)


class InMemory:
    """A store of an application; `broken` is what its next call raises."""

    def __init__(self) -> None:
        self.accounts: dict[str, Credentials] = {}
        self.broken: Exception | None = None

    async def load(self, user: str) -> Credentials | None:
        broken, self.broken = self.broken, None
        if broken is not None:
            raise broken
        return self.accounts.get(user)

    async def create(self, credentials: Credentials) -> WriteResult | None:
        return self._keep(credentials) if credentials.user not in self.accounts else None

    async def replace(self, before: Credentials, after: Credentials) -> WriteResult | None:
        return self._keep(after) if self._has(before) else None

    async def delete(self, before: Credentials) -> WriteResult | None:
        return WRITTEN if self._has(before) and self.accounts.pop(before.user) else None

    async def find(self, handle: str) -> str | None:
        return next((user for user, account in self.accounts.items() if account.handle == handle), None)

    def _has(self, before: Credentials) -> bool:
        stored = self.accounts.get(before.user)
        return stored is not None and stored.is_same(before)

    def _keep(self, credentials: Credentials) -> WriteResult:
        self.accounts[credentials.user] = credentials
        return WRITTEN


def opened(world: StoreWorld, store: CredentialStore | None) -> Tollhouse:
    settings = Settings(url=world.url, secret=(SECRET,), password_profile="owasp")
    return wiring.open(settings, credential_store=store)


async def test_an_application_gives_a_store_of_its_own(world: StoreWorld) -> None:
    """Accounts begin, open, change and end there; Redis has none of them."""
    store = InMemory()
    async with opened(world, store) as th:
        assert await th.accounts.sign_up("ada", RIGHT, address=HERE) == AccountCreated(user="ada", durable=True)
        logged_in = await th.accounts.login("ada", RIGHT, address=HERE)
        assert isinstance(logged_in, LoginSucceeded)
        await th.accounts.set_password("ada", WRONG)
        assert await th.accounts.login("ada", RIGHT, address=HERE) == WrongCredentials()
        assert await th.sessions.verify(logged_in.issued.token) is None
        account = store.accounts["ada"]
        assert isinstance(await th.accounts.delete_account("ada"), AccountDeleted)

    assert (account.user, account.revoke_due, store.accounts) == ("ada", False, {})
    assert not [key for key in await keys_of(world, "accounts") if len(key.rpartition(":")[2]) == 32]


@pytest.mark.asvs("6.3.2")
async def test_a_new_store_has_no_account(world: StoreWorld) -> None:
    """None that comes with the package, under any name that others bring along."""
    async with opened(world, None) as th:
        for name in ("root", "admin", "administrator", "sa", "tollhouse", "test", "guest"):
            assert await th.accounts.status(name) is None
            assert await th.accounts.login(name, RIGHT, address=HERE) == WrongCredentials()

    assert not [key for key in await keys_of(world, "accounts") if len(key.rpartition(":")[2]) == 32]


async def test_what_a_store_raises_reaches_the_caller(fake: StoreWorld) -> None:
    """An outage as StoreUnavailable, and a defect as what it is: neither begins a session or counts as a guess."""
    store = InMemory()
    async with opened(fake, store) as th:
        await th.accounts.sign_up("ada", RIGHT, address=HERE)
        for broken in (StoreUnavailable("accounts", "rejected", "locked"), ZeroDivisionError()):
            store.broken = broken
            with pytest.raises(type(broken)):
                await th.accounts.login("ada", RIGHT, address=HERE)

        assert isinstance(await th.accounts.login("ada", RIGHT, address=HERE), LoginSucceeded)

    assert len(await keys_of(fake, "sessions", "*:user:*")) == 1
    (address,) = await keys_of(fake, "limits", "*:address:*")
    assert sum(map(int, await fake.command("limits", "HVALS", address))) == 0


class Incomplete:
    async def load(self, user: str) -> None: ...


@pytest.mark.parametrize(
    ("given", "lacks"),
    [(Incomplete(), "lacks create, replace, delete, find"), (Path(), "lacks load, create"), (InMemory, "is a class")],
)
def test_what_is_no_store_is_refused_at_once(given: Any, lacks: str) -> None:
    """The error says what it lacks, before anything connects."""
    with pytest.raises(ConfigurationError) as refused:
        wiring.open("fake://", credential_store=given)

    assert refused.value.setting == "credential_store"
    assert f"it {lacks}" in refused.value.remedy


@pytest.mark.parametrize(("own", "secret", "warned"), [(True, (), True), (True, (SECRET,), False), (False, (), False)])
async def test_a_secret_that_ends_with_the_process_is_warned_of(
    caplog: pytest.LogCaptureFixture, own: bool, secret: tuple[bytes, ...], warned: bool
) -> None:
    """Passwords in a store that lives on would be good for no later process."""
    settings = Settings(url="fake://", secret=secret, password_profile="owasp")
    with caplog.at_level(logging.WARNING, logger="tollhouse.accounts"):
        async with wiring.open(settings, credential_store=InMemory() if own else None) as th:
            assert await th.accounts.status("ada") is None

    assert ["no secret is set" in record.message for record in caplog.records] == [True] * warned
