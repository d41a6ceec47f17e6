"""The simulated keyspace, under the real Lua, agrees with a real server, and with its replicas."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hiredis
import pytest

from tests.simulation.valkey.keyspace import WRITES, CommandError, Keyspace, SortedSet
from tests.simulation.valkey.scripting import run_script
from tollhouse import scripts
from tollhouse.stores.transport.connection import encode

SCRIPTS = scripts.load()
HISTORIES = 25
STEPS = 30
CHANNEL = "revocations"
TOKEN_VERBS = ("create", "create", "create", "verify", "verify", "touch", "touch", "rotate", "renew", "renew")
TOKEN_VERBS += ("step_up", "patch", "patch", "take", "increment", "data", "why", "ask", "ask", *["resume"] * 6)
"""Verbs of one session and its secret, in the proportions in which they are called."""
IMPERSONATION_VERBS = ("act", "impersonate", "impersonation")
VERBS = (*TOKEN_VERBS, *IMPERSONATION_VERBS, "find", "list", "revoke", "revoke_all", "set_disabled", "revoke_everyone")

Call = tuple[str, list[str], list[str | int]]


class Names:
    """The keys of one history: a user's sessions, all of one hash tag."""

    def __init__(self, prefix: str) -> None:
        self.index, self.epoch, self.everyone = f"{prefix}index:d", f"{prefix}epoch:d", f"{prefix}everyone"
        self.events, self.records, self.ticket = f"{prefix}events", f"{prefix}sid:", f"{prefix}ticket:d"

    def record(self, sid: str) -> str:
        return self.records + sid

    def memo(self, sid: str) -> str:
        return f"{self.records}{sid}:memo"


def _random_call(rng: random.Random, names: Names, now_ms: int) -> Call:
    sid = f"s{rng.randrange(6)}"
    verb = rng.choice(VERBS)
    if verb in TOKEN_VERBS:
        return _call_with_a_token(rng, names, now_ms, verb, sid)
    of_others = _call_of_an_impersonation if verb in IMPERSONATION_VERBS else _call_about_a_user
    return of_others(rng, names, now_ms, verb, sid)


def _call_with_a_token(rng: random.Random, names: Names, now_ms: int, verb: str, sid: str) -> Call:
    secret = rng.choice((f"secret of {sid}",) * 10 + (f"secret of {sid}'", f"secret of {sid}'", "another"))
    digest = "d" if rng.random() < 0.95 else "another"
    keys = [names.record(sid), names.index, names.epoch, names.everyone, names.events, names.memo(sid)]
    match verb:
        case "create":
            limits = (rng.choice((1_000, 60_000)), 90_000, rng.randint(1, 4), rng.randrange(2))
            details = (rng.choice((0, 100)), rng.randrange(2), "- - ", "p", "default", "dv", "")
            return "sessions/create", keys, [now_ms, sid, secret, "ada", "d", *limits, names.records, *details]
        case "verify":
            keys = [names.record(sid), names.epoch, names.everyone]
            return "sessions/verify", keys, [now_ms, digest, secret, rng.randrange(2)]
        case "patch" | "take" | "increment" | "data":
            return f"sessions/{verb}", [*keys[:1], *keys[2:4]], [now_ms, digest, secret, *_changes(rng, verb)]
        case "why":
            keys = [names.record(sid), names.epoch, names.everyone, names.memo(sid)]
            return "sessions/why", keys, [now_ms, digest, secret]
        case "ask" | "resume":
            return _call_with_a_ticket(rng, names, now_ms, verb, sid)
        case "touch":
            return "sessions/touch", keys, [now_ms, sid, digest, secret, rng.randrange(2)]
        case _:
            successor = f"{secret}'" if rng.random() < 0.8 else f"secret of {sid}"
            more: dict[str, list[str | int]] = {"renew": [rng.choice((1, 30_000))], "step_up": ["aal1 pwd "]}
            return f"sessions/{verb}", keys, [now_ms, sid, digest, secret, successor, *more.get(verb, [])]


