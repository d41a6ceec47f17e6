"""Takes over HTTP per second in one worker, beside an application that does nothing but echo the same body.

    python -m bench.takes_over_http            (or `make bench`)

Both are served by the configuration of `tollhouse serve` (uvicorn, httptools, uvloop), each in a process of its own,
and asked by this process over kept connections. Rounds take turns, so that whatever else the machine does falls on
both. The echo is the ceiling: what the server and the client can do when the application costs next to nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

from bench.cores import used_s
from bench.load import HOST, connected, loaded
from bench.machine import write_result
from bench.rounds import Round, Spread, in_turns, spread
from tollhouse.app import WorkerConfig, create_worker
from tollhouse.serving import ServingConfig, bind, run
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings
from tollhouse.stores.embedded.server import EmbeddedServer

CONNECTIONS = 64
ROUNDS = 5
ROUND_S = 2.0
WARM_UP_S = 0.5
BAR = 0.90
"""The target: takes as a part of the echo's requests."""
CPU_BAR_US = 32
"""The target: processor time of the server process for a take."""
SUBJECTS = 10_000
KEY = "a-service-key-for-the-benchmark"
PATHS = {"echo": "/echo", "take": "/v1/limits/take"}


class Figure(Struct, frozen=True, kw_only=True):
    """The figures of one application.

    `of_echo` is the median over the rounds of the part of what the echo did in the same turn. `client_busy` is the
    part of the time in which this process had work to do: while it is far from 1, the server is what was measured.
    `cpu_us` is the processor time of the server process for a request, its own and the system's for it.
    """

    application: str
    connections: int
    requests_per_s: Spread
    cpu_us: float
    of_echo: float
    p50_us: float
    p99_us: float
    client_busy: float


class Served(Struct, frozen=True, kw_only=True):
    """A process that serves."""

    port: int
    pid: int


def create_echo() -> Any:
    """Return the application that answers every request with its body."""

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(message["body"]))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": message["body"]})

    return echo


def serve(application: str, url: str, descriptor: int) -> None:
    """Serve one of the two as `tollhouse serve` does, on a bound socket."""
    settings = Settings(
        url=url,
        secret=(b"a secret for the benchmark, 32 bytes",),
        service_key=(KEY,),
        log_level="warning",
        limits=LimitSettings(policies={"api": PolicySettings(limit="1000000/hour")}),
    )
    worker = partial(create_worker, WorkerConfig(settings=settings, file=None))
    run(ServingConfig(create_echo if application == "echo" else worker, settings), socket.socket(fileno=descriptor))


@contextlib.contextmanager
def served(application: str, url: str) -> Iterator[Served]:
    """Start a process that serves."""
    with bind(HOST, 0) as listening:
        child = [sys.executable, "-m", "bench.takes_over_http", "--serve", application, "--url", url]
        descriptor = listening.fileno()
        with subprocess.Popen([*child, "--descriptor", str(descriptor)], pass_fds=[descriptor]) as process:
            try:
                yield Served(port=listening.getsockname()[1], pid=process.pid)
            finally:
                process.terminate()


def requests_to(path: str) -> Iterator[bytes]:
    """Yield requests for many subjects, without end."""
    bodies = [msgspec.json.encode({"policy": "api", "key": f"customer-{number}"}) for number in range(SUBJECTS)]
    head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json"
    return itertools.cycle([f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body for body in bodies])


async def measured(servers: dict[str, Served], rounds: int, seconds: float) -> list[Figure]:
    """Measure both applications; their rounds take turns."""
    opened = {
        name: await connected(server.port, requests_to(PATHS[name]), CONNECTIONS) for name, server in servers.items()
    }
    for connections in opened.values():
        await loaded(connections, WARM_UP_S)
    taken: dict[str, list[Round]] = {name: [] for name in servers}
    cpu_us: dict[str, list[float]] = {name: [] for name in servers}
    for name in in_turns(list(opened), rounds):
        before_s = used_s(servers[name].pid)
        taken[name].append(await loaded(opened[name], seconds))
        cpu_us[name].append((used_s(servers[name].pid) - before_s) * 1e6 / taken[name][-1].count)
    for connection in itertools.chain(*opened.values()):
        connection.close()
    return [_figure(name, several, taken["echo"], cpu_us[name]) for name, several in taken.items()]


def _figure(application: str, rounds: list[Round], echo: list[Round], cpu_us: list[float]) -> Figure:
    return Figure(
        application=application,
        connections=CONNECTIONS,
        requests_per_s=spread([one.per_s for one in rounds]),
        cpu_us=median(cpu_us),
        of_echo=median(one.per_s / its.per_s for one, its in zip(rounds, echo, strict=True)),
        p50_us=median(one.p50_us for one in rounds),
        p99_us=median(one.p99_us for one in rounds),
        client_busy=median(one.busy for one in rounds),
    )


def table(figures: list[Figure]) -> str:
    """Return the figures as Markdown, each beside the echo."""
    columns = ["application", "connections", "requests/s", "range", "of the echo", "CPU", "p50", "p99", "client busy"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for one in figures:
        rates = one.requests_per_s
        lines.append(
            f"| {one.application} | {one.connections} | {rates.median:,.0f} | {rates.lowest:,.0f} to "
            f"{rates.highest:,.0f} | {one.of_echo:.0%} | {one.cpu_us:.1f} µs | {one.p50_us:,.0f} µs | "
            f"{one.p99_us:,.0f} µs | {one.client_busy:.0%} |"
        )
    return "\n".join([*lines, "", f"The bars for a take: {BAR:.0%} of the echo, {CPU_BAR_US} µs of CPU."])


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="Takes over HTTP per second, beside an echo of the same body.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=ROUND_S)
    parser.add_argument("--serve", choices=PATHS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--descriptor", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.url, options.descriptor)
        return
    server = EmbeddedServer.start()
    try:
        with served("echo", server.url) as echo, served("take", server.url) as take:
            figures = uvloop.run(measured({"echo": echo, "take": take}, options.rounds, options.seconds))
    finally:
        server.stop()
    command = "python -m bench.takes_over_http"
    write_result("takes-over-http", "Takes over HTTP per second", command, table(figures), figures)


if __name__ == "__main__":
    main()
