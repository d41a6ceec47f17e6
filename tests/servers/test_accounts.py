"""Accounts with few rights do what docs/servers.md says of them, on the bundled server and on Debian's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.servers import checks
from tests.servers.accounts import ACCOUNTS, COLUMNS, Account, expected
from tests.servers.catalog import BUNDLED, SERVERS, Server, cell, choice, chosen, find
from tollhouse.stores.embedded.server import EmbeddedServer

TESTED = [server for server in SERVERS if server.name in ("redis-7.0", BUNDLED.name)]


@pytest.fixture(scope="module", params=TESTED, ids=lambda server: server.name)
def server(request: pytest.FixtureRequest) -> Server:
    return request.param


@pytest.fixture(scope="module")
def running(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The server, with an append-only file, so that it can promise what is durable."""
    if not choice() or (server is not BUNDLED and not chosen(server)):
        pytest.skip("`make test-servers` tests it")
    binary, reason = find(server)
    if binary is None:
        pytest.skip(reason)
    with checks.server_on(binary, tmp_path_factory.mktemp("data")) as running:
        asyncio.run(checks.sync_always(running.url))
        yield running


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.name)
async def test_an_account_does_what_the_page_says(
    server: Server, running: EmbeddedServer, account: Account, column: str
) -> None:
    """Nothing fails for want of a right that can be done without; what is lost is what the page says."""
    await checks.clear(running.url)
    wanted = expected(account, column)
    if column == "durable create" and cell(server, column).result == "no":
        wanted = "no"

    assert await checks.ON_SERVER[column](await checks.add_account(running.url, account, server.lacks)) == wanted


@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.name)
async def test_check_names_what_an_account_lacks(server: Server, running: EmbeddedServer, account: Account) -> None:
    """`tollhouse check` warns of each command that the account may not run, or the server does not know."""
    url = await checks.add_account(running.url, account, server.lacks)

    found = await checks.missing_commands(url)

    not_used = {"CLIENT CAPA"} if server.name.startswith("redis") else set[str]()
    assert set(found) == {*account.lacks, *server.lacks} - not_used
