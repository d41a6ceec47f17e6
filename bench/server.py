"""The cost in the server: processor time, traffic and changes for each call, and bytes of what it stores."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
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


class Tally(Struct, frozen=True, kw_only=True):
    """What clients had the server do since it began: so many of some commands, and all others, inside scripts included.

    `changes` are those of its data, as it counts them for its snapshots. `replicated_bytes` is what a replica would
    have to read, from `Observer.count_replication` on.
    """

    sent: float
    others: float
    received_bytes: float
    replied_bytes: float
    changes: float
    replicated_bytes: float

    def since(self, before: Tally, requests: int) -> Tally:
        """Return the share of each request since `before`."""
        own, earlier = msgspec.structs.asdict(self), msgspec.structs.asdict(before)
        return Tally(**{name: (own[name] - earlier[name]) / requests for name in own})


class Observer:
    """A connection of its own to the server behind a socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client = redis.Redis(unix_socket_path=str(path), single_connection_client=True)

    def close(self) -> None:
        self._client.close()

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._client.info("server")["process_id"]

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

    def count_replication(self) -> None:
        """Make the server write what a replica would get: it does so from the first one that connects on.

        Return when the snapshot for that one is written, which counts no changes as unsaved.
        """
        with socket.socket(socket.AF_UNIX) as replica:
            replica.connect(str(self._path))
            replica.sendall(b"SYNC\r\n")
            replica.recv(1)
            while self._client.info("persistence")["rdb_bgsave_in_progress"]:
                time.sleep(0.01)

    def tally(self, commands: Sequence[str]) -> Tally:
        """Return what the clients that are connected have caused so far, this one left out."""
        info, number = self._client.info("everything"), self._client.client_id()
        clients = {int(client["id"]): client for client in self._client.client_list()}
        own = clients.pop(number)
        sent = sum(info.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in commands)
        return Tally(
            sent=sent,
            others=info["total_commands_processed"] - int(own["tot-cmds"]) - sent,
            received_bytes=sum(int(client["tot-net-in"]) for client in clients.values()),
            replied_bytes=sum(int(client["tot-net-out"]) for client in clients.values()),
            changes=info["rdb_changes_since_last_save"],
            replicated_bytes=info["master_repl_offset"],
        )

    def data_bytes(self) -> int:
        """Return the bytes of all keys of all databases, their names and hash-table entries included."""
        total = 0
        for database in self._client.info("keyspace"):
            self._client.select(int(database.removeprefix("db")))
            total += sum(self._client.memory_usage(key, samples=0) for key in self._client.scan_iter())
        self._client.select(0)
        return total
