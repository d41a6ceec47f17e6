"""Hot keys: takes of few keys, all admitted, in one process; and one limit that several processes use up together.

    python -m bench.hot_keys            (or `make bench`)

"Leased" is a policy with `lease = "auto"`: a process takes several units at once, and admits from them without asking
the store. "Asked" is one without: each take goes to the store. A refusal needs no store under either. Rounds take
turns.

In the second part the processes take from one key under one limit of 100,000 a second, as fast as they can, and begin
with all of its units. All admissions are logged with times that the processes share: the fullest second is that of any
second of the round, not only of whole ones.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import time
from collections import Counter
from collections.abc import Sequence

import uvloop
from msgspec import Struct

import tollhouse
from bench.hot_keys_report import HotKeys, Report, Shared, document, reported
from bench.machine import write_result
from bench.rounds import in_turns, spread
from bench.server import Observer
from bench.shared_limit import SharedRound, shared_round, workers
from tollhouse.limits.limiter import Limiter
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings
from tollhouse.stores.embedded.server import EmbeddedServer

ROUNDS = 7
ROUND_S = 0.5
SHARED_S = 2.0
"""Long enough that units come back, and are taken again."""
WARM_UP_S = 0.5
LIMIT = "1000000000/hour"
PROCESSES = (1, 2, 4)
POLICIES = ("asked", "leased")
_TURN = 100
"""Takes between two readings of the clock, after which other callers go on."""


class Case(Struct, frozen=True):
    """So many callers of one process, who take from so many keys under a policy."""

    policy: str
    keys: int
    callers: int


CASES = tuple(Case(policy, keys, callers) for keys, callers in ((1, 1), (1, 50), (100, 50)) for policy in POLICIES)


async def _takes(limiter: Limiter, case: Case, seconds: float) -> tuple[int, float]:
    """Return the takes, and how many a second; one that is not admitted by the store or a lease raises."""
    end_s, turn = time.perf_counter() + seconds, itertools.cycle([f"hot-{number}" for number in range(case.keys)])
    policy, count = case.policy, 0

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < end_s:
            for key in itertools.islice(turn, _TURN):
                decision = await limiter.take(policy, key)
                assert decision.allowed
                assert not decision.degraded
            count += _TURN
            await asyncio.sleep(0)

    gc.collect()
    began_s = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(case.callers)))
    return count, count / (time.perf_counter() - began_s)


async def _hot(server: EmbeddedServer, rounds: int, seconds: float) -> list[HotKeys]:
    """Measure all cases in this process."""
    policies = {"asked": PolicySettings(limit=LIMIT), "leased": PolicySettings(limit=LIMIT, lease="auto")}
    observer = Observer(server.socket_path)
    rates: dict[Case, list[float]] = {case: [] for case in CASES}
    counts: Counter[Case] = Counter()
    calls: Counter[Case] = Counter()
    async with tollhouse.open(Settings(url=server.url, limits=LimitSettings(policies=policies))) as th:
        for case in CASES:
            await _takes(th.limits, case, WARM_UP_S)
        for case in in_turns(CASES, rounds):
            before = observer.calls("evalsha")
            count, rate = await _takes(th.limits, case, seconds)
            rates[case].append(rate)
            counts[case] += count
            calls[case] += observer.calls("evalsha") - before
    observer.close()
    return [
        HotKeys(
            policy=case.policy,
            keys=case.keys,
            callers=case.callers,
            per_s=spread(rates[case]),
            calls=calls[case] / counts[case],
        )
        for case in CASES
    ]


def _shared(url: str, rounds: int) -> list[Shared]:
    """Measure all numbers of processes, each on a key of its own in each round."""
    cases = [(policy, processes) for processes in PROCESSES for policy in POLICIES]
    taken: dict[tuple[str, int], list[SharedRound]] = {case: [] for case in cases}
    with contextlib.ExitStack() as stack:
        started = {case: stack.enter_context(workers(url, *case)) for case in cases}
        for number, case in enumerate(in_turns(cases, rounds)):
            taken[case].append(shared_round(started[case], f"shared-{number}", SHARED_S))
    return [_figure(*case, done) for case, done in taken.items()]


def _figure(policy: str, processes: int, done: Sequence[SharedRound]) -> Shared:
    return Shared(
        policy=policy,
        processes=processes,
        fullest=spread([one.fullest_second for one in done]),
        admitted_per_s=spread([one.admitted_per_s for one in done]),
        decisions_per_s=spread([one.decisions_per_s for one in done]),
    )


def run(rounds: int, seconds: float) -> Report:
    """Measure both parts on one server."""
    server = EmbeddedServer.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            hot = runner.run(_hot(server, rounds, seconds))
        return reported(hot, _shared(server.url, rounds))
    finally:
        server.stop()


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="Hot keys, and one limit of several processes.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=ROUND_S)
    options = parser.parse_args()
    report = run(options.rounds, options.seconds)
    write_result("hot-keys", "Hot keys", "python -m bench.hot_keys", document(report), report)


if __name__ == "__main__":
    main()
