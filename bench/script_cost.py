"""What a script costs the server, in its own account: takes alone and in batches, verifies and hits of the cache.

    python -m bench.script_cost            (or `make bench`)

The calls are those of the library, recorded on the wire and sent again, many at a time, so that the server does not
sleep between them and its caches are warm; "one by one" is with a pause for the answer, as a lone caller's. Takes are
admitted, of 1,000 subjects in turn. Rounds take turns. The server and this process have a core each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import hiredis
import uvloop
from msgspec import Struct
from msgspec.structs import replace

import tollhouse
from bench.contender import LIMIT, SUBJECTS, Contender
from bench.cores import pinned, shared_out
from bench.machine import write_result
from bench.ours import DEFAULT, FILLED, THREE_FILLED, ours
from bench.rounds import Spread, in_turns, spread
from bench.server import Observer
from bench.verdict import Verdict, listed
from bench.wire import Call, recording
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.tokens import Token
from tollhouse.settings.model import Settings
from tollhouse.stores.embedded.server import EmbeddedServer
from tollhouse.wiring import Tollhouse

ROUNDS = 9
CALLS = 1_000
"""Takes, or other calls, of one row in one round; each take is of another subject."""
BATCHES = (32, 64, 256)
ALONE = ("gcra", "sliding-window-counter", "fixed-window", DEFAULT, THREE_FILLED, FILLED)
"""The algorithms whose takes are measured alone; the last two also if a slot has ended, the last also in batches."""
IN_FLIGHT = 64
BATCHED_US = 2.5
ALONE_US = 6.0
SECRET = b"a secret of the benchmark, 32 byte"
_COMMANDS = ("evalsha",)
_SUBJECTS = SUBJECTS[:CALLS]


class Row(Struct, frozen=True, kw_only=True):
    """Calls that are measured together: `each` decisions in one, `in_flight` calls at a time.

    Before each round `before` is sent: commands that give keys the values which the calls are to find.
    """

    name: str
    calls: list[Call]
    each: int
    in_flight: int
    before: list[bytes] = []


class Figure(Struct, frozen=True, kw_only=True):
    """Microseconds of the server for one decision: inside the script, and of processor time altogether."""

    name: str
    each: int
    in_flight: int
    script_us: Spread
    server_us: float


class Report(Struct, frozen=True, kw_only=True):
    """The whole result."""

    verdicts: list[Verdict]
    figures: list[Figure]


class Wire:
    """A connection that sends recorded calls, and reads their replies."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._reader = hiredis.Reader()

    def select(self, database: int) -> None:
        self._send(hiredis.pack_command(("SELECT", database)), 1)

    def send(self, row: Row) -> None:
        """Send all calls of a row; a reply that is an error raises."""
        for first in range(0, len(row.calls), row.in_flight):
            calls = row.calls[first : first + row.in_flight]
            self._send(b"".join(one.data for one in calls), len(calls))

    def prepare(self, row: Row) -> None:
        """Select the database of a row, and send what comes before it."""
        self.select(row.calls[0].database)
        for command in row.before:
            self._send(command, 1)

    def setters(self, pattern: str) -> list[bytes]:
        """Return a command for each key of this pattern that gives it the value that it has now."""
        (keys,) = self._send(hiredis.pack_command(("KEYS", pattern)), 1)
        (values,) = self._send(hiredis.pack_command(("MGET", *keys)), 1)
        return [hiredis.pack_command(("SET", key, value, "KEEPTTL")) for key, value in zip(keys, values, strict=True)]

    def close(self) -> None:
        self._socket.close()

    def _send(self, data: bytes, expected: int) -> list[Any]:
        self._socket.sendall(data)
        replies: list[Any] = []
        while len(replies) < expected:
            reply = self._reader.gets()
            if reply is False:
                self._reader.feed(self._socket.recv(1 << 20))
                continue
            if isinstance(reply, Exception):
                raise reply
            replies.append(reply)
        return replies


