"""Accounts with few rights, as providers and careful operators give them, and what each of them loses."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from msgspec import Struct


class Account(Struct, frozen=True, kw_only=True):
    """An account: the rules that take rights away, the commands that `tollhouse check` misses, and what is lost."""

    name: str
    rules: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    durable: str = "yes"
    shares_cache: str = "yes"
    hears: str = "yes"


OWN_KEYS: Final = ("resetkeys", "~tollhouse:*", "resetchannels", "&tollhouse:*")
ALL_RIGHTS: Final = Account(name="all rights")
FEWEST: Final = Account(
    name="all of these together",
    rules=(
        *OWN_KEYS,
        *("-config", "-client", "-info", "-role", "-script", "-subscribe", "-publish", "-wait", "-waitaof"),
    ),
    lacks=("CLIENT CAPA", "CONFIG GET", "INFO", "PUBLISH", "ROLE", "SCRIPT LOAD", "SUBSCRIBE", "WAITAOF"),
    durable="no",
    shares_cache="no",
    hears="no",
)
ACCOUNTS: Final = (
    ALL_RIGHTS,
    Account(name="without CONFIG", rules=("-config",), lacks=("CONFIG GET",)),
    Account(name="without CLIENT", rules=("-client",), lacks=("CLIENT CAPA",)),
    Account(name="without INFO", rules=("-info",), lacks=("INFO",), durable="no", shares_cache="no"),
    Account(name="without SCRIPT", rules=("-script",), lacks=("SCRIPT LOAD",)),
    Account(name="without SUBSCRIBE", rules=("-subscribe",), lacks=("SUBSCRIBE",), hears="no"),
    Account(name="without WAIT and WAITAOF", rules=("-wait", "-waitaof"), lacks=("WAITAOF",), durable="no"),
    Account(name="keys and channels of `tollhouse:*` only", rules=OWN_KEYS),
    FEWEST,
)

COLUMNS: Final = {
    "session": "create, verify, list and revoke a session",
    "limits": "takes up to the limit, all or nothing over two policies, a lease and its release",
    "cache fence": "a value that is invalidated while it is loaded is not stored, and not served",
    "shared cache": "a value that another process of the account stored is served",
    "durable create": "a session is `durable`, on a server with `appendfsync always`",
    "hears others": "a refusal ends at once when another process gives units back, not only when it is over",
}


def rules(account: Account, unknown: Collection[str]) -> list[str]:
    """Return the rules of an account for a server; a command that the server does not know cannot be taken away."""
    return [rule for rule in account.rules if rule.removeprefix("-").upper() not in unknown]


def expected(account: Account, column: str) -> str:
    """Return what a check has to find for an account."""
    lost = {"shared cache": account.shares_cache, "durable create": account.durable, "hears others": account.hears}
    return lost.get(column, "yes")
