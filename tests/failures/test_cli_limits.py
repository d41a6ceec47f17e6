"""`tollhouse limits` as a command: output, exit codes, and the running service."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.failures.test_serve import COMMAND, environment, serve

HUNDRED = '[limits.policies.hundred]\nlimit = "5/hour; 100/day"\n'


def limits(folder: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `tollhouse limits` in a folder, with the service file of that folder."""
    return subprocess.run(
        [*COMMAND, "limits", *args],
        check=False,
        env=environment(folder, COLUMNS="160", **variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def json_output(done: subprocess.CompletedProcess[str]) -> Any:
    """Read what a command printed with --json."""
    return msgspec.json.decode(done.stdout)


def test_a_limit_is_linted(tmp_path: Path) -> None:
    """Lint prints the canonical form of a limit and exits with 0; an invalid limit exits with 1 and its remedy."""
    right = limits(tmp_path, "lint", "--limit", "5/s, 100 per min")
    wrong = limits(tmp_path, "lint", "--limit", "5/mn")

    assert right.returncode == 0
    assert "5/second" in right.stdout
    assert "100/minute" in right.stdout
    assert wrong.returncode == 1
    assert wrong.stdout == "wrong: --limit: '5/mn': did you mean 5/min or 5/month?\n"


def test_a_file_is_linted_whole(tmp_path: Path) -> None:
    """Lint lists every invalid policy of a file, and warns of likely mistakes."""
    file = tmp_path / "mine.toml"
    file.write_text(
        '[limits.policies.api]\nlimit = "5/mn"\n'
        '[limits.policies.next]\nlimit = "5/m"\nshadow = true\nallow = ["0.0.0.0/0"]\n'
        '[limits.policies.mail]\nlimit = "5/m"\nalgorithm = "gcar"\n'
    )

    done = limits(tmp_path, "lint", str(file), "--json")
    shown = limits(tmp_path, "lint", str(file))

    assert done.returncode == shown.returncode == 1
    assert [problem["field"] for problem in json_output(done)["problems"]] == [
        "policies.api",
        "policies.mail.algorithm",
    ]
    assert "wrong: mine.toml: limits.policies.api.limit: '5/mn'" in shown.stdout
    assert [finding["level"] for finding in json_output(done)["findings"]] == ["warning", "warning"]
    assert "warning: next: shadow = true: it decides and counts, and never refuses" in shown.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits.policies.api]\nlimits = '5/s'", "mine.toml: limits.policies.api.limits: '***': is no setting"),
        ("port = ", "write it in TOML"),
        ("port = 99999", "mine.toml: port: '99999'"),
    ],
)
def test_what_else_is_wrong_in_a_file_is_linted_too(tmp_path: Path, text: str, words: str) -> None:
    """The whole file is checked, not only its policies; a mistake is one line and exit code 1."""
    (tmp_path / "mine.toml").write_text(text)

    done = limits(tmp_path, "lint", "mine.toml")

    assert done.returncode == 1
    assert words in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_policies_are_listed(tmp_path: Path) -> None:
    """List prints every policy in force, with the lengths of its lists but not their entries."""
    (tmp_path / "tollhouse.toml").write_text(
        f'{HUNDRED}on_outage = "closed"\ncost = 2\nkey = "user"\ndeny = ["user:mallory"]\nlease = "auto"\n'
        '[limits.policies.next]\nlimit = "3/h"\nshadow_of = "hundred"\n'
        '[limits.policies.seen]\nlimit = "3/h"\nshadow = true\nallow = ["10.0.0.0/8"]\n'
    )

    shown = limits(tmp_path, "list")
    done = limits(tmp_path, "list", "--json")

    assert shown.returncode == done.returncode == 0
    listed = {policy["policy"]: policy for policy in json_output(done)["policies"]}
    assert {"default", "signup", "hundred", "next"} <= set(listed)
    assert listed["hundred"]["limit"] == "5/hour; 100/day"
    assert (listed["hundred"]["lease"], listed["next"]["lease"]) == ("auto", "off")
    assert (listed["hundred"]["on_outage"], listed["hundred"]["deny_entries"]) == ("closed", 1)
    assert "cost 2, key user, lease auto, 1 denied" in shown.stdout
    assert "shadow of hundred" in shown.stdout
    assert "shadow, 1 allowed" in shown.stdout
    assert "mallory" not in shown.stdout + done.stdout


