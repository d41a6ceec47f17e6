"""Confirmation by replicas: a write is durable when each server that could become the primary has acknowledged it.

One write carries `SET marker`, `ROLE`, `WAIT` and `ROLE`. The first ROLE says at which offset the marker ends or, when
other clients wrote in between, a later one. WAIT makes the primary ask its replicas to acknowledge, and waits for as
many as there have to be. The second ROLE says what each of them has acknowledged. When those that were fast are not
those that matter, it waits for one more, and so on until `WAIT_MS` are over.

An account that may not run ROLE can only count: it waits for every replica that the Sentinels or the list know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from tollhouse.stores.discovery.locator import Locator
from tollhouse.stores.discovery.role_probe import Primary, read_role
from tollhouse.stores.succession import AttachedReplica, Successors, is_durable
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import ServerError

WAIT_MS: Final = 50
"""Time for the replicas to acknowledge."""
_ROLE: Final = encode("ROLE")


class ReplicaConfirmation:
    """Confirms what one connection wrote; the locator knows which servers could become the primary at present."""

    def __init__(self, connection: Connection, locator: Locator) -> None:
        self.connection = connection
        self._locator = locator
        self._number: int | None = None
        self._may_ask_roles = True

    @property
    def hopeless(self) -> bool:
        """Return False: who could become the primary changes at any time."""
        return False

    async def ask(self, marker: bytes, deadline_s: float) -> bool:
        """Return whether each server that could become the primary has all that the connection wrote."""
        if self._may_ask_roles:
            confirmed = await self._compare(marker, deadline_s)
            if confirmed is not None:
                return confirmed
            self._may_ask_roles = False
        return await self._count(marker, deadline_s)

    async def _compare(self, marker: bytes, deadline_s: float) -> bool | None:
        """Compare offsets; None if the account may not run ROLE."""
        view = self._successors() if self._number is None else None
        number = self._number if view is None else view.wanted
        if number is None:
            return False
        give_up_s = asyncio.get_running_loop().time() + WAIT_MS / 1000
        _, before, count, after = await self._send(deadline_s, marker, _ROLE, _wait(number, WAIT_MS), _ROLE)
        while True:
            if isinstance(before, ServerError) or isinstance(after, ServerError):
                return None
            role = read_role(after)
            attached = role.replicas if isinstance(role, Primary) else ()
            if self._is_durable(attached, _end(before)):
                return True
            left_ms = round((give_up_s - asyncio.get_running_loop().time()) * 1000)
            if count < number or count >= len(attached) or left_ms < 1:
                return False
            number = count + 1
            count, after = await self._send(deadline_s, _wait(number, left_ms), _ROLE)

    def _is_durable(self, attached: Sequence[AttachedReplica], offset: int | None) -> bool:
        """Judge by what is known now, since a replica may have come back while the others acknowledged.

        Keep for how many the next confirmation waits: not for one that is not attached, since ROLE says if it is again.
        """
        view = self._successors()
        self._number = None if view is None else min(view.wanted, len(attached))
        return view is not None and offset is not None and is_durable(view, attached, offset)

    async def _count(self, marker: bytes, deadline_s: float) -> bool:
        """Wait for every replica that exists: a number does not say which ones acknowledged."""
        view = self._successors()
        if view is None:
            return False
        number = max(view.known, 1)
        _, count = await self._send(deadline_s, marker, _wait(number, WAIT_MS))
        return count >= number

    def _successors(self) -> Successors | None:
        health = self._locator.health()
        return None if health is None else health.successors

    async def _send(self, deadline_s: float, *frames: bytes) -> list[Any]:
        """Send all in one write; return the replies, with the error when ROLE was refused."""
        sent = [self.connection.send(frame, deadline_s) for frame in frames]
        replies = await asyncio.gather(*sent, return_exceptions=True)
        for number, reply in enumerate(replies):
            if isinstance(reply, BaseException) and (frames[number] is not _ROLE or not isinstance(reply, ServerError)):
                raise reply
        return replies


def _wait(number: int, wait_ms: int) -> bytes:
    return encode("WAIT", number, wait_ms)


def _end(role: Any) -> int | None:
    """Return the offset up to which the primary has written; None if the server is none."""
    match role:
        case [_, int(offset), *_]:
            return offset
        case _:
            return None
