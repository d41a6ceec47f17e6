"""What each call of the library costs: processor time of its process and of the server, and the time until it returns.

    python -m bench.paths            (or `make bench`)

Calls of one process, so many at a time, on one Valkey behind a unix socket. Those that go to the server share a script
call if they meet in one turn of the event loop and are takes; the others are sent together. A refusal of a key that the
store has refused, and a take from a quota lease, need no server. The subjects, sessions and entries take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence

import uvloop
from msgspec import Struct

import tollhouse
from bench.contender import SUBJECTS
from bench.machine import write_result
from bench.race import Figure, Runner, raced
from bench.server import Observer
from tollhouse.limits.decision import Decision
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings
from tollhouse.stores.embedded.server import EmbeddedServer
from tollhouse.wiring import Tollhouse

CONCURRENCIES = (1, 50)
MANY = 1000
"""The concurrency at which takes alone are measured, too."""
ROUNDS = 7
ROUND_S = 0.3
WARM_UP_S = 0.3
SESSIONS = 1_000
SECRET = b"a secret of the benchmark, 32 byte"
TAKE, REFUSAL, LEASED, VERIFY, HIT, LOADED = "take", "refusal", "leased take", "verify", "cache get", "get_or_load, hit"


class Report(Struct, frozen=True, kw_only=True):
    """The whole result."""

    figures: list[Figure]


async def runners(th: Tollhouse) -> list[Runner]:
    """Prepare what the calls need, and return them."""
    tokens = [await _token(th, f"user-{number}") for number in range(SESSIONS)]
    entries = [f"entry:{number}" for number in range(SESSIONS)]
    for entry in entries:
        await th.cache.set(entry, "x" * 100, ttl_s=3600)
    while (await th.limits.take("few", "ada")).allowed:
        pass

    async def load() -> str:
        raise RuntimeError("a hit loads nothing")

    subject, token, entry = map(itertools.cycle, (SUBJECTS, tokens, entries))
    calls: dict[str, tuple[Callable[[], Awaitable[object]], Callable[[object], bool]]] = {
        TAKE: (lambda: th.limits.take("many", next(subject)), _admitted),
        REFUSAL: (lambda: th.limits.take("few", "ada"), _refused),
        LEASED: (lambda: th.limits.take("leased", "ada"), _admitted),
        VERIFY: (lambda: th.sessions.verify(next(token)), _found),
        HIT: (lambda: th.cache.get(next(entry)), _found),
        LOADED: (lambda: th.cache.get_or_load(next(entry), load, ttl_s=3600), _found),
    }
    return [Runner(library=name, call=call, right=right, own=True) for name, (call, right) in calls.items()]


async def _token(th: Tollhouse, user: str) -> str:
    issued = await th.sessions.create(user)
    assert isinstance(issued, Issued)
    return issued.token.reveal()


def _admitted(decision: object) -> bool:
    return isinstance(decision, Decision) and decision.allowed and not decision.degraded


def _refused(decision: object) -> bool:
    return isinstance(decision, Decision) and not decision.allowed


def _found(value: object) -> bool:
    return value is not None


async def measured(server: EmbeddedServer, rounds: int, seconds: float) -> Report:
    """Measure all calls at each concurrency."""
    policies = {
        "many": PolicySettings(limit="1000000/hour"),
        "few": PolicySettings(limit="1/hour"),
        "leased": PolicySettings(limit="1000000000/hour", lease="auto"),
    }
    observer = Observer(server.socket_path)
    try:
        settings = Settings(url=server.url, secret=(SECRET,), limits=LimitSettings(policies=policies))
        async with tollhouse.open(settings) as th:
            every = await runners(th)
            takes = [one for one in every if one.library == TAKE]
            figures: list[Figure] = []
            for concurrency, called in (*((one, every) for one in CONCURRENCIES), (MANY, takes)):
                figures += await raced(called, observer, concurrency, rounds, seconds, WARM_UP_S)
        return Report(figures=figures)
    finally:
        observer.close()


def document(figures: Sequence[Figure]) -> str:
    """Return the table as Markdown."""
    lines = [
        "Medians of the rounds, for one call. About half a microsecond of the process is the measurement's own.",
        "",
        "| call | at a time | calls/s | p50 | p99 | CPU of the process | CPU of the server | of that in scripts |",
        "|---" * 8 + "|",
    ]
    lines += [
        f"| {one.name} | {one.concurrency} | {one.per_s.median:,.0f} | {one.p50_us:,.1f} µs | {one.p99_us:,.1f} µs | "
        f"{one.client_us:.1f} µs | {one.server_us:.1f} µs | {one.commands_us:.1f} µs |"
        for one in figures
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="What each call of the library costs.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=ROUND_S)
    options = parser.parse_args()
    server = EmbeddedServer.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(measured(server, options.rounds, options.seconds))
    finally:
        server.stop()
    write_result("paths", "What each call costs", "python -m bench.paths", document(report.figures), report)


if __name__ == "__main__":
    main()
