"""`tollhouse accounts add|password|disable|enable|delete|factors` on a store of this process."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tollhouse import wiring
from tollhouse.accounts.factors.outcomes import RecoveryCodesMade, TotpEnrolment
from tollhouse.accounts.factors.totp import otp, step_at
from tollhouse.cli import commands
from tollhouse.errors import WeakPassword
from tollhouse.sessions.outcomes import Issued

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


async def add_factors(environment: dict[str, str]) -> None:
    """Add one-time passwords and recovery codes to the account of ada."""
    settings = wiring.load_settings(environ=environment)
    async with wiring.open(settings) as th:
        issued = await th.sessions.create("ada", acr="aal1", amr=["pwd"])
        assert isinstance(issued, Issued)
        seed = await th.accounts.factors.begin_totp(issued.session)
        assert isinstance(seed, TotpEnrolment)
        code = otp(base64.b32decode(seed.secret), step_at(int(time.time() * 1000)))
        assert isinstance(await th.accounts.factors.confirm_totp(issued.session, code), RecoveryCodesMade)


def test_lost_factors_are_counted_and_removed(environment: dict[str, str]) -> None:
    """Exit code 1 without an account; what was removed is told, with the sessions that ended."""
    run(environment, "add", "ada", typed=f"{PASSWORD}\n")
    asyncio.run(add_factors(environment))

    shown = [run(environment, "factors", "Ada", *options) for options in ([], ["--remove"], [])]
    unknown = [run(environment, "factors", "eve", *options) for options in ([], ["--remove"])]
    report = msgspec.json.decode(run(environment, "factors", "ada", "--remove", "--json").stdout)

    assert [result.exit_code for result in (*shown, *unknown)] == [0, 0, 0, 1, 1]
    assert "ada: one-time passwords, recovery codes: 10, passkeys: 0" in shown[0].stdout
    assert "all of these are removed; sessions ended: 1" in shown[1].stdout
    assert "ada: no one-time passwords, recovery codes: 0, passkeys: 0" in shown[2].stdout
    assert all("eve: there is no account of this name" in result.stdout for result in unknown)
    assert (report["known"], report["done"], report["totp"], report["removed"]) == (True, True, False, 0)
