"""The compose file as local processes: its own commands and configurations, at addresses of this machine.

Only the network, the paths and the passwords are put in place; whatever else is wrong in the file is wrong here too.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import time
from collections.abc import Callable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from string import Template
from typing import Any

import yaml

from tollhouse.stores.embedded.blocking_client import call
from tollhouse.stores.embedded.sentinel_cluster import free_addresses
from tollhouse.stores.embedded.sentinel_config import sentinel_is_ready
from tollhouse.stores.embedded.server import bundled_binary
from tollhouse.stores.embedded.supervisor import Supervisor
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import TcpAddress

FILE = Path(__file__).parents[1] / "docker-compose.redis-sentinel.yml"
NETWORK = "172.30.0."
SERVERS = ("valkey-1", "valkey-2", "valkey-3")
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
PATIENCE_S = 15.0

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+):([-?])([^}]+)\}|)")


class MissingVariable(Exception):
    """A required variable is not set; `docker compose` refuses that too."""


def interpolated(value: Any, environ: Mapping[str, str]) -> Any:
    """Fill in variables as `docker compose` does; only the forms with a default or a message are supported."""
    if isinstance(value, dict):
        return {key: interpolated(inner, environ) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolated(inner, environ) for inner in value]
    if not isinstance(value, str):
        return value

    def filled(match: re.Match[str]) -> str:
        dollar, name, kind, otherwise = match.groups()
        if dollar:
            return "$"
        assert name, f"unknown form of variable in {value!r}"
        if environ.get(name):
            return environ[name]
        if kind == "?":
            raise MissingVariable(f"{name}: {otherwise}")
        return otherwise

    return _VARIABLE.sub(filled, value)


def variables() -> frozenset[str]:
    """Return the required variables."""
    return frozenset(re.findall(r"\$\{(\w+):\?", FILE.read_text(encoding="utf-8")))


class Composed:
    """The running servers and Sentinels of the file; `stop` stops them."""

    def __init__(self) -> None:
        self.passwords = {name: secrets.token_hex(32) for name in variables()}
        self.file: dict[str, Any] = interpolated(yaml.safe_load(FILE.read_text(encoding="utf-8")), self.passwords)
        self._block = free_addresses()[0][0].rpartition(".")[0] + "."
        self._guarded = Supervisor()
        programs = self._guarded.directory / "bin"
        programs.mkdir()
        (programs / "valkey-server").symlink_to(bundled_binary())
        self._pids: dict[str, int] = {}

    def start(self) -> None:
        """Start the services in the order of `depends_on`, each when its dependencies are healthy."""
        services = self.file["services"]
        order = TopologicalSorter({name: services[name].get("depends_on", {}) for name in (*SERVERS, *SENTINELS)})
        for name in order.static_order():
            for needed in services[name].get("depends_on", {}):
                await_true(lambda needed=needed: self.healthy(needed))
            self.run(name)
        await_true(lambda: all(map(self.healthy, (*SERVERS, *SENTINELS))))
        await_true(lambda: all(map(self._agrees, SENTINELS)))

    def run(self, name: str) -> int:
        """Run the command of a service, as `docker compose up` would; return its process id."""
        service = self.file["services"][name]
        for mount in service["configs"]:
            target = Path(self._here(name, mount["target"]))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self._here(name, self.file["configs"][mount["source"]]["content"]))
        Path(self._here(name, "/data")).mkdir(exist_ok=True)
        command = [self._here(name, part) for part in service["entrypoint"] + service["command"]]
        variables = [f"{key}={value}" for key, value in self.environment(name).items()]
        path = f"PATH={self._guarded.directory / 'bin'}:/usr/bin:/bin"
        self._pids[name] = self._guarded.start(name, ["/usr/bin/env", "-i", path, *variables, *command])
        return self._pids[name]

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables of a service, with the addresses that its servers have here."""
        return {key: self._here(name, value) for key, value in self.file["services"][name]["environment"].items()}

    def healthy(self, name: str) -> bool:
        """Run the health check of a service, with our own client instead of `valkey-cli`."""
        kind, line = self.file["services"][name]["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        words = shlex.split(Template(line).substitute(self.environment(name)))
        cli, pattern = words[: words.index("|")], words[-1]
        assert cli.pop(0) == "valkey-cli"
        options = {"-p": "6379"}
        while cli[0].startswith("-"):
            option = cli.pop(0)
            options[option] = cli.pop(0)
        address = TcpAddress(host=options["-h"], port=int(options["-p"]))
        with contextlib.suppress(OSError, ServerError):
            return re.search(pattern, call(address, (options["--user"], options["--pass"]), *cli)) is not None
        return False

    def pid(self, name: str) -> int:
        """Return the process of a service."""
        return self._pids[name]

    def address(self, name: str) -> TcpAddress:
        """Return the address of a service."""
        return TcpAddress(host=self.environment(name)["ADDRESS"], port=6379 if name in SERVERS else 26379)

    def ask(self, name: str, user: str, *command: str | int) -> Any:
        """Send one command to a service as one of its users."""
        variable = "LOOKUP" if name in SENTINELS and user == "tollhouse" else user.upper()
        return call(self.address(name), (user, self.passwords[f"VALKEY_{variable}_PASSWORD"]), *command)

    def primary(self) -> str | None:
        """Return the primary that all Sentinels agree on; None while they do not agree."""
        named = {
            tuple(self.ask(name, "tollhouse", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")) for name in SENTINELS
        }
        return next((name for name in SERVERS if named == {(self.address(name).host, "6379")}), None)

    def stop(self) -> None:
        """Stop all processes."""
        self._guarded.stop()

    def _agrees(self, name: str) -> bool:
        replies = (self.ask(name, "tollhouse", "SENTINEL", kind, "main") for kind in ("SENTINELS", "REPLICAS"))
        others, replicas = ([facts(one) for one in reply] for reply in replies)
        return sentinel_is_ready(others, replicas)

    def _here(self, name: str, text: str) -> str:
        folder = self._guarded.directory
        text = text.replace(NETWORK, self._block)
        return re.sub(r"/data\b", f"{folder}/{name}", text).replace("/etc/valkey", f"{folder}/{name}-etc")


def facts(reply: list[str]) -> dict[str, str]:
    """Parse what a Sentinel reports of one server or Sentinel."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def await_true(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds, for a bounded time; an error counts as not yet."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        with contextlib.suppress(OSError, ServerError):
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError(f"still not true after {PATIENCE_S:g} s")
