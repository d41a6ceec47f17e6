"""Schedules: which servers there are, what breaks when, and what the processes call; all of it from one seed.

The fault model is in README.md. Every schedule has a fault. Those with an even seed change the primary while durable
writes are under way. One server at a time is out of service, and the next one follows when the first has caught up;
links, lags and Sentinels may fail at any time.
"""

from __future__ import annotations

import random
from typing import Final, Literal

from msgspec import Struct

from tollhouse.sessions.policies import RENEW_MS_MIN

Verb = Literal["create", "verify", "revoke", "revoke_all", "list", "rotate", "renew", "patch", "disable", "enable"]
_WEIGHTS: Final[dict[Verb, int]] = {
    "create": 36,
    "verify": 28,
    "revoke": 15,
    "revoke_all": 4,
    "list": 3,
    "rotate": 6,
    "renew": 5,
    "patch": 4,
    "disable": 3,
    "enable": 4,
}
_OF_A_SESSION: Final = frozenset({"verify", "revoke", "rotate", "renew", "patch"})
FaultKind = Literal[
    "kill",
    "kill-empty",
    "hang",
    "isolate",
    "isolate-with-client",
    "cut",
    "slow",
    "lag",
    "failover",
    "sentinel",
    "restart",
    "clocks",
]
"""`restart` ends processes without notice; others, which remember nothing, take their place. `clocks` sets those of all
servers forward, so that tokens come of age."""

PRIMARY: Final = -1
"""Stands for the server that is the primary when the fault comes."""
REPLICA: Final = -2
"""Stands for a server that is none then."""
USERS: Final = 3
SETTLE_MS: Final = (5_000, 5_000, 5_000, 16_000)
"""Time for everything to be well again. Sentinel names a primary within a few seconds, and makes a replica of a former
one after 8 to 12 s: one seed in four waits for that."""
_CATCH_UP_MS: Final = 4_000
_EXCUSED_EVERY: Final = 20
_BOUNDED_EVERY: Final = 16
_BOUNDED: Final = (8, 13)
"""Which of sixteen seeds have processes with `max_unreplicated_ms`."""
_CLOCKS_SET: Final = 0.5
"""The part of the schedules in which renewals become due."""
_RESTARTED: Final = 0.4
"""The part of the changes of primary during which processes restart."""

Excuse = Literal["", "restarted empty before Sentinel noticed", "all holders lost at once"]
"""What no client can prevent; its losses are counted apart."""


class Call(Struct, frozen=True, kw_only=True):
    """A call of one process; `session` is the number of the call that created the session that it is about."""

    number: int
    at_ms: int
    process: int
    verb: Verb
    user: int
    session: int = 0
    cancel_ms: int | None = None
    former: bool = False
    """The token before the last rotation is presented."""


class Fault(Struct, frozen=True, kw_only=True):
    """Something that breaks, and is repaired after `for_ms`. `way` says which machines a link connects, or which kind
    of failover it is."""

    kind: FaultKind
    at_ms: int
    for_ms: int = 0
    server: int = PRIMARY
    other: int = 0
    way: str = ""
    ms: int = 0


