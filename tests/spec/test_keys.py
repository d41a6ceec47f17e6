"""Key names: those of a server with one application are fixed, and those of two namespaces never meet."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.spec.stored import everything, keys_of
from tests.worlds import StoreWorld
from tollhouse import wiring
from tollhouse.accounts.outcomes import AccountCreated, LoginSucceeded
from tollhouse.ai.models import Model, Models
from tollhouse.cache.key_names import KeyNames
from tollhouse.errors import ConfigurationError
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.limits.decision import Take
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings import Settings
from tollhouse.settings.model import CacheSettings
from tollhouse.stores.urls import STORES
from tollhouse.wiring import Tollhouse, load_settings

WORDS = {"sessions": "session", "limits": "rate", "cache": "cache", "accounts": "account"}
PASSWORD = "otters juggle nine plums"
SECRET = b"a secret of 32 bytes, or of more"
POLICIES = {"api": "2/minute", "permits": "3/minute", "tokens": "50/hour"}

#    name, without a namespace, in the namespace `shop`
NAMES: list[tuple[Callable[[Namespace], str], str, str]] = [
    (lambda ns: ns.rate("ab", "api"), "tollhouse:rate:{ab}:api", "tollhouse:rate:shop:{ab}:api"),
    (lambda ns: ns.rate("ab", "api", "cd"), "tollhouse:rate:{ab}:cd:api", "tollhouse:rate:shop:{ab}:cd:api"),
    (lambda ns: ns.throttle("all"), "tollhouse:rate:{throttle}:all", "tollhouse:rate:shop:{throttle}:all"),
    (
        lambda ns: ns.throttle("address", "cd"),
        "tollhouse:rate:{throttle}:address:cd",
        "tollhouse:rate:shop:{throttle}:address:cd",
    ),
    (
        lambda ns: ns.throttle_ended("cd"),
        "tollhouse:rate:{throttle}:ended:cd",
        "tollhouse:rate:shop:{throttle}:ended:cd",
    ),
    (lambda ns: ns.rate_clearings, "tollhouse:rate:cleared", "tollhouse:rate:shop:cleared"),
    (lambda ns: ns.session("0f", "s"), "tollhouse:session:{0f}:sid:s", "tollhouse:session:shop:{0f}:sid:s"),
    (
        lambda ns: ns.session_memo("0f", "s"),
        "tollhouse:session:{0f}:sid:s:memo",
        "tollhouse:session:shop:{0f}:sid:s:memo",
    ),
    (lambda ns: ns.user_sessions("0f", "d"), "tollhouse:session:{0f}:user:d", "tollhouse:session:shop:{0f}:user:d"),
    (
        lambda ns: ns.session_ticket("0f", "d"),
        "tollhouse:session:{0f}:ticket:d",
        "tollhouse:session:shop:{0f}:ticket:d",
    ),
    (lambda ns: ns.user_epoch("0f", "d"), "tollhouse:session:{0f}:epoch:d", "tollhouse:session:shop:{0f}:epoch:d"),
    (lambda ns: ns.global_epoch("0f"), "tollhouse:session:{0f}:everyone", "tollhouse:session:shop:{0f}:everyone"),
    (lambda ns: ns.session_events("0f"), "tollhouse:session:{0f}:events", "tollhouse:session:shop:{0f}:events"),
    (lambda ns: ns.session_revocations, "tollhouse:session:revocations", "tollhouse:session:shop:revocations"),
    (lambda ns: ns.account("0f12"), "tollhouse:account:{0f}:0f12", "tollhouse:account:shop:{0f}:0f12"),
    (
        lambda ns: ns.login_ticket("0f12"),
        "tollhouse:account:{0f}:ticket:0f12",
        "tollhouse:account:shop:{0f}:ticket:0f12",
    ),
    (
        lambda ns: ns.spent_challenge("0f12"),
        "tollhouse:account:{0f}:challenge:0f12",
        "tollhouse:account:shop:{0f}:challenge:0f12",
    ),
    (
        lambda ns: ns.user_handle("0f12"),
        "tollhouse:account:{0f}:handle:0f12",
        "tollhouse:account:shop:{0f}:handle:0f12",
    ),
    (lambda ns: ns.cache().entry("ai", "d:e"), "tollhouse:ai:{0}:d:e", "tollhouse:cache:shop:{0}:ai:d:e"),
    (lambda ns: ns.cache().lease("a", "d"), "tollhouse:@lease:{0}:a:d", "tollhouse:cache:shop:{0}:@lease:a:d"),
    (lambda ns: ns.cache().permit("a", "d"), "tollhouse:@permit:{0}:a:d", "tollhouse:cache:shop:{0}:@permit:a:d"),
    (lambda ns: ns.cache().clock, "tollhouse:@clock:{0}", "tollhouse:cache:shop:{0}:@clock"),
    (lambda ns: ns.cache("mine").entry("a", "d"), "mine:a:{0}:d", "mine:cache:shop:{0}:a:d"),
    (lambda ns: ns.marker("sessions"), "tollhouse:session:{marker}", "tollhouse:session:shop:{marker}"),
    (lambda ns: ns.marker("limits"), "tollhouse:rate:{marker}", "tollhouse:rate:shop:{marker}"),
    (lambda ns: ns.marker("cache"), "tollhouse:cache:{marker}", "tollhouse:cache:shop:{marker}"),
    (lambda ns: ns.marker("accounts"), "tollhouse:account:{marker}", "tollhouse:account:shop:{marker}"),
]

KEYS = st.one_of(
    st.lists(st.sampled_from(["cache", "shop", "a", "A", "@clock", "@lease", "session", "", "{0}"]), min_size=1)
    .map(":".join)
    .filter(bool),
    st.from_regex(r"[a-z][a-z0-9_.:@{}*-]{0,20}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
)
NAMESPACES = st.one_of(
    st.sampled_from(["", "shop", "shop2", "cache", "cleared", "rate", "0", "-"]),
    st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True),
)


@pytest.mark.parametrize(("name", "unnamed", "in_shop"), NAMES)
def test_a_namespace_stands_behind_the_word_of_the_store(
    name: Callable[[Namespace], str], unnamed: str, in_shop: str
) -> None:
    """S2-15: without a namespace every key and channel has the name that it always had; with one, it comes second."""
    assert name(UNNAMED) == name(Namespace("")) == unnamed
    assert name(Namespace("shop")) == in_shop


def names_of(namespace: str, key: str) -> set[str]:
    """Return every name that a cache in a namespace has for a key, with that of its clock."""
    names = KeyNames(Keyring(secrets=(SECRET,)), "tollhouse", Namespace(namespace))
    (entry,) = names.entries(key)
    return {*entry.names, names.clock}


@given(NAMESPACES, NAMESPACES, KEYS, KEYS)
def test_no_two_keys_meet(one: str, other: str, key: str, wanted: str) -> None:
    """S2-11: names of two keys or namespaces are apart, and from other stores'; those of a cache share a hash tag."""
    ours, theirs = names_of(one, key), names_of(other, wanted)

    assert len(ours) == len(theirs) == 4
    if one != other:
        assert not ours & theirs
    elif key != wanted:
        assert ours & theirs == {Namespace(one).cache().clock}
    assert not any(re.match(r"tollhouse:[a-z]+:([A-Za-z0-9_.-]+:)?\{(?!0\})", name) for name in ours)
    assert {name.partition("{")[2].partition("}")[0] for name in ours} == {"0"}


