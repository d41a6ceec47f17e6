"""Secrets in rotation: entries are named under the newest secret, and nothing older is read by any process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.caches import GatedLoader, Loader, open_cache
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.cache.key_names import KeyNames
from tollhouse.keyring import Keyring


async def test_a_rotated_secret_misses_and_still_invalidates(world: World):
    """Under a new secret no older entry is found, but an invalidation also removes entries under the old secret."""
    old_secret = world.keyring.secrets[0]
    rotated = Keyring(secrets=(b"the next secret, also of 32 bytes", old_secret))
    store = world.stores.cache
    before = open_cache(world)
    after = Cache(store, rotated, world.metrics, monotonic=lambda: world.now_ms)
    load = Loader("first", "second", "third", "fourth")

    old = await before.get_or_load("k", load, tags=["t"])
    new = await after.fetch("k", load, tags=["t"])
    await after.invalidate("k")
    again = await before.fetch("k", load, tags=["t"])
    await after.invalidate_tags("t")

    assert (old, new.status, again.value) == ("first", "MISS", "third")
    assert (await before.fetch("k", load, tags=["t"])).value == "fourth"


def test_the_names_of_a_key_are_computed_once() -> None:
    """Names of a key that is read again are those of before, with its family; other keys have others."""
    names = KeyNames(Keyring(secrets=(b"a secret of 32 bytes, or of more",)), "tollhouse")

    first = names.entries("model:7")

    assert names.entries("model:7") is first
    assert names.entries("model:8") != first
    assert (first[0].family, names.entries("alone")[0].family) == ("model", "cache")


REPLACEMENTS: dict[str, Callable[[Cache], Awaitable[object]]] = {
    "set": lambda cache: cache.set("model:1", "new", tags=["t"]),
    "set of what is too large": lambda cache: cache.set("model:1", random.randbytes(1_100_000), tags=["t"]),
    "fresh": lambda cache: cache.get_or_load("model:1", Loader("new"), tags=["t"], fresh=True),
    "invalidate": lambda cache: cache.invalidate("model:1"),
    "invalidate_tags": lambda cache: cache.invalidate_tags("t"),
    "delete_pattern": lambda cache: cache.delete_pattern("model:*"),
    "clear": lambda cache: cache.clear(),
    "clear_all": lambda cache: cache.clear_all(),
}


@pytest.mark.parametrize("how", REPLACEMENTS)
@pytest.mark.parametrize("is_stored", [True, False])
async def test_processes_with_two_secrets_in_another_order_read_nothing_older(
    world: World, how: str, *, is_stored: bool
):
    """P6: in a rolling change of the newest secret each process reads under its own, and all invalidate under both.

    What is stored and what is being loaded under the other secret is replaced or removed too.
    """
    secrets = (world.keyring.secrets[0], b"the next secret, also of 32 bytes")
    caches = [
        Cache(world.stores.cache, Keyring(secrets=order), world.metrics, monotonic=lambda: world.now_ms)
        for order in (secrets, secrets[::-1])
    ]
    slow = [GatedLoader("old") for _ in caches]
    loading = [asyncio.create_task(each.get_or_load("model:1", slow[i], tags=["t"])) for i, each in enumerate(caches)]
    for load in slow:
        await load.began.wait()
        if is_stored:
            load.gate.set()
    if is_stored:
        await asyncio.gather(*loading)

    await REPLACEMENTS[how](caches[0])
    for load in slow:
        load.gate.set()
    await asyncio.gather(*loading)

    assert [await cache.get_or_load("model:1", Loader("new"), tags=["t"]) for cache in caches] == ["new"] * 2
