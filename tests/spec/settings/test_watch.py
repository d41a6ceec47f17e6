"""Reload: a settings file that changes is applied completely, or not at all."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tollhouse import wiring
from tollhouse.asgi.ratelimit.inline import register
from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.catalog import BUILT_IN
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.settings import Settings, read
from tollhouse.settings.watch import Outcome, SettingsWatcher
from tollhouse.wiring import Tollhouse

TWENTY = '[limits.policies.api]\nlimit = "20/minute"\n'
THIRTY = '[limits.policies.api]\nlimit = "30/minute"\n'
WRONG = '[limits.policies.api]\nlimit = "5/mn"\n'


class SettingsFile:
    """A settings file, its watcher, and the settings that it applied."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.limits: list[str] = []
        self.counted: list[Outcome] = []
        self.applied = asyncio.Event()
        self.while_settling: Callable[[], object] = lambda: None
        self.watch = SettingsWatcher(path, self._read, self._apply, self.counted.append, sleep=self._settle, **options)

    def write(self, text: str) -> None:
        """Replace the file atomically, as editors and deployments do."""
        fresh = self.path.with_suffix(".fresh")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.path)

    async def _settle(self, _: float) -> None:
        self.while_settling()

    def _read(self, path: Path) -> Settings:
        return read({}, path).settings

    def _apply(self, settings: Settings) -> dict[str, str]:
        limits = [policy.limit for policy in settings.limits.policies.values()]
        if "5/mn" in limits:
            raise InvalidInput("policies.api", "5/mn", "did you mean 5/m?")
        self.limits = limits
        self.applied.set()
        return {"changed": "api"} if limits else {}


@pytest.fixture
def followed(tmp_path: Path) -> SettingsFile:
    followed = SettingsFile(tmp_path / "tollhouse.toml")
    followed.write(TWENTY)
    return followed


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tollhouse.settings")


def heard(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, vars(record)["event"]) for record in caplog.records if record.name == "tollhouse.settings"
    ]


async def test_a_file_that_changes_holds(followed: SettingsFile) -> None:
    """New content is read and applied once; a check of unchanged content does nothing."""
    outcomes = [await followed.watch.check(), await followed.watch.check()]
    followed.write(THIRTY)
    outcomes += [await followed.watch.check(), await followed.watch.check()]

    assert outcomes == ["applied", "unchanged", "applied", "unchanged"]
    assert followed.limits == ["30/minute"]
    assert followed.counted == ["applied", "applied"]


@pytest.mark.parametrize("bad", [WRONG, "prot = 1\n", "port = ", "port = 99999\n", f"port = {'[' * 5_000}"])
async def test_a_bad_file_changes_nothing(followed: SettingsFile, caplog: pytest.LogCaptureFixture, bad: str) -> None:
    """A file that cannot be used changes nothing, and is logged and counted once, with the reason."""
    await followed.watch.check()
    followed.write(bad)

    outcomes = [await followed.watch.check(), await followed.watch.check()]
    followed.write(bad)
    outcomes.append(await followed.watch.check())

    assert outcomes == ["refused", "unchanged", "unchanged"]
    assert followed.limits == ["20/minute"]
    assert followed.counted == ["applied", "refused"]
    assert heard(caplog).count(("ERROR", "settings file refused")) == 1
    assert "policies" in vars(caplog.records[-1])["reason"]


async def test_a_file_that_is_mended_holds_again(followed: SettingsFile, caplog: pytest.LogCaptureFixture) -> None:
    """After an invalid file a valid one is applied and logged, even if it is the previous one."""
    await followed.watch.check()
    followed.write(WRONG)
    await followed.watch.check()
    followed.write(TWENTY)

    assert await followed.watch.check() == "applied"
    assert heard(caplog)[-1] == ("INFO", "settings file applied")


async def test_a_file_that_is_gone_changes_nothing(followed: SettingsFile) -> None:
    """A missing file is refused once; the previous policies stay in force until it is back."""
    await followed.watch.check()
    followed.path.unlink()

    outcomes = [await followed.watch.check(), await followed.watch.check()]
    followed.write(THIRTY)
    outcomes.append(await followed.watch.check())

    assert outcomes == ["refused", "unchanged", "applied"]
    assert followed.limits == ["30/minute"]


async def test_a_file_that_never_was_is_refused(tmp_path: Path) -> None:
    """The first check of a missing file is refused."""
    followed = SettingsFile(tmp_path / "tollhouse.toml")

    assert await followed.watch.check() == "refused"


async def test_a_link_that_is_turned_holds(tmp_path: Path) -> None:
    """Links are followed, because Kubernetes points one at the folder of a new version."""
    for version, text in (("1", TWENTY), ("2", THIRTY)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "tollhouse.toml").write_text(text)
    (tmp_path / "data").symlink_to(tmp_path / "1")
    (tmp_path / "tollhouse.toml").symlink_to(Path("data") / "tollhouse.toml")
    followed = SettingsFile(tmp_path / "tollhouse.toml")
    await followed.watch.check()

    (tmp_path / "turned").symlink_to(tmp_path / "2")
    (tmp_path / "turned").replace(tmp_path / "data")

    assert await followed.watch.check() == "applied"
    assert followed.limits == ["30/minute"]