async def rows(path: Path) -> list[Row]:
    """Record the calls of all rows; the scripts are loaded and the subjects filled after that."""
    async with recording(path) as recorder:

        async def row(name: str, works: Iterator[Callable[[], Awaitable[object]]], each: int = 1) -> Row:
            await next(works)()  # the first may load the script
            calls = [call for work in works for call in await recorder.recorded(work)]
            if len(calls) != CALLS // each or len({one.keys for one in calls}) > 1:
                raise RuntimeError(f"{name}: {len(calls)} calls are not those that were to be measured")
            return Row(name=name, calls=calls, each=each, in_flight=max(2, IN_FLIGHT // each))

        async with ours(recorder.url) as contenders, _library(recorder.url) as (token, th):
            found = {one.algorithm: one for one in contenders}
            for one in found.values():
                if one.fill is not None:
                    await one.fill(_SUBJECTS)
            made = [await row(f"take, {name}", _takes(found[name], 1)) for name in ALONE[:-2]]
            filled = {name: _setters(path, made[0].calls[0].database, name) for name in ALONE[-2:]}
            made += [await row(f"take, {name}", _takes(found[name], 1)) for name in ALONE[-2:]]
            one_by_one = replace(made[-1], name=f"{made[-1].name}, one by one", in_flight=1)
            batches = [await row(f"take, {FILLED}", _takes(found[FILLED], each), each) for each in BATCHES]
            ended = [
                replace(one, name=f"{one.name}, a slot has ended", before=filled[name])
                for one, name in ((made[-1], FILLED), (made[-2], THREE_FILLED), (batches[0], FILLED))
            ]
            others = [
                await row("verify of a session", _found(lambda: th.sessions.verify(token))),
                await row("hit of the cache", _found(lambda: th.cache.get("a"))),
            ]
        return [one_by_one, *made, *batches, *ended, *others]


def _setters(path: Path, database: int, algorithm: str) -> list[bytes]:
    """Return commands that fill the sub-buckets of all subjects up to the one before now, as they are filled now."""
    wire = Wire(path)
    try:
        wire.select(database)
        return wire.setters(f"*:{algorithm.replace(', ', '.').replace(' ', '-')}.{LIMIT}")
    finally:
        wire.close()


@contextlib.asynccontextmanager
async def _library(url: str) -> AsyncIterator[tuple[Token, Tollhouse]]:
    """Yield a token of a session, and the library with a value of 100 bytes in the cache."""
    async with tollhouse.open(Settings(url=url, secret=(SECRET,))) as th:
        issued = await th.sessions.create("ada")
        assert isinstance(issued, Issued)
        await th.cache.set("a", "x" * 100, ttl_s=3600)
        yield issued.token, th


def _takes(contender: Contender, each: int) -> Iterator[Callable[[], Awaitable[object]]]:
    """Yield calls of `each` takes at a time, and one more that comes first."""

    async def take(subjects: Sequence[str]) -> None:
        for reply in await asyncio.gather(*map(contender.ask, subjects)):
            assert contender.admitted(reply)

    for first in (0, *range(0, CALLS // each * each, each)):
        subjects = _SUBJECTS[first : first + each]
        yield lambda subjects=subjects: take(subjects)


def _found(call: Callable[[], Awaitable[object]]) -> Iterator[Callable[[], Awaitable[object]]]:
    """Yield as many calls, and one more that comes first."""

    async def checked() -> None:
        assert await call() is not None

    return itertools.repeat(checked, CALLS + 1)


def measured(path: Path, found: Sequence[Row], rounds: int) -> list[Figure]:
    """Measure all rows; their rounds take turns."""
    observer, wire = Observer(path), Wire(path)
    taken: dict[int, list[tuple[float, float]]] = {number: [] for number in range(len(found))}
    try:
        for row in found:
            wire.prepare(row)
            wire.send(row)
        for number in in_turns(range(len(found)), rounds):
            row = found[number]
            wire.prepare(row)
            before = observer.spent(_COMMANDS)
            wire.send(row)
            spent = observer.spent(_COMMANDS).since(before, len(row.calls) * row.each)
            taken[number].append((spent.commands_us, spent.cpu_us))
    finally:
        wire.close()
        observer.close()
    return [
        Figure(
            name=row.name,
            each=row.each,
            in_flight=row.in_flight,
            script_us=spread([script for script, _ in taken[number]]),
            server_us=median(server for _, server in taken[number]),
        )
        for number, row in enumerate(found)
    ]


def reported(figures: list[Figure]) -> Report:
    """Return the verdicts on the targets."""
    filled = [one for one in figures if one.name == f"take, {FILLED}"]
    alone, batched = filled[0], max(filled[1:], key=lambda one: one.script_us.median)
    verdicts = [
        Verdict(
            reached=alone.script_us.median <= ALONE_US,
            text=f"{alone.script_us.median:.2f} µs for a take alone, with all sub-buckets filled. The bar is "
            f"{ALONE_US:g}.",
        ),
        Verdict(
            reached=batched.script_us.median <= BATCHED_US,
            text=f"{batched.script_us.median:.2f} µs for a take in the dearest batch, that of {batched.each}, with all "
            f"sub-buckets filled. The bar is {BATCHED_US:g}.",
        ),
    ]
    return Report(verdicts=verdicts, figures=figures)


def document(report: Report) -> str:
    """Return the verdicts and the table as Markdown."""
    lines = [
        "| call | in one call | calls at a time | in the script | lowest to highest | server CPU |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| {one.name} | {one.each} | {one.in_flight} | {one.script_us.median:.2f} µs | {one.script_us.lowest:.2f} to "
        f"{one.script_us.highest:.2f} | {one.server_us:.2f} µs |"
        for one in report.figures
    ]
    return "\n\n".join([listed(report.verdicts), "Medians of the rounds, for one decision.", "\n".join(lines)])


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="What scripts cost the server.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    cores = shared_out()
    with pinned({cores.server}):
        server = EmbeddedServer.start()
    try:
        with pinned({cores.load}):
            found = uvloop.run(rows(server.socket_path))
            report = reported(measured(server.socket_path, found, options.rounds))
    finally:
        server.stop()
    write_result(
        "script-cost", "What a script costs the server", "python -m bench.script_cost", document(report), report
    )


if __name__ == "__main__":
    main()
