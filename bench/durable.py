"""Rounds that kill a primary behind durable writes: how many of them are gone, and how soon writes are durable again.

    python -m bench.durable 20

A primary has replicas of priority 10, 100 and 0. Each round starts four servers and three Sentinels, breaks something,
creates sessions and revokes others, kills the primary, and asks a new process's eyes on the new primary: every session
that was created `durable: true` has to be there, and none that was revoked `durable: true`. Rounds in which nothing
that matters is broken have to say `durable: true`; the others may not.

| variant    | what is broken                                                                 | durable |
|------------|--------------------------------------------------------------------------------|---------|
| `healthy`  | nothing                                                                        | yes     |
| `spare`    | the stream to the replica of priority 0 rests                                  | yes     |
| `resting`  | the stream to the preferred replica, of priority 10, rests                     | no      |
| `detached` | the preferred replica cannot log in to the primary any more                    | no      |
| `cascaded` | the preferred replica follows the one of priority 0, and that stream rests     | no      |
| `forced`   | nothing; Sentinel replaces the primary, which is not killed and goes on as one | yes     |
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from statistics import median
from typing import Final

from msgspec import Struct

import tollhouse
from bench.machine import write_result
from bench.prioritized import PATIENCE_S, PREFERRED, PRIMARY, SPARE, Cluster, ask, until
from tollhouse.errors import StoreUnavailable
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings import Settings
from tollhouse.wiring import Tollhouse

WRITES: Final = 10


class Outcome(Struct, frozen=True, kw_only=True):
    """One round: how many creates and revocations there were, were durable, and were undone by the failover.

    `create_ms` is what one create took; `answer_ms` and `again_ms` are the times from the end of the primary to the
    first answer of the next one, and to the first durable create there.
    """

    variant: str
    creates: int
    durable_creates: int
    lost: int
    revocations: int
    durable_revocations: int
    revived: int
    create_ms: float
    answer_ms: int
    again_ms: int

    @property
    def violations(self) -> int:
        """How many promises were broken."""
        return self.lost + self.revived


Break = Callable[[Cluster], Awaitable[None]]


async def _nothing(cluster: Cluster) -> None:
    del cluster


async def _rest(cluster: Cluster) -> None:
    for stream in cluster.streams.values():
        stream.rest()


async def _detach(cluster: Cluster) -> None:
    preferred = cluster.servers[PREFERRED]
    ask(preferred, "CONFIG", "SET", "primaryauth", "wrong")
    ask(preferred, "CLIENT", "KILL", "TYPE", "master")
    await until(lambda: "master_link_status:down" in ask(preferred, "INFO", "replication"))


class Variant(Struct, frozen=True, kw_only=True):
    """What is broken; `sources` are the streams that can rest, `promised` whether writes have to be durable.

    The primary is `forced` out by Sentinel, or killed.
    """

    sources: dict[int, int]
    breaks: Break
    promised: bool
    forced: bool = False


VARIANTS: Final = {
    "healthy": Variant(sources={}, breaks=_nothing, promised=True),
    "spare": Variant(sources={SPARE: PRIMARY}, breaks=_rest, promised=True),
    "resting": Variant(sources={PREFERRED: PRIMARY}, breaks=_rest, promised=False),
    "detached": Variant(sources={}, breaks=_detach, promised=False),
    "cascaded": Variant(sources={PREFERRED: SPARE}, breaks=_rest, promised=False),
    "forced": Variant(sources={}, breaks=_nothing, promised=True, forced=True),
}


async def play(name: str) -> Outcome:
    """Play one round. Each part has a client of its own, so that none replays what another one revoked."""
    variant = VARIANTS[name]
    async with _running(variant) as cluster:
        settings = Settings(url=cluster.url, secret=(secrets.token_bytes(32),))
        async with _opened(settings) as first:
            old = [await _create(first, f"old-{number}") for number in range(WRITES)]
        await variant.breaks(cluster)
        async with _opened(settings) as writer:
            began_s = time.perf_counter()
            new = [await _create(writer, f"new-{number}") for number in range(WRITES)]
            create_ms = (time.perf_counter() - began_s) * 1000 / WRITES
            ended = [await writer.sessions.revoke(one.session.user, one.session.sid) for one in old]
        await _replace_primary(cluster, forced=variant.forced)
        ended_s = time.monotonic()
        async with _opened(settings) as last:
            answer_ms = round((time.monotonic() - ended_s) * 1000)
            lost = [one for one in new if one.durable and not await _lives(last, one)]
            dead = [one for one, end in zip(old, ended, strict=True) if end.durable]
            revived = [one for one in dead if await _lives(last, one)]
            await _durable(last)
            again_ms = round((time.monotonic() - ended_s) * 1000)
    return Outcome(
        variant=name,
        creates=len(new),
        durable_creates=sum(one.durable for one in new),
        lost=len(lost),
        revocations=len(ended),
        durable_revocations=len(dead),
        revived=len(revived),
        create_ms=round(create_ms, 2),
        answer_ms=answer_ms,
        again_ms=again_ms,
    )


@asynccontextmanager
async def _running(variant: Variant) -> AsyncIterator[Cluster]:
    cluster = Cluster()
    try:
        await cluster.start(variant.sources)
        yield cluster
    finally:
        await cluster.aclose()


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Tollhouse]:
    """Open a client that has found the primary and been told by all Sentinels who could replace it."""
    async with tollhouse.open(settings) as client:
        async with asyncio.timeout(PATIENCE_S):
            while not await _ready(client):  # noqa: ASYNC110 - it becomes so inside the resolver, which has no event for it
                await asyncio.sleep(0.02)
        yield client


async def _ready(client: Tollhouse) -> bool:
    with contextlib.suppress(StoreUnavailable):
        await client.stores.sessions.ping()
        health = client.stores.sessions.health()
        return health is not None and not health.reason and health.sentinels_reachable == health.sentinels_known
    return False


async def _replace_primary(cluster: Cluster, *, forced: bool) -> None:
    """End the primary; return at once when it is killed, and when the Sentinels name another one if it is not."""
    if not forced:
        cluster.kill(PRIMARY)
        return
    ask(cluster.sentinels[0], "SENTINEL", "FAILOVER", "main")
    await until(lambda: cluster.named() != {cluster.servers[PRIMARY].address.host})


async def _lives(client: Tollhouse, issued: Issued) -> bool:
    """Return whether a session is there; while its primary is in doubt it is looked up again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(StoreUnavailable):
                return await client.sessions.verify(issued.token) is not None
            await asyncio.sleep(0.02)