async def test_a_file_that_is_being_written_is_left_to_the_next_look(followed: SettingsFile) -> None:
    """A file that still grows is not read; the next check reads it complete."""
    await followed.watch.check()
    followed.path.write_text(THIRTY[:10], encoding="utf-8")
    followed.while_settling = lambda: followed.path.write_text(THIRTY, encoding="utf-8")

    growing = await followed.watch.check()
    followed.while_settling = lambda: None
    whole = await followed.watch.check()

    assert (growing, whole) == ("unchanged", "applied")
    assert followed.limits == ["30/minute"]
    assert followed.counted == ["applied", "applied"]


async def test_content_counts_and_not_the_time_of_writing(followed: SettingsFile) -> None:
    """A file that is rewritten with the same content is not applied again."""
    await followed.watch.check()
    followed.write(TWENTY)

    assert await followed.watch.check() == "unchanged"
    assert followed.counted == ["applied"]


async def test_the_first_look_is_quiet_where_nothing_changed(
    followed: SettingsFile, caplog: pytest.LogCaptureFixture
) -> None:
    """If the first check finds the policies in force, nothing is logged; if it finds others, it logs them."""
    followed.write("port = 1")
    await followed.watch.check()
    quiet = heard(caplog)

    other = SettingsFile(followed.path)
    other.write(TWENTY)
    await other.watch.check()

    assert quiet == []
    assert heard(caplog) == [("INFO", "settings file applied")]


async def test_other_settings_wait_for_a_restart(followed: SettingsFile, caplog: pytest.LogCaptureFixture) -> None:
    """Settings other than policies are named in a warning, without their values, until the file has them again."""
    await followed.watch.check()

    followed.write(f'admin_key = "sesame-and-lilies"\nport = 9\n[limits]\nheaders = "off"\n{THIRTY}')
    await followed.watch.check()
    warned = caplog.records[-1]
    followed.write(TWENTY)
    await followed.watch.check()

    assert (warned.levelname, vars(warned)["event"]) == ("WARNING", "settings change takes effect after a restart")
    assert vars(warned)["settings"] == "admin_key, port, limits.headers"
    assert "sesame" not in caplog.text
    assert heard(caplog)[-1] == ("INFO", "settings file applied")


async def test_the_file_is_followed_until_cancelled(followed: SettingsFile) -> None:
    """A running watcher checks periodically, and at once after `check_soon`."""
    soon, later = SettingsFile(followed.path, poll_s=3_600), SettingsFile(followed.path, poll_s=0.001)
    running = [asyncio.create_task(one.watch.run()) for one in (soon, later)]

    soon.watch.check_soon()
    async with asyncio.timeout(10):
        await asyncio.gather(soon.applied.wait(), later.applied.wait())
    for task in running:
        task.cancel()
    ended = await asyncio.gather(*running, return_exceptions=True)

    assert soon.limits == later.limits == ["20/minute"]
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tollhouse]:
    """A Tollhouse in this process, opened in code with a policy of its own and no variable set."""
    for name in [name for name in os.environ if name.startswith(("TOLLHOUSE_", "REDIS_", "CACHE_"))]:
        monkeypatch.delenv(name)
    async with wiring.open(f"fake://{secrets.token_hex(8)}", policies={"mine": "7/hour"}) as tollhouse:
        yield tollhouse


async def test_a_limit_that_changes_keeps_what_was_counted(opened: Tollhouse, tmp_path: Path) -> None:
    """Units that were taken under the old limit count under the new one."""
    file = SettingsFile(tmp_path / "tollhouse.toml")
    file.write(TWENTY)
    watch = await opened.watch(file.path)
    before = await opened.limits.take("api", "ada", 15)

    file.write(THIRTY)
    await watch.check()
    after = await opened.limits.take("api", "ada")

    assert (before.limits[0].remaining, after.limits[0].limit, after.limits[0].remaining) == (5, 30, 14)


