"""The credentials that Redis keeps: the conformance of every store, and what a rotation and a delete do to them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.accounts import ROTATED_SECRET, record
from tests.spec.stored import keys_of
from tollhouse.accounts.credentials.redis_credentials import MARK_MS, RedisCredentials
from tollhouse.accounts.hashing.passwords import StoredHash
from tollhouse.accounts.passkeys.passkey import Passkey
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED
from tollhouse.testing.credential_stores import (
    HANDLE,
    CredentialStoreConformance,
    credentials,
    written,
)

PASSKEY = Passkey(id="one", public_key=b"key", sign_count=7, name="a phone", created_ms=1)


@pytest.fixture
def store(world):
    return RedisCredentials(world.stores.accounts, world.keyring, world.metrics, UNNAMED)


class TestRedisCredentials(CredentialStoreConformance):
    """Redis keeps what a credential store is to keep."""


@pytest.fixture
def rotated(world):
    """Stores of processes before, in the middle of, and after a rotation of the secret."""
    (old,), new = world.keyring.secrets, ROTATED_SECRET
    orders = {"before": (old,), "behind": (old, new), "front": (new, old), "after": (new,)}
    opened = {
        name: RedisCredentials(world.stores.accounts, Keyring(secrets=order), world.metrics, UNNAMED)
        for name, order in orders.items()
    }
    keys = {name: UNNAMED.account(Keyring(secrets=order).digest("account", "ada")) for name, order in orders.items()}
    return SimpleNamespace(
        **opened, keys=keys, ids={name: Keyring(secrets=one).key_ids()[0] for name, one in orders.items()}
    )


async def test_a_change_moves_an_account_to_the_newest_secret(world, rotated):
    """What is changed in the middle of a rotation is found by processes that know the new secret alone."""
    older = StoredHash(phc="hash", key_id=rotated.ids["before"])
    made = await written(rotated.before, credentials(password=older, passkeys=(PASSKEY,), handle=HANDLE))
    assert (await rotated.front.load("ada")).older_secret == rotated.ids["before"]

    assert await rotated.front.replace(made, made.changed(disabled=True)) is not None

    moved = await rotated.after.load("ada")
    assert (moved.disabled, moved.passkeys, moved.created_ms) == (True, (PASSKEY,), made.created_ms)
    assert (moved.handle, await rotated.after.find(HANDLE)) == (HANDLE, "ada")


async def test_an_account_without_a_password_needs_the_secret_of_its_key(world, rotated):
    """It names that secret in place of the one of a hash: before and after its move."""
    made = await written(rotated.before, credentials(password=None))
    ids = [await world.command("accounts", "HGET", rotated.keys["before"], "k")]

    assert await rotated.front.replace(made, made.changed()) is not None

    ids.append(await world.command("accounts", "HGET", rotated.keys["after"], "k"))
    assert [one.decode() for one in ids] == [rotated.ids["before"], rotated.ids["after"]]
    assert (await rotated.after.load("ada")).password is None


async def test_a_change_of_what_moved_meanwhile_follows_it(world, rotated):
    """A process with one secret finds an account marked by a move to a secret that is gone, and takes it back."""
    made = await written(rotated.before, credentials())
    await world.stores.accounts.run("accounts/depart", [rotated.keys["before"]], ["0badc0de", ""])

    assert await rotated.before.replace(made, made.changed(disabled=True)) is not None

    assert (await rotated.before.load("ada")).disabled


async def test_nothing_brings_a_deleted_account_back(world, rotated):
    """A move that comes late, under any key, finds the mark of the deleted account; the name is not free for a day."""
    made = await written(rotated.before, credentials())
    run, keys = world.stores.accounts.run, rotated.keys
    *fields, _ = await run("accounts/depart", [keys["before"]], [rotated.ids["after"], ""])
    assert await rotated.front.delete(made) is not None

    late = [1, *fields[1:]]
    assert await run("accounts/arrive", [keys["after"]], late) == [1]
    assert await run("accounts/arrive", [keys["before"]], late) == [1]
    assert await run("accounts/bury", [keys["after"]], [0, 60_000]) == [1]

    for one in (rotated.before, rotated.behind, rotated.front, rotated.after):
        assert await one.load("ada") is None
        assert await one.create(credentials()) is None
    await world.advance(MARK_MS)
    assert await keys_of(world, "accounts") == []
    assert await rotated.front.create(credentials()) is not None


async def test_a_repeated_delete_answers_the_same(world, store):
    """A delete whose answer was lost may be sent again; that of another version deletes nothing."""
    run, key = world.stores.accounts.run, UNNAMED.account(world.keyring.digest("account", "ada"))
    await run("accounts/create", [key], record("ada", "hash-1", "0a"))

    assert await run("accounts/delete", [key], ["r1", "hash-2", MARK_MS]) == [0, 0]
    assert [await run("accounts/delete", [key], ["r1", "hash-1", MARK_MS]) for _ in range(2)] == [[1, 0]] * 2
    assert await run("accounts/delete", [key], ["r9", "hash-1", MARK_MS]) == [0, 0]


async def test_an_account_of_an_earlier_version_is_read_and_changed(world, store):
    """It has no revision and no factors, and its hash is renewed by processes of that version."""
    key = UNNAMED.account(world.keyring.digest("account", "ada"))
    await world.command("accounts", "HSET", key, "u", "ada", "h", "hash-1", "k", "0a", "c", 7, "dis", 0)

    found = await store.load("ada")
    await world.command("accounts", "HSET", key, "h", "hash-2")
    assert await store.replace(found, found.changed(disabled=True)) is None
    renewed = await store.load("ada")
    assert await store.replace(renewed, renewed.changed(disabled=True)) is not None

    assert (found.revision, found.epoch, found.created_ms, found.password.phc) == ("", "", 7, "hash-1")
    assert (await store.load("ada")).password.phc == "hash-2"


async def test_an_account_whose_factors_cannot_be_read_is_disabled(world, store):
    """It may have had a second factor, which a damaged record must not open without."""
    await written(store, credentials())
    key = UNNAMED.account(world.keyring.digest("account", "ada"))
    await world.command("accounts", "HSET", key, "x", "{damaged")

    assert (await store.load("ada")).disabled
    assert world.metrics.registry.get_sample_value("tollhouse_state_discarded_total", {"kind": "credentials"}) == 1


async def test_a_delete_that_another_change_overtakes_deletes_nothing(world, store):
    """The account is compared again by the step that deletes it."""
    made = await written(store, credentials())

    class Changing:
        async def run(self, script, keys, args):
            return await world.stores.accounts.run(script, keys, args)

        async def run_durably(self, script, keys, args):
            assert await store.replace(made, made.changed(disabled=True)) is not None
            return await world.stores.accounts.run_durably(script, keys, args)

    assert await RedisCredentials(Changing(), world.keyring, world.metrics, UNNAMED).delete(made) is None

    assert (await store.load("ada")).disabled
