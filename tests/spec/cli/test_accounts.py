"""`tollhouse accounts` on a store of this process."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

import tollhouse
from tests.accounts import record
from tollhouse.accounts.hashing.argon2id import Profile
from tollhouse.accounts.hashing.cost import hashing_cost
from tollhouse.cli import commands
from tollhouse.errors import ConfigurationError
from tollhouse.keyring import Keyring

OLD, NEW = "the-old-secret-of-the-service-for-tests", "the-new-secret-of-the-service-for-tests"
OLD_ID, NEW_ID = (Keyring(secrets=(secret.encode(),)).key_ids()[0] for secret in (OLD, NEW))
_NUMBERS = itertools.count()


@pytest.fixture
def url() -> str:
    """A server of its own."""
    return f"fake://cli-accounts-{next(_NUMBERS)}"


def secrets(url: str, folder: Path, *args: str, secret: str) -> Result:
    """Run `tollhouse accounts secrets` as an operator who has set the URL and the secrets."""
    variables = {"TOLLHOUSE_URL": url, "TOLLHOUSE_SECRET": secret, "XDG_RUNTIME_DIR": str(folder)}
    return CliRunner().invoke(commands.cli, ["accounts", "secrets", *args], env=variables)


def stored(url: str, *key_ids: str) -> None:
    """Store an account for each key id of a hash."""

    async def main() -> None:
        async with tollhouse.open(url) as th:
            for number, key_id in enumerate(key_ids):
                key = th.namespace.account(f"{number:032x}")
                await th.stores.accounts.run("accounts/create", (key,), record("ada", "hash", key_id))

    asyncio.run(main())


def test_accounts_of_an_older_secret_are_counted(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1 while an account needs another secret than the newest; one that is not set is said to be missing."""
    monkeypatch.chdir(tmp_path)
    stored(url, OLD_ID, NEW_ID, NEW_ID, "0badc0de")

    shown = secrets(url, tmp_path, secret=f"{NEW},{OLD}")
    told = secrets(url, tmp_path, "--json", secret=f"{NEW},{OLD}")

    assert (shown.exit_code, told.exit_code) == (1, 1)
    assert shown.stdout.splitlines()[1:] == [
        f"{NEW_ID}: 2 (the newest)",
        f"{OLD_ID}: 1 (an older one)",
        "0badc0de: 1 (not set here: these users cannot log in)",
    ]
    answer = msgspec.json.decode(told.stdout)
    assert answer["key_ids"] == [NEW_ID, OLD_ID]
    assert answer["accounts"] == {OLD_ID: 1, NEW_ID: 2, "0badc0de": 1}
    assert answer["store"].startswith(url)


def test_an_older_secret_can_go_if_no_account_needs_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 if all accounts need the newest secret alone, also without accounts."""
    monkeypatch.chdir(tmp_path)
    empty = secrets(url, tmp_path, secret=f"{NEW},{OLD}")
    stored(url, NEW_ID)

    done = secrets(url, tmp_path, secret=f"{NEW},{OLD}")

    assert (empty.exit_code, done.exit_code) == (0, 0)
    assert f"{OLD_ID}: 0 (an older one)" in done.stdout


def test_without_a_secret_nothing_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the secret of the service no key id means anything: that is a mistake of the setup."""
    monkeypatch.chdir(tmp_path)

    done = secrets("redis://127.0.0.1:1", tmp_path, secret="")

    assert isinstance(done.exception, ConfigurationError)
    assert done.stdout == ""


def check(folder: Path, password: str, *args: str, **variables: str) -> Result:
    """Run `tollhouse accounts passwords check` with the password on standard input."""
    environment = {"TOLLHOUSE_URL": "fake://", "XDG_RUNTIME_DIR": str(folder), **variables}
    arguments = ["accounts", "passwords", "check", *args]
    return CliRunner().invoke(commands.cli, arguments, input=password + "\n", env=environment)


