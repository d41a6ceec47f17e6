"""The compose file: permissions, passwords and settings in its text."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from tests.composed import FILE, SENTINELS, SERVERS, MissingVariable, interpolated, variables
from tests.worlds import SCRIPTS
from tollhouse.keys import Namespace
from tollhouse.settings import read
from tollhouse.stores.urls import STORES, SentinelService, StoreName, parse

PLAIN: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
FILLED: dict[str, Any] = interpolated(PLAIN, dict.fromkeys(variables(), "x" * 32))
SERVICES: dict[str, Any] = FILLED["services"]
USERS = {line.split()[1]: line.split()[2:] for line in FILLED["configs"]["users.acl"]["content"].splitlines()}
SENTINEL_SETTINGS = FILLED["configs"]["sentinel.conf"]["content"]

HANDSHAKE = {"ping", "select", "info", "role", "client|capa", "script|load", "evalsha", "eval"}
"""The commands of every connection; HELLO and AUTH need no permission."""
BESIDE_SCRIPTS: dict[StoreName, set[str]] = {
    "sessions": {"set", "wait", "waitaof", "subscribe", "replconf"},
    "limits": {"subscribe", "wait"},
    "cache": {"scan", "wait"},
    "accounts": {"set", "scan", "wait", "waitaof"},
}
"""What a store sends besides its scripts: to have a write confirmed, also for `max_unreplicated_ms`, to hear of
revocations and of units that came back, to walk over keys; by `tollhouse accounts secrets`, too.

The first store's account also asks for the role of servers, and has a replica that is promoted acknowledge at once.
"""


@pytest.mark.parametrize("name", STORES)
def test_a_user_may_do_what_its_scripts_do(name: StoreName) -> None:
    """A store's user may use exactly the commands of its scripts and its connection."""
    own = [script.plain for key, script in SCRIPTS.items() if key.startswith(f"{name}/")]
    calls = [call for text in own for call in re.findall(r"redis\.p?call\((?:'([A-Z]+)')?", text)]

    rules = USERS[name]

    assert all(calls), "a script calls a command that is not written out"
    assert {rule[1:] for rule in rules if rule.startswith("+")} == HANDSHAKE | BESIDE_SCRIPTS[name] | {
        call.lower() for call in calls
    }
    assert f"db={STORES.index(name)}" in rules
    assert rules.index("-@all") < min(rules.index(rule) for rule in rules if rule.startswith("+"))


@pytest.mark.parametrize("namespace", ["", "shop"])
def test_patterns_of_channels_cover_every_namespace(namespace: str) -> None:
    """The users of sessions and of limits may publish and hear on their own channel in any namespace."""
    names = Namespace(namespace)

    for store, channel in (("sessions", names.session_revocations), ("limits", names.rate_clearings)):
        (pattern,) = [rule[1:] for rule in USERS[store] if rule.startswith("&")]
        assert fnmatchcase(channel, pattern)


def test_what_is_missing_is_named() -> None:
    """Every password and secret has to be set: without it the error names the variable and the remedy."""
    assert {name.split("_")[0] for name in variables()} == {"VALKEY", "TOLLHOUSE"}
    for name in variables():
        others = dict.fromkeys(variables() - {name}, "x" * 32)

        with pytest.raises(MissingVariable, match=f"^{name}: make .env first$"):
            interpolated(PLAIN, others)


def test_the_first_lines_make_what_is_needed() -> None:
    """The loop at the top of the file makes exactly the variables that have to be set."""
    stores, own = re.findall(r"for name in ([A-Z_ ]+); do", FILE.read_text(encoding="utf-8"))

    made = {f"VALKEY_{name}_PASSWORD" for name in stores.split()} | {f"TOLLHOUSE_{name}" for name in own.split()}

    assert made == variables()


def test_addresses_are_fixed_and_no_name_is_resolved() -> None:
    """Each service has its own address in the network, Sentinel settings name addresses only."""
    (pool,) = FILLED["networks"]["tollhouse"]["ipam"]["config"]
    addresses = [service["networks"]["tollhouse"]["ipv4_address"] for service in SERVICES.values()]

    assert len(set(addresses)) == len(SERVICES) == 7
    assert all(ip_address(address) in ip_network(pool["subnet"]) for address in addresses)
    assert {name: SERVICES[name]["environment"]["ADDRESS"] for name in (*SERVERS, *SENTINELS)} == {
        name: SERVICES[name]["networks"]["tollhouse"]["ipv4_address"] for name in (*SERVERS, *SENTINELS)
    }
    assert f"sentinel monitor main {addresses[0]} 6379 2" in SENTINEL_SETTINGS
    assert "hostnames" not in SENTINEL_SETTINGS


def test_the_settings_are_those_that_survive() -> None:
    """S3-05, S3-07: Sentinels wait 3 s or longer; servers append to a file, evict nothing and refuse lonely writes."""
    settings = FILLED["configs"]["valkey.conf"]["content"].splitlines()
    (down_after,) = re.findall(r"down-after-milliseconds main (\d+)", SENTINEL_SETTINGS)

    assert int(down_after) >= 3000
    for line in ("appendonly yes", "maxmemory-policy noeviction", "min-replicas-to-write 1", "min-replicas-max-lag 10"):
        assert line in settings


def test_calls_wait_until_a_new_primary_has_a_replica() -> None:
    """Servers that refuse lonely writes need calls of 2 s: a replica follows 1.1 s after a forced failover."""
    settings = read(SERVICES["tollhouse"]["environment"]).settings

    assert settings.deadline_ms == 2000


def test_services_wait_for_each_other_and_keep_to_themselves() -> None:
    """S4-09: every service has a health check and waits for healthy ones; ports are on loopback; none runs as root."""
    for name, service in SERVICES.items():
        needs = service.get("depends_on", {})

        assert service["healthcheck"]["test"][0].startswith("CMD")
        assert all(condition == {"condition": "service_healthy"} for condition in needs.values())
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["cap_drop"] == ["ALL"]
        assert service.get("user") == "valkey" or "\nUSER tollhouse\n" in service["build"]["dockerfile_inline"]
        assert "restart" not in service or name not in SERVERS
    assert set(SERVICES["tollhouse"]["depends_on"]) == set(SENTINELS)


def test_the_service_names_all_stores_and_sentinels() -> None:
    """The service gets a URL for each store: its own user, its own database, and all three Sentinels."""
    hosts = {SERVICES[name]["environment"]["ADDRESS"] for name in SENTINELS}
    for database, name in enumerate(STORES):
        url = parse("url", SERVICES["tollhouse"]["environment"][f"TOLLHOUSE_{name.upper()}_URL"])

        assert isinstance(url.target, SentinelService)
        assert (url.db, url.username, url.target.service, url.target.username) == (database, name, "main", "tollhouse")
        assert {host for host, _ in url.target.hosts} == hosts
