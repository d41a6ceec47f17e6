"""Reads: what a hit costs beside the call of the store."""

from __future__ import annotations

from typing import Any

from tests.caches import Loader
from tests.worlds import World
from tollhouse.cache.cache import Cache
from tollhouse.keyring import Keyring

TAGS = ["tag:first", "tag:second"]


class CountedKeyring:
    """A keyring, and how often it made the digest of a tag."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.tags = 0

    @property
    def secrets(self) -> tuple[bytes, ...]:
        return self._keyring.secrets

    def digests(self, label: str, value: str) -> tuple[str, ...]:
        self.tags += value.startswith("tag\0")
        return self._keyring.digests(label, value)


async def test_a_hit_makes_no_digest_of_a_tag(fake: World) -> None:
    """Tags are checked by each read, but only a value that is stored needs their digests."""
    keyring: Any = CountedKeyring(fake.keyring)
    cache = Cache(fake.stores.cache, keyring, fake.metrics)
    await cache.get_or_load("key", Loader("value"), tags=TAGS)
    by_load = keyring.tags

    found = [await cache.fetch("key", Loader("other"), tags=TAGS) for _ in range(10)]

    assert {result.status for result in found} == {"HIT"}
    assert (by_load, keyring.tags) == (len(TAGS), len(TAGS))


async def test_many_keys_share_the_digests_of_their_tags(fake: World) -> None:
    """A call for many keys makes the digest of each tag once."""
    keyring: Any = CountedKeyring(fake.keyring)
    cache = Cache(fake.stores.cache, keyring, fake.metrics)

    async def load_many(keys: list[str]) -> dict[str, str]:
        return dict.fromkeys(keys, "value")

    found = await cache.get_many([f"key:{number}" for number in range(50)], load_many, tags=TAGS)
    await cache.invalidate_tags(TAGS[1])

    assert len(found) == 50
    assert keyring.tags == len(TAGS) + 1
    assert await cache.look_up("key:7") is None
