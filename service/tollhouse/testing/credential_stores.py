"""What every store of credentials has to do, as tests: an application runs them over its own.

A class whose name begins with `Test` derives from the suite, in a module of tests that has a fixture `store`: a store
that is empty. The tests are coroutines, so the module is run by a plugin such as anyio's.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tollhouse.accounts.credentials.credentials import (
    Credentials,
    CredentialStore,
    decode_credentials,
    new_credentials,
)
from tollhouse.accounts.factors.recovery import RecoveryCode
from tollhouse.accounts.factors.totp import TotpSeed
from tollhouse.accounts.hashing.passwords import StoredHash
from tollhouse.accounts.passkeys.passkey import Passkey

HANDLE: Final = "h" * 43
OTHER_HANDLE: Final = "i" * 43
NOW_MS: Final = 1_800_000_000_000
HASH: Final = StoredHash(phc="$argon2id$first", key_id="0123abcd")
RECORD_BYTES_MIN: Final = 60 * 1024
"""A record may have up to 64 KiB."""


def credentials(user: str = "ada", **fields: Any) -> Credentials:
    """Return the credentials of a new account, with these fields."""
    return new_credentials(user, HASH, NOW_MS).changed(**fields)


async def written(store: CredentialStore, made: Credentials) -> Credentials:
    """Create an account and return it."""
    assert await store.create(made) is not None, "a new name is not taken"
    return made


async def loaded(store: CredentialStore, user: str = "ada") -> Credentials:
    """Return the credentials of an account."""
    found = await store.load(user)
    assert found is not None, f"the account of {user} is there"
    return found


class CredentialStoreConformance:
    """The specification of a credential store."""

    async def test_what_was_created_is_loaded(self, store: CredentialStore) -> None:
        """Return every field as it was stored, and None for a name without an account."""
        every = credentials(
            "ada",
            password_changed_ms=7,
            disabled=True,
            revoke_due=True,
            totp=TotpSeed(nonce="0a" * 16, key_id="0123abcd", last_step=60_000_000, confirmed=True),
            recovery=(RecoveryCode(hash="0b" * 16, key_id="0123abcd"),),
            passkeys=(Passkey(id="aWQ", public_key=b"\x00\xff", sign_count=7, name="a key", created_ms=NOW_MS),),
            handle=HANDLE,
        )
        await written(store, every)
        await written(store, credentials("bob", password=None))

        assert (await loaded(store)).encoded() == every.encoded()
        assert (await loaded(store, "bob")).password is None
        assert await store.load("eve") is None
        assert decode_credentials(every.encoded()) == every

    async def test_a_large_account_is_kept_whole(self, store: CredentialStore) -> None:
        """Cut nothing off: an account with many factors has up to 64 KiB."""
        code = RecoveryCode(hash="0b" * 16, key_id="0123abcd")
        large = credentials(recovery=(code,) * 1_000)
        assert len(large.encoded()) > RECORD_BYTES_MIN

        await written(store, large)

        assert (await loaded(store)).encoded() == large.encoded()

    async def test_a_name_is_taken_once(self, store: CredentialStore) -> None:
        """Refuse a second account of a name, and keep the first; names that differ in a byte are two."""
        first = await written(store, credentials())

        assert await store.create(credentials(password=None)) is None
        for other in ("adá", "ada'--", "ad_", "ad%"):
            await written(store, credentials(other))

        assert (await loaded(store)).encoded() == first.encoded()

    async def test_of_accounts_created_at_once_one_gets_the_name(self, store: CredentialStore) -> None:
        """Create one account by ten calls at the same time."""
        results = await asyncio.gather(*(store.create(credentials()) for _ in range(10)))

        assert sum(result is not None for result in results) == 1

    async def test_a_change_replaces_what_was_read(self, store: CredentialStore) -> None:
        """Store it as a whole, and tell whether it is durable."""
        before = await written(store, credentials())
        after = before.changed(disabled=True, password=StoredHash(phc="$argon2id$second", key_id="0123abcd"))

        result = await store.replace(before, after)

        assert result is not None
        assert result.durable in (True, False)
        assert (await loaded(store)).encoded() == after.encoded()

    async def test_a_change_of_what_changed_meanwhile_is_refused(self, store: CredentialStore) -> None:
        """Write nothing then, nor if the account is gone."""
        before = await written(store, credentials())
        first, second = before.changed(disabled=True), before.changed(password=None)
        assert await store.replace(before, first) is not None

        assert await store.replace(before, second) is None
        assert (await loaded(store)).encoded() == first.encoded()
        assert await store.replace(credentials("eve"), credentials("eve")) is None
        assert await store.load("eve") is None

    async def test_a_change_that_is_stored_already_is_no_conflict(self, store: CredentialStore) -> None:
        """Return the same from a call that is repeated, as after a reply that was lost."""
        before = await written(store, credentials())
        after = before.changed(disabled=True)

        assert [await store.replace(before, after) is not None for _ in range(2)] == [True, True]

    async def test_of_changes_at_once_one_succeeds(self, store: CredentialStore) -> None:
        """Store one of ten changes of the same version at the same time."""
        before = await written(store, credentials())
        changes = [before.changed(password_changed_ms=number) for number in range(10)]

        results = await asyncio.gather(*(store.replace(before, after) for after in changes))

        (stored,) = [after for after, result in zip(changes, results, strict=True) if result is not None]
        assert (await loaded(store)).encoded() == stored.encoded()

    async def test_a_deleted_account_is_gone(self, store: CredentialStore) -> None:
        """Neither load nor change nor delete it again; its name is free."""
        before = await written(store, credentials())

        assert await store.delete(before) is not None

        assert await store.load("ada") is None
        assert await store.replace(before, before.changed()) is None
        assert await store.delete(before) is None
        await written(store, credentials())

    async def test_what_changed_meanwhile_is_not_deleted(self, store: CredentialStore) -> None:
        """Leave the account as the other change left it."""
        before = await written(store, credentials())
        after = before.changed(disabled=True)
        assert await store.replace(before, after) is not None

        assert await store.delete(before) is None

        assert (await loaded(store)).encoded() == after.encoded()

    async def test_an_account_is_found_by_its_handle(self, store: CredentialStore) -> None:
        """Find it if it began with the handle or got it by a change, and after other changes; others are None."""
        await written(store, credentials("ada", handle=HANDLE))
        bob = await written(store, credentials("bob"))
        named = bob.changed(handle=OTHER_HANDLE)
        assert await store.find(OTHER_HANDLE) is None

        for before, after in ((bob, named), (named, named.changed(disabled=True))):
            assert await store.replace(before, after) is not None

        assert [await store.find(handle) for handle in (HANDLE, OTHER_HANDLE, "j" * 43)] == ["ada", "bob", None]

    async def test_a_handle_that_was_not_written_finds_nothing(self, store: CredentialStore) -> None:
        """Find neither that of a sign-up for a taken name, nor that of a change that is refused."""
        before = await written(store, credentials())
        assert await store.create(credentials(handle=HANDLE)) is None
        assert await store.replace(before, before.changed()) is not None

        assert await store.replace(before, before.changed(handle=HANDLE)) is None
        assert await store.replace(credentials("eve"), credentials("eve", handle=HANDLE)) is None

        assert await store.find(HANDLE) is None

    async def test_of_changes_at_once_that_bring_one_handle_the_account_is_found(self, store: CredentialStore) -> None:
        """Find it by the one that is stored, as of a form sent ten times: the others take nothing back."""
        before = await written(store, credentials())

        results = await asyncio.gather(*(store.replace(before, before.changed(handle=HANDLE)) for _ in range(10)))

        assert sum(result is not None for result in results) == 1
        assert await store.find(HANDLE) == "ada"

    async def test_the_handle_of_a_deleted_account_finds_no_account(self, store: CredentialStore) -> None:
        """Find nothing, nor the next user of the name by it."""
        before = await written(store, credentials(handle=HANDLE))
        assert await store.delete(before) is not None
        assert await store.find(HANDLE) is None

        await written(store, credentials(handle=OTHER_HANDLE))

        assert (await store.find(HANDLE), await store.find(OTHER_HANDLE)) == (None, "ada")
