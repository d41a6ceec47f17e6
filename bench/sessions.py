"""Sessions: Tollhouse beside Litestar's server-side sessions, starsessions and Flask-Session, on one Valkey in one run.

    python -m bench.sessions            (or `make bench`)

Each worker verifies the next of 10,000 sessions when it has the answer for the last one; so many workers are the
concurrency. What is measured is what a library does in its store for a request of a logged-in user that changes
nothing, called directly, and each has to show first that it keeps sessions. Rounds take turns. All run on uvloop, as
under uvicorn.

Then apart: what one request costs the server and the network, the memory of a session, how long it takes to end all
sessions of a user, which only Tollhouse can, and how many logins there are a second within the memory for hashes.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from statistics import median

import uvloop
from msgspec import Struct

import tollhouse
from bench.machine import RESULTS, write_result
from bench.our_sessions import SECRETS, filled, opened_stores, ours
from bench.race import Figure, Runner, raced
from bench.rounds import in_turns, one_round, spread
from bench.server import Observer
from bench.session_library import SessionLibrary, check
from bench.session_peers import peers
from bench.sessions_report import Cost, Logins, Memory, Race, Report, Revocation, chart, document, reported
from tollhouse.accounts.hashing.argon2id import POOL_MEMORY_KIB, PROFILES, parallel_hashes
from tollhouse.settings import Settings
from tollhouse.settings.accounts import AccountSettings
from tollhouse.settings.passwords import PasswordProfile
from tollhouse.settings.throttle import ThrottleSettings
from tollhouse.stores.embedded.server import EmbeddedServer

LOGIN_ROUNDS = 4
"""A login takes a thousand times as long as a verify, so its rounds are so many times as long."""
PASSWORD = "a password of the benchmark"
TITLE = "Sessions"

Peers = Callable[[str, int], AbstractAsyncContextManager[list[SessionLibrary]]]
"""Opens peers on the server at a URL, with a connection for each of so many concurrent requests."""


class Scale(Struct, frozen=True, kw_only=True):
    """How much is measured.

    `sessions` are verified in turn, each of another user, and their memory is averaged; the cost of `requests` is
    counted, one after the other; users with `revoked` sessions lose them, and logins hash with each of `profiles`.
    """

    concurrencies: Sequence[int] = (1, 50)
    rounds: int = 5
    seconds: float = 0.6
    warm_up_s: float = 0.3
    sessions: int = 10_000
    requests: int = 1_000
    revoked: Sequence[int] = (1, 100, 1_000, 10_000)
    profiles: Sequence[PasswordProfile] = ("default", "owasp")


async def measured(server: EmbeddedServer, scale: Scale, peers: Peers = peers) -> Report:
    """Measure all of it, one thing after the other, beside these peers."""
    observer = Observer(server.socket_path)
    verifies: list[Race] = []
    creations: list[Race] = []
    try:
        for concurrency in scale.concurrencies:
            print(f"Concurrency {concurrency} …", flush=True)
            observer.clear()
            async with ours(server.url, scale.sessions) as own, peers(server.url, concurrency) as others:
                verifies.append(await _verifies([*own, *others], observer, concurrency, scale))
                creations.append(await _creations(_complete(own, others), observer, concurrency, scale))
        print("Costs, revocations and logins …", flush=True)
        async with ours(server.url, scale.sessions) as own, peers(server.url, 1) as others:
            memory = [await _memory(one, observer, scale.sessions) for one in _complete(own, others)]
            observer.count_replication()
            costs = [await _cost(one, observer, scale) for one in (*own, *others)]
        observer.clear()
        return reported(
            verifies=verifies,
            creations=creations,
            costs=costs,
            memory=memory,
            revocations=await _revocations(server.url, observer, scale),
            logins=[await _logins(server.url, profile, scale) for profile in scale.profiles],
        )
    finally:
        observer.close()


def _complete(own: Sequence[SessionLibrary], others: Sequence[SessionLibrary]) -> list[SessionLibrary]:
    """Return each library once, without the reference."""
    return [own[0], *(one for one in others if not one.reference)]


async def _verifies(
    libraries: Sequence[SessionLibrary], observer: Observer, concurrency: int, scale: Scale
) -> list[Figure]:
    for one in libraries:
        await check(one)
    runners = [_verify(one, await _begun(one, scale.sessions)) for one in libraries]
    figures = await raced(runners, observer, concurrency, scale.rounds, scale.seconds, scale.warm_up_s)
    for one in libraries:
        await one.settle()
    return figures


def _verify(library: SessionLibrary, clients: Sequence[str]) -> Runner:
    turn = itertools.cycle(clients)
    return Runner(
        library=library.name,
        call=lambda: library.verify(next(turn)),
        commands=library.verifies_by,
        own=library.own,
        reference=library.reference,
    )


async def _creations(
    libraries: Sequence[SessionLibrary], observer: Observer, concurrency: int, scale: Scale
) -> list[Figure]:
    runners = [_create(one, scale.sessions, observer) for one in libraries]
    return await raced(runners, observer, concurrency, scale.rounds, scale.seconds, scale.warm_up_s)


def _create(library: SessionLibrary, users: int, observer: Observer) -> Runner:
    """Return the creations of a library; each round begins without a session, so that no user has many."""
    turn = itertools.cycle(range(users))
    return Runner(
        library=library.name,
        call=lambda: library.create(f"customer-{next(turn)}"),
        commands=library.creates_by,
        own=library.own,
        reset=observer.clear,
    )


async def _begun(library: SessionLibrary, sessions: int) -> list[str]:
    """Begin a session of so many users, one after the other."""
    return [await library.create(f"customer-{number}") for number in range(sessions)]


async def _memory(library: SessionLibrary, observer: Observer, sessions: int) -> Memory:
    """Return the bytes of one session alone in the server, and the share of each of many."""
    observer.clear()
    await library.create("customer-0")
    alone_bytes = observer.data_bytes()
    observer.clear()
    await _begun(library, sessions)
    return Memory(name=library.name, alone_bytes=alone_bytes, share_bytes=observer.data_bytes() / sessions)


async def _cost(library: SessionLibrary, observer: Observer, scale: Scale) -> Cost:
    """Return what a verify costs, as the mean of verifies one after the other."""
    observer.clear()
    clients = await _begun(library, scale.sessions)
    await library.verify(clients[-1])
    await library.settle()
    before = observer.tally(library.verifies_by)
    for client in itertools.islice(itertools.cycle(clients), scale.requests):
        assert await library.verify(client)
    await library.settle()
    return Cost(
        name=library.name, own=library.own, each=observer.tally(library.verifies_by).since(before, scale.requests)
    )


async def _revocations(url: str, observer: Observer, scale: Scale) -> list[Revocation]:
    """Time the end of all sessions of users who have some, in turns."""
    taken_ms: dict[int, list[float]] = {count: [] for count in scale.revoked}
    calls: dict[int, int] = {}
    async with opened_stores(url) as stores:
        for count in in_turns(scale.revoked, scale.rounds):
            user = f"customer-{count}"
            sessions = await filled(stores, user, count)
            before = observer.calls("evalsha")
            began_s = time.perf_counter()
            result = await sessions.revoke_all(user)
            taken_ms[count].append((time.perf_counter() - began_s) * 1000)
            calls[count] = observer.calls("evalsha") - before
            assert result.removed == count
    return [Revocation(sessions=count, calls=calls[count], ms=spread(taken_ms[count])) for count in scale.revoked]


async def _logins(url: str, profile: PasswordProfile, scale: Scale) -> Logins:
    """Log one user in again and again, by twice as many callers as hashes may run at once."""
    cost = PROFILES[profile]
    threads = parallel_hashes(cost.memory_kib)
    unlimited = ThrottleSettings(free_failures=10_000, address_failures=10_000, all_failures=10_000)
    accounts = AccountSettings(throttle=unlimited)
    settings = Settings(url=url, secret=SECRETS[:1], password_profile=profile, accounts=accounts)
    async with tollhouse.open(settings) as th:
        await th.accounts.sign_up(f"ada-{profile}", PASSWORD, address="192.0.2.1")
        login = partial(th.accounts.login, f"ada-{profile}", PASSWORD, address="192.0.2.1")
        taken = [await one_round(login, bool, 2 * threads, LOGIN_ROUNDS * scale.seconds) for _ in range(scale.rounds)]
    return Logins(
        profile=profile,
        hash_kib=cost.memory_kib,
        threads=threads,
        pool_kib=POOL_MEMORY_KIB,
        per_s=spread([done.per_s for done in taken]),
        cpu_ms=median(1000 * done.busy / done.per_s for done in taken),
    )


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="Sessions, beside the Python peers.")
    parser.add_argument("--rounds", type=int, default=Scale().rounds)
    parser.add_argument("--seconds", type=float, default=Scale().seconds)
    options = parser.parse_args()
    server = EmbeddedServer.start()
    try:
        report = uvloop.run(measured(server, Scale(rounds=options.rounds, seconds=options.seconds)))
    finally:
        server.stop()
    write_result("sessions", TITLE, " ".join(["python -m bench.sessions", *sys.argv[1:]]), document(report), report)
    (RESULTS / "sessions.svg").write_text(chart(TITLE, report))


if __name__ == "__main__":
    main()
