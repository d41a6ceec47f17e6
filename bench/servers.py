"""Takes over HTTP: our service beside a Go server on redis_rate and beside an echo, each on one core, on one Valkey.

    python -m bench.servers            (or `make bench`)

All are asked over 64 kept connections for 10,000 keys. Ours and the echo are served by the configuration of `tollhouse
serve`, in one worker. The Go server, `bench/go/takes`, does the same work on net/http: the bearer token, JSON in and
out, a GCRA script, fields of the response; without Go it is left out. Each server is kept to one core and the load to
another, which Valkey shares if there are only two. Rounds take turns.

The processor time of a server is the kernel's account of its process, user and system, all threads. Each limiter has to
show first that it would refuse.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from statistics import median

import msgspec
import uvloop
from msgspec import Struct

from bench.cores import Cores, pinned, resident_bytes, shared_out, used_s
from bench.go_programs import GoPrograms, built
from bench.http_load import Ask, load_of_go, load_of_python
from bench.load import HOST
from bench.machine import write_result
from bench.rounds import Round, in_turns
from bench.server import Observer, Spent
from bench.servers_report import ECHO, GO, OURS, Figure, Report, document, reported
from bench.takes_over_http import KEY, PATHS, SUBJECTS, requests_to
from tollhouse.serving import bind
from tollhouse.stores.embedded.server import EmbeddedServer

CONNECTIONS = 64
ROUNDS = 9
ROUND_S = 2.0
WARM_UP_S = 2.0
LIMIT = 1_000_000
"""Units an hour of each key, as in `bench.takes_over_http`: more than any takes."""
_COMMANDS = ("evalsha",)


class Server(Struct, frozen=True, kw_only=True):
    """A server under measurement, and the load that is connected to it."""

    name: str
    pid: int
    ask: Ask


class Turn(Struct, frozen=True, kw_only=True):
    """One round of one server: its processor time, and what the store spent meanwhile for each request."""

    done: Round
    cpu_s: float
    took_s: float
    spent: Spent


Load = Callable[[int, Sequence[bytes]], contextlib.AbstractContextManager[Ask]]


def commands(server: EmbeddedServer, programs: GoPrograms | str) -> dict[str, list[str]]:
    """Return how each server is started, but for the descriptor that it listens on."""
    ours = [sys.executable, "-m", "bench.takes_over_http", "--url", server.url, "--serve"]
    found = {OURS: [*ours, "take", "--descriptor", "{}"], ECHO: [*ours, "echo", "--descriptor", "{}"]}
    if isinstance(programs, GoPrograms):
        found[GO] = [str(programs.takes), str(server.socket_path), "{}", KEY, str(LIMIT)]
    return found


@contextlib.contextmanager
def served(name: str, command: Sequence[str], load: Load, cores: Cores) -> Iterator[Server]:
    """Start one on its core, see that it limits, and connect the load."""
    with bind(HOST, 0) as listening:
        descriptor, port = listening.fileno(), listening.getsockname()[1]
        with pinned({cores.server}):
            process = subprocess.Popen([one.format(descriptor) for one in command], pass_fds=[descriptor])
    try:
        if name != ECHO:
            check(name, port)
        requests = list(itertools.islice(requests_to(PATHS["echo" if name == ECHO else "take"]), SUBJECTS))
        with load(port, requests) as ask:
            yield Server(name=name, pid=process.pid, ask=ask)
    finally:
        process.terminate()
        process.wait()


def check(name: str, port: int) -> None:
    """Raise unless it admits all units of a key at once, then refuses some, and goes on to admit those of another.

    One is not enough to be refused: a GCRA gives so large a limit a unit back every 4 ms.
    """
    connection = HTTPConnection(HOST, port)
    given = [_status(connection, key, cost) for key, cost in (("all", LIMIT), ("all", LIMIT // 100), ("other", 1))]
    connection.close()
    if given != [200, 429, 200]:
        raise RuntimeError(f"{name} does not limit: {given}")


def _status(connection: HTTPConnection, key: str, cost: int) -> int:
    body = msgspec.json.encode({"policy": "api", "key": f"check-{key}", "cost": cost})
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    connection.request("POST", PATHS["take"], body, headers)
    response = connection.getresponse()
    response.read()
    return response.status


def measured(servers: Sequence[Server], observer: Observer, rounds: int, seconds: float) -> list[Figure]:
    """Measure all of them; their rounds take turns."""
    for one in servers:
        one.ask(WARM_UP_S)
    taken: dict[str, list[Turn]] = {one.name: [] for one in servers}
    for one in in_turns(servers, rounds):
        taken[one.name].append(_turn(one, observer, seconds))
    return [_figure(one, taken[one.name]) for one in servers]


def _turn(server: Server, observer: Observer, seconds: float) -> Turn:
    used, spent = used_s(server.pid), observer.spent(_COMMANDS)
    done = server.ask(seconds)
    cpu_s = used_s(server.pid) - used
    return Turn(
        done=done,
        cpu_s=cpu_s,
        took_s=done.count / done.per_s,
        spent=observer.spent(_COMMANDS).since(spent, done.count),
    )


def _figure(server: Server, turns: Sequence[Turn]) -> Figure:
    return Figure(
        server=server.name,
        connections=CONNECTIONS,
        rates=[one.done.per_s for one in turns],
        cpu_us=median(1e6 * one.cpu_s / one.done.count for one in turns),
        p50_us=median(one.done.p50_us for one in turns),
        p99_us=median(one.done.p99_us for one in turns),
        resident_bytes=resident_bytes(server.pid),
        script_us=median(one.spent.commands_us for one in turns),
        store_us=median(one.spent.cpu_us for one in turns),
        busy=median(one.cpu_s / one.took_s for one in turns),
        store_busy=median(one.spent.cpu_us * one.done.per_s / 1e6 for one in turns),
        load_busy=median(one.done.busy for one in turns),
    )


def run(rounds: int, seconds: float) -> Report:
    """Start all of it, and measure."""
    cores, programs = shared_out(), built()
    with contextlib.ExitStack() as stack:
        with pinned({cores.store}):
            server = EmbeddedServer.start()
        stack.callback(server.stop)
        stack.enter_context(pinned({cores.load}))
        observer = Observer(server.socket_path)
        stack.callback(observer.close)
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))

        def load(port: int, requests: Sequence[bytes]) -> contextlib.AbstractContextManager[Ask]:
            if isinstance(programs, GoPrograms):
                return load_of_go(programs.load, port, requests, CONNECTIONS)
            return load_of_python(runner, port, requests, CONNECTIONS)

        servers = [
            stack.enter_context(served(name, command, load, cores))
            for name, command in commands(server, programs).items()
        ]
        return reported(measured(servers, observer, rounds, seconds), cores, programs)


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="Takes over HTTP, beside a Go server and an echo.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=ROUND_S)
    options = parser.parse_args()
    report = run(options.rounds, options.seconds)
    write_result(
        "servers", "Takes over HTTP, beside other servers", "python -m bench.servers", document(report), report
    )


if __name__ == "__main__":
    main()
