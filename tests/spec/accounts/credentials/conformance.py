"""What every credential store has to do: an application runs this over its own.

A class that derives from it has a fixture `store`, which is empty.
"""

from __future__ import annotations

import asyncio

from tollhouse.accounts.credentials.credentials import Credentials, decode_credentials, new_credentials
from tollhouse.accounts.hashing.passwords import StoredHash

HANDLE, OTHER_HANDLE = "h" * 43, "i" * 43
NOW_MS = 1_800_000_000_000
HASH = StoredHash(phc="$argon2id$first", key_id="0123abcd")


def credentials(user="ada", **fields):
    return new_credentials(user, HASH, NOW_MS).changed(**fields)


async def written(store, made):
    """Create an account and return it."""
    assert await store.create(made) is not None
    return made


class CredentialStoreConformance:
    """The specification of a credential store."""

    async def test_what_was_created_is_loaded(self, store):
        """Every field comes back as it was stored, and a name without an account is None."""
        every = credentials(
            "ada",
            password_changed_ms=7,
            disabled=True,
            revoke_due=True,
            handle=HANDLE,
        )
        await written(store, every)
        await written(store, credentials("bob", password=None))

        assert (await store.load("ada")).encoded() == every.encoded()
        assert (await store.load("bob")).password is None
        assert await store.load("eve") is None
        assert decode_credentials(every.encoded()) == every

    async def test_a_name_is_taken_once(self, store):
        """A second account of a name is refused, and the first stays; names that differ in a byte are two."""
        first = await written(store, credentials())

        assert await store.create(credentials(password=None)) is None
        await written(store, credentials("adá"))

        assert (await store.load("ada")).encoded() == first.encoded()

    async def test_of_accounts_created_at_once_one_gets_the_name(self, store):
        """Ten calls at the same time make one account."""
        results = await asyncio.gather(*(store.create(credentials()) for _ in range(10)))

        assert sum(result is not None for result in results) == 1

    async def test_a_change_replaces_what_was_read(self, store):
        """It is stored as a whole, and tells whether it is durable."""
        before = await written(store, credentials())
        after = before.changed(disabled=True, password=StoredHash(phc="$argon2id$second", key_id="0123abcd"))

        result = await store.replace(before, after)

        assert result is not None
        assert result.durable in (True, False)
        assert (await store.load("ada")).encoded() == after.encoded()

    async def test_a_change_of_what_changed_meanwhile_is_refused(self, store):
        """Nothing is written then, nor if the account is gone."""
        before = await written(store, credentials())
        first, second = before.changed(disabled=True), before.changed(password=None)
        assert await store.replace(before, first) is not None

        assert await store.replace(before, second) is None
        assert (await store.load("ada")).encoded() == first.encoded()
        assert await store.replace(credentials("eve"), credentials("eve")) is None
        assert await store.load("eve") is None

    async def test_a_change_that_is_stored_already_is_no_conflict(self, store):
        """A call whose reply was lost may be repeated."""
        before = await written(store, credentials())
        after = before.changed(disabled=True)

        assert [await store.replace(before, after) is not None for _ in range(2)] == [True, True]

    async def test_of_changes_at_once_one_succeeds(self, store):
        """Ten changes of the same version at the same time: one is stored."""
        before = await written(store, credentials())
        changes = [before.changed(password_changed_ms=number) for number in range(10)]

        results = await asyncio.gather(*(store.replace(before, after) for after in changes))

        (stored,) = [after for after, result in zip(changes, results, strict=True) if result is not None]
        assert (await store.load("ada")).encoded() == stored.encoded()

    async def test_a_deleted_account_is_gone(self, store):
        """It is neither loaded nor changed nor deleted again, and its name is free."""
        before = await written(store, credentials())

        assert await store.delete(before) is not None

        assert await store.load("ada") is None
        assert await store.replace(before, before.changed()) is None
        assert await store.delete(before) is None
        await written(store, credentials())

    async def test_what_changed_meanwhile_is_not_deleted(self, store):
        """The account stays as the other change left it."""
        before = await written(store, credentials())
        after: Credentials = before.changed(disabled=True)
        assert await store.replace(before, after) is not None

        assert await store.delete(before) is None

        assert (await store.load("ada")).encoded() == after.encoded()

    async def test_an_account_is_found_by_its_handle(self, store):
        """Whether it began with the handle or got it by a change; other changes leave it, and others are None."""
        await written(store, credentials("ada", handle=HANDLE))
        bob = await written(store, credentials("bob"))
        named = bob.changed(handle=OTHER_HANDLE)
        assert await store.find(OTHER_HANDLE) is None

        for before, after in ((bob, named), (named, named.changed(disabled=True))):
            assert await store.replace(before, after) is not None

        assert [await store.find(handle) for handle in (HANDLE, OTHER_HANDLE, "j" * 43)] == ["ada", "bob", None]

    async def test_a_handle_that_was_not_written_finds_nothing(self, store):
        """That of a sign-up for a taken name, and of a change of what changed meanwhile or is gone."""
        before = await written(store, credentials())
        assert await store.create(credentials(handle=HANDLE)) is None
        assert await store.replace(before, before.changed()) is not None

        assert await store.replace(before, before.changed(handle=HANDLE)) is None
        assert await store.replace(credentials("eve"), credentials("eve", handle=HANDLE)) is None

        assert await store.find(HANDLE) is None

    async def test_of_changes_at_once_that_bring_one_handle_the_account_is_found(self, store):
        """A form that was sent ten times: those that are refused do not take the handle from the one that is stored."""
        before = await written(store, credentials())

        results = await asyncio.gather(*(store.replace(before, before.changed(handle=HANDLE)) for _ in range(10)))

        assert sum(result is not None for result in results) == 1
        assert await store.find(HANDLE) == "ada"

    async def test_the_handle_of_a_deleted_account_finds_no_account(self, store):
        """Not that of the next user of the name either."""
        before = await written(store, credentials(handle=HANDLE))
        assert await store.delete(before) is not None
        assert await store.find(HANDLE) is None

        await written(store, credentials(handle=OTHER_HANDLE))

        assert (await store.find(HANDLE), await store.find(OTHER_HANDLE)) == (None, "ada")
