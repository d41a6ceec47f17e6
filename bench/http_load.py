"""The load on an HTTP server: by the program of `bench/go`, or by this process if there is no Go."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.load import connected, loaded
from bench.rounds import Round

Ask = Callable[[float], Round]
"""Asks for so many seconds, on connections that are kept."""


class _Figures(Struct, frozen=True):
    """What the program answers for a round."""

    count: int
    took_s: float
    p50_us: float
    p99_us: float
    used_s: float


_DECODER = msgspec.json.Decoder(_Figures)


@contextlib.contextmanager
def load_of_go(program: Path, port: int, requests: Sequence[bytes], connections: int) -> Iterator[Ask]:
    """Connect the program; it runs on the cores that this process has now."""
    command = [str(program), str(port), str(connections)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answered = process.stdin, process.stdout
        asked.write(b"%d\n" % len(requests) + b"".join(base64.b64encode(one) + b"\n" for one in requests))

        def ask(seconds: float) -> Round:
            asked.write(b"%f\n" % seconds)
            asked.flush()
            return _round(_DECODER.decode(answered.readline()))

        yield ask


@contextlib.contextmanager
def load_of_python(runner: asyncio.Runner, port: int, requests: Sequence[bytes], connections: int) -> Iterator[Ask]:
    """Connect this process."""
    opened = runner.run(connected(port, itertools.cycle(requests), connections))

    def ask(seconds: float) -> Round:
        return runner.run(loaded(opened, seconds))

    try:
        yield ask
    finally:
        for connection in opened:
            connection.close()


def _round(figures: _Figures) -> Round:
    return Round(
        count=figures.count,
        per_s=figures.count / figures.took_s,
        p50_us=figures.p50_us,
        p99_us=figures.p99_us,
        busy=figures.used_s / figures.took_s,
    )
