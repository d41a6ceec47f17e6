"""Renewal of a login: a connection logs in anew before the server stops to accept its credentials."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Final

from tollhouse.logs import Log
from tollhouse.stores.transport.connection import Connection
from tollhouse.stores.transport.dialer import Login
from tollhouse.stores.transport.errors import CALL_FAILED

_log = Log("tollhouse.stores")

_DUE: Final = 0.8
"""After this part of its lifetime a login is renewed."""
_AGAIN: Final = 0.05
"""After this part more it is tried again, when that failed."""
_ANSWER_S: Final = 5.0


def renew_login(connection: Connection, login: Login, current: Login) -> None:
    """Keep a connection logged in until it ends, if the credentials with which it logged in have a lifetime."""
    if current.lifetime_s is not None:
        renewing = _renew(connection, login, current.lifetime_s)
        connection.own(
            asyncio.get_running_loop().create_task(renewing, name="tollhouse-renew-login", context=Context())
        )


async def _renew(connection: Connection, login: Login, lifetime_s: float | None) -> None:
    pause_s = 0.0 if lifetime_s is None else lifetime_s * _DUE
    while lifetime_s is not None:
        await asyncio.sleep(pause_s)
        try:
            current = await login.current()
            if current.password is None:
                return
            await connection.send(current.auth(), asyncio.get_running_loop().time() + _ANSWER_S)
        except (OSError, *CALL_FAILED) as error:
            _log.warning("a connection cannot renew its login", extra={"reason": str(error)})
            pause_s = lifetime_s * _AGAIN
        else:
            lifetime_s = current.lifetime_s
            pause_s = 0.0 if lifetime_s is None else lifetime_s * _DUE
