"""`tollhouse demo`, and what it leaves in the stores."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import hiredis
import msgspec

from tests.failures.test_serve import COMMAND, environment, serve
from tollhouse.cli.tour import take_tour
from tollhouse.drill.clients.http_connection import HttpConnections

USER = "grace.hopper@example.org"
PASSWORD = "nanoseconds are 30 cm long"
ADDRESS = "127.0.0.1"

READ = {
    "string": ("GET", "{key}"),
    "hash": ("HGETALL", "{key}"),
    "zset": ("ZRANGE", "{key}", "0", "-1", "WITHSCORES"),
    "set": ("SMEMBERS", "{key}"),
    "list": ("LRANGE", "{key}", "0", "-1"),
    "stream": ("XRANGE", "{key}", "-", "+"),
}
WITHOUT_EXPIRY = re.compile(r"tollhouse:(account:|@clock:|@families:|session:\{[0-9a-f]{2}\}:everyone$)")
"""The keys that `keys.py` names as those without an expiry."""


def test_the_demo_passes(tmp_path: Path) -> None:
    """The demo exits with 0 if every step passed, and prints the steps as JSON."""
    done = subprocess.run(
        [*COMMAND, "demo", "--json"],
        check=False,
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
    )

    told = msgspec.json.decode(done.stdout)
    assert done.returncode == 0, told
    assert told["ok"] is True
    assert len(told["steps"]) > 15
    assert all(step["ok"] for step in told["steps"])


async def test_a_demo_that_sees_something_else_fails(tmp_path: Path) -> None:
    """A step that fails is not ok, and the tour continues: here the key is wrong."""
    (tmp_path / "tollhouse.toml").write_text('[limits.policies.demo]\nlimit = "5/second"\n')
    with serve(tmp_path) as served:
        steps = {step.name: step async for step in take_tour(served.address, "not-a-key-of-this-service")}

    assert not steps["take until refused"].ok
    assert not steps["ask the AI model (MISS)"].ok
    assert steps["device 1 is refused"].ok


async def test_nothing_leaks_into_the_stores(tmp_path: Path) -> None:
    """P5, P10, S4-59, S4-60: no key names a user or an address, no value holds a token or a password, all expire."""
    (tmp_path / "tollhouse.toml").write_text('[limits.policies.demo]\nlimit = "5/second"\n')
    with serve(tmp_path) as served:
        assert [step async for step in take_tour(served.address, served.kept["admin_key"][0])]
        secrets = await _a_login_in_use(served.address)
        stored = {url: list(_everything(url)) for url in served.kept["urls"].values()}

    assert all(stored.values())
    for key, value, ttl_ms in (entry for entries in stored.values() for entry in entries):
        assert USER not in key
        assert "demo-" not in key
        assert ADDRESS not in key
        assert ttl_ms > 0 or WITHOUT_EXPIRY.match(key)
        for secret in (*secrets, PASSWORD):
            assert secret not in key
            assert secret.encode() not in value


async def _a_login_in_use(address: str) -> list[str]:
    """Create an account and a live session; return the secret parts of its token."""
    async with aclosing(HttpConnections(address, timeout_s=10)) as client:
        await client.request("POST", "/v1/accounts", {"user": USER, "password": PASSWORD})
        reply = await client.request("POST", "/v1/login", {"user": USER, "password": PASSWORD, "transport": "bearer"})
        token = reply.json["token"]
        assert (await client.request("GET", "/v1/session", Authorization=f"Bearer {token}")).status == 200
    return [token, token.rpartition(".")[2]]


def _everything(url: str) -> Iterator[tuple[str, bytes, int]]:
    """Read every key of a database by its type: its name, all of its content, and its time to live."""
    path, _, db = url.removeprefix("unix://").partition("?db=")
    with closing(_Connection(path)) as ask:
        yield from _all_keys(ask, db)


def _all_keys(ask: _Connection, db: str) -> Iterator[tuple[str, bytes, int]]:
    ask("SELECT", db)
    cursor = b"0"
    while True:
        cursor, names = ask("SCAN", cursor)
        for name in names:
            key = name.decode()
            kind = ask("TYPE", key)
            read = READ[kind.decode() if isinstance(kind, bytes) else kind]
            yield key, repr(ask(*(part.format(key=key) for part in read))).encode(), ask("PTTL", key)
        if cursor in (b"0", "0"):
            return


class _Connection:
    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reader = hiredis.Reader()

    def close(self) -> None:
        self._socket.close()

    def __call__(self, *parts: str | bytes) -> Any:
        self._socket.sendall(hiredis.pack_command(parts))  # type: ignore[arg-type] - its stub takes a 1-tuple only
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(65536))
        return reply
