"""Opens TCP sockets to names that may have several addresses.

The addresses are tried one after the other, each a moment after the one before it, and at once when that one failed;
the first that connects is used (RFC 8305, "Happy Eyeballs"). uvloop does not offer this, so it is done here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, zip_longest
from typing import Any, Final

from tollhouse.stores.urls import Host

NEXT_ADDRESS_S: Final = 0.25
"""How long an address has to connect before the next one is tried as well."""
ADDRESSES_MAX: Final = 8
"""How many addresses of one name are tried."""

AddressInfo = tuple[int, tuple[Any, ...]]
"""The family of a numeric address, and what `connect` takes."""
Resolve = Callable[[str, int], Awaitable[Sequence[AddressInfo]]]


async def resolve_name(host: str, port: int) -> Sequence[AddressInfo]:
    """Return the addresses of a name, in the order of the system's preference; raise OSError if it has none."""
    try:
        try:
            # Numbers are read at once; a name would take a thread.
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except ValueError as error:  # UnicodeError too: a label that is empty or too long has no encoding
        raise OSError(f"{host!r} is not the name of a host: {error}") from error
    return list(dict.fromkeys((info[0], info[4]) for info in found))


async def open_socket(
    host: str, port: int, *, next_address_s: float = NEXT_ADDRESS_S, resolve: Resolve = resolve_name
) -> tuple[socket.socket, Host]:
    """Return a connected socket, and the address at its other end; raise OSError. The caller bounds the time."""
    addresses = interleave(await resolve(host, port))[:ADDRESSES_MAX]
    if len(addresses) == 1:
        return await _connect(addresses[0])
    attempts: set[asyncio.Task[tuple[socket.socket, Host]]] = set()
    failures: list[BaseException] = []
    try:
        while addresses or attempts:
            if addresses:
                attempts.add(asyncio.create_task(_connect(addresses.pop(0))))
            done, _ = await asyncio.wait(
                attempts, timeout=next_address_s if addresses else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                attempts.discard(attempt)
                if (failure := attempt.exception()) is None:
                    return attempt.result()
                failures.append(failure)
        raise OSError("; ".join(map(str, failures)) or f"{host!r} has no address")
    finally:
        for loser in attempts:
            loser.cancel()
            loser.add_done_callback(_close_loser)
        if attempts:
            await asyncio.wait(attempts)


def interleave(addresses: Sequence[AddressInfo]) -> list[AddressInfo]:
    """Return the addresses with the families in turn, that of the first one first."""
    families = dict.fromkeys(family for family, _ in addresses)
    lanes = [[address for address in addresses if address[0] == family] for family in families]
    return [address for address in chain.from_iterable(zip_longest(*lanes)) if address is not None]


async def _connect(address: AddressInfo) -> tuple[socket.socket, Host]:
    family, place = address
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(0)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(opened, place)
    except BaseException:
        opened.close()
        raise
    return opened, place[:2]


def _close_loser(attempt: asyncio.Task[tuple[socket.socket, Host]]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[0].close()