@given(NAMESPACES, NAMESPACES, KEYS)
def test_no_cache_finds_the_entries_of_another_namespace(one: str, other: str, key: str) -> None:
    """Whatever a pattern matches on the server, a cache deletes no entry, lease or clock of another namespace."""
    ours, theirs = (KeyNames(Keyring(), "tollhouse", Namespace(name)).everything for name in (one, other))
    (entry,) = KeyNames(Keyring(), "tollhouse", Namespace(other)).entries(key)
    written = [*entry.names, Namespace(other).cache().clock, Namespace(other).marker("cache")]

    assert theirs.among(written) == [entry.names]
    assert ours.among(written) == ([entry.names] if one == other else [])


WORDS_OF_KEYS = st.sampled_from(["metrics", "abc-123", "top 5", "", "é", "A", "@"])


@given(NAMESPACES, st.lists(WORDS_OF_KEYS, min_size=1, max_size=15), st.data())
def test_a_pattern_finds_the_keys_that_differ_under_its_stars(
    namespace: str, rest: list[str], data: st.DataObject
) -> None:
    """A key with `*` for some words finds that key, and another only if it differs in one of these words."""
    names = KeyNames(Keyring(secrets=(SECRET,)), "tollhouse", Namespace(namespace))
    words = ["model", *rest]
    starred = data.draw(st.sets(st.integers(0, len(rest)), min_size=1))
    (pattern,) = names.patterns(":".join("*" if at in starred else word for at, word in enumerate(words)))

    def finds(changed: int | None) -> bool:
        other = ":".join("other" if at == changed else word for at, word in enumerate(words))
        found = pattern.among([names.entries(other)[0].entry]) != []
        assert fnmatchcase(names.entries(other)[0].entry, pattern.match) or not found
        return found

    assert finds(None)
    assert [finds(at) for at in range(len(words))] == [at in starred for at in range(len(words))]


