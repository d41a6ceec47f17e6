"""`tollhouse serve` on a machine on which it can write nothing, as a hardened container or unit has it."""

from __future__ import annotations

import http.client
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.failures.test_serve import COMMAND, environment

KEY = "an-admin-key-of-the-operator"
SECRET = "a-secret-of-thirty-two-characters"
READ_ONLY = """\
mount --make-rprivate / || exit 77
while read -r _ place kind _; do
  case $kind in ext*|xfs|btrfs|overlay|tmpfs|fuse*|9p|virtiofs) mount -o remount,bind,ro "$place" || exit 77 ;; esac
done < /proc/mounts
exec "$@"
"""


def read_only(*command: str) -> list[str]:
    """Return a command that runs another one in a mount namespace in which no file system can be written."""
    root = [] if os.getuid() == 0 else ["--map-root-user"]
    untraced = ["env", "-u", "COVERAGE_PROCESS_CONFIG", "-u", "COVERAGE_PROCESS_START"]  # a tracer writes a file
    return [*untraced, "unshare", *root, "--mount", "sh", "-c", READ_ONLY, "sh", *command]


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs the mount namespaces of Linux and `unshare`")
    tried = subprocess.run(read_only("test", "!", "-w", "/tmp"), check=False, capture_output=True)
    if tried.returncode:
        pytest.skip("mount namespaces are not allowed here")


@contextmanager
def serve(folder: Path, *args: str, **variables: str) -> Generator[int]:
    """Run the service with nothing that it can write; give its port."""
    command = read_only(*COMMAND, "serve", "--json", "--plain-http", "--port", "0", *args)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment(folder, **variables), cwd=folder, stdout=subprocess.PIPE, stderr=log
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "log").read_text()
        started = msgspec.json.decode(line)
        assert started["admin_key_file"] is None
        yield int(started["address"].rpartition(":")[2])
    finally:
        process.terminate()
        assert process.wait(10) == 0
        process.stdout.close()


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers={"X-Api-Key": KEY})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_service_needs_no_file(tmp_path: Path) -> None:
    """With a server and a key `serve` runs and stops on read-only file systems; a warning says what it lacks."""
    given = {"TOLLHOUSE_URL": "fake://", "TOLLHOUSE_SECRET": SECRET, "TOLLHOUSE_ADMIN_KEY": KEY}
    with serve(tmp_path, "--workers", "2", **given) as port:
        assert get(port, "/readyz")[0] == 200
        status, metrics = get(port, "/metrics")

    log = [msgspec.json.decode(line) for line in (tmp_path / "log").read_text().splitlines()]
    warnings = [event["message"] for event in log if event["level"] not in ("debug", "info")]
    assert status == 200
    assert b"tollhouse_build_info" in metrics
    said = ["workers do not share their metrics", "service file not written"]
    assert [given.startswith(words) for given, words in zip(warnings, said, strict=True)] == [True, True]


#   variables, words of the one sentence
NEEDS_A_FOLDER: list[tuple[dict[str, str], list[str]]] = [
    ({}, ["TMPDIR", "TOLLHOUSE_URL"]),
    ({"TOLLHOUSE_URL": "embedded:///data"}, ["/data", "Read-only file system"]),
    ({"TOLLHOUSE_URL": "fake://"}, ["TOLLHOUSE_ADMIN_KEY", "TMPDIR"]),
]


@pytest.mark.parametrize(("variables", "words"), NEEDS_A_FOLDER)
def test_what_needs_a_folder_says_so(tmp_path: Path, variables: dict[str, str], words: list[str]) -> None:
    """An embedded server, or a key to be generated, needs a folder: without one `serve` ends with 2 and the remedy."""
    done = subprocess.run(
        read_only(*COMMAND, "serve", "--port", "0"),
        check=False,
        env=environment(tmp_path, **variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )

    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2, shlex.quote(done.stderr)
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in last