class Schedule(Struct, frozen=True, kw_only=True):
    """One run, completely: with it alone, the run is the same everywhere."""

    seed: int
    processes: int
    priorities: tuple[int, ...]
    lag_ms: int
    faults: tuple[Fault, ...]
    calls: tuple[Call, ...]
    excuse: Excuse = ""
    max_unreplicated_ms: int | None = None
    """The setting of the processes."""

    @property
    def end_ms(self) -> int:
        """When all is repaired and has settled."""
        last = max([0, *(fault.at_ms + fault.for_ms for fault in self.faults), *(call.at_ms for call in self.calls)])
        return last + (
            SETTLE_MS[self.seed // 2 % len(SETTLE_MS)] if self.max_unreplicated_ms is None else SETTLE_MS[-1]
        )


def schedule(seed: int) -> Schedule:
    """Return the schedule of a seed."""
    rng = random.Random(f"{seed}/schedule")
    if seed % _BOUNDED_EVERY in _BOUNDED:
        return _bounded_schedule(seed, rng)
    servers = rng.choice((2, 3, 3, 3, 4))
    processes = rng.choice((2, 2, 2, 3))
    excuse = _excuse(seed, servers)
    faults = _excused_faults(rng, excuse) if excuse else _faults(rng, seed, servers, processes)
    calls = _calls(rng, faults, processes)
    if rng.random() < _CLOCKS_SET:
        faults.append(Fault(kind="clocks", at_ms=rng.randint(1_000, 4_000), ms=RENEW_MS_MIN))
    return Schedule(
        seed=seed,
        processes=processes,
        priorities=_priorities(rng, servers),
        lag_ms=rng.choice((0, 0, 2, 10, 40)),
        faults=tuple(sorted(faults, key=lambda fault: (fault.at_ms, fault.kind))),
        calls=calls,
        excuse=excuse,
    )


def _bounded_schedule(seed: int, rng: random.Random) -> Schedule:
    """Return a schedule of processes with `max_unreplicated_ms`, one of which is cut off together with the primary."""
    processes, at_ms = rng.choice((2, 3)), rng.randint(1_200, 2_500)
    cut_off = Fault(
        kind="isolate-with-client", at_ms=at_ms, for_ms=rng.randint(1_000, 6_000), other=rng.randrange(processes)
    )
    faults = [cut_off, _disturbance(rng, rng.randint(800, 6_000), 3, processes)]
    return Schedule(
        seed=seed,
        processes=processes,
        priorities=(100, 100, 100),
        lag_ms=rng.choice((0, 2, 10)),
        faults=tuple(sorted(faults, key=lambda fault: (fault.at_ms, fault.kind))),
        calls=_calls(rng, faults, processes),
        max_unreplicated_ms=rng.choice((400, 1_000)),
    )


def _excuse(seed: int, servers: int) -> Excuse:
    if not excused(seed):
        return ""
    return (
        "all holders lost at once"
        if seed // _EXCUSED_EVERY % 2 and servers > 2
        else ("restarted empty before Sentinel noticed")
    )


def excused(seed: int) -> bool:
    """Return whether the schedule of a seed is outside the fault model."""
    return seed % _EXCUSED_EVERY == _EXCUSED_EVERY - 1 and seed % _BOUNDED_EVERY not in _BOUNDED


def _excused_faults(rng: random.Random, excuse: Excuse) -> list[Fault]:
    at_ms = rng.randint(1_500, 3_000)
    first = Fault(kind="kill-empty", at_ms=at_ms, for_ms=rng.randint(20, 300))
    if excuse == "restarted empty before Sentinel noticed":
        return [first]
    replica = Fault(kind="kill-empty", at_ms=at_ms, for_ms=rng.randint(3_000, 5_000), server=REPLICA)
    return [Fault(kind="kill-empty", at_ms=at_ms, for_ms=rng.randint(3_000, 5_000)), replica]


def _priorities(rng: random.Random, servers: int) -> tuple[int, ...]:
    """Return equal priorities most of the time, else different ones, and sometimes a server that is never promoted."""
    if rng.random() < 0.6:
        return (100,) * servers
    chosen = [rng.choice((10, 100, 100)) for _ in range(servers)]
    if servers > 2 and rng.random() < 0.5:
        chosen[rng.randrange(1, servers)] = 0
    return tuple(chosen)


def _faults(rng: random.Random, seed: int, servers: int, processes: int) -> list[Fault]:
    """Return a change of primary for even seeds, and one to three other faults."""
    faults: list[Fault] = []
    free_ms = rng.randint(1_200, 2_500)
    if seed % 2 == 0:
        faults.append(_change_of_primary(rng, free_ms, processes))
        if rng.random() < _RESTARTED:
            faults.append(_restart(rng, free_ms + rng.randint(-50, 1_500), processes))
        free_ms += faults[0].for_ms + _CATCH_UP_MS + rng.randint(0, 2_000)
    for _ in range(rng.choice((0, 0, 1, 2)) if faults else rng.choice((1, 1, 2))):
        if rng.random() < 0.35:
            faults.append(_outage(rng, free_ms))
            free_ms += faults[-1].for_ms + _CATCH_UP_MS
        else:
            faults.append(_disturbance(rng, rng.randint(800, 6_000), servers, processes))
    return faults


def _change_of_primary(rng: random.Random, at_ms: int, processes: int) -> Fault:
    match rng.randrange(6):
        case 0 | 1:
            return Fault(kind="kill", at_ms=at_ms, for_ms=rng.randint(3_000, 6_000))
        case 2:
            return Fault(kind="hang", at_ms=at_ms, for_ms=rng.randint(1_500, 5_000))
        case 3:
            return Fault(kind="failover", at_ms=at_ms, for_ms=1_000, way=rng.choice(("forced", "coordinated")))
        case 4:
            return Fault(kind="kill-empty", at_ms=at_ms, for_ms=rng.randint(5_000, 7_000))
        case _:
            kind: FaultKind = rng.choice(("isolate", "isolate-with-client"))
            return Fault(kind=kind, at_ms=at_ms, for_ms=rng.randint(2_500, 6_000), other=rng.randrange(processes))


def _restart(rng: random.Random, at_ms: int, processes: int) -> Fault:
    """Return the restart of one process, or of all at once: then nothing but the servers remembers."""
    return Fault(kind="restart", at_ms=at_ms, other=rng.randrange(processes), way=rng.choice(("all", "all", "one")))


def _outage(rng: random.Random, at_ms: int) -> Fault:
    """Return a fault of one server, mostly shorter than Sentinel takes to notice, or of one replica."""
    kind: FaultKind = rng.choice(("kill", "hang", "isolate", "failover"))
    if kind == "failover":
        return Fault(kind=kind, at_ms=at_ms, for_ms=1_000, way=rng.choice(("forced", "coordinated")))
    server = rng.choice((PRIMARY, REPLICA))
    return Fault(kind=kind, at_ms=at_ms, for_ms=rng.randint(50, 3_000), server=server)


def _disturbance(rng: random.Random, at_ms: int, servers: int, processes: int) -> Fault:
    """Return a fault of a link, of replication or of a Sentinel."""
    server = rng.choice((PRIMARY, PRIMARY, REPLICA))
    for_ms, other = rng.randint(100, 4_000), rng.randrange(max(servers, processes))
    match rng.randrange(5):
        case 0:
            way = rng.choice(("to-server", "from-server", "replication", "reports"))
            return Fault(kind="cut", at_ms=at_ms, for_ms=for_ms, server=server, other=other, way=way)
        case 1:
            way = rng.choice(("to-server", "from-server"))
            ms = rng.choice((5, 40, 400))
            return Fault(kind="slow", at_ms=at_ms, for_ms=for_ms, server=server, other=other, way=way, ms=ms)
        case 2 | 3:
            return Fault(kind="lag", at_ms=at_ms, for_ms=for_ms, server=REPLICA, ms=rng.choice((60, 500, 5_000)))
        case _:
            return Fault(kind="sentinel", at_ms=at_ms, for_ms=for_ms, other=rng.randrange(3))


def _calls(rng: random.Random, faults: list[Fault], processes: int) -> tuple[Call, ...]:
    """Return calls before, during and after the faults; most of them close to the beginning of one."""
    times = [rng.randint(100, 1_000) for _ in range(5)]
    for fault in faults:
        times += [fault.at_ms + round(rng.triangular(-400, 3_500, 0)) for _ in range(rng.randint(7, 12))]
    times += [rng.randint(1_000, 9_000) for _ in range(4)]
    calls: list[Call] = []
    created: list[Call] = []
    for number, at_ms in enumerate(sorted(times), 1):
        call = _call(rng, number, at_ms, rng.randrange(processes), created)
        calls.append(call)
        if call.verb == "create":
            created.append(call)
    return tuple(calls)


def _call(rng: random.Random, number: int, at_ms: int, process: int, created: list[Call]) -> Call:
    verb = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0] if len(created) > 1 else "create"
    cancel_ms = rng.randint(0, 60) if rng.random() < 0.08 else None
    subject = rng.choice(created[-6:]) if verb in _OF_A_SESSION else None
    return Call(
        number=number,
        at_ms=at_ms,
        process=process,
        verb=verb,
        user=rng.randrange(USERS) if subject is None else subject.user,
        session=0 if subject is None else subject.number,
        cancel_ms=cancel_ms,
        former=verb == "verify" and rng.random() < 0.2,
    )
