"""What a connection may send to a server, and when the server refuses it or holds it back."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.valkey import keyspace
from tests.simulation.valkey.clients import Client, Command, Wait
from tests.simulation.valkey.info import info
from tests.simulation.valkey.keyspace import CommandError, Status
from tests.simulation.valkey.scripting import flags, run_script

if TYPE_CHECKING:
    from tests.simulation.valkey.server import Server

OK: Final = Status(b"OK")
NO_REPLY: Final = object()
"""The command has no reply, or none yet."""
HELD: Final = object()
"""The command runs later."""
DATABASES: Final = 16

_READ_ONLY: Final = "READONLY You can't write against a read only replica."
_NO_REPLICAS: Final = "NOREPLICAS Not enough good replicas to write."
_NO_SCRIPT: Final = "NOSCRIPT No matching script."
_SCRIPT_COMMANDS: Final = frozenset({b"EVAL", b"EVALSHA"})
_PLAIN_WRITES: Final = keyspace.WRITES


def execute(server: Server, client: Client, command: Command) -> Any:
    """Run a command and return its reply; raise CommandError for an error reply."""
    name = command[0].upper()
    kind = _kind(server, name, command)
    primary = server.replicator.upstream.host
    handover = server.handover
    if primary is not None and client.redirects and kind in ("read", "write"):
        if handover.in_progress:
            return HELD
        raise CommandError(f"REDIRECT {primary[0]}:{primary[1]}")
    if kind == "write" and primary is not None:
        raise CommandError(_READ_ONLY)
    if kind == "write" and server.replicator.good_replicas() < server.min_replicas:
        raise CommandError(_NO_REPLICAS)
    if handover.under_way and kind in ("write", "may-write"):
        return HELD
    return _run(server, client, name, command[1:])


def _kind(server: Server, name: bytes, command: Command) -> str:
    """Return what the server takes a command for: read, write, may-write, or other."""
    if name in _SCRIPT_COMMANDS:
        text = server.scripts.get(command[1]) if name == b"EVALSHA" else command[1]
        found = None if text is None else flags(text)
        if found is None:
            return "may-write"
        return "other" if b"no-writes" in found else "write"
    if name in keyspace.COMMANDS:
        return "write" if name in _PLAIN_WRITES else "read"
    return "may-write" if name == b"PUBLISH" else "other"


def _run(server: Server, client: Client, name: bytes, args: Command) -> Any:
    handler = _HANDLERS.get(name)
    if handler is not None:
        return handler(server, client, args)
    if name in keyspace.COMMANDS:
        return server.write(client.db, lambda space: space.run(name, *args))
    shown = "".join(f"'{arg.decode(errors='replace')}' " for arg in args)
    raise CommandError(f"ERR unknown command '{name.decode(errors='replace')}', with args beginning with: {shown}")


def _hello(server: Server, client: Client, args: Command) -> Any:
    role = "master" if server.replicator.is_primary else "replica"
    return {
        "server": "valkey",
        "version": "9.1.2",
        "proto": 3,
        "id": client.link.number,
        "mode": "standalone",
        "role": role,
        "modules": [],
    }


def _select(server: Server, client: Client, args: Command) -> Any:
    if not args[0].isdigit() or int(args[0]) >= DATABASES:
        raise CommandError("ERR DB index is out of range")
    client.db = int(args[0])
    return OK


def _client(server: Server, client: Client, args: Command) -> Any:
    if args[0].upper() == b"CAPA":
        client.redirects = client.redirects or b"redirect" in [arg.lower() for arg in args[1:]]
    return client.link.number if args[0].upper() == b"ID" else OK


def _script(server: Server, client: Client, args: Command) -> Any:
    verb = args[0].upper()
    if verb == b"LOAD":
        digest = sha1(args[1], usedforsecurity=False).hexdigest().encode()
        server.scripts[digest] = args[1]
        return digest
    if verb == b"FLUSH":
        server.scripts.clear()
        return OK
    return [int(digest in server.scripts) for digest in args[1:]]


def _evalsha(server: Server, client: Client, args: Command) -> Any:
    if args[0] not in server.scripts:
        raise CommandError(_NO_SCRIPT)
    return _eval(server, client, [server.scripts[args[0]], *args[1:]])


def _eval(server: Server, client: Client, args: Command) -> Any:
    text, count = args[0], int(args[1])
    found = flags(text)
    server.scripts[sha1(text, usedforsecurity=False).hexdigest().encode()] = text
    may_write = server.replicator.is_primary and (found is None or b"no-writes" not in found)

    def run(space: keyspace.Keyspace) -> Any:
        def call(name: bytes, *rest: bytes) -> Any:
            name = name.upper()
            if name == b"TIME":
                return _time(server, client, [])
            if name == b"PUBLISH":
                return server.publish(*rest)
            if name in keyspace.WRITES and not may_write:
                raise CommandError(f"{_READ_ONLY} script: on @user_script:1.")
            return space.run(name, *rest)

        return run_script(text, args[2 : 2 + count], args[2 + count :], call)

    return server.write(client.db, run)


def _time(server: Server, client: Client, args: Command) -> Any:
    now_ms = server.now_ms
    return [b"%d" % (now_ms // 1000), b"%d" % (now_ms % 1000 * 1000)]


def _role(server: Server, client: Client, args: Command) -> Any:
    replicator = server.replicator
    primary, offset = replicator.upstream.host, replicator.history.offset
    if primary is None:
        listed = [[ip, str(port), str(each.acked)] for (ip, port), each in replicator.followers.items()]
        return ["master", offset, listed]
    state = replicator.upstream.state
    return ["slave", primary[0], primary[1], state, offset if state == "connected" else -1]


def _wait(server: Server, client: Client, args: Command) -> Any:
    if not server.replicator.is_primary:
        raise CommandError("ERR WAIT cannot be used with replica instances.")
    return _block(server, client, int(args[0]), int(args[1]), with_file=False)


def _waitaof(server: Server, client: Client, args: Command) -> Any:
    if not server.replicator.is_primary:
        raise CommandError("ERR WAITAOF cannot be used with replica instances.")
    if int(args[0]) and not server.appends:
        raise CommandError("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
    return _block(server, client, int(args[1]), int(args[2]), with_file=True)


def _block(server: Server, client: Client, replicas: int, timeout_ms: int, *, with_file: bool) -> Any:
    """Wait for replicas, at most so long; 0 is without end. The file is written before any reply."""
    acknowledged = server.replicator.acknowledged_by(client.written)
    if acknowledged >= replicas:
        return [int(server.appends), acknowledged] if with_file else acknowledged
    timer = server.call_later(timeout_ms / 1000, lambda: server.end_wait(client)) if timeout_ms else None
    client.wait = Wait(replicas=replicas, offset=client.written, timer=timer, with_file=with_file)
    server.replicator.request_acks()
    return NO_REPLY


def _subscribe(server: Server, client: Client, args: Command) -> Any:
    for channel in args:
        client.channels[channel] = None
        client.push(b"subscribe", channel, len(client.channels))
    return NO_REPLY


def _unsubscribe(server: Server, client: Client, args: Command) -> Any:
    for channel in args or list(client.channels):
        client.channels.pop(channel, None)
        client.push(b"unsubscribe", channel, len(client.channels))
    return NO_REPLY


def _config(server: Server, client: Client, args: Command) -> Any:
    match [args[0].upper(), *args[1:]]:
        case [b"SET", b"min-replicas-to-write", number]:
            server.min_replicas = int(number)
            return OK
        case _:
            raise CommandError("ERR Unknown option or number of arguments for CONFIG")


def _replconf(server: Server, client: Client, args: Command) -> Any:
    if [arg.upper() for arg in args] == [b"GETACK", b"*"]:
        server.replicator.acknowledge()
    return NO_REPLY


_HANDLERS: Final[dict[bytes, Callable[[Any, Client, Command], Any]]] = {
    b"HELLO": _hello,
    b"AUTH": lambda *_: OK,
    b"PING": lambda *_: Status(b"PONG"),
    b"SELECT": _select,
    b"INFO": lambda server, _, args: info(server, [arg.decode().lower() for arg in args]),
    b"CLIENT": _client,
    b"SCRIPT": _script,
    b"EVAL": _eval,
    b"EVALSHA": _evalsha,
    b"TIME": _time,
    b"ROLE": _role,
    b"WAIT": _wait,
    b"WAITAOF": _waitaof,
    b"SUBSCRIBE": _subscribe,
    b"UNSUBSCRIBE": _unsubscribe,
    b"PUBLISH": lambda server, _, args: server.publish(*args),
    b"CONFIG": _config,
    b"REPLCONF": _replconf,
}
