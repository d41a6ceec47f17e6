"""Requests per second of applications with a limiter around them: Tollhouse's, slowapi's and Litestar's own.

    python -m bench.middleware            (or `make bench`)

Each application runs under uvicorn (uvloop, httptools, one worker) in a process of its own, all limits live in one
Valkey behind a unix socket, and this process asks over 64 kept connections. All requests are admitted, and each limiter
has to show first that it would refuse. Rounds take turns.

It asks on behalf of 10,000 clients, who hardly come again, and of ten, who come a thousand times: a limiter that keeps
every request, as Litestar's own does, costs the more the oftener the same clients ask.

The server of the application, Valkey and this process share the machine: on few cores they also compete, most of all
when the limiter leaves the application's process time to answer more.
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

from bench.apps import APPS, CLIENT, served
from bench.contender import STRICT
from bench.load import HOST, connected, loaded
from bench.machine import RESULTS, write_result
from bench.middleware_report import Figure, chart, document, reported
from bench.rounds import Round, in_turns
from bench.server import Observer
from tollhouse.stores.embedded.server import EmbeddedServer

CONNECTIONS = 64
POPULATIONS = (10_000, 10)
LIMIT = 1_000_000
"""The limit of each client per hour: more requests than any makes."""
ROUNDS = 7
ROUND_S = 2.0
WARM_UP_S = 1.0
TITLE = "Requests per second behind a limiter"


def requests(clients: int) -> Iterator[bytes]:
    """Yield requests of `clients` clients in turn, without end."""
    return itertools.cycle(
        [
            f"GET / HTTP/1.1\r\nhost: {HOST}\r\n{CLIENT}: {clients}-{number}\r\n\r\n".encode()
            for number in range(clients)
        ]
    )


def check(server: EmbeddedServer) -> None:
    """Raise unless every limiter admits exactly `STRICT` requests of a client, and a bare application all."""
    observer = Observer(server.socket_path)
    for app in APPS:
        observer.clear()  # some applications count in the same keys
        with served(app, server.url, STRICT) as port:
            connection = HTTPConnection(HOST, port)
            given = [_status(connection) for _ in range(STRICT + 1)]
            connection.close()
        if given != [200] * STRICT + [429 if "+" in app else 200]:
            raise RuntimeError(f"{app} does not limit to {STRICT} an hour: {given}")
    observer.close()


def _status(connection: HTTPConnection) -> int:
    connection.request("GET", "/", headers={CLIENT: "somebody"})
    response = connection.getresponse()
    response.read()
    return response.status


async def measured(ports: Mapping[str, int], rounds: int, seconds: float) -> list[Figure]:
    """Measure all applications with each population of clients."""
    found: list[Figure] = []
    for clients in POPULATIONS:
        print(f"{clients:,} clients …", flush=True)
        found += await _measured(ports, clients, rounds, seconds)
    return found


async def _measured(ports: Mapping[str, int], clients: int, rounds: int, seconds: float) -> list[Figure]:
    """Measure all applications; their rounds take turns."""
    opened = {app: await connected(port, requests(clients), CONNECTIONS) for app, port in ports.items()}
    taken: dict[str, list[Round]] = {app: [] for app in ports}
    for connections in opened.values():
        await loaded(connections, WARM_UP_S)
    for app in in_turns(list(ports), rounds):
        taken[app].append(await loaded(opened[app], seconds))
    for connection in itertools.chain(*opened.values()):
        connection.close()
    return [_figure(app, clients, several) for app, several in taken.items()]


def _figure(app: str, clients: int, rounds: Sequence[Round]) -> Figure:
    return Figure(
        app=app,
        clients=clients,
        connections=CONNECTIONS,
        rates=[done.per_s for done in rounds],
        p50_us=median(done.p50_us for done in rounds),
        p99_us=median(done.p99_us for done in rounds),
        client_busy=max(done.busy for done in rounds),
    )


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="Requests per second of applications behind a limiter.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=ROUND_S)
    options = parser.parse_args()
    server = EmbeddedServer.start()
    try:
        check(server)
        with contextlib.ExitStack() as stack:
            ports = {app: stack.enter_context(served(app, server.url, LIMIT)) for app in APPS}
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                figures = runner.run(measured(ports, options.rounds, options.seconds))
    finally:
        server.stop()
    report = reported(figures)
    write_result("middleware", TITLE, "python -m bench.middleware", document(report), report)
    (RESULTS / "middleware.svg").write_text(chart(TITLE, report))


if __name__ == "__main__":
    main()
