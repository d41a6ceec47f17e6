"""Probes: a store is well if a script has written to it, whatever PING says; and what may fail later is a warning."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from click.testing import CliRunner

import tollhouse
from tests.failures.fake_sentinel import ErrorReply
from tests.failures.own_server import own_server
from tests.failures.primaries import scene
from tests.http.client import ADMIN, service_at
from tests.worlds import StoreWorld, World
from tollhouse.cli.check import check, problems, warnings
from tollhouse.http.health import StoreHealth
from tollhouse.stores import status
from tollhouse.stores.arguments import PROBE_MS
from tollhouse.stores.status import check_store, memory_warnings
from tollhouse.stores.transport.refusals import LOGIN_REMEDY

PROBES = ("sessions/probe", "limits/probe", "cache/probe", "accounts/probe")


@asynccontextmanager
async def account(world: StoreWorld, *rules: str) -> AsyncIterator[str]:
    """Yield the URL of an account with all rights but those that the rules take away."""
    name, password = f"limited-{secrets.token_hex(4)}", secrets.token_hex(8)
    all_rights = ("on", f">{password}", "allchannels", "~*", "+@all")
    await world.command("sessions", "ACL", "SETUSER", name, *all_rights, *rules)
    yield world.url.replace("unix://", f"unix://{name}:{password}@")
    await world.command("sessions", "ACL", "DELUSER", name)


async def test_a_probe_writes_a_key_that_expires(world: World) -> None:
    """Each store has a script of its own, which leaves one key of the store's prefix for two seconds."""
    for store, script in zip(world.stores.all(), PROBES, strict=True):
        await store.probe()

        (key,) = await store.command("KEYS", "tollhouse:*{probe}")
        assert 0 < await store.command("PTTL", key) <= PROBE_MS
        assert script == f"{store.name}/probe"


async def test_a_store_that_cannot_be_written_is_no_store(embedded: StoreWorld) -> None:
    """PING is answered all the same; the problem is the same text for all stores of the server."""
    async with account(embedded, "-@write") as url, tollhouse.open(url) as th:
        found = [await status.examine(store) for store in th.stores.all()]

    assert {one.connection for one in found} == {"disconnected"}
    assert all(one.round_trip_ms is not None for one in found)
    (problem,) = problems(found)
    assert "ACL SETUSER" in problem
    assert problems(found)[problem] == ["sessions", "limits", "cache", "accounts"]


@pytest.mark.parametrize("command", ["mget", "setrange", "set"])
async def test_a_store_of_limits_that_refuses_takes_fails_its_probe(embedded: StoreWorld, command: str) -> None:
    """An account without a command that takes need is found before the first take."""
    async with account(embedded, f"-{command}") as url, tollhouse.open(url) as th:
        found = await status.examine(th.stores.limits)

    assert found.connection == "disconnected"
    assert found.problem is not None
    assert command in found.problem


@pytest.mark.parametrize("strict", [False, True])
async def test_a_login_that_is_refused_is_told_from_a_server_that_is_down(embedded: StoreWorld, strict: bool) -> None:
    """`refused` is true if only a change of the setup helps; the problem ends with the remedy, also with `strict`."""
    refused_url = embedded.url.replace("unix://", "unix://ada:wrong@")
    async with tollhouse.open(refused_url, strict=strict) as th, tollhouse.open("redis://127.0.0.1:1") as absent:
        refused, down = await check_store(th.stores.limits), await check_store(absent.stores.limits)

    assert (refused.connection, refused.refused) == ("disconnected", True)
    assert (refused.problem or "").endswith(LOGIN_REMEDY)
    assert (down.connection, down.refused) == ("disconnected", False)


@pytest.mark.parametrize("url", ["unix://ada:wrong@", "redis://127.0.0.1:1"])
async def test_check_shows_what_refuses_and_what_is_down(embedded: StoreWorld, url: str) -> None:
    """S4-68: `tollhouse check` prints `refused` in place of the server's version if it refused, else `down`."""
    variables = {"TOLLHOUSE_URL": url if "redis" in url else embedded.url.replace("unix://", url)}

    done = await asyncio.to_thread(CliRunner().invoke, check, env=variables)

    shown = {line.split("│")[3].strip() for line in done.stdout.splitlines() if line.startswith("│ ")}
    assert (done.exit_code, shown - {""}) == (1, {"down"} if "redis" in url else {"refused"})


