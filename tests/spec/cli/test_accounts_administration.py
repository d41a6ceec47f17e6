"""`tollhouse accounts add|password|disable|enable|delete` on a store of this process."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tollhouse.cli import commands
from tollhouse.errors import WeakPassword

SECRET = "the-secret-of-the-service-for-these-tests"
PASSWORD = "tandem walrus cartwheel"
_NUMBERS = itertools.count()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A server of its own, and what an operator has set."""
    monkeypatch.chdir(tmp_path)
    url = f"fake://cli-accounts-administration-{next(_NUMBERS)}"
    return {"TOLLHOUSE_URL": url, "TOLLHOUSE_SECRET": SECRET, "XDG_RUNTIME_DIR": str(tmp_path)}


def run(environment: dict[str, str], *args: str, typed: str = "") -> Result:
    return CliRunner().invoke(commands.cli, ["accounts", *args], env=environment, input=typed)


def test_an_operator_keeps_accounts(environment: dict[str, str]) -> None:
    """Exit code 0 if it was done, 1 if the name is taken or has no account; the password is read, and never shown."""
    steps = [
        (("add", "Ada"), 0),
        (("add", "ada"), 1),
        (("password", "ada"), 0),
        (("password", "eve"), 1),
        (("disable", "ada"), 0),
        (("enable", "ada"), 0),
        (("delete", "ada"), 0),
        (("delete", "ada"), 1),
    ]

    results = [run(environment, *args, typed=f"{PASSWORD}\n") for args, _ in steps]

    assert [result.exit_code for result in results] == [code for _, code in steps]
    assert "ada: added; sessions ended: 0" in results[0].stdout
    assert "ada: not added: the name is taken" in results[1].stdout
    assert "eve: not password changed: there is no account of this name" in results[3].stdout
    assert not any(PASSWORD in result.output for result in results)


def test_each_command_prints_one_object(environment: dict[str, str]) -> None:
    """With `--json` it says what was done to whom."""
    result = run(environment, "add", "ada", "--json", typed=f"{PASSWORD}\n")

    report = msgspec.json.decode(result.stdout)
    assert (report["user"], report["action"], report["done"]) == ("ada", "added", True)
    assert report["store"].startswith("fake://")


def test_a_weak_password_is_refused(environment: dict[str, str]) -> None:
    """The error tells the reason, and not the password."""
    result = run(environment, "add", "ada", typed="Summer2026Summer2026\n")

    assert isinstance(result.exception, WeakPassword)
    assert "Summer" not in str(result.exception)