BAD = ["a:b", "{a}", "a b", "a*", "a\n", "é", "a/b", "x" * 65]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_could_be_mistaken_is_refused(name: str, tmp_path: Path) -> None:
    """Colons, braces, patterns, spaces and more than 64 characters are refused wherever a namespace is given."""
    file = tmp_path / "namespace"
    file.write_text(f"{name}\n")
    ways: list[tuple[Callable[[], Any], str]] = [
        (lambda: Namespace(name), "namespace"),
        (lambda: Settings(namespace=name), "namespace"),
        (lambda: wiring.open("fake://x", namespace=name), "namespace"),
        (lambda: load_settings(environ={"TOLLHOUSE_NAMESPACE": name}), "TOLLHOUSE_NAMESPACE"),
        (lambda: load_settings(environ={"TOLLHOUSE_NAMESPACE_FILE": str(file)}), "TOLLHOUSE_NAMESPACE_FILE"),
    ]
    for make, setting in ways:
        with pytest.raises(ConfigurationError) as refused:
            make()

        assert (refused.value.setting, refused.value.value) == (setting, name)
        assert "at most 64 of a-z" in refused.value.remedy


def test_the_argument_replaces_the_setting() -> None:
    """A namespace comes from the variable, the settings, or the argument of `open`, which wins."""
    settings = load_settings(environ={"TOLLHOUSE_NAMESPACE": "shop", "TOLLHOUSE_URL": "fake://x"})

    assert settings.namespace == "shop"
    assert wiring.open(settings).namespace.name == "shop"
    assert wiring.open(settings, namespace="blog").namespace.name == "blog"
    assert wiring.open(settings, namespace="").namespace.name == ""
    assert wiring.open("fake://x").namespace.name == ""


def open_in(world: StoreWorld, namespace: str) -> Tollhouse:
    models = Models([Model(name="echo", version="1", call=lambda value: value)])
    settings = Settings(url=world.url, secret=(SECRET,), namespace=namespace, password_profile="owasp")
    return wiring.open(settings, policies=POLICIES, models=models)


@asynccontextmanager
async def opened(world: StoreWorld, *namespaces: str) -> AsyncIterator[list[Tollhouse]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_in(world, namespace)) for namespace in namespaces]


async def load_word() -> str:
    return "word"


async def fill(th: Tollhouse, user: str = "ada") -> Issued:
    """Leave something of every kind in every store, and hold a lease of each kind."""
    await th.limits.take("api", user)
    await th.limits.take_all([Take(policy="api", key=f"{{{user}}}:1"), Take(policy="tokens", key=f"{{{user}}}:2")])
    await th.limits.reserve("tokens", user, 5)
    assert isinstance(await th.accounts.sign_up(user, PASSWORD, address="192.0.2.1"), AccountCreated)
    logged_in = await th.accounts.login(user, PASSWORD, address="192.0.2.1")
    assert isinstance(logged_in, LoginSucceeded)
    issued = await th.sessions.create(user)
    assert isinstance(issued, Issued)
    await th.cache.get_or_load("answer", load_word, tags=["words"])
    await th.cache.get_or_load("ai:words:answer", load_word, tags=["words"])
    await th.results.answer("echo", {"text": "hello"}, tenant="public")
    return issued


async def destroy(th: Tollhouse, issued: Issued) -> None:
    """End, reset, revoke and clear everything that a caller can reach."""
    assert await th.sessions.verify(issued.token) is not None
    assert (await th.sessions.revoke(issued.session.user, issued.session.sid)).found
    assert (await th.sessions.revoke_all(issued.session.user)).removed == 1
    for policy in ("api", "tokens"):
        assert await th.limits.reset(policy, issued.session.user)
    await th.limits.refund("api", "{ada}:1")
    await th.cache.invalidate_tags("words")
    assert await th.cache.delete_pattern("*") == 3
    await th.cache.clear()


async def contents(world: StoreWorld) -> dict[tuple[str, str], bytes]:
    return {(store, key): value for store in STORES async for key, value in everything(world, store)}


async def test_every_key_of_a_tour_is_in_the_namespace(world: StoreWorld) -> None:
    """Whatever the features write or subscribe to begins with the word of its store and the namespace."""
    async with opened(world, "shop") as (th,):
        issued = await fill(th)
        after_filling = {store: await keys_of(world, store) for store in STORES}
        await destroy(th, issued)
        after_all = {store: await keys_of(world, store) for store in STORES}
        channels = {channel.decode() for channel in await world.command("limits", "PUBSUB", "CHANNELS", "*shop*")}

    for store, word in WORDS.items():
        assert after_filling[store]
        assert all(key.startswith(f"tollhouse:{word}:shop:") for key in after_filling[store] + after_all[store])
    assert channels == {"tollhouse:rate:shop:cleared", "tollhouse:session:shop:revocations"}


