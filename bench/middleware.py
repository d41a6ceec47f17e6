"""What a limiter around an application costs: Tollhouse's, slowapi's and Litestar's own.

    python -m bench.middleware            (or `make bench`)

Each application runs under uvicorn (uvloop, httptools, one worker) in a process of its own, all limits live in one
Valkey behind a unix socket, and this process asks over 64 kept connections. All requests are admitted but for those of
one application, and each limiter has to show first that it would refuse. Rounds take turns.

A request costs the processor time of the application's process, by /proc, and wall-clock time, which is longer while
that process waits for the store. The difference to the bare application in the same turn is what the limiter adds. What
it adds less if a quota lease decides is the round trip to the store. The longest pause is that of Python's garbage
collector, of all rounds.

It asks on behalf of 10,000 clients, who hardly come again, and of ten, who come a thousand times: a limiter that keeps
every request, as Litestar's own does, costs the more the oftener the same clients ask.

The application has a core of its own. On two cores Valkey and this process share the other one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPConnection
from statistics import median

import uvloop
from msgspec import Struct

from bench.apps import APPS, CLIENT, Served, served
from bench.contender import STRICT
from bench.cores import pinned, shared_out, used_s
from bench.load import HOST, Connection, connected, loaded
from bench.machine import RESULTS, write_result
from bench.middleware_report import REFUSED, Figure, chart, document, reported
from bench.rounds import Round, in_turns
from bench.server import Observer
from tollhouse.stores.embedded.server import EmbeddedServer

CONNECTIONS = 64
POPULATIONS = (10_000, 10)
LIMIT = 1_000_000
"""The limit of each client per hour: more requests than any makes."""
ROUNDS = 7
ROUND_S = 1.0
WARM_UP_S = 0.5
TITLE = "What a limiter around an application costs"


class Turn(Struct, frozen=True, kw_only=True):
    """One round of one application, with the processor time that its process used for each request."""

    done: Round
    cpu_us: float


def requests(clients: int) -> Iterator[bytes]:
    """Yield requests of `clients` clients in turn, without end."""
    return itertools.cycle(
        [
            f"GET / HTTP/1.1\r\nhost: {HOST}\r\n{CLIENT}: {clients}-{number}\r\n\r\n".encode()
            for number in range(clients)
        ]
    )


def check(server: EmbeddedServer) -> None:
    """Raise unless every limiter admits exactly `STRICT` requests of a client, or one, and a bare application all."""
    observer = Observer(server.socket_path)
    for app in APPS:
        observer.clear()  # some applications count in the same keys
        with served(app, server.url, STRICT) as running:
            connection = HTTPConnection(HOST, running.port)
            given = [_status(connection) for _ in range(STRICT + 1)]
            connection.close()
        admitted = 1 if app == REFUSED else STRICT
        if given != [200] * admitted + [429 if "+" in app else 200] * (STRICT + 1 - admitted):
            raise RuntimeError(f"{app} does not limit to {STRICT} an hour: {given}")
    observer.close()


def _status(connection: HTTPConnection) -> int:
    connection.request("GET", "/", headers={CLIENT: "somebody"})
    response = connection.getresponse()
    response.read()
    return response.status


async def measured(servers: Mapping[str, Served], rounds: int, seconds: float) -> list[Figure]:
    """Measure all applications with each population of clients."""
    found: list[Figure] = []
    for clients in POPULATIONS:
        print(f"{clients:,} clients …", flush=True)
        found += await _measured(servers, clients, rounds, seconds)
    return found


async def _measured(servers: Mapping[str, Served], clients: int, rounds: int, seconds: float) -> list[Figure]:
    """Measure all applications; their rounds take turns."""
    opened: dict[str, list[Connection]] = {}
    for app, running in servers.items():
        accepted = (200, 429) if app == REFUSED else (200,)  # the first of each client is admitted there
        opened[app] = await connected(running.port, requests(clients), CONNECTIONS, accepted)
        await loaded(opened[app], WARM_UP_S)
        running.pauses.longest_us()
    taken: dict[str, list[Turn]] = {app: [] for app in servers}
    for app in in_turns(list(servers), rounds):
        taken[app].append(await _turn(servers[app].pid, opened[app], seconds))
    for connection in itertools.chain(*opened.values()):
        connection.close()
    return [_figure(app, clients, turns, servers[app].pauses.longest_us()) for app, turns in taken.items()]


async def _turn(pid: int, connections: list[Connection], seconds: float) -> Turn:
    used = used_s(pid)
    done = await loaded(connections, seconds)
    return Turn(done=done, cpu_us=(used_s(pid) - used) / done.count * 1e6)


def _figure(app: str, clients: int, turns: Sequence[Turn], longest_us: float) -> Figure:
    return Figure(
        app=app,
        clients=clients,
        connections=CONNECTIONS,
        rates=[turn.done.per_s for turn in turns],
        cpus_us=[turn.cpu_us for turn in turns],
        p50_us=median(turn.done.p50_us for turn in turns),
        p99_us=median(turn.done.p99_us for turn in turns),
        pause_us=longest_us,
        client_busy=max(turn.done.busy for turn in turns),
    )


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="What a limiter around an application costs.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=ROUND_S)
    options = parser.parse_args()
    cores = shared_out()
    with pinned({cores.store}):
        server = EmbeddedServer.start()
    try:
        check(server)
        with contextlib.ExitStack() as stack:
            with pinned({cores.server}):
                servers = {app: stack.enter_context(served(app, server.url, LIMIT)) for app in APPS}
            stack.enter_context(pinned({cores.load}))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                figures = runner.run(measured(servers, options.rounds, options.seconds))
    finally:
        server.stop()
    report = reported(figures)
    write_result("middleware", TITLE, "python -m bench.middleware", document(report), report)
    (RESULTS / "middleware.svg").write_text(chart(TITLE, report))


if __name__ == "__main__":
    main()