async def _durable(client: Tollhouse) -> None:
    """Create sessions until one is durable."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(StoreUnavailable):
                if (await _create(client, "again")).durable:
                    return
            await asyncio.sleep(0.02)


async def _create(client: Tollhouse, user: str) -> Issued:
    issued = await client.sessions.create(user)
    assert isinstance(issued, Issued)
    return issued


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the figures as Markdown, one line for each variant."""
    lines = [
        "| variant | rounds | creates | durable | lost | revoked | durable | revived | create ms | up ms | again ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in VARIANTS:
        of = [one for one in outcomes if one.variant == name]
        if of:
            lines.append(
                f"| `{name}` | {len(of)} | "
                f"{sum(one.creates for one in of)} | {sum(one.durable_creates for one in of)} | "
                f"{sum(one.lost for one in of)} | {sum(one.revocations for one in of)} | "
                f"{sum(one.durable_revocations for one in of)} | {sum(one.revived for one in of)} | "
                f"{median(one.create_ms for one in of):.1f} | {median(one.answer_ms for one in of):.0f} | "
                f"{median(one.again_ms for one in of):.0f} |"
            )
    return "\n".join(lines)


async def measured(rounds: int, variants: Sequence[str]) -> list[Outcome]:
    """Play so many rounds of each variant."""
    outcomes: list[Outcome] = []
    for number in range(rounds):
        for name in variants:
            outcomes.append(await play(name))
            print(number + 1, outcomes[-1], flush=True)
    return outcomes


def main() -> None:
    """Play the rounds, write the result, and fail if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", type=int, nargs="?", default=20)
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS))
    given = parser.parse_args()
    outcomes = asyncio.run(measured(given.rounds, given.variants))
    command = f"python -m bench.durable {given.rounds}"
    write_result("durable", "Durable writes and a killed primary", command, table(outcomes), outcomes)
    if any(one.violations for one in outcomes):
        raise SystemExit("durable writes were undone")


if __name__ == "__main__":
    main()
