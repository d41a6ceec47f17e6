"""Which confirmation a durable write waits for: of the replicas if there may be any, else of the append-only file."""

from __future__ import annotations

from collections.abc import Callable

from tollhouse.stores.discovery.locator import Locator
from tollhouse.stores.durability.append_file import FileConfirmation
from tollhouse.stores.durability.group_commit import GroupCommit
from tollhouse.stores.durability.replicas import ReplicaConfirmation
from tollhouse.stores.transport.connection import Connection


def commits_on(
    connection: Connection, locator: Locator, marker: str, on_refusal: Callable[[Exception], None]
) -> GroupCommit:
    """Return the group commits of one connection; `on_refusal` gets the error of a server that does not confirm."""
    replicated = locator.health() is not None
    confirmation = ReplicaConfirmation(connection, locator) if replicated else FileConfirmation(connection)
    return GroupCommit(confirmation, marker, on_refusal)