async def test_what_came_differs_and_went_is_logged(
    opened: Tollhouse, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One event lists the policies that were added, changed and removed; built-in ones apply again."""
    file = SettingsFile(tmp_path / "tollhouse.toml")
    file.write(TWENTY)
    watch = await opened.watch(file.path)
    came = vars(caplog.records[-1])

    file.write(f'{THIRTY}[limits.policies.signup]\nlimit = "1/minute"\n')
    await watch.check()
    differ = vars(caplog.records[-1])
    file.write("")
    await watch.check()
    went, warning = vars(caplog.records[-2]), vars(caplog.records[-1])

    assert [(one["added"], one["changed"], one["removed"]) for one in (came, differ, went)] == [
        ("api", "", ""),
        ("", "api, signup", ""),
        ("", "signup", "api"),
    ]
    assert (warning["levelname"], warning["policies"]) == ("WARNING", "api")
    assert opened.policies == opened.limits.policies
    assert opened.policies["signup"] == BUILT_IN["signup"]


async def test_a_policy_that_is_gone_from_the_file_stays_in_force(opened: Tollhouse, tmp_path: Path) -> None:
    """Code and clients name policies: one that is removed goes on to decide and count, and may come back changed."""
    file = SettingsFile(tmp_path / "tollhouse.toml")
    file.write(TWENTY)
    watch = await opened.watch(file.path)
    await opened.limits.take("api", "ada", 15)

    file.write("")
    outcomes = [await watch.check()]
    without = await opened.limits.take("api", "ada", 2)
    file.write(THIRTY)
    outcomes.append(await watch.check())
    changed = await opened.limits.take("api", "ada")

    assert outcomes == ["applied", "applied"]
    assert (without.limits[0].limit, without.limits[0].remaining) == (20, 3)
    assert (changed.limits[0].limit, changed.limits[0].remaining) == (30, 12)


async def test_a_shadow_that_is_gone_from_the_file_counts_no_more(opened: Tollhouse, tmp_path: Path) -> None:
    """A shadow that is removed no longer counts the takes of its policy; who names it is never refused."""
    file = SettingsFile(tmp_path / "tollhouse.toml")
    file.write(f'{TWENTY}[limits.policies.next]\nlimit = "1/minute"\nshadow_of = "api"\n')
    watch = await opened.watch(file.path)

    file.write(TWENTY)
    await watch.check()
    await opened.limits.take("api", "ada")
    named = [await opened.limits.take("next", "ada") for _ in range(2)]

    assert [(one.allowed, one.reason) for one in named] == [(True, "within-limits"), (True, "shadow")]


async def test_a_policy_of_the_code_is_not_replaced_by_the_file(opened: Tollhouse, tmp_path: Path) -> None:
    """A file that gives the name of a limit in the code to another limit is refused; the same limit is applied."""
    file = SettingsFile(tmp_path / "tollhouse.toml")
    file.write("")
    watch = await opened.watch(file.path)
    register(opened.limits, parse_policy("mail", "5/minute"))

    outcomes: list[Outcome] = []
    for limit in ("6/minute", "5/minute"):
        file.write(f'[limits.policies.mail]\nlimit = "{limit}"\n')
        outcomes.append(await watch.check())

    assert outcomes == ["refused", "applied"]
    assert opened.limits.policies["mail"].text == "5/minute"


async def test_a_policy_keeps_its_kind(opened: Tollhouse, tmp_path: Path) -> None:
    """A file that makes leases of a policy that counts, or the reverse, is refused: their callers call differently."""
    file = SettingsFile(tmp_path / "tollhouse.toml")
    file.write(TWENTY)
    watch = await opened.watch(file.path)

    file.write(f'{TWENTY}algorithm = "concurrency"\n')

    assert await watch.check() == "refused"
    assert (await opened.limits.take("api", "ada")).allowed


async def test_policies_that_code_gave_hold_over_those_of_the_file(opened: Tollhouse, tmp_path: Path) -> None:
    """A file neither removes nor changes the policies given to `open`."""
    file = SettingsFile(tmp_path / "tollhouse.toml")
    file.write(f'{TWENTY}[limits.policies.mine]\nlimit = "1/minute"\n')

    await opened.watch(file.path)

    assert opened.policies["mine"].text == "7/hour"
    assert opened.policies["api"].text == "20/minute"


async def test_policies_that_do_not_fit_together_are_refused_whole(opened: Tollhouse, tmp_path: Path) -> None:
    """A file with one invalid policy changes none of the policies; it is counted."""
    file = SettingsFile(tmp_path / "tollhouse.toml")
    file.write(TWENTY)
    watch = await opened.watch(file.path)
    before = opened.limits.policies
    file.write(f'{THIRTY}[limits.policies.next]\nlimit = "1/minute"\nshadow_of = "apj"\n')

    outcome = await watch.check()

    assert outcome == "refused"
    assert opened.limits.policies == before
    assert 'tollhouse_settings_reads_total{outcome="refused"} 1.0' in opened.metrics.render()[0].decode()


async def test_one_file_is_followed_at_a_time_and_until_closed(opened: Tollhouse, tmp_path: Path) -> None:
    """A second file replaces the first; after `aclose` no file is watched."""
    for limit in ("20", "30"):
        (tmp_path / f"{limit}.toml").write_text(f'[limits.policies.api]\nlimit = "{limit}/minute"\n')
    before = set(asyncio.all_tasks())

    await opened.watch(tmp_path / "20.toml")
    await opened.watch(tmp_path / "30.toml")
    following = {task.get_name() for task in asyncio.all_tasks() - before}
    await opened.aclose()

    assert following == {"tollhouse-settings"}
    assert len(asyncio.all_tasks() - before) == 0
    assert opened.policies["api"].text == "30/minute"
