"""Keys of one logical database, the commands on them, and what those replicate: effects, with absolute times."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final
from zlib import crc32

Value = bytes | dict[bytes, Any] | list[Any]
Effect = tuple[bytes, ...]

_TYPES: Final = {bytes: b"string", dict: b"hash", list: b"stream"}
_WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"


class CommandError(Exception):
    """An error reply; its text begins with the code."""


class Status(bytes):
    """A simple string such as OK."""


class SortedSet(dict[bytes, float]):
    """Members with their scores."""

    def ordered(self) -> list[bytes]:
        """Return the members by score, then by name."""
        return sorted(self, key=lambda member: (self[member], member))


class Keyspace:
    """`now_ms` is the server's clock, moved by the server; `effects` gathers what was written until it is taken.

    Keys that have expired do not exist. Only a primary removes them, and replicates that.
    """

    def __init__(self) -> None:
        self.values: dict[bytes, Value] = {}
        self.ends_ms: dict[bytes, int] = {}
        self.effects: list[Effect] = []
        self.now_ms = 0
        self.is_primary = True
        self.fields_per_scan = 10_000

    def run(self, name: bytes, *args: bytes) -> Any:
        """Run a command; raise CommandError."""
        command = _COMMANDS.get(name.upper())
        if command is None:
            raise CommandError("ERR Unknown command called from script")
        return command(self, *args)

    def apply(self, effect: Effect) -> None:
        """Repeat what another server has written: whether a key has expired was decided there."""
        self.now_ms = 0
        _COMMANDS[effect[0]](self, *effect[1:])
        self.effects.clear()

    def copy(self) -> Keyspace:
        """Return a snapshot."""
        other = Keyspace()
        other.values = {key: value if isinstance(value, bytes) else value.copy() for key, value in self.values.items()}
        other.values = {key: _kept_type(self.values[key], value) for key, value in other.values.items()}
        other.ends_ms = dict(self.ends_ms)
        return other

    def find(self, key: bytes, kind: type | None = None) -> Any:
        """Return the value of a key; None if there is none. Raise CommandError for another type than `kind`."""
        end_ms = self.ends_ms.get(key)
        if end_ms is not None and self.now_ms >= end_ms:
            if self.is_primary:
                self.remove(key)
            return None
        value = self.values.get(key)
        if value is not None and kind is not None and type(value) is not kind:
            raise CommandError(_WRONG_TYPE)
        return value

    def remove(self, key: bytes) -> bool:
        """Remove a key; return whether there was one."""
        self.ends_ms.pop(key, None)
        found = self.values.pop(key, None) is not None
        if found:
            self.effects.append((b"DEL", key))
        return found

    def open(self, key: bytes, kind: type) -> Any:
        """Return the value of a key, a new and empty one if there is none."""
        value = self.find(key, kind)
        if value is None:
            value = self.values[key] = kind()
        return value

    def close(self, key: bytes, *effect: bytes) -> None:
        """Add an effect, and remove the key when its value is empty."""
        self.effects.append(effect)
        if not self.values[key]:
            del self.values[key]
            self.ends_ms.pop(key, None)


def _kept_type(old: Value, new: Value) -> Value:
    return SortedSet(new) if isinstance(old, SortedSet) else new  # type: ignore[arg-type] - a set of pairs


def _number(value: float) -> bytes:
    return b"%d" % value if value == int(value) else repr(value).encode()


def _bound(text: bytes) -> float:
    return math.inf if text in (b"+inf", b"inf") else -math.inf if text == b"-inf" else float(text)


def _get(keys: Keyspace, key: bytes) -> bytes | None:
    return keys.find(key, bytes)


def _mget(keys: Keyspace, *names: bytes) -> list[bytes | None]:
    found = (keys.find(name) for name in names)
    return [value if isinstance(value, bytes) else None for value in found]


def _set(keys: Keyspace, key: bytes, value: bytes, *options: bytes) -> Status:
    words = [option.upper() for option in options]
    keys.values[key] = value
    keys.ends_ms.pop(key, None)
    tail: tuple[bytes, ...] = ()
    if b"PX" in words:
        keys.ends_ms[key] = keys.now_ms + int(options[words.index(b"PX") + 1])
        tail = (b"PXAT", b"%d" % keys.ends_ms[key])
    elif b"PXAT" in words:
        keys.ends_ms[key] = int(options[1])
    keys.effects.append((b"SET", key, value, *tail))
    return Status(b"OK")


def _getrange(keys: Keyspace, key: bytes, first: bytes, last: bytes) -> bytes:
    return (keys.find(key, bytes) or b"")[int(first) : int(last) + 1]


def _setrange(keys: Keyspace, key: bytes, offset: bytes, part: bytes) -> int:
    value, at = keys.find(key, bytes) or b"", int(offset)
    if not part:
        return len(value)
    keys.values[key] = changed = value[:at].ljust(at, b"\0") + part + value[at + len(part) :]
    keys.effects.append((b"SETRANGE", key, offset, part))
    return len(changed)


def _del(keys: Keyspace, *names: bytes) -> int:
    return sum(keys.find(name) is not None and keys.remove(name) for name in names)


def _exists(keys: Keyspace, *names: bytes) -> int:
    return sum(keys.find(name) is not None for name in names)


def _type(keys: Keyspace, key: bytes) -> Status:
    value = keys.find(key)
    return Status(b"none" if value is None else b"zset" if isinstance(value, SortedSet) else _TYPES[type(value)])


def _pttl(keys: Keyspace, key: bytes) -> int:
    if keys.find(key) is None:
        return -2
    return keys.ends_ms[key] - keys.now_ms if key in keys.ends_ms else -1


def _pexpire(keys: Keyspace, key: bytes, ttl_ms: bytes) -> int:
    return _pexpireat(keys, key, b"%d" % (keys.now_ms + int(ttl_ms)))


def _pexpireat(keys: Keyspace, key: bytes, end_ms: bytes) -> int:
    if keys.find(key) is None:
        return 0
    if int(end_ms) <= keys.now_ms:
        keys.remove(key)
        return 1
    keys.ends_ms[key] = int(end_ms)
    keys.effects.append((b"PEXPIREAT", key, end_ms))
    return 1


def _persist(keys: Keyspace, key: bytes) -> int:
    if keys.find(key) is None or keys.ends_ms.pop(key, None) is None:
        return 0
    keys.effects.append((b"PERSIST", key))
    return 1


def _hget(keys: Keyspace, key: bytes, field: bytes) -> bytes | None:
    return (keys.find(key, dict) or {}).get(field)


def _hmget(keys: Keyspace, key: bytes, *fields: bytes) -> list[bytes | None]:
    found = keys.find(key, dict) or {}
    return [found.get(field) for field in fields]


def _hgetall(keys: Keyspace, key: bytes) -> list[bytes]:
    return [part for pair in (keys.find(key, dict) or {}).items() for part in pair]


def _hlen(keys: Keyspace, key: bytes) -> int:
    return len(keys.find(key, dict) or {})


def _hset(keys: Keyspace, key: bytes, *pairs: bytes) -> int:
    found = keys.open(key, dict)
    before = len(found)
    found.update(zip(pairs[::2], pairs[1::2], strict=True))
    keys.effects.append((b"HSET", key, *pairs))
    return len(found) - before


def _hdel(keys: Keyspace, key: bytes, *fields: bytes) -> int:
    found = keys.find(key, dict) or {}
    gone = [field for field in fields if found.pop(field, None) is not None]
    if gone:
        keys.close(key, b"HDEL", key, *gone)
    return len(gone)


def _hincrby(keys: Keyspace, key: bytes, field: bytes, by: bytes) -> int:
    total = int((keys.find(key, dict) or {}).get(field, 0)) + int(by)
    _hset(keys, key, field, b"%d" % total)
    return total


def _hscan(keys: Keyspace, key: bytes, cursor: bytes, *options: bytes) -> list[Any]:
    """Return the next fields in the order of their checksums, of which the cursor is one; MATCH is a prefix and `*`."""
    wanted = min(int(options[options.index(b"COUNT") + 1]), keys.fields_per_scan)
    prefix = options[options.index(b"MATCH") + 1].removesuffix(b"*")
    found = keys.find(key, dict) or {}
    rest = sorted((crc32(field) or 1, field) for field in found if crc32(field) >= int(cursor))
    page = [field for _, field in rest[:wanted] if field.startswith(prefix)]
    following = rest[wanted][0] if len(rest) > wanted else 0
    return [b"%d" % following, [part for field in page for part in (field, found[field])]]


def _zadd(keys: Keyspace, key: bytes, *pairs: bytes) -> int:
    found = keys.open(key, SortedSet)
    before = len(found)
    changed = False
    for score, member in zip(pairs[::2], pairs[1::2], strict=True):
        changed = changed or found.get(member) != float(score)
        found[member] = float(score)
    if changed:
        keys.effects.append((b"ZADD", key, *pairs))
    return len(found) - before


def _zrem(keys: Keyspace, key: bytes, *members: bytes) -> int:
    found = keys.find(key, SortedSet) or SortedSet()
    gone = [member for member in members if found.pop(member, None) is not None]
    if gone:
        keys.close(key, b"ZREM", key, *gone)
    return len(gone)


def _zscore(keys: Keyspace, key: bytes, member: bytes) -> bytes | None:
    score = (keys.find(key, SortedSet) or {}).get(member)
    return None if score is None else _number(score)


def _zcard(keys: Keyspace, key: bytes) -> int:
    return len(keys.find(key, SortedSet) or ())


def _between(keys: Keyspace, key: bytes, low: bytes, high: bytes) -> list[bytes]:
    found, least, most = keys.find(key, SortedSet) or SortedSet(), _bound(low), _bound(high)
    return [member for member in found.ordered() if least <= found[member] <= most]


def _zcount(keys: Keyspace, key: bytes, low: bytes, high: bytes) -> int:
    return len(_between(keys, key, low, high))


def _zrange(keys: Keyspace, key: bytes, first: bytes, last: bytes) -> list[bytes]:
    ordered = (keys.find(key, SortedSet) or SortedSet()).ordered()
    start, stop = (int(bound) + len(ordered) if int(bound) < 0 else int(bound) for bound in (first, last))
    return ordered[max(start, 0) : max(stop + 1, 0)]


def _zremrangebyscore(keys: Keyspace, key: bytes, low: bytes, high: bytes) -> int:
    gone = _between(keys, key, low, high)
    return _zrem(keys, key, *gone) if gone else 0


def _xadd(keys: Keyspace, key: bytes, *args: bytes) -> bytes:
    first = next(place for place, arg in enumerate(args) if arg == b"*" or b"-" in arg)
    found = keys.open(key, list)
    last_ms, last = (int(part) for part in found[-1][0].split(b"-")) if found else (0, 0)
    at_ms, number = (keys.now_ms, 0) if keys.now_ms > last_ms else (last_ms, last + 1)
    name = b"%d-%d" % (at_ms, number) if args[first] == b"*" else args[first]
    found.append((name, args[first + 1 :]))
    keys.effects.append((b"XADD", key, name, *args[first + 1 :]))
    return name


def _xlen(keys: Keyspace, key: bytes) -> int:
    return len(keys.find(key, list) or ())


_COMMANDS: Final[dict[bytes, Callable[..., Any]]] = {
    b"GET": _get,
    b"MGET": _mget,
    b"SET": _set,
    b"GETRANGE": _getrange,
    b"SETRANGE": _setrange,
    b"DEL": _del,
    b"UNLINK": _del,
    b"EXISTS": _exists,
    b"TYPE": _type,
    b"PTTL": _pttl,
    b"PEXPIRE": _pexpire,
    b"PEXPIREAT": _pexpireat,
    b"PERSIST": _persist,
    b"HGET": _hget,
    b"HMGET": _hmget,
    b"HGETALL": _hgetall,
    b"HLEN": _hlen,
    b"HSET": _hset,
    b"HDEL": _hdel,
    b"HINCRBY": _hincrby,
    b"HSCAN": _hscan,
    b"ZADD": _zadd,
    b"ZREM": _zrem,
    b"ZSCORE": _zscore,
    b"ZCARD": _zcard,
    b"ZCOUNT": _zcount,
    b"ZRANGE": _zrange,
    b"ZRANGEBYSCORE": _between,
    b"ZREMRANGEBYSCORE": _zremrangebyscore,
    b"XADD": _xadd,
    b"XLEN": _xlen,
}
COMMANDS: Final = frozenset(_COMMANDS)
WRITES: Final = frozenset(
    b"SET SETRANGE DEL UNLINK PEXPIRE PEXPIREAT PERSIST HSET HDEL HINCRBY ZADD ZREM ZREMRANGEBYSCORE XADD".split()
)