def test_the_commands_join_the_running_service(tmp_path: Path) -> None:
    """From any folder the commands use the counters, namespace and policies of the service that runs for this user."""
    (tmp_path / "served").mkdir()
    file = tmp_path / "served" / "policies.toml"
    file.write_text(HUNDRED)
    with serve(tmp_path, "--config", str(file), TOLLHOUSE_NAMESPACE="shop") as served:
        for _ in range(5):
            assert served.take("ada") == 200

        refused = limits(tmp_path, "peek", "hundred", "ada")
        fits = limits(tmp_path, "peek", "hundred", "grace", "--cost", "5", "--json")
        why = limits(tmp_path, "explain", "hundred", "ada", "--limit", "200/hour")
        why_told = limits(tmp_path, "explain", "hundred", "ada", "--algorithm", "gcra", "--json")
        resets = [limits(tmp_path, "reset", "hundred", "ada") for _ in range(2)]
        reset_told = limits(tmp_path, "reset", "hundred", "ada", "--json")
        taken = served.take("ada")

    assert refused.returncode == 1
    assert refused.stdout.startswith("'ada' under hundred would be refused: limit-reached; it passes in 3,")
    assert fits.returncode == 0
    assert [limit["remaining"] for limit in json_output(fits)["limits"]] == [5, 100]
    assert why.returncode == why_told.returncode == 0
    assert "'ada' under hundred is refused: the limit 5/hour is reached; the same take passes in 3," in why.stdout
    assert "Under 200/hour (sliding-window) it would be admitted." in why.stdout
    assert json_output(why_told)["uncounted"] == ["5/hour", "100/day"]
    assert [done.stdout.rpartition(": ")[0] for done in resets] == ["'ada' under hundred"] * 2
    assert resets[0].stdout != resets[1].stdout
    assert json_output(reset_told) == {"policy": "hundred", "key": "ada", "reset": False}
    assert taken == 200


def test_what_cannot_be_asked_is_exit_code_2(tmp_path: Path) -> None:
    """An unknown policy, an invalid cost or limit, and FILE together with --limit exit with 2."""
    (tmp_path / "tollhouse.toml").write_text(HUNDRED)
    wrong = [
        limits(tmp_path, "peek", "hundert", "ada"),
        limits(tmp_path, "peek", "hundred", "ada", "--cost", "-1"),
        limits(tmp_path, "explain", "hundred", "ada", "--limit", "5/mn"),
        limits(tmp_path, "lint", "tollhouse.toml", "--limit", "5/m"),
        limits(tmp_path, "lint", "missing.toml"),
    ]

    assert [done.returncode for done in wrong] == [2] * 5
    assert "did you mean 'hundred'?" in wrong[0].stderr
    assert "cost" in wrong[1].stderr
    assert "did you mean 5/min or 5/month?" in wrong[2].stderr
    assert all(done.stdout == "" for done in wrong)


def test_a_store_that_is_down_is_exit_code_1(tmp_path: Path) -> None:
    """If the store does not answer, the command exits with 1 and one line; without a secret it also warns."""
    done = limits(tmp_path, "peek", "default", "ada", TOLLHOUSE_URL="redis://:sesame@127.0.0.1:1")

    assert done.returncode == 1
    assert "store 'limits'" in done.stderr.splitlines()[-1]
    assert "no secret is set" in done.stderr
    assert "sesame" not in done.stderr
    assert "Traceback" not in done.stderr