def _call_with_a_ticket(rng: random.Random, names: Names, now_ms: int, verb: str, sid: str) -> Call:
    ticket, sid = f"ticket {rng.randrange(2)}", rng.choice((sid, f"r{rng.randrange(9)}"))
    if verb == "ask":
        limits = (60_000, 90_000, rng.randint(1, 2), rng.choice((0, 100)), rng.randrange(2))
        facts = ("- - ", '{"sid":"', '"}', "p", "default", "dv", "")
        return (
            "sessions/ask",
            [names.ticket, names.epoch, names.everyone],
            [now_ms, ticket, "ada", 300_000, *limits, *facts],
        )
    chosen = rng.sample([f"s{number}" for number in range(6)], rng.randrange(3))
    keys = [names.ticket, names.record(sid), names.index, names.epoch, names.everyone, names.events, names.memo(sid)]
    keys += [name for one in chosen for name in (names.record(one), names.memo(one))]
    return "sessions/resume", keys, [now_ms, ticket, sid, f"secret of {sid}", "d", names.records, CHANNEL, *chosen]


def _call_of_an_impersonation(rng: random.Random, names: Names, now_ms: int, verb: str, sid: str) -> Call:
    keys = [names.record(sid), names.index, names.epoch, names.everyone, names.events, names.memo(sid)]
    secret, digest = f"secret of {sid}", rng.choice(("d", "d", "d", "another"))
    match verb:
        case "act":
            args = [now_ms, digest, f"s{rng.randrange(6)}", "eve", rng.choice((2_000, 90_000)), rng.randint(1, 3), sid]
            return "sessions/act", [names.record(sid), names.epoch, names.everyone], args
        case "impersonate":
            limits = (rng.choice((1_000, 60_000)), 90_000, rng.randint(1, 2), names.records)
            who = ("root", "s0", "why", "- - {}", "p", "default", "dv", "")
            return "sessions/impersonate", keys, [now_ms, sid, secret, "ada", "d", *limits, *who]
        case _:
            return "sessions/impersonation", [names.record(sid), names.memo(sid)], [now_ms, digest, secret]


def _changes(rng: random.Random, verb: str) -> list[str | int]:
    names = rng.sample((".a", ".b", ".c"), 2)
    match verb:
        case "patch":
            pairs = [part for name in names for part in (name, rng.choice(("", "1", '"text"')))]
            return [rng.choice((0, 0, 1, 2)), rng.choice((12, 1_000)), rng.choice((1, 64)), *pairs]
        case "increment":
            return [rng.choice((4, 1_000)), rng.choice((1, 64)), names[0], rng.randrange(-9, 9)]
        case "take":
            return names[:1]
        case _:
            return []


def _call_about_a_user(rng: random.Random, names: Names, now_ms: int, verb: str, sid: str) -> Call:
    user, given = "ada", rng.choice((0, 0, now_ms - 500))
    match verb:
        case "find":
            return "sessions/find", [names.index], [now_ms]
        case "list":
            records = [names.record(f"s{number}") for number in range(6)]
            return "sessions/list", [names.epoch, names.everyone, *records], [now_ms, "d"]
        case "revoke":
            owner = user if rng.random() < 0.8 else "eve"
            keys = [names.record(sid), names.index, names.events, names.memo(sid), names.epoch]
            return "sessions/revoke", keys, [now_ms, sid, owner, CHANNEL, "{}", "revoked"]
        case "revoke_everyone":
            args = [now_ms, f"call {now_ms}", given, CHANNEL, "{}"]
            return "sessions/revoke_everyone", [names.everyone, names.events], args
        case "set_disabled":
            options = [f"call {now_ms}", rng.randrange(2), 200_000, given, CHANNEL, "{}"]
            return "sessions/set_disabled", [names.epoch, names.events], [now_ms, user, *options]
        case _:
            kept = rng.choice(("", sid))
            options = [f"call {now_ms}", kept, names.records, 200_000, 0, rng.randint(1, 6), given, CHANNEL, "{}"]
            options += [rng.choice((0, 120_000)), "revoked-all"]
            keys = [names.index, names.epoch, names.events, names.record(kept)]
            return "sessions/revoke_all", keys, [now_ms, user, *options]


