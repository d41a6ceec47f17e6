"""The data folder of an embedded server: no other user reads it, and a start that fails leaves it unlocked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.failures.scenes import answering
from tests.worlds import SCRIPTS
from tollhouse.errors import ConfigurationError
from tollhouse.metrics import Metrics
from tollhouse.stores.embedded.folder import lock_folder, persistent_secret, private_folder
from tollhouse.stores.embedded.server import EmbeddedServer
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import urls_by_store


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that others may enter, made by a process whose new files they may read."""
    former = os.umask(0o022)
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    yield folder
    os.umask(former)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def open_to_others(folder: Path) -> list[str]:
    """Return the names of the folder and of what it holds, as far as other users have any right."""
    return [str(path) for path in (folder, *folder.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077]


async def test_other_users_read_nothing_of_a_folder(folder: Path) -> None:
    """A folder of mode 0755 is closed, and its data, lock, endpoint and secret are readable for their owner only."""
    (folder / "secret").write_text("00" * 32)
    (folder / "endpoint").write_text("/gone")
    (folder / "lock").touch()
    stores = open_stores(urls_by_store(f"embedded://{folder}", {}), SCRIPTS, Metrics())

    persistent_secret(folder)
    await answering(stores)
    await stores.limits.command("SET", "kept", "yes", "PX", 60_000)

    assert names_in(folder) >= {"appendonlydir", "endpoint", "lock", "secret"}
    assert open_to_others(folder) == []
    await stores.aclose()


def test_a_new_folder_with_a_secret_alone_is_ours(folder: Path) -> None:
    """A secret is written before the first start; its folder is closed too."""
    persistent_secret(folder)

    assert open_to_others(folder) == []


def test_a_secret_that_cannot_be_read_is_refused(folder: Path) -> None:
    """A damaged secret is an error that names its file, and is not replaced: sessions depend on it."""
    (folder / "secret").write_text("no hex digits")

    with pytest.raises(ConfigurationError) as refused:
        persistent_secret(folder)

    assert refused.value.value == str(folder / "secret")
    assert (folder / "secret").read_text() == "no hex digits"


def test_a_folder_with_other_files_is_refused(folder: Path) -> None:
    """The mode of a folder that holds more than our data is not changed; the error names the remedy."""
    (folder / "index.html").touch()

    for use in (EmbeddedServer.start, private_folder):
        with pytest.raises(ConfigurationError, match="chmod 700") as refused:
            use(folder)

        assert refused.value.value == f"embedded://{folder}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    folder.chmod(0o700)
    private_folder(folder)


def test_a_folder_that_had_a_server_is_ours_with_whatever_it_left(folder: Path) -> None:
    """A file that a server left behind when it was killed does not make its folder a foreign one."""
    (folder / "endpoint").touch()
    (folder / "temp-rewriteaof-1.aof").touch()

    private_folder(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_start_that_fails_unlocks_the_folder(tmp_path: Path) -> None:
    """After a start without a program, or with one that exits, the folder can be locked at once."""
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\nexit 3\n")
    failing.chmod(0o755)

    for binary in (tmp_path / "missing", failing):
        with pytest.raises(ConfigurationError) as error:
            EmbeddedServer.start(tmp_path / "data", binary)

        lock = lock_folder(tmp_path / "data")
        assert lock is not None, error  # the error is alive here, and so are the frames that it came through
        lock.close()
