"""What every resolver promises its callers, with Sentinels and with a list: confirmed, in doubt, failed, closed."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.failures.fake_sentinel import PATIENCE_S
from tests.failures.scenes import RESTLESS, listed, scene, tcp
from tollhouse.stores.discovery.failover_hints import FailoverHint, HintReason
from tollhouse.stores.discovery.locator import NoPrimary
from tollhouse.stores.discovery.primary_history import Generation, PrimaryEvent

EOF_HINT = FailoverHint(why="eof")

pytestmark = pytest.mark.parametrize("opened", [scene, listed], ids=["sentinels", "listed"])


async def test_the_primary_is_found_and_confirmed(opened) -> None:
    """The address is that of the server that reports the primary role; it is generation 1."""
    async with opened() as s:
        assert await s.located() == s.hosts[0]

        generation = await s.next_generation()
        assert (generation.number, generation.why, generation.epoch) == (1, "first", 0)
        assert generation.address == tcp(s.hosts[0])
        assert s.servers[0].listener.counts["ROLE"] >= 1
        health = s.resolver.health()
        assert (health.promotable, health.generation, health.reason) == (2, generation, "")


async def test_a_login_is_the_one_of_the_url(opened) -> None:
    """Stores log in at the primary with the same credentials as the resolver."""
    async with opened(server_login=("ada", "sesame"), known=(None, ("ada", "sesame"))) as s:
        assert await s.located() == s.hosts[0]

        assert (s.resolver.login().username, s.resolver.login().password) == ("ada", "sesame")


@pytest.mark.parametrize("why", ["eof", "connect", "stall", "readonly", "noreplicas", "masterdown", "loading"])
async def test_a_failed_call_starts_a_round(opened, why: HintReason) -> None:
    """After a hint callers wait until the primary is confirmed anew; if it is the same, nothing changes."""
    async with opened() as s:
        await s.located()
        await s.next_generation()
        probes = s.servers[0].listener.counts["ROLE"]

        s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why=why))
        assert why in s.reason

        assert await s.located() == s.hosts[0]
        assert s.servers[0].listener.counts["ROLE"] > probes
        assert s.generations.empty()
        assert s.reason == ""


async def test_a_hint_leads_to_the_new_primary(opened) -> None:
    """After a failed call on the old primary the address is one that was confirmed since; generations only grow."""
    async with opened() as s:
        await s.located()
        first = await s.next_generation()
        s.fail_over(1)

        s.resolver.suspect(first.address, EOF_HINT)

        assert await s.located() == s.hosts[1]
        second = await s.next_generation()
        assert (second.number, second.address) == (2, tcp(s.hosts[1]))


async def test_hints_about_another_server_are_ignored(opened) -> None:
    """A failed call on another server than the present primary, or before there is one, adds no doubt."""
    async with opened() as s:
        s.resolver.suspect(tcp(s.hosts[0]), EOF_HINT)
        await s.located()
        probes = s.servers[0].listener.counts["ROLE"]

        s.resolver.suspect(tcp(s.hosts[1]), FailoverHint(why="readonly"))

        assert s.reason == ""
        assert await s.located() == s.hosts[0]
        assert s.servers[0].listener.counts["ROLE"] == probes


async def test_a_failover_without_a_failed_call_is_noticed(opened) -> None:
    """Rounds run on their own too: a primary that became a replica, and fails no call, is replaced."""
    async with opened(timing=RESTLESS) as s:
        await s.located()
        await s.next_generation()

        s.fail_over(1)

        assert (await s.next_generation()).address == tcp(s.hosts[1])


async def test_doubts_without_end_keep_no_caller_waiting(opened) -> None:
    """A caller gets the address that was confirmed after its call began, though new doubts keep coming."""
    async with opened(timing=RESTLESS) as s:
        await s.located()

        async def doubting() -> None:
            while True:
                s.resolver.suspect(tcp(s.hosts[0]), FailoverHint(why="noreplicas"))
                await asyncio.sleep(0)

        doubts = asyncio.ensure_future(doubting())

        assert await s.located() == s.hosts[0]
        doubts.cancel()


async def test_a_primary_that_comes_back_is_the_same_generation(opened) -> None:
    """A lost primary is a reason that is logged; when it is back, callers have it, and no new generation begins."""
    async with opened(timing=RESTLESS) as s:
        await s.located()
        first = await s.next_generation()

        s.leave_no_primary()
        await s.until(lambda: s.reason != "")
        s.promote(0)
        await s.until(lambda: s.reason == "")

        assert await s.located() == s.hosts[0]
        assert s.resolver.health().generation == first
        assert s.generations.empty()


async def test_a_lost_primary_is_logged_once(opened, caplog: pytest.LogCaptureFixture) -> None:
    """However many rounds find no primary for the same reason, one warning carries it."""
    async with opened(timing=RESTLESS) as s:
        await s.located()
        s.leave_no_primary()
        with caplog.at_level(logging.WARNING, logger="tollhouse.stores"):
            probes = s.servers[0].listener.counts["ROLE"]
            await s.until(lambda: s.servers[0].listener.counts["ROLE"] > probes + 5)

    warnings = [record for record in caplog.records if vars(record)["event"] == "no primary confirmed"]
    assert len(warnings) == 1
    assert "names none" in str(vars(warnings[0])["reason"]) or "is a replica" in str(vars(warnings[0])["reason"])


async def test_a_refused_login_is_raised_at_once(opened) -> None:
    """A wrong password is a reason for every caller at once; it names the server, and does not hold the password."""
    async with opened(server_login=("ada", "right"), known=(None, ("ada", "sesame"))) as s:
        for _ in range(2):
            with pytest.raises(NoPrimary, match="WRONGPASS") as raised:
                await s.located()

            assert f"127.0.0.1:{s.hosts[0][1]}" in str(raised.value)
            assert "sesame" not in str(raised.value)


@pytest.mark.parametrize("refused", ["NOPERM no right to role", "ERR broken"])
async def test_a_greeting_stands_in_for_a_role_that_may_not_be_asked(opened, refused: str) -> None:
    """For an account without the right to ROLE the greeting counts; any other error means no primary."""
    async with opened() as s:
        for server in s.servers:
            server.refuses_role = refused
        waiting = asyncio.ensure_future(s.located())

        if refused.startswith("NOPERM"):
            assert await waiting == s.hosts[0]
        else:
            await s.until(lambda: "ERR broken" in s.reason)
            waiting.cancel()


async def test_closing_releases_waiting_callers(opened) -> None:
    """A caller that waits for a primary, and every later one, learns that the resolver was closed."""
    async with opened() as s:
        s.servers[0].listener.silent = True
        waiting = asyncio.ensure_future(s.located())
        await s.servers[0].listener.received("HELLO")

        await s.resolver.aclose()

        with pytest.raises(NoPrimary, match="closed"):
            await waiting
        with pytest.raises(NoPrimary, match="closed"):
            await s.located()


async def test_closing_an_unused_resolver_connects_to_nothing(opened) -> None:
    """A resolver that was never asked has nothing to end, and connects to nothing afterwards."""
    async with opened() as s:
        await s.resolver.aclose()

        with pytest.raises(NoPrimary, match="closed"):
            await s.resolver.locate()

        assert not any(fake.listener.counts for fake in (*s.sentinels, *s.servers))


async def test_a_defect_is_not_hidden(opened) -> None:
    """A subscriber that raises ends the rounds; later callers meet its error instead of waiting for ever."""

    def broken(event: PrimaryEvent) -> None:
        raise RuntimeError(f"cannot bear {type(event).__name__}")

    async def locate_until_it_fails() -> None:
        while True:  # an address that was confirmed before the subscriber raised may still be returned
            await s.located()

    async with opened() as s:
        s.resolver.subscribe(broken)

        for _ in range(2):
            with pytest.raises(ExceptionGroup) as raised:
                await asyncio.wait_for(locate_until_it_fails(), PATIENCE_S)

            assert raised.group_contains(RuntimeError, match=f"cannot bear {Generation.__name__}")