@pytest.mark.parametrize(("one", "other"), [("", "shop"), ("shop", ""), ("shop", "shop2")])
async def test_nothing_in_one_namespace_changes_another(world: StoreWorld, one: str, other: str) -> None:
    """Not a byte of another application is written, charged, revoked or deleted, by no call of this one."""
    async with opened(world, one, other) as (ours, theirs):
        await fill(theirs)
        await theirs.cache.stats()  # sends what it counted, which it would do by itself within a second
        before = await contents(world)

        await destroy(ours, await fill(ours))

        after = await contents(world)
        assert {key: value for key, value in after.items() if key in before} == before
        assert (await theirs.cache.stats()).stats.misses == 3


async def test_a_limit_is_reached_in_its_own_namespace_only(world: StoreWorld) -> None:
    """Two applications with a policy of one name do not refuse each other's clients; two processes of one share it."""
    async with opened(world, "shop", "shop", "blog", "") as (shop, also_shop, blog, unnamed):
        assert (await shop.limits.take("api", "ada", 2)).allowed

        assert not (await also_shop.limits.take("api", "ada")).allowed
        assert (await blog.limits.take("api", "ada", 2)).allowed
        assert (await unnamed.limits.take("api", "ada", 2)).allowed


async def test_a_session_opens_in_its_own_namespace_only(world: StoreWorld) -> None:
    """With one secret, a token of one application is unknown in another, which cannot list or revoke it either."""
    async with opened(world, "shop", "blog") as (shop, blog):
        issued = await shop.sessions.create("ada")
        assert isinstance(issued, Issued)

        assert await blog.sessions.verify(issued.token) is None
        assert await blog.sessions.list("ada") == ()
        assert not (await blog.sessions.revoke("ada", issued.session.sid)).found
        assert (await blog.sessions.revoke_all("ada")).removed == 0
        assert await shop.sessions.verify(issued.token) is not None


async def test_an_account_belongs_to_its_namespace(world: StoreWorld) -> None:
    """A name that is taken in one application is free in another, with a password of its own."""
    async with opened(world, "shop", "blog") as (shop, blog):
        for th, password in ((shop, PASSWORD), (blog, PASSWORD[::-1])):
            assert isinstance(await th.accounts.sign_up("ada", password, address="192.0.2.1"), AccountCreated)

        assert isinstance(await shop.accounts.login("ada", PASSWORD, address="192.0.2.1"), LoginSucceeded)
        assert not isinstance(await blog.accounts.login("ada", PASSWORD, address="192.0.2.1"), LoginSucceeded)


async def test_announcements_stay_in_their_namespace(world: StoreWorld) -> None:
    """A clearing lets the refused client in, in the other process of its application; elsewhere none is heard of."""
    async with opened(world, "shop", "shop", "blog") as (shop, also_shop, blog):
        for th, subscribers in ((shop, 1), (also_shop, 2), (blog, 1)):
            await th.limits.take("api", "ada", 2)
            await _until_subscribed(world, th, subscribers)
            assert not (await th.limits.take("api", "ada", 2)).allowed

        await shop.limits.reset("api", "ada")

        async with asyncio.timeout(10):
            while not (await also_shop.limits.take("api", "ada", 2)).allowed:
                await world.command("limits", "PING")  # a cached refusal does not suspend
        assert not (await blog.limits.take("api", "ada", 2)).allowed


async def _until_subscribed(world: StoreWorld, th: Tollhouse, subscribers: int) -> None:
    channel = th.namespace.rate_clearings
    async with asyncio.timeout(10):
        while (await world.command("limits", "PUBSUB", "NUMSUB", channel))[1] != subscribers:
            pass


async def test_a_random_namespace_holds_for_a_cache_with_a_prefix(world: StoreWorld) -> None:
    """`cache.key_prefix` replaces the first word of the cache's keys; the namespace stands behind it all the same."""
    name = secrets.token_hex(4)
    settings = Settings(url=world.url, secret=(SECRET,), namespace=name, cache=CacheSettings(key_prefix="mine"))
    async with wiring.open(settings) as th:
        await th.cache.get_or_load("answer", load_word)
        await th.limits.take("default", "ada")

        assert all(key.startswith(f"mine:cache:{name}:") for key in await keys_of(world, "cache"))
        assert all(key.startswith(f"tollhouse:rate:{name}:") for key in await keys_of(world, "limits"))
