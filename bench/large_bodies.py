"""What other requests wait while one carries a body of 1 MiB that has as many values as fit.

    python -m bench.large_bodies            (or `make bench`)

One worker is served by the configuration of `tollhouse serve`, in a process of its own. A thread here sends a body to a
model that returns it, and another asks `/livez` meanwhile, over a kept connection, one request after the other. Each
kind of body is sent once in a round, and is never sent again: the model runs, and its output is stored if it fits.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPConnection
from statistics import median
from typing import Any

from msgspec import Struct

from bench.load import HOST
from bench.machine import write_result
from bench.rounds import in_turns
from tollhouse.app import WorkerConfig, create_worker
from tollhouse.serving import ServingConfig, bind, run
from tollhouse.settings.ai import AiSettings, ModelSettings
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings
from tollhouse.stores.embedded.server import EmbeddedServer

ROUNDS = 10
BODY_BYTES = 1024 * 1024
SHARE_MAX = 0.25
WAIT_MS_MAX = 50.0
"""The target: the worst `/livez` takes less than this part of the request, or less than this time."""
KEY = "a-service-key-for-the-benchmark"
VALUES = {
    "integers": b"0",
    "numbers with a fraction": b"1.5",
    "numbers with an exponent": b"1e16",
    "empty texts": b'""',
    "escaped texts": b'"\\""',
    "empty arrays": b"[]",
    "objects of one member": b'{"a":0}',
    "nested objects": b'{"a":{"b":{}}}',
    "arrays of 60 levels": b"[" * 60 + b"]" * 60,
}


class Figure(Struct, frozen=True, kw_only=True):
    """The figures of one kind of body: the time of its request, and of the worst `/livez` meanwhile."""

    body: str
    request_ms: float
    livez_ms: float
    livez_ms_max: float
    share: float


def echo(value: Any) -> Any:
    """Return the input; the model of this benchmark."""
    return value


def serve(url: str, descriptor: int) -> None:
    """Serve as `tollhouse serve` does, on a bound socket."""
    settings = Settings(
        url=url,
        secret=(b"a secret for the benchmark, 32 bytes",),
        service_key=(KEY,),
        log_level="warning",
        limits=LimitSettings(policies={"ai": PolicySettings(limit="1000000/hour")}),
        ai=AiSettings(models={"echo": ModelSettings(call="bench.large_bodies:echo", version="1")}),
    )
    worker = partial(create_worker, WorkerConfig(settings=settings, file=None))
    run(ServingConfig(worker, settings), socket.socket(fileno=descriptor))


@contextlib.contextmanager
def served(url: str) -> Iterator[int]:
    """Start a process that serves, and return its port."""
    with bind(HOST, 0) as listening:
        descriptor = listening.fileno()
        child = [sys.executable, "-m", "bench.large_bodies", "--url", url, "--descriptor", str(descriptor)]
        with subprocess.Popen(child, pass_fds=[descriptor]) as process:
            try:
                yield listening.getsockname()[1]
            finally:
                process.terminate()


def body_of(value: bytes, number: int) -> bytes:
    """Return a body of `BODY_BYTES` at most, full of one value, that differs from others by a number."""
    head, tail = b'{"input":[%d' % number, b"]}"
    return head + (b"," + value) * ((BODY_BYTES - len(head) - len(tail)) // (len(value) + 1)) + tail


def request_ms(connection: HTTPConnection, body: bytes) -> float:
    """Send a body to the model, and return how long its answer took."""
    began_s = time.perf_counter()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/ai/echo", body, headers)
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise RuntimeError(answer[:500].decode())
    return 1000 * (time.perf_counter() - began_s)


def worst_livez_ms(port: int, work: Callable[[], float]) -> tuple[float, float]:
    """Return how long the work took, and the longest `/livez` while it went on."""
    done, waits_ms = threading.Event(), [0.0]
    probing = HTTPConnection(HOST, port)

    def probe() -> None:
        while not done.is_set():
            began_s = time.perf_counter()
            probing.request("GET", "/livez")
            probing.getresponse().read()
            waits_ms.append(1000 * (time.perf_counter() - began_s))

    with contextlib.closing(probing):
        thread = threading.Thread(target=probe)
        thread.start()
        try:
            took_ms = work()
        finally:
            done.set()
            thread.join()
    return took_ms, max(waits_ms)


def measured(port: int, rounds: int) -> list[Figure]:
    """Measure every kind of body; they take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in VALUES}
    numbers = itertools.count()
    with contextlib.closing(HTTPConnection(HOST, port)) as connection:
        request_ms(connection, b'{"input":"warm up"}')
        for name in in_turns(list(VALUES), rounds):
            body = body_of(VALUES[name], next(numbers))
            taken[name].append(worst_livez_ms(port, partial(request_ms, connection, body)))
    return [_figure(name, pairs) for name, pairs in taken.items()]


def _figure(name: str, pairs: list[tuple[float, float]]) -> Figure:
    return Figure(
        body=name,
        request_ms=median(request for request, _ in pairs),
        livez_ms=median(livez for _, livez in pairs),
        livez_ms_max=max(livez for _, livez in pairs),
        share=median(livez / request for request, livez in pairs),
    )


def table(figures: list[Figure]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| 1 MiB of | request | worst `/livez` | of the request | worst of all rounds |",
        "|---|---|---|---|---|",
    ]
    for one in figures:
        times_ms = f"{one.request_ms:,.0f} ms | {one.livez_ms:,.1f} ms | {one.share:.0%} | {one.livez_ms_max:,.1f} ms"
        lines.append(f"| {one.body} | {times_ms} |")
    target = f"The target is {SHARE_MAX:.0%} of the request, or {WAIT_MS_MAX:.0f} ms."
    return "\n".join([*lines, "", f"Medians of the rounds. {target}"])


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="What other requests wait while one carries a large body.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--descriptor", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.descriptor is not None:
        serve(options.url, options.descriptor)
        return
    server = EmbeddedServer.start()
    try:
        with served(server.url) as port:
            figures = measured(port, options.rounds)
    finally:
        server.stop()
    command = "python -m bench.large_bodies"
    write_result("large-bodies", "Other requests beside a large body", command, table(figures), figures)


if __name__ == "__main__":
    main()
