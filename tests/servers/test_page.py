"""docs/servers.md says what the tables of servers and accounts say, and these name only what there is."""

from __future__ import annotations

import pytest

from tests.project.imports import ROOT
from tests.servers.accounts import ACCOUNTS, COLUMNS
from tests.servers.catalog import CHECKS, LIMITS, SERVERS
from tests.servers.checks import ON_SERVER
from tests.servers.page import page
from tests.servers.test_servers import CALLS, FAILOVERS
from tollhouse.stores.rights import COSTS

pytestmark = pytest.mark.project


def test_the_page_is_that_of_the_tables() -> None:
    """The page is as the command writes it: python -m tests.servers.page > docs/servers.md."""
    assert (ROOT / "docs/servers.md").read_text(encoding="utf-8") == page()


def test_every_cell_has_a_check() -> None:
    """No column is without a test, and no exception without a server."""
    assert {*CALLS, *FAILOVERS, "specifications", "few rights"} == set(CHECKS)
    assert set(COLUMNS) == set(ON_SERVER)
    assert {name for name, _ in LIMITS} <= {server.name for server in SERVERS}
    assert {check for _, check in LIMITS} <= set(CHECKS)
    assert {command for account in ACCOUNTS for command in account.lacks} <= set(COSTS)


def test_what_is_not_yes_is_explained() -> None:
    """A cell that says anything but yes has a note, so that no limit is hidden."""
    assert all(cell.note and cell.result != "yes" for cell in LIMITS.values())
