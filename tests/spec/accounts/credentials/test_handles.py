"""The index of user handles: it is there before the record, and a change that fails between the two opens nothing."""

from __future__ import annotations

import pytest

from tests.accounts import ROTATED_SECRET
from tests.spec.sessions.test_sessions_resurrection import Interleaved
from tests.spec.stored import keys_of
from tollhouse.accounts.credentials.redis_credentials import RedisCredentials
from tollhouse.errors import StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED
from tollhouse.testing.credential_stores import HANDLE, OTHER_HANDLE, credentials, written

CLAIM, FORGET, REPLACE = "accounts/claim_handle", "accounts/forget_handle", "accounts/replace"


class Broken:
    """A store that is down for one script; its writes are confirmed by a replica, but for those of `lossy`."""

    def __init__(self, store, *, down="", lossy=""):
        self.store, self.down, self.lossy = store, down, lossy
        self.calls = []

    async def run(self, script, keys, args):
        self.calls.append(script)
        if script == self.down:
            raise StoreUnavailable("accounts", "not-sent", "down for a test")
        return await self.store.run(script, keys, args)

    async def run_durably(self, script, keys, args):
        return await self.run(script, keys, args), script != self.lossy


def over(world, store, *secrets):
    keyring = Keyring(secrets=secrets) if secrets else world.keyring
    return RedisCredentials(store, keyring, world.metrics, UNNAMED)


@pytest.fixture
def store(world):
    return over(world, world.stores.accounts)


async def handles(world):
    return await keys_of(world, "accounts", "*:handle:*")


async def test_a_handle_is_in_the_index_before_it_is_in_the_record(world, store):
    """Only a change that brings one writes the index: the others are the one call that they were."""
    watched = Broken(world.stores.accounts)
    before = await written(over(world, watched), credentials())
    after = before.changed(handle=HANDLE)
    assert await over(world, watched).replace(before, after) is not None

    assert await over(world, watched).replace(after, after.changed(disabled=True)) is not None

    assert watched.calls == ["accounts/create", CLAIM, REPLACE, REPLACE]


async def test_a_change_whose_index_cannot_be_written_is_not_written(world, store):
    """The error says that nothing was changed."""
    before = await written(store, credentials())

    with pytest.raises(StoreUnavailable) as failed:
        await over(world, Broken(world.stores.accounts, down=CLAIM)).replace(before, before.changed(handle=HANDLE))

    assert failed.value.outcome == "not-sent"
    assert (await store.load("ada")).handle is None


async def test_a_change_that_fails_behind_its_index_opens_nothing(world, store):
    """The handle finds a name whose record has none; the error says that something may be written; a retry succeeds."""
    before = await written(store, credentials())
    after = before.changed(handle=HANDLE)

    with pytest.raises(StoreUnavailable) as failed:
        await over(world, Broken(world.stores.accounts, down=REPLACE)).replace(before, after)

    assert failed.value.outcome == "ambiguous"
    assert (await store.find(HANDLE), (await store.load("ada")).handle) == ("ada", None)
    assert await store.replace(before, after) is not None
    assert (await store.load("ada")).handle == HANDLE


async def test_an_index_that_stays_behind_a_deleted_account_opens_nothing(world, store):
    """The next account of the name has another handle, and both are told apart by their records."""
    before = await written(store, credentials(handle=HANDLE))
    with pytest.raises(StoreUnavailable) as failed:
        await over(world, Broken(world.stores.accounts, down=FORGET)).delete(before)
    assert failed.value.outcome == "ambiguous"

    await written(store, credentials(handle=OTHER_HANDLE))

    assert (await store.find(HANDLE), (await store.load("ada")).handle) == ("ada", OTHER_HANDLE)


@pytest.mark.parametrize("lossy", ["", CLAIM, REPLACE])
async def test_a_change_is_durable_if_its_index_is(world, store, lossy):
    """A failover that lost the index alone would leave a passkey that finds no account."""
    before = await written(store, credentials())

    result = await over(world, Broken(world.stores.accounts, lossy=lossy)).replace(
        before, before.changed(handle=HANDLE)
    )

    assert result.durable == (lossy == "")


async def test_a_repeated_change_that_another_followed_keeps_its_handle(world, store):
    """The call is refused, but the record has the handle from its first run."""
    before = await written(store, credentials())
    after = before.changed(handle=HANDLE)
    assert await store.replace(before, after) is not None
    assert await store.replace(after, after.changed(disabled=True)) is not None

    assert await store.replace(before, after) is None

    assert await store.find(HANDLE) == "ada"


async def test_no_change_that_overtakes_another_loses_the_index(world):
    """At each point of a change that brings a handle: another one that brings the same, or none, or a delete."""
    store = over(world, world.stores.accounts)
    for overtaking in ("same", "none", "delete"):
        for point in range(8):
            user, handle = f"{overtaking} {point}", f"{overtaking}{point}".rjust(43, "A")
            before = await written(store, credentials(user))

            async def overtake(how=overtaking, before=before, handle=handle):
                change = before.changed(**({"handle": handle} if how == "same" else {}))
                await (store.delete(before) if how == "delete" else store.replace(before, change))

            slow = over(world, Interleaved(world.stores.accounts, point, overtake))
            await slow.replace(before, before.changed(handle=handle))

            stored = await store.load(user)
            has = stored is not None and stored.handle == handle
            assert await store.find(handle) == (user if has else None), (overtaking, point)


async def test_a_handle_is_found_after_any_rotation(world):
    """Its key is of no secret, so nothing moves."""
    (old,) = world.keyring.secrets
    await written(over(world, world.stores.accounts, old), credentials(handle=HANDLE))

    assert await over(world, world.stores.accounts, ROTATED_SECRET).find(HANDLE) == "ada"


async def test_the_index_lives_as_long_as_its_account(world, store):
    """It does not expire; the delete of the account removes it, and a repeated step changes nothing."""
    made = await written(store, credentials(handle=HANDLE))
    (key,) = await handles(world)
    assert await world.command("accounts", "PTTL", key) == -1
    run = world.stores.accounts.run
    assert await run("accounts/find_handle", [key], []) == [b"ada"]
    assert await run("accounts/release_handle", [key], ["another revision"]) == [0]

    assert await store.delete(made) is not None

    assert await handles(world) == []
    assert await run("accounts/forget_handle", [key], []) == [0]


def test_an_account_keeps_its_handle():
    """A change that gives it another one is a defect of its caller: its passkeys would be lost."""
    named = credentials().changed(handle=HANDLE)

    for handle in (None, OTHER_HANDLE):
        with pytest.raises(AssertionError, match="keeps its user handle"):
            named.changed(handle=handle)
    assert named.changed(passkeys=()).handle == HANDLE