@pytest.mark.parametrize(
    ("keys", "code", "word"),
    [("%R~tollhouse:cache:*", 200, "degraded"), ("%R~tollhouse:session:*", 503, "unavailable")],
)
async def test_readiness_needs_a_write(embedded: StoreWorld, keys: str, code: int, word: str) -> None:
    """S0-18: without writes the cache only degrades the service; without those of another store it is not ready."""
    others = [f"~tollhouse:{one}:*" for one in ("session", "rate", "cache", "account")]
    rules = ["resetkeys", keys, *(one for one in others if one != keys.removeprefix("%R"))]
    async with account(embedded, *rules) as url, service_at(url) as service:
        response = await service.ask("GET", "/readyz")

    assert (response.status_code, response.json()["status"]) == (code, word)


async def test_an_answer_holds_for_a_second(embedded: StoreWorld) -> None:
    """Frequent probes, also those that meet, write once a second; each of the two answers is remembered apart."""
    now = [100.0]
    async with tollhouse.open(embedded.url) as th:
        health = StoreHealth(th.stores, clock=lambda: now[0])
        first = await health.readiness()
        assert await health.readiness() is first
        report = await health.report()
        assert await health.report() is report
        now[0] += 0.999
        assert await health.readiness() is first
        now[0] += 0.001
        assert await health.readiness() is not first


async def test_a_full_server_says_so() -> None:
    """Above maxmemory writes are refused, apart from those of limits; the report has the remedy and the warning."""
    async with own_server("--maxmemory", "100kb") as url, service_at(url) as service:
        report = (await service.ask("GET", "/readyz?verbose", headers=ADMIN)).json()

    sessions, limits, *_ = report["stores"]
    assert report["status"] == "unavailable"
    assert "raise maxmemory of the server" in sessions["problem"]
    assert limits["problem"] is None
    assert "nine tenths of its maxmemory" in limits["warnings"][0]


#   the memory of a server, words of the warnings for sessions, and for limits
MEMORY: list[tuple[Mapping[str, str], list[str], list[str]]] = [
    ({}, [], []),
    ({"maxmemory": "0", "maxmemory_policy": "allkeys-lru", "used_memory": "9"}, [], []),
    ({"maxmemory": "100", "maxmemory_policy": "noeviction", "used_memory": "89"}, [], []),
    ({"maxmemory": "100", "maxmemory_policy": "noeviction", "used_memory": "90"}, ["nine tenths"], ["nine tenths"]),
    ({"maxmemory": "100", "maxmemory_policy": "volatile-lru", "used_memory": "9"}, ["volatile-lru"], []),
    ({"maxmemory": "100", "maxmemory_policy": "allkeys-lru", "used_memory": "99"}, ["allkeys", "nine"], ["nine"]),
]


@pytest.mark.parametrize(("memory", "of_sessions", "of_limits"), MEMORY)
def test_what_memory_means(memory: Mapping[str, str], of_sessions: list[str], of_limits: list[str]) -> None:
    """S4-55: a server that evicts when it is full is no place for sessions; a nearly full one is told beforehand."""
    for store, words in (("sessions", of_sessions), ("limits", of_limits)):
        found = list(memory_warnings(store, memory))
        assert len(found) == len(words)
        assert all(word in one for word, one in zip(words, found, strict=True))


async def test_check_warns_of_eviction() -> None:
    """S3-06, S4-55, S4-57: `tollhouse check` names the stores that a server may evict, once."""
    async with own_server("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru") as url, tollhouse.open(url) as th:
        found = [await status.examine(store) for store in th.stores.all()]

    told = [warning for warning in warnings(found, keyed=True) if "evicts" in warning]
    assert len(told) == 1
    assert told[0].startswith("sessions, accounts: ")
    assert "TOLLHOUSE_CACHE_URL" in told[0]


async def test_without_info_nothing_is_known_of_the_memory(embedded: StoreWorld) -> None:
    """An account that may not ask gets no warning of it, and a store that is down neither."""
    async with account(embedded, "-info") as url, tollhouse.open(url) as th:
        assert (await status.examine(th.stores.sessions)).warnings == ()
    async with tollhouse.open("redis://127.0.0.1:1") as th:
        assert (await status.examine(th.stores.sessions)).warnings == ()


async def test_a_probe_that_is_broken_is_a_problem() -> None:
    """An error that is neither an outage nor a refusal is told as well: the store has written nothing."""
    async with scene() as s:
        s.old.answer = lambda command: ErrorReply("ERR it is broken") if "EVALSHA" in command else "PONG"

        found = await check_store(s.store)

        assert found.connection == "disconnected"
        assert "ERR it is broken" in (found.problem or "")
