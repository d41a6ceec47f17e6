"""Writes docs/servers.md from the tables of servers and accounts: python -m tests.servers.page > docs/servers.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tests.servers.accounts import ACCOUNTS, COLUMNS, expected
from tests.servers.catalog import CHECKS, SERVERS, cell
from tollhouse.stores.rights import COSTS

HEAD: Final = """\
# Servers and accounts

Tollhouse needs Redis 7.0 or Valkey 7.2. What works on which server, and for an account with which rights, is tested: a
cell of these tables is the result of a check, and the check fails when the cell is wrong.

`make test-servers` installs the servers that are packages, each into a folder below `out/servers`, and tests all of
them in about three minutes; `SERVERS=redis-7.0` tests one, by the name in the first column. CI tests that one, and the
accounts, for each change. A server that is not on a machine is skipped, with the reason. The page is written by
`.venv/bin/python -m tests.servers.page > docs/servers.md`.

## Servers

"""
ACCOUNT_HEAD: Final = """
## Accounts

What an account may not do, Tollhouse does without. `tollhouse check` names what is lost; the log says it once. These
hold on Valkey 9.1 and on Redis 7.0, which has no `WAITAOF`, so that there no session is `durable` without Sentinel.
The account with the fewest rights may run the scripts of Tollhouse on its own keys, and little else.

"""


def page() -> str:
    """Return the whole page."""
    return f"{HEAD}{_servers()}{_meanings(CHECKS)}{_notes()}{ACCOUNT_HEAD}{_accounts()}{_meanings(COLUMNS)}{_costs()}"


def _servers() -> str:
    numbers = {note: number for number, note in enumerate(_texts(), start=1)}
    rows = [("name", "server", "from", *CHECKS)]
    for server in SERVERS:
        cells = [cell(server, check) for check in CHECKS]
        shown = [each.result + (f" ({numbers[each.note]})" if each.note else "") for each in cells]
        version = server.version.removesuffix(".")
        rows.append((f"`{server.name}`", f"{server.title.partition(' ')[0]} {version}", server.source, *shown))
    return _table(rows)


def _accounts() -> str:
    rows = [("account", *COLUMNS)]
    rows += [(account.name, *(expected(account, column) for column in COLUMNS)) for account in ACCOUNTS]
    return _table(rows)


def _texts() -> Iterable[str]:
    """Return the notes in the order of their first cell, each once."""
    notes = [cell(server, check).note for server in SERVERS for check in CHECKS]
    return dict.fromkeys(note for note in notes if note)


def _notes() -> str:
    return "\n" + "".join(f"{number}. {note}\n" for number, note in enumerate(_texts(), start=1))


def _meanings(checks: Mapping[str, str]) -> str:
    return "\n" + "".join(f"- **{name}**: {meaning}.\n" for name, meaning in checks.items())


def _costs() -> str:
    rows = [("without", "lost"), *((f"`{command}`", cost) for command, cost in sorted(COSTS.items()))]
    return "\n" + _table(rows)


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    columns = head.count(" | ") + 1
    return "\n".join([head, "|---" * columns + "|", *others, ""])


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - it writes the page
