"""What a Sentinel answers to its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.simulation.valkey.clients import Client, Command
from tests.simulation.valkey.keyspace import CommandError, Status
from tests.simulation.valkey.replies import Fields
from tests.simulation.valkey.views import Peer, View

if TYPE_CHECKING:
    from tests.simulation.valkey.sentinel import Sentinel

NO_REPLY: Final = object()
_NAME: Final = b"main"


def answer(sentinel: Sentinel, client: Client, command: Command) -> Any:
    """Return the reply to a command; raise CommandError."""
    match [command[0].upper(), *command[1:]]:
        case [b"HELLO", *_]:
            number = client.link.number
            fields = {"server": "valkey", "version": "9.1.2", "proto": 3, "id": number, "mode": "sentinel"}
            return {**fields, "modules": []}
        case [b"AUTH" | b"CLIENT" | b"PING" as name, *_]:
            return Status(b"PONG" if name == b"PING" else b"OK")
        case [b"SUBSCRIBE", *channels]:
            for channel in channels:
                client.channels[channel] = None
                client.push(b"subscribe", channel, len(client.channels))
            return NO_REPLY
        case [b"ROLE"]:
            return ["sentinel", [_NAME]]
        case [b"SENTINEL", verb, *args]:
            return _answer_sentinel(sentinel, verb.upper(), args)
        case [name, *_]:
            raise CommandError(f"ERR unknown command '{name.decode()}', with args beginning with: ")


def _answer_sentinel(sentinel: Sentinel, verb: bytes, args: Command) -> Any:
    known = args[:1] == [_NAME]
    match verb:
        case b"MYID":
            return sentinel.identity
        case b"GET-MASTER-ADDR-BY-NAME":
            return [sentinel.named[0], str(sentinel.named[1])] if known else None
        case _ if not known:
            raise CommandError("ERR No such master with that name")
        case b"MASTER":
            return _primary(sentinel)
        case b"REPLICAS":
            return [_replica(sentinel, view) for view in sentinel.replicas.values()]
        case b"FAILOVER":
            return _fail_over(sentinel, coordinated=args[1:] == [b"COORDINATED"])
        case b"SENTINELS":
            return [_peer(sentinel, peer) for peer in sentinel.peers.values()]
        case _:
            raise CommandError(f"ERR unknown subcommand '{verb.decode()}'. Try SENTINEL HELP.")


def _fail_over(sentinel: Sentinel, *, coordinated: bool) -> Status:
    if not sentinel.force_failover(coordinated=coordinated):
        raise CommandError("NOGOODSLAVE No suitable replica to promote")
    return Status(b"OK")


def _primary(sentinel: Sentinel) -> Fields:
    view = sentinel.primary
    flags = _down(view) + (",o_down" if sentinel.o_down else "") + ",master"
    flags += ",failover_in_progress" if sentinel.failover.under_way else ""
    fields = {
        **_address(view),
        "flags": flags.lstrip(","),
        "config-epoch": str(sentinel.config_epoch),
        "num-other-sentinels": str(len(sentinel.peers)),
        "quorum": str(sentinel.quorum),
    }
    return Fields(fields)


def _replica(sentinel: Sentinel, view: View) -> Fields:
    told = view.report
    fields = {
        **_address(view),
        "flags": f"{_down(view)}{'' if view.answers else ',disconnected'},slave".lstrip(","),
        "role-reported": "master" if told is not None and told.is_primary else "slave",
        "master-link-down-time": str(int(told.link_down_s * 1000) if told else 0),
        "master-link-status": "ok" if told is not None and told.link_up else "err",
        "slave-priority": str(view.priority),
        "slave-repl-offset": str(view.offset),
        "replica-announced": "1",
    }
    return Fields(fields)


def _peer(sentinel: Sentinel, peer: Peer) -> Fields:
    fields = {
        **_address(peer),
        "runid": peer.identity,
        "flags": f"{_down(peer)},sentinel".lstrip(","),
    }
    return Fields(fields)


def _address(view: View) -> dict[str, str]:
    return {"ip": view.host[0], "port": str(view.host[1]), "runid": view.report.run_id if view.report else ""}


def _down(view: View) -> str:
    return ",s_down" if view.s_down else ""
