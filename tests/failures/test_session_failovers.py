"""Failovers after durable answers: what ended stays so for ever, and the next answers are durable soon.

FAILOVER_ROUNDS says how many failovers one run has; `make failovers` has 27, and tells how long each took. The
last one does not wait for a replica: Sentinel needs ten seconds to make the one that hung follow.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import product

import pytest
from msgspec import Struct

import tollhouse
from tollhouse.errors import StoreUnavailable
from tollhouse.sessions.outcomes import Issued, Rotation, SessionRefused
from tollhouse.sessions.tokens import Token
from tollhouse.settings import Settings
from tollhouse.stores.embedded.sentinel_cluster import Node, SentinelCluster
from tollhouse.wiring import Tollhouse

ROUNDS = int(os.environ.get("FAILOVER_ROUNDS", "1"))
pytestmark = [pytest.mark.sentinel, pytest.mark.timeout(240 + 40 * ROUNDS)]
PATIENCE_S = 30.0
DURABLE_AGAIN_S = 2.0


class Durable(Struct, frozen=True, kw_only=True):
    """What was answered durable before a failover: tokens that open nothing any more, some that do, a disabled user.

    `unplanned` is how many changes of primary there had been that this test did not cause.
    """

    unplanned: int
    dead: tuple[Token, ...]
    alive: tuple[Token, ...]
    disabled: str


@pytest.fixture
def cluster() -> Iterator[SentinelCluster]:
    cluster = SentinelCluster.start(down_after_ms=1_000)
    yield cluster
    cluster.stop()


async def test_what_ended_durably_stays_ended_after_failovers(cluster: SentinelCluster) -> None:
    """P4: a revocation, a revocation of all, a disabling and a rotation, each durable, hold on every later primary.

    A replica hangs when the primary is killed, but in every fourth round, and the other one is promoted. Neither the
    process that was answered nor one that knows of nothing lets a token in, of this round or of one before; and answers
    are durable again within two seconds of the new primary, or of the first replica that follows it.

    On a machine that stands still for a second, Sentinel replaces servers that are well. It may take the one that was
    killed and has returned with nothing, and then what lived before is lost: no client can prevent that. What had ended
    stays so even then.
    """
    settings = Settings(url=cluster.url, secret=(secrets.token_bytes(32),))
    ended: list[Durable] = []
    async with tollhouse.open(settings) as th:
        for number in range(ROUNDS):
            await _healthy(cluster, th)
            ended.append(await _durably(th, number, _generation(th) - number))

            former, paused = await _fail_over(cluster, hangs=number % 4 < 3)
            replaced_s = time.monotonic()
            async with tollhouse.open(settings) as stranger:
                for process, round_ in product((th, stranger), ended):
                    await _stays_ended(process, round_)
                    if _generation(th) - (number + 1) == round_.unplanned:
                        await _lives(process, round_)

            if number == ROUNDS - 1:
                return
            if paused is not None:
                os.kill(paused.pid, signal.SIGCONT)
            followed_s, durable_s = await _durable_again(cluster, th)
            told = f"a replica followed the new primary after {_ms(followed_s - replaced_s)}, durable"
            others = f"{_generation(th) - number - 2} other changes of primary so far"
            sys.stdout.write(f"round {number + 1}: {told} {_ms(durable_s - followed_s)} later; {others}\n")
            assert durable_s - followed_s < DURABLE_AGAIN_S
            await asyncio.to_thread(cluster.restart, former)


async def _answered(call: Callable[[], Awaitable[object]]) -> object:
    """Return the result of a call, as soon as the store answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.02)


async def _healthy(cluster: SentinelCluster, th: Tollhouse) -> None:
    """Return when the primary has both replicas, and answers are durable."""
    await _until(lambda: _has_followers(cluster, 2))
    await _until(lambda: _is_durable(th))


async def _is_durable(th: Tollhouse) -> bool:
    issued = await _answered(lambda: th.sessions.create("probe"))
    assert isinstance(issued, Issued)
    return issued.durable


async def _until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await happened():  # noqa: ASYNC110 - what happens is in another process, which sends no signal
            await asyncio.sleep(0.01)


async def _has_followers(cluster: SentinelCluster, number: int) -> bool:
    return await asyncio.to_thread(_followers, cluster) >= number


def _followers(cluster: SentinelCluster) -> int:
    """Return how many replicas the present primary sends its writes to."""
    primary = cluster.primary()
    if primary is None:
        return 0
    try:
        return cluster.call(primary, "INFO", "replication").count("state=online")
    except OSError:
        return 0


def _generation(th: Tollhouse) -> int:
    """Return how many primaries the process has had."""
    health = th.stores.sessions.health()
    assert health is not None
    assert health.generation is not None
    return health.generation.number


async def _durably(th: Tollhouse, number: int, unplanned: int) -> Durable:
    """End sessions by every verb, and rotate one; all of it is durable."""
    users = [f"{name} {number}" for name in ("revoked", "revoked all", "disabled", "rotated", "untouched")]
    issued = [await th.sessions.create(user) for user in users]
    tokens = [each.token for each in issued if isinstance(each, Issued) and each.durable]
    assert len(tokens) == len(users)
    revoked = await th.sessions.revoke(users[0], tokens[0].sid)
    all_revoked = await th.sessions.revoke_all(users[1])
    disabled = await th.sessions.disable(users[2])
    rotated = await th.sessions.rotate(tokens[3])
    assert isinstance(rotated, Rotation)
    assert (revoked.durable, all_revoked.durable, disabled.durable, rotated.durable) == (True,) * 4
    return Durable(unplanned=unplanned, dead=tuple(tokens[:4]), alive=(tokens[4], rotated.token), disabled=users[2])


async def _fail_over(cluster: SentinelCluster, *, hangs: bool) -> tuple[Node, Node | None]:
    """Kill the primary, and return it when a replica is the primary; if one hangs, it is the other, and both are."""
    former = await asyncio.to_thread(cluster.primary)
    assert former is not None
    replicas = [node for node in cluster.nodes if node != former]
    paused = random.choice(replicas) if hangs else None
    if paused is not None:
        os.kill(paused.pid, signal.SIGSTOP)
    os.kill(former.pid, signal.SIGKILL)
    await _until(lambda: _is_replaced(cluster, former, paused))
    return former, paused


async def _is_replaced(cluster: SentinelCluster, former: Node, paused: Node | None) -> bool:
    return await asyncio.to_thread(cluster.primary) not in (None, former, paused)


async def _stays_ended(th: Tollhouse, ended: Durable) -> None:
    for token in ended.dead:
        assert await _verified(th, token) is None


async def _lives(th: Tollhouse, ended: Durable) -> None:
    for token in ended.alive:
        assert await _verified(th, token) is not None
    refused = await _answered(lambda: th.sessions.create(ended.disabled))
    assert refused == SessionRefused(reason="disabled")


async def _verified(th: Tollhouse, token: Token) -> object:
    return await _answered(lambda: th.sessions.verify(token))


async def _durable_again(cluster: SentinelCluster, th: Tollhouse) -> tuple[float, float]:
    """Return when a replica was seen to follow the new primary, and when an answer was durable."""
    await _until(lambda: _has_followers(cluster, 1))
    followed_s = time.monotonic()
    await _until(lambda: _is_durable(th))
    return followed_s, time.monotonic()


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