def _random_cache_call(rng: random.Random, prefix: str, now_ms: int) -> Call:
    """Return a call of a script of the cache, on one of two entries that share a clock; one mark is swept at a time."""
    number = rng.randrange(2)
    entry, lease, clock = f"{prefix}entry:{number}", f"{prefix}lease:{number}", f"{prefix}clock"
    token, tags = f"{rng.randrange(3):024x}", [f"{rng.randrange(4):016x}" for _ in range(2)]
    match rng.choice(
        ("look", "look", "lease", "lease", "lease", "fill", "fill", "renew", "release", "key", "hold", "tags", "tags")
    ):
        case "lease":
            return "cache/get_or_lease", [entry, lease, clock], [now_ms, "p" * 16, token, 90_000, "", 60_000]
        case "look":
            entries = [f"{prefix}entry:{each}" for each in (number, 0, 1, 2)]
            return "cache/look_up", [clock, *entries], [now_ms, "p" * 16, rng.choice((64, 4_096)), "0101"]
        case "fill":
            epoch = f"{0:016x}" + "p" * 16
            times, sequence = f"{now_ms:013d}{now_ms + 60_000:013d}", rng.randrange(8)
            envelope = f"R1{times}{5:08d}{epoch}{sequence:012d}02{''.join(tags)}body"
            return "cache/fill", [entry, lease, clock], [now_ms, "p" * 16, f"{token}{sequence:012d}", 60_000, envelope]
        case "renew":
            return "cache/renew", [lease], [now_ms, token, 80_000]
        case "release":
            return "cache/release", [lease], [now_ms, token]
        case "tags":
            return "cache/invalidate_tags", [clock], [now_ms, *rng.sample([*tags, "*", "?"], rng.choice((1, 1, 2)))]
        case what:
            return (
                "cache/invalidate",
                [clock, entry, lease, f"{prefix}permit:{number}"],
                [now_ms, 70_000 if what == "hold" else 0],
            )


class Real:
    """A connection to a real server."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._reader: Any = hiredis.Reader()

    def run(self, *command: str | bytes | int) -> Any:
        self._link.sendall(encode(*command))
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._link.recv(65_536))
        return reply


@contextmanager
def _real(path: Path) -> Iterator[Real]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(str(path))
        yield Real(link)


def _simulated(space: Keyspace, call: Call, used: list[tuple[bytes, bytes]] | None = None) -> Any:
    """Run a call; gather the commands in `used`, each with its key."""

    def run(name: bytes, *args: bytes) -> Any:
        if name == b"PUBLISH":
            return 0
        if used is not None:
            used.append((name, args[0]))
        return space.run(name, *args)

    name, keys, args = call
    space.now_ms = int(args[0])
    as_bytes = [[str(part).encode() for part in parts] for parts in (keys, args)]
    try:
        return run_script(SCRIPTS[name].text.encode(), *as_bytes, run)
    except CommandError as error:
        return error


def _content(space: Keyspace, prefix: str) -> dict[bytes, Any]:
    """Return what is stored, as `_stored` reads it; event ids are of each server's own clock."""
    found: dict[bytes, Any] = {}
    for key in [key for key in space.values if key.startswith(prefix.encode())]:
        value = space.find(key)
        if isinstance(value, SortedSet):
            found[key] = [(member, value[member]) for member in value.ordered()]
        elif isinstance(value, list):
            found[key] = [fields for _, fields in value]
        elif value is not None:
            found[key] = dict(value) if isinstance(value, dict) else value
    return found


def _stored(server: Real, prefix: str) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    for key in server.run("KEYS", f"{prefix}*"):
        kind = server.run("TYPE", key)
        if kind == b"zset":
            flat = server.run("ZRANGE", key, 0, -1, "WITHSCORES")
            found[key] = list(zip(flat[::2], map(float, flat[1::2]), strict=True))
        elif kind == b"stream":
            found[key] = [tuple(fields) for _, fields in server.run("XRANGE", key, "-", "+")]
        elif kind == b"string":
            found[key] = server.run("GET", key)
        else:
            flat = server.run("HGETALL", key)
            found[key] = dict(zip(flat[::2], flat[1::2], strict=True))
    return found


