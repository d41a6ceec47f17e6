"""The result of `bench.sessions`: tables and a chart, figures as JSON, and whether the targets are reached."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from bench.our_sessions import NAME
from bench.race import Figure, best_peer, race_panel, race_table
from bench.rounds import Spread
from bench.server import Tally
from bench.svg import draw
from bench.verdict import Verdict, listed
from tollhouse.sessions.policies import CAP_MAX

TIMES_BEST = 4.0
"""The target: a verify that has nothing to record, as a multiple of the verifies of the best peer."""
AT = 50
"""The concurrency of the target."""
_ROUND_TRIPS = 1.01
"""A connection also asks its server now and then whether it is the primary still."""
_MIB_KIB = 1024
_READING = """\
Rates are medians over the rounds. The last three columns are for one call: processor time of the server's main thread,
time inside the commands that the call sends, as the server counts it, and processor time of this process."""
_COSTS = """\
"Commands" are those that a library sends for a verify, "others" all that run besides, which are those inside a script.
Then the bytes that the server receives and replies, changes of its data as it counts them, and bytes for a replica."""
_MEMORY = """\
By `MEMORY USAGE` of all keys: those that one session alone has, and those of sessions of as many users. Ours
include the index and the epoch of the user, the memo that tells why a session ended, and the event of the login, which
is kept for 30 days. A stream of events takes 4 KiB for its first one; there are 256 streams."""
_REVOCATIONS = f"""\
No peer can: none knows which sessions a user has. The first call already ends all of them; further ones remove the
records. The highest cap of a policy is {CAP_MAX:,}, and counts the sessions under one secret: a user who has more has
them under several."""
_LOGINS = """\
Limits, account, one Argon2id hash and a new session, by twice as many callers as hashes run at once: one on each
processor, and as many as the memory allows. The processors are the bound."""

Race = list[Figure]
"""The figures of all libraries at one concurrency."""


class Cost(Struct, frozen=True, kw_only=True):
    """What the server was sent and had to do for one verify of a library, as the mean of many."""

    name: str
    own: bool
    each: Tally


class Memory(Struct, frozen=True, kw_only=True):
    """The bytes of a session: all keys of one alone, and the share of each of many in all that the server uses."""

    name: str
    alone_bytes: int
    share_bytes: float


class Revocation(Struct, frozen=True, kw_only=True):
    """The time to end all sessions of a user who has so many, and how many script calls that took."""

    sessions: int
    calls: int
    ms: Spread


class Logins(Struct, frozen=True, kw_only=True):
    """Logins a second with one profile, by `threads` hashes of `hash_kib` at a time; `cpu_ms` is the time of each."""

    profile: str
    hash_kib: int
    threads: int
    pool_kib: int
    per_s: Spread
    cpu_ms: float


class Report(Struct, frozen=True, kw_only=True):
    """The whole result."""

    verdicts: list[Verdict]
    verifies: list[Race]
    creations: list[Race]
    costs: list[Cost]
    memory: list[Memory]
    revocations: list[Revocation]
    logins: list[Logins]


def reported(
    *,
    verifies: list[Race],
    creations: list[Race],
    costs: list[Cost],
    memory: list[Memory],
    revocations: list[Revocation],
    logins: list[Logins],
) -> Report:
    """Return the report with the verdicts on the targets."""
    race = next(one for one in verifies if one[0].concurrency == AT)
    own = next(one.each for one in costs if one.name == NAME)
    return Report(
        verdicts=[_beside_peers(race), _round_trips(own), _writes(own)],
        verifies=verifies,
        creations=creations,
        costs=costs,
        memory=memory,
        revocations=revocations,
        logins=logins,
    )


def document(report: Report) -> str:
    """Return the verdicts and the tables as Markdown."""
    parts = [
        listed(report.verdicts),
        _READING,
        *(f"## Verify, {race[0].concurrency} at a time\n\n{race_table(race)}" for race in report.verifies),
        *(f"## Create, {race[0].concurrency} at a time\n\n{race_table(race)}" for race in report.creations),
        _costs(report.costs),
        _memory(report.memory),
        _revocations(report.revocations),
        _logins(report.logins),
    ]
    return "\n\n".join(parts)


def chart(title: str, report: Report) -> str:
    """Return the chart of verifies per second, fastest first."""
    spread = "per second, with the slowest and the fastest round"
    return draw(
        title, [race_panel(race, f"{race[0].concurrency} at a time, verifies {spread}") for race in report.verifies]
    )


def _beside_peers(race: Race) -> Verdict:
    own, best = next(one for one in race if one.name == NAME), best_peer(race)
    times = own.times(best)
    return Verdict(
        reached=times.median >= TIMES_BEST,
        text=f"{times.median:.2f} times ({times.lowest:.2f} to {times.highest:.2f}) the verifies of the best peer "
        f"({best.name}) at concurrency {AT}. The bar is {TIMES_BEST:g}.",
    )


def _round_trips(own: Tally) -> Verdict:
    return Verdict(
        reached=own.sent <= _ROUND_TRIPS,
        text=f"{own.sent:.3f} commands are sent for a verify. The bar is one round trip.",
    )


def _writes(own: Tally) -> Verdict:
    return Verdict(
        reached=own.changes == 0 and own.replicated_bytes == 0,
        text=f"{own.changes:g} changes and {own.replicated_bytes:g} bytes for replicas by a verify that has nothing to "
        "record. The bar is none.",
    )


def _costs(costs: Sequence[Cost]) -> str:
    rows = [
        f"{one.name} | {one.each.sent:.2f} | {one.each.others:.2f} | {one.each.received_bytes:,.0f} B | "
        f"{one.each.replied_bytes:,.0f} B | {one.each.changes:.2f} | {one.each.replicated_bytes:,.0f} B"
        for one in costs
    ]
    head = "library | commands | others | received | replied | changes | for a replica"
    return _section("One verify in the server", _COSTS, head, rows)


def _memory(memory: Sequence[Memory]) -> str:
    rows = [f"{one.name} | {one.alone_bytes:,} | {one.share_bytes:,.0f}" for one in memory]
    return _section("Bytes of one session", _MEMORY, "library | all keys of one | share of each", rows)


def _revocations(revocations: Sequence[Revocation]) -> str:
    rows = [
        f"{one.sessions:,} | {one.calls} | {one.ms.median:,.1f} ms | {one.ms.lowest:,.1f} to {one.ms.highest:,.1f} ms"
        for one in revocations
    ]
    head = "sessions | script calls | time | lowest to highest"
    return _section("Revoke all sessions of a user", _REVOCATIONS, head, rows)


def _logins(logins: Sequence[Logins]) -> str:
    rows = [
        f"`{one.profile}` | {one.hash_kib // _MIB_KIB} MiB | {one.threads} | {one.pool_kib // _MIB_KIB} MiB | "
        f"{one.per_s.median:,.1f} | {one.per_s.lowest:,.1f} to {one.per_s.highest:,.1f} | {one.cpu_ms:,.0f} ms"
        for one in logins
    ]
    head = "profile | memory of a hash | at once | memory of all at most | logins/s | lowest to highest | CPU of one"
    return _section("Logins", _LOGINS, head, rows)


def _section(title: str, text: str, head: str, rows: Sequence[str]) -> str:
    """Return a table below its title and what there is to know about it; the first column is a name."""
    rule = "---|" + "---:|" * head.count("|")
    return "\n".join([f"## {title}", "", text, "", f"| {head} |", f"|{rule}", *(f"| {row} |" for row in rows)])
