"""The cost in the server: processor time for each take, and bytes for each subject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import redis
from msgspec import Struct


class Spent(Struct, frozen=True, kw_only=True):
    """Microseconds since the server began: of its main thread, and of that inside some commands."""

    cpu_us: float
    commands_us: float

    def since(self, before: Spent, takes: int) -> Spent:
        """Return the cost of each take since `before`."""
        return Spent(
            cpu_us=(self.cpu_us - before.cpu_us) / takes, commands_us=(self.commands_us - before.commands_us) / takes
        )


class Observer:
    """A connection of its own to the server behind a socket."""

    def __init__(self, path: Path) -> None:
        self._client = redis.Redis(unix_socket_path=str(path), single_connection_client=True)

    def close(self) -> None:
        self._client.close()

    def clear(self) -> None:
        """Delete all data, and keep the scripts."""
        self._client.flushall()

    def spent(self, commands: Sequence[str]) -> Spent:
        """Return the time spent so far, and that of these commands, inside scripts included."""
        used, stats = self._client.info("cpu"), self._client.info("commandstats")
        return Spent(
            cpu_us=1e6 * (used["used_cpu_sys_main_thread"] + used["used_cpu_user_main_thread"]),
            commands_us=sum(stats[name]["usec"] for name in (f"cmdstat_{one}" for one in commands) if name in stats),
        )

    def calls(self, command: str) -> int:
        """Return how often a command was sent so far."""
        return self._client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]

    def data_bytes(self) -> int:
        """Return the bytes of all keys of all databases, their names and hash-table entries included."""
        total = 0
        for database in self._client.info("keyspace"):
            self._client.select(int(database.removeprefix("db")))
            total += sum(self._client.memory_usage(key, samples=0) for key in self._client.scan_iter())
        self._client.select(0)
        return total
