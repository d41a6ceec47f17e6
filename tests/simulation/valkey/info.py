"""INFO, as Valkey 9.1 writes it, as far as its fields mean something here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.valkey.server import Server


def info(server: Server, sections: Sequence[str]) -> bytes:
    """Return the sections of INFO in the server's own order; without a name, all."""
    wanted = {"persistence": _persistence, "replication": _replication}
    chosen = [name for name in wanted if not sections or name in sections]
    texts = [f"# {name.title()}\r\n" + "".join(f"{line}\r\n" for line in wanted[name](server)) for name in chosen]
    return "\r\n".join(texts).encode()


def _persistence(server: Server) -> list[str]:
    return ["loading:0", "async_loading:0", f"aof_enabled:{int(server.appends)}", "aof_last_write_status:ok"]


def _replication(server: Server) -> list[str]:
    replicator = server.replicator
    history = replicator.history
    followers = [
        f"slave{number}:ip={ip},port={port},state={each.state},offset={each.acked},lag={replicator.lag_s(each)}"
        ",type=replica"
        for number, ((ip, port), each) in enumerate(replicator.followers.items())
    ]
    handover = server.handover
    state = "no-failover" if not handover.under_way else "waiting-for-sync"
    return [
        "role:master" if replicator.is_primary else "role:slave",
        *_upstream(server),
        f"connected_slaves:{len(followers)}",
        *([f"min_slaves_good_slaves:{replicator.good_replicas()}"] if server.min_replicas else []),
        *followers,
        "replicas_waiting_psync:0",
        f"master_failover_state:{'failover-in-progress' if handover.in_progress else state}",
        f"master_replid:{history.id}",
        f"master_replid2:{history.former_id}",
        f"master_repl_offset:{history.offset}",
        f"second_repl_offset:{history.former_end}",
        "repl_backlog_active:1",
        "repl_backlog_size:10485760",
        f"repl_backlog_first_byte_offset:{history.first + 1}",
        f"repl_backlog_histlen:{history.offset - history.first}",
    ]


def _upstream(server: Server) -> list[str]:
    replicator = server.replicator
    upstream, offset = replicator.upstream, replicator.history.offset
    if upstream.host is None:
        return []
    up = upstream.state == "connected"
    lines = [
        f"master_host:{upstream.host[0]}",
        f"master_port:{upstream.host[1]}",
        f"master_link_status:{'up' if up else 'down'}",
        f"master_last_io_seconds_ago:{int(replicator.now_s - upstream.heard_s) if up else -1}",
        f"master_sync_in_progress:{int(upstream.state == 'sync')}",
        f"slave_read_repl_offset:{offset}",
        f"slave_repl_offset:{offset}",
    ]
    if not up:
        lines.append(f"master_link_down_since_seconds:{int(replicator.now_s - upstream.down_s)}")
    return [*lines, f"slave_priority:{server.priority}", "slave_read_only:1", "replica_announced:1"]
