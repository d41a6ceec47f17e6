"""Configuration: what a library that is given no server reads, and what an error about it names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tollhouse
from tests.asgi import blamed
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.settings import Settings
from tollhouse.settings.model import PolicySettings

SECRET = "s" * 32


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def test_open_reads_the_settings_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given nothing, `open` reads tollhouse.toml and the variables; a variable wins over the file."""
    (tmp_path / "tollhouse.toml").write_text(
        'url = "fake://file"\nnamespace = "shop"\n[limits.policies.api]\nlimit = "7/minute"', encoding="utf-8"
    )
    monkeypatch.setenv("TOLLHOUSE_URL", "fake://variable")
    monkeypatch.setenv("TOLLHOUSE_SECRET", SECRET)

    async with tollhouse.open() as opened:
        assert opened.settings.url == "fake://variable"
        assert opened.settings.namespace == "shop"
        assert opened.keyring.keyed
        assert opened.policies["api"] == parse_policy("api", "7/minute")


async def test_arguments_replace_what_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace and policies in the code win over those that are read; other policies that are read stay."""
    monkeypatch.setenv("TOLLHOUSE_URL", "fake://arguments")
    monkeypatch.setenv("TOLLHOUSE_NAMESPACE", "shop")
    monkeypatch.setenv("TOLLHOUSE_LIMITS_POLICIES_API_LIMIT", "7/minute")
    monkeypatch.setenv("TOLLHOUSE_LIMITS_POLICIES_JOBS_LIMIT", "8/minute")

    async with tollhouse.open(namespace="blog", policies={"api": "9/minute"}) as opened:
        assert opened.settings.namespace == "blog"
        assert [opened.policies[name].text for name in ("api", "jobs")] == ["9/minute", "8/minute"]


@pytest.mark.parametrize("target", ["fake://code", Settings(url="fake://code")])
async def test_a_server_in_the_code_is_all_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str | Settings
) -> None:
    """Given a URL or settings, nothing else is read: not even a file or a variable that cannot be used disturbs."""
    (tmp_path / "tollhouse.toml").write_text("nonsense", encoding="utf-8")
    monkeypatch.setenv("TOLLHOUSE_PORT", "nonsense")
    monkeypatch.setenv("TOLLHOUSE_SESSIONS_URL", "redis://production")

    async with tollhouse.open(target) as opened:
        assert opened.settings == Settings(url="fake://code")


async def test_every_open_reads_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second open in the same process sees what was changed since the first, which keeps what it read."""
    monkeypatch.setenv("TOLLHOUSE_URL", "fake://first")
    async with tollhouse.open() as first:
        monkeypatch.setenv("TOLLHOUSE_URL", "fake://second")
        async with tollhouse.open() as second:
            assert [first.settings.url, second.settings.url] == ["fake://first", "fake://second"]


async def test_the_workers_of_the_service_are_not_those_of_an_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """`workers` says how many processes the service has: an application that reads it divides no limit by it."""
    monkeypatch.setenv("TOLLHOUSE_URL", "unix:///nowhere.sock")
    monkeypatch.setenv("TOLLHOUSE_DEADLINE_MS", "20")
    monkeypatch.setenv("TOLLHOUSE_WORKERS", "4")

    async with tollhouse.open(policies={"api": "4/hour"}) as opened:
        decision = await opened.limits.take("api", "ada", cost=4)

    assert (decision.degraded, decision.allowed) == (True, True)