def test_a_filter_is_built_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter of a list refuses what the list has, as `check` tells; the size and the error rate are printed."""
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "leaked.txt"
    source.write_text("tandem walrus cartwheel\n", encoding="utf-8")

    shown = CliRunner().invoke(commands.cli, ["accounts", "passwords", "build", str(source)])
    told = CliRunner().invoke(
        commands.cli, ["accounts", "passwords", "build", str(source), "--output", "own.filter", "--json"]
    )

    assert "1 passwords in 8,192 bytes" in shown.stdout
    answer = msgspec.json.decode(told.stdout)
    assert (answer["file"], answer["file_bytes"], answer["entries"]) == ("own.filter", 8_192, 1)
    assert (answer["digests"], answer["skipped"], answer["false_positives"] < 1e-4) == (False, 0, True)
    for name in ("leaked.txt.filter", "own.filter"):
        refused = check(tmp_path, "Tandem-Walrus-Cartwheel", TOLLHOUSE_PASSWORD_FILTER=str(tmp_path / name))
        assert (refused.exit_code, refused.stdout.split(":")[0]) == (1, "breached")


def test_a_password_is_checked_by_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 0 for a good one, else 1 and the rules that it breaks; the password is never an argument."""
    monkeypatch.chdir(tmp_path)

    good = check(tmp_path, "tandem walrus cartwheel")
    weak = check(
        tmp_path, "acmerockets ada1999", "--name", "ada@acme.org", "--json", TOLLHOUSE_PASSWORD_WORDS="rockets"
    )

    assert (good.exit_code, good.stdout) == (0, "the password can be used\n")
    assert weak.exit_code == 1
    assert set(msgspec.json.decode(weak.stdout)["rules"]) == {"name", "service", "date"}


def test_a_damaged_filter_stops_a_command_before_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable, its value and the remedy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.filter").write_bytes(b"damaged")

    done = check(tmp_path, "tandem walrus cartwheel", TOLLHOUSE_PASSWORD_FILTER="own.filter")

    assert isinstance(done.exception, ConfigurationError)
    assert (done.exception.setting, done.exception.value) == ("TOLLHOUSE_PASSWORD_FILTER", "own.filter")


def calibrate(folder: Path, *args: str) -> Result:
    """Run `tollhouse accounts calibrate` without a settings file."""
    environment = {"TOLLHOUSE_URL": "fake://", "XDG_RUNTIME_DIR": str(folder)}
    return CliRunner().invoke(commands.cli, ["accounts", "calibrate", *args], env=environment)


def test_calibration_measures_the_machine_and_recommends_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 if the target is met, else 1; what is recommended can be used as it is printed."""
    monkeypatch.chdir(tmp_path)

    told = calibrate(tmp_path, "--target-ms", "5000", "--memory-mib", "19", "--json")
    shown = calibrate(tmp_path, "--target-ms", "10", "--memory-mib", "12")

    found = msgspec.json.decode(told.stdout)
    default, owasp, *_ = found["profiles"]
    assert (found["memory_mib"], found["target_ms"]) == (19, 5_000)
    assert told.exit_code == (0 if found["within_target"] else 1)
    assert (default["name"], default["hash_ms"]) == ("default", None)
    assert (owasp["name"], owasp["permits"]) == ("owasp", 1)
    assert owasp["logins_per_s"] == pytest.approx(1_000 / owasp["busy_ms"])
    assert shown.exit_code == (0 if "\nrecommended:\n" in shown.stdout else 1)
    assert "owasp (m=19456, t=2, p=1): more than the budget" in shown.stdout
    (tmp_path / "recommended.toml").write_text("password_profile" + shown.stdout.partition("password_profile")[2])
    cost = hashing_cost(tollhouse.load_settings(tmp_path / "recommended.toml", environ={}))
    assert (cost.profile, cost.memory_kib) == (Profile(memory_kib=12_288, time_cost=3), 12_288)


def test_a_budget_that_no_hash_of_the_floor_fits_is_a_usage_error(tmp_path: Path) -> None:
    """Exit code 2: nothing could be recommended."""
    assert calibrate(tmp_path, "--memory-mib", "11").exit_code == 2
