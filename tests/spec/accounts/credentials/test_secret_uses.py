"""Which secrets accounts need, counted over all of a namespace."""

from __future__ import annotations

import asyncio

from tests.accounts import record
from tests.spec.accounts.credentials.test_records import MINUTE_MS, Processes
from tollhouse.accounts.credentials.redis_credentials import RedisCredentials
from tollhouse.accounts.credentials.secret_uses import count_secret_uses
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.testing.credential_stores import HANDLE, credentials, written


async def test_accounts_are_counted_by_the_secret_that_they_need(world):
    """An account counts under the older secret until its user logs in; pending ones and other namespaces do not."""
    processes, shop = Processes(world), Namespace("shop")
    older, newest = (processes.keyring(order).key_ids()[0] for order in ("before", "after"))
    for user in ("ada", "eve", "bob"):
        await processes.sign_up("before", user)
    run, digest = world.stores.accounts.run, "0" * 32
    await run("accounts/create", [UNNAMED.account(digest)], record("may", "hash", newest, pending_ms=MINUTE_MS))
    await run("accounts/create", [shop.account(digest)], record("may", "hash", newest))
    await world.command("accounts", "SET", UNNAMED.marker("accounts"), "")

    counts = [await count_secret_uses(world.stores.accounts, UNNAMED)]
    for user in ("ada", "eve", "bob"):
        await processes.login("front", user)
        await world.advance(MINUTE_MS)
        counts.append(await count_secret_uses(world.stores.accounts, UNNAMED))

    assert counts == [{older: 3}, {older: 2, newest: 1}, {older: 1, newest: 2}, {newest: 3}]
    assert await count_secret_uses(world.stores.accounts, shop) == {newest: 1}


async def test_a_store_without_accounts_needs_no_secret(world):
    """Nothing is counted if there is nothing."""
    assert await count_secret_uses(world.stores.accounts, UNNAMED) == {}


async def test_many_accounts_are_counted_in_steps(embedded):
    """A scan of several steps misses none."""
    run = embedded.stores.accounts.run
    keys = [UNNAMED.account(f"{number:032x}") for number in range(800)]
    await asyncio.gather(*(run("accounts/create", [key], record("ada", "hash", f"{key[-1]}")) for key in keys))

    counts = await count_secret_uses(embedded.stores.accounts, UNNAMED)

    assert counts == {f"{digit:x}": 50 for digit in range(16)}


async def test_only_accounts_are_counted(world):
    """The other keys of the store, such as those of user handles, are not read."""
    store = RedisCredentials(world.stores.accounts, world.keyring, world.metrics, UNNAMED)
    await written(store, credentials(password=None, handle=HANDLE))

    counts = await count_secret_uses(world.stores.accounts, UNNAMED)

    _, keys = await world.stores.accounts.scan(0, UNNAMED.accounts, 500)
    assert (counts, len(keys)) == ({world.keyring.key_ids()[0]: 1}, 1)