def test_the_loader_returns_what_open_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_settings` is public: the settings of the environment and the file in the folder, or of those given."""
    (tmp_path / "tollhouse.toml").write_text('url = "fake://here"', encoding="utf-8")
    (tmp_path / "other.toml").write_text('url = "fake://there"', encoding="utf-8")
    monkeypatch.setenv("TOLLHOUSE_NAMESPACE", "shop")

    assert tollhouse.load_settings() == Settings(url="fake://here", namespace="shop")
    assert tollhouse.load_settings("other.toml", environ={}) == Settings(url="fake://there")
    assert tollhouse.load_settings(environ={"REDIS_HOST": "h"}).url == "redis://h:6379/0"
    assert tollhouse.load_settings(environ={"TOLLHOUSE_LIMITS_POLICIES_API_LIMIT": "7/minute"}).limits.policies == {
        "api": PolicySettings(limit="7/minute")
    }


#    the environment, the file, what the error names
ORIGINS: list[tuple[dict[str, str], str, str]] = [
    ({"TOLLHOUSE_URL": "nonsense://h"}, "", "TOLLHOUSE_URL"),
    ({"TOLLHOUSE_URL_FILE": "url"}, "", "TOLLHOUSE_URL_FILE"),
    ({"TOLLHOUSE_CACHE_URL": "redis://h/x"}, "", "TOLLHOUSE_CACHE_URL"),
    ({"REDIS_URL": "nonsense://h"}, "", "REDIS_URL"),
    ({"REDIS_PORT": "99999"}, "", "REDIS_PORT"),
    ({}, 'url = "nonsense://h"', "tollhouse.toml: url"),
    ({}, 'address_map = ["x"]', "tollhouse.toml: address_map"),
    ({"TOLLHOUSE_LIMITS_POLICIES_API_LIMIT": "7/minuet"}, "", "TOLLHOUSE_LIMITS_POLICIES_API_LIMIT"),
    ({}, '[limits.policies.api]\nlimit = "7/minuet"', "tollhouse.toml: limits.policies.api.limit"),
    (
        {},
        '[limits.policies.api]\nlimit = "7/minute"\nalgorithm = "gcar"',
        "tollhouse.toml: limits.policies.api.algorithm",
    ),
    ({}, 'plain_http = true\nhost = "0.0.0.0"', "tollhouse.toml: plain_http"),
]


@pytest.mark.parametrize(("environ", "file", "named"), ORIGINS)
def test_an_error_names_where_the_value_stands(tmp_path: Path, environ: dict[str, str], file: str, named: str) -> None:
    """An error about a value that was read names its variable, or its file and line, whatever finds it wrong."""
    (tmp_path / "tollhouse.toml").write_text(file, encoding="utf-8")
    (tmp_path / "url").write_text("nonsense://h", encoding="utf-8")

    with pytest.raises((ConfigurationError, InvalidInput)) as raised:
        tollhouse.load_settings(environ=environ)

    assert blamed(raised.value) == named


def test_an_error_about_no_single_value_names_the_policy() -> None:
    """Nine policies are shadows of one that is built in: no variable of them is the wrong one."""
    environ = {f"TOLLHOUSE_LIMITS_POLICIES_S{one}_SHADOW_OF": "default" for one in range(9)}
    environ |= {f"TOLLHOUSE_LIMITS_POLICIES_S{one}_LIMIT": "5/minute" for one in range(9)}

    with pytest.raises(InvalidInput) as raised:
        tollhouse.load_settings(environ=environ)

    assert raised.value.field == "policies.default"


def test_an_error_about_a_value_in_the_code_names_no_variable() -> None:
    """What `open` was given is blamed as a setting: no variable and no file had a part in it."""
    with pytest.raises(ConfigurationError) as raised:
        tollhouse.open("nonsense://h")

    assert raised.value.setting == "url"


#    the variables, the lines of a process that opens twice
DEFAULTS = [
    ({}, 1),
    ({"TOLLHOUSE_URL": "embedded://"}, 0),
    ({"REDIS_URL": "redis://h"}, 0),
    ({"TOLLHOUSE_CACHE_URL": "redis://h"}, 1),
    ({f"TOLLHOUSE_{name}_URL": "redis://h" for name in ("SESSIONS", "LIMITS", "CACHE", "ACCOUNTS")}, 0),
]


@pytest.mark.parametrize(("environ", "lines"), DEFAULTS)
def test_a_process_that_counts_alone_says_so_once(environ: dict[str, str], lines: int) -> None:
    """If nothing sets a server, one warning of the process says what that means and the line that would change it."""
    code = "import tollhouse; tollhouse.open(); tollhouse.open(); tollhouse.open('embedded://')"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)

    assert done.stderr.count("TOLLHOUSE_URL=redis://") == lines
    assert len(done.stderr.splitlines()) == lines


def test_importing_and_decorating_read_nothing() -> None:
    """Settings that cannot be used disturb nothing before something opens: no import and no decorator reads them."""
    code = """
import tollhouse, tollhouse.fastapi, tollhouse.litestar
tollhouse.fastapi.RateLimit("5/minute")
@tollhouse.limit("5/minute")
async def work() -> None: ...
"""
    environ = {"TOLLHOUSE_CONFIG": "/nowhere/tollhouse.toml", "TOLLHOUSE_NONSENSE": "x"}

    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environ)