@pytest.mark.parametrize("feature", ["sessions", "cache"])
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_scripts_do_what_they_do_on_a_real_server(valkey_socket: Path, seed: int, feature: str) -> None:
    """Random calls of the scripts of a feature have the same replies and leave the same data and ends of keys.

    The clock moves by a second at most, and no key ends by then, so the real server's own clock decides nothing.
    """
    rng, prefix = random.Random(seed), f"simulated:{feature}:{{{seed}}}:"
    names, space = Names(prefix), Keyspace()
    now_ms = int(time.time() * 1000) + 5_000
    with _real(valkey_socket) as server:
        for _ in range(STEPS):
            now_ms += rng.randrange(30)
            sessions = feature == "sessions"
            call = _random_call(rng, names, now_ms) if sessions else _random_cache_call(rng, prefix, now_ms)
            name, keys, args = call

            expected = server.run("EVAL", SCRIPTS[name].text, len(keys), *keys, *args)

            assert _plain(_simulated(space, call), name) == _plain(expected, name), call
        assert _content(space, prefix) == _stored(server, prefix)
        for key in _content(space, prefix):
            left_ms = server.run("PTTL", key)
            assert abs(left_ms - space.run(b"PTTL", key)) < 5_000 or left_ms == space.run(b"PTTL", key)


def _plain(reply: Any, name: str) -> Any:
    """Return a reply; without what is left of a lease or memo, because real time takes its share of it."""
    if name == "sessions/why" and isinstance(reply, list):
        return reply[:2]
    if name == "cache/get_or_lease" and isinstance(reply, list):
        return [*reply[:3], *reply[4:]]
    return str(reply) if isinstance(reply, Exception) else reply


def test_scripts_of_sessions_touch_what_they_declare() -> None:
    """KEYS has every key that a call touches; beyond it are the records of a revoke-all, and of a login at the cap.

    Those are all read before the first write, and their memos are written after it, so a server that refuses undeclared
    keys has changed nothing. With the digest of another user in it, a token reaches nothing but the record that its sid
    names.
    """
    rng, names, space = random.Random(2), Names("declared:"), Keyspace()
    now_ms, beyond = 1_800_000_000_000, set()
    for _ in range(STEPS * HISTORIES):
        now_ms += rng.randrange(5_000)
        name, keys, args = call = _random_call(rng, names, now_ms)
        space.now_ms = now_ms
        capped = name in ("sessions/create", "sessions/impersonate")
        full = capped and space.run(b"ZCOUNT", names.index.encode(), b"0", b"inf") >= int(args[7])
        full = full or name == "sessions/resume"
        used: list[tuple[bytes, bytes]] = []

        _simulated(space, call, used)

        declared, touched = {key.encode() for key in keys}, {key for _, key in used}
        first_write = min([place for place, (command, _) in enumerate(used) if command in WRITES], default=len(used))
        looked_at = {key for _, key in used[:first_write]}
        assert touched <= declared | looked_at | {key + b":memo" for key in looked_at}, call
        if not (full or name == "sessions/revoke_all"):
            assert touched <= declared, call
        if name == "sessions/verify" and args[1] != "d":
            assert used == [(b"HMGET", keys[0].encode())]
        if not touched <= declared:
            beyond.add(name)
    assert beyond == {"sessions/create", "sessions/impersonate", "sessions/resume", "sessions/revoke_all"}


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_effects_repeat_what_was_written(seed: int) -> None:
    """A replica that applies the effects has the data and the ends of keys of its primary; so has a snapshot."""
    rng, prefix = random.Random(seed), "simulated:"
    names, primary, replica = Names(prefix), Keyspace(), Keyspace()
    replica.is_primary = False
    now_ms = 1_800_000_000_000
    for _ in range(STEPS * 3):
        now_ms += rng.randrange(5_000)
        _simulated(primary, _random_call(rng, names, now_ms))
        effects, primary.effects = primary.effects, []
        for effect in effects:
            replica.apply(effect)

    snapshot = primary.copy()
    for other in (replica, snapshot):
        assert other.values == primary.values
        assert other.ends_ms == primary.ends_ms
        assert not other.effects
