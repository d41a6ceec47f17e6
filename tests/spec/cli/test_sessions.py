"""`tollhouse sessions` on a store of this process."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from click.testing import CliRunner, Result

import tollhouse
from tollhouse.cli import commands, service_file
from tollhouse.cli.service_file import ServiceInfo
from tollhouse.cli.sessions import output
from tollhouse.cli.sessions.output import SessionList, SessionSource
from tollhouse.keyring import Keyring
from tollhouse.sessions.logins import Impersonation
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.records import Session
from tollhouse.sessions.verbs.explainer import EndReason
from tollhouse.wiring import settings_for

Run = Callable[..., Result]
SECRET = "the-secret-of-the-service-for-these-tests"
OTHER_SECRET = "the-secret-of-another-service-for-these-tests"
NO_SID = "a" * 26
_NUMBERS = itertools.count()


@pytest.fixture
def url() -> str:
    """A server of its own."""
    return f"fake://cli-sessions-{next(_NUMBERS)}"


@pytest.fixture
def variables(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of an operator in an empty folder, who has set the URL and the secret and nothing else."""
    monkeypatch.chdir(tmp_path)
    return {"TOLLHOUSE_URL": url, "TOLLHOUSE_SECRET": SECRET, "XDG_RUNTIME_DIR": str(tmp_path), "COLUMNS": "200"}


@pytest.fixture
def run(variables: dict[str, str]) -> Run:
    """Run `tollhouse sessions` with these variables, and others."""

    def run(*args: str, typed: str | bytes | None = None, **others: str) -> Result:
        return CliRunner().invoke(commands.cli, ["sessions", *args], env={**variables, **others}, input=typed)

    return run


def work(url: str, use: Callable[[tollhouse.Sessions], Awaitable[Any]], namespace: str = "") -> Any:
    """Return what `use` returns for the sessions of the service."""
    settings = msgspec.structs.replace(settings_for(url, namespace), secret=(SECRET.encode(),))

    async def main() -> Any:
        async with tollhouse.open(settings) as th:
            return await use(th.sessions)

    return asyncio.run(main())


def begun(url: str, *devices: str | None, user: str = "ada", namespace: str = "") -> list[Any]:
    """Begin a session on each device; return them."""

    async def begin(sessions: tollhouse.Sessions) -> list[Any]:
        answers = [await sessions.create(user, device=device) for device in devices]
        return [answer.session for answer in answers if isinstance(answer, Issued)]

    return work(url, begin, namespace)


def live(url: str, user: str = "ada") -> set[str]:
    """Return the sids of the live sessions of a user."""
    return {session.sid for session in work(url, lambda sessions: sessions.list(user))}


def rows(shown: Result) -> list[list[str]]:
    """Return the cells of a printed table."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.stdout.splitlines() if "│" in line]


def said(done: Result) -> Any:
    """Return what a command printed with --json."""
    return msgspec.json.decode(done.stdout)


def test_sessions_are_listed(url: str, run: Run) -> None:
    """A row for each live session with its sid, device, policy and times; with --json as integer milliseconds."""
    session, _ = begun(url, "a laptop", None)

    shown, told = run("list", "ada"), run("list", "ada", "--json")

    assert shown.exit_code == told.exit_code == 0
    assert f"'ada' has 2 sessions: {url}" in shown.stdout
    cells = {row[0]: row[1:] for row in rows(shown) if row[0]}
    assert cells[session.sid][2:] == ["idle in 59 min", "default", "a laptop"]
    assert "in 23 h" in shown.stdout
    assert sorted(row[-1] for row in cells.values()) == ["-", "a laptop"]
    answer = said(told)
    assert answer["user"] == "ada"
    listed = {one["sid"]: one for one in answer["sessions"]}
    assert listed[session.sid] == msgspec.json.decode(msgspec.json.encode(session))
    assert answer["source"]["key_ids"] == list(Keyring(secrets=(SECRET.encode(),)).key_ids())


def test_a_sid_can_be_copied_from_a_narrow_terminal(url: str, run: Run) -> None:
    """However narrow the terminal is, sids are whole."""
    (session,) = begun(url, "a laptop with a very long name " * 3)

    assert session.sid in run("list", "ada", COLUMNS="80").stdout


@pytest.mark.parametrize("label", ["[bold]a phone[/]", "a phone\u202e", "[/]"])
def test_a_label_is_plain_text(url: str, run: Run, label: str) -> None:
    """A device's label comes from a client: no markup of it counts, and it turns no direction of writing."""
    begun(url, label)

    shown = run("list", "ada")

    assert shown.exit_code == 0
    assert rows(shown)[0][-1] == (label if label.isprintable() else "'a phone\\u202e'")


def test_a_session_is_revoked(url: str, run: Run) -> None:
    """Exit code 0, and whether it is durable; another time, or for another user, 1, and what was searched is said."""
    one, other, third = begun(url, "a laptop", "a phone", "a tablet")

    foreign, shown = run("revoke", "eve", one.sid), run("revoke", "ada", one.sid)
    again, told = run("revoke", "ada", one.sid), run("revoke", "ada", other.sid, "--json")

    assert (foreign.exit_code, shown.exit_code, again.exit_code, told.exit_code) == (1, 0, 1, 0)
    assert f"session {one.sid} of 'ada' is over; not durable" in shown.stdout
    assert f"'ada' has no live session {one.sid}: {url}" in again.stdout
    answer = said(told)
    assert (answer["user"], answer["sid"], answer["found"], answer["durable"]) == ("ada", other.sid, True, False)
    assert live(url) == {third.sid}


def test_all_sessions_of_a_user_are_revoked(url: str, run: Run) -> None:
    """All end, or all but one; a user without sessions is no failure."""
    _, kept, _ = begun(url, "a laptop", "a phone", "a tablet")
    (foreign,) = begun(url, "a phone", user="eve")

    but_one, none_left = run("revoke-all", "ada", "--keep", kept.sid), live(url)
    told, again = run("revoke-all", "ada", "--json"), run("revoke-all", "ada")

    assert (but_one.exit_code, told.exit_code, again.exit_code) == (0, 0, 0)
    assert f"2 sessions of 'ada' ended, {kept.sid} lives on; not durable" in but_one.stdout
    assert none_left == {kept.sid}
    answer = said(told)
    assert (answer["revoked"], answer["removed"], answer["kept"], answer["durable"]) == (True, 1, None, False)
    assert "0 sessions of 'ada' ended" in again.stdout
    assert live(url) == set()
    assert live(url, "eve") == {foreign.sid}


def test_nothing_is_revoked_if_the_session_to_keep_is_over(url: str, run: Run) -> None:
    """A sid of another user, or one that is over, is exit code 1, and the others live on."""
    (session,) = begun(url, "a laptop")
    (foreign,) = begun(url, "a phone", user="eve")

    for sid in (NO_SID, foreign.sid):
        done, told = (run("revoke-all", "ada", "--keep", sid, *options) for options in ((), ("--json",)))
        assert (done.exit_code, told.exit_code, said(told)["revoked"]) == (1, 1, False)
        assert "no session to keep, so none was ended" in done.stdout

    assert live(url) == {session.sid}


def test_a_user_is_kept_out(url: str, run: Run) -> None:
    """`disable` ends the sessions and refuses logins until `enable`."""
    begun(url, "a laptop", "a phone")

    shown = run("disable", "ada")
    refused = work(url, lambda sessions: sessions.create("ada"))
    listed, listed_told = run("list", "ada"), run("list", "ada", "--json")
    told, enabled, enabled_told = run("disable", "ada", "--json"), run("enable", "ada"), run("enable", "ada", "--json")

    assert [done.exit_code for done in (shown, told, enabled, enabled_told)] == [0] * 4
    assert "'ada' is disabled, 2 sessions ended; not durable" in shown.stdout
    assert refused.reason == "disabled"
    assert "'ada' is disabled, and gets no session" in listed.stdout
    assert said(listed_told)["disabled"] is True
    assert said(run("list", "ada", "--json"))["disabled"] is False
    assert {**said(told), "source": None} == {
        "user": "ada",
        "disabled": True,
        "removed": 0,
        "durable": False,
        "source": None,
    }
    assert "'ada' is enabled; not durable" in enabled.stdout
    assert said(enabled_told)["disabled"] is False
    assert work(url, lambda sessions: sessions.create("ada"))


def test_sessions_of_another_secret_are_not_found(url: str, run: Run) -> None:
    """Under another secret a user has no sessions; the answer has the key ids of those that are set, as tokens have."""
    (session,) = begun(url, "a laptop")
    key_id = Keyring(secrets=(OTHER_SECRET.encode(),)).key_ids()[0]

    listed = run("list", "ada", TOLLHOUSE_SECRET=OTHER_SECRET)
    revoked = run("revoke", "ada", session.sid, TOLLHOUSE_SECRET=OTHER_SECRET)
    both = run("list", "ada", "--json", TOLLHOUSE_SECRET=f"{OTHER_SECRET},{SECRET}")

    assert (listed.exit_code, revoked.exit_code) == (0, 1)
    for done in (listed, revoked):
        assert f"secrets with the key ids {key_id}; others were not searched" in done.stdout
    assert [one["sid"] for one in said(both)["sessions"]] == [session.sid]


def test_an_id_that_no_account_has_is_noticed(url: str, run: Run) -> None:
    """Accounts have names in lower case: to disable `Ada` would leave `ada` logged in, so a warning says it."""
    loud, plain, spaced = (run("disable", user) for user in ("Ada", "ada", " ada"))

    assert [done.exit_code for done in (loud, plain, spaced)] == [0, 0, 0]
    assert "warning: 'Ada' is no account" in loud.stderr
    assert "'ada'" in loud.stderr
    assert plain.stderr == spaced.stderr == ""


def test_a_row_says_who_acts_and_what_is_locked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that is locked, or that an administrator has begun as the user, is seen to be so."""
    monkeypatch.setenv("COLUMNS", "200")
    actor = Impersonation(actor="root", actor_sid=NO_SID, reason="a call")
    session = Session(
        sid=NO_SID,
        user="ada",
        policy="admin",
        device=None,
        created_at=0,
        last_seen_at=0,
        expires_at=2_000,
        idle_expires_at=1_000,
        authenticated_at=0,
        impersonation=actor,
        locked=True,
    )
    source = SessionSource(store="a store", key_ids=())

    output.show_list(SessionList(user="ada", disabled=False, sessions=(session,), source=source), 0)

    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "'ada' has 1 session: a store" in shown
    assert "locked" in shown
    assert "in 2 s" in shown
    assert "impersonated by root" in shown


def test_why_a_session_is_over_is_shown(url: str, run: Run) -> None:
    """The token is read from standard input: exit code 0 if the session is alive, or it is known why it is over."""
    issued = work(url, lambda sessions: sessions.create("ada"))
    token = issued.token.reveal()

    alive = run("why", typed=f"{token}\n")
    run("revoke", "ada", issued.session.sid)
    over, told = run("why", typed=token), run("why", "--json", typed=token)

    assert (alive.exit_code, over.exit_code, told.exit_code) == (0, 0, 0)
    assert alive.stdout == f"session {issued.session.sid} is alive\n"
    assert "revoked-by-admin, an administrator ended it" in over.stdout
    answer = said(told)
    assert (answer["alive"], answer["end"]["reason"], answer["sid"]) == (False, "revoked-by-admin", issued.session.sid)
    assert isinstance(answer["end"]["at"], int)
    assert all(issued.token.secret not in done.output for done in (alive, over, told))


def test_all_ends_have_words() -> None:
    """Each reason that a session can end for has a sentence."""
    assert set(output.REASONS) == set(get_args(EndReason))


def test_nothing_is_known_of_other_tokens(url: str, run: Run) -> None:
    """A token that was never issued, or is of another secret, is exit code 1; what is no token is 2."""
    issued = work(url, lambda sessions: sessions.create("ada"))
    token = issued.token.reveal()
    forged = msgspec.structs.replace(issued.token, secret="A" * 43).reveal()

    unknown, foreign = run("why", typed=forged), run("why", typed=token, TOLLHOUSE_SECRET=OTHER_SECRET)
    told = run("why", "--json", typed=token, TOLLHOUSE_SECRET=OTHER_SECRET)

    assert [done.exit_code for done in (unknown, foreign, told)] == [1] * 3
    assert f"nothing is known of session {issued.session.sid}: its token was never issued" in unknown.stdout
    assert "is under another secret" in foreign.stdout
    assert (said(told)["alive"], said(told)["end"], said(told)["secret_known"]) == (False, None, False)
    for typed in ("", token[:-1], f"{token}\n{token}", b"\xff" * 2_000):
        refused = run("why", typed=typed)
        assert (refused.exit_code, issued.token.secret[:-1] in refused.output) == (2, False)


@pytest.mark.parametrize(
    "args",
    [
        ("revoke", "ada", "v1.0a1b2c3d.secret"),
        ("revoke-all", "ada", "--keep", "v1.0a1b2c3d.secret"),
        ("revoke", "ada"),
        ("list",),
        ("revoke-all",),
    ],
)
def test_what_names_no_session_is_exit_code_2(run: Run, args: tuple[str, ...]) -> None:
    """A text that is no sid, such as a token, is refused and not repeated; so is a missing argument."""
    done = run(*args)

    assert done.exit_code == 2
    assert "secret" not in done.output


#   variables, arguments, exit code, what the last line says
FAILURES = [
    ({"TOLLHOUSE_URL": "redis://:sesame@127.0.0.1:1"}, ("list", "ada"), 1, "store 'sessions'"),
    ({"TOLLHOUSE_URL": "redis://:sesame@127.0.0.1:1"}, ("revoke-all", "ada"), 1, "store 'sessions'"),
    ({"TOLLHOUSE_URL": "redis://127.0.0.1:1", "TOLLHOUSE_SECRET": ""}, ("disable", "ada"), 2, "TOLLHOUSE_SECRET"),
    ({}, ("list", "a" * 257), 2, "user"),
    ({}, ("enable", "a\nb"), 2, "user"),
]


@pytest.mark.parametrize(("others", "args", "code", "word"), FAILURES)
def test_what_fails_is_one_line_and_an_exit_code(
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    others: dict[str, str],
    args: tuple[str, ...],
    code: int,
    word: str,
) -> None:
    """A store that does not answer is 1; a secret that is not set, and an id that no user has, is 2."""
    for name, value in {**variables, **others}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["tollhouse", "sessions", *args])

    with pytest.raises(SystemExit) as ended:
        commands.run()

    shown = capsys.readouterr()
    assert ended.value.code == code
    assert shown.out == ""
    assert word in shown.err.splitlines()[-1]
    assert "sesame" not in shown.err


def test_the_commands_join_the_running_service(url: str, run: Run, variables: dict[str, str], tmp_path: Path) -> None:
    """Without a URL they use the store, namespace and secret of the service that runs for this user."""
    (session,) = begun(url, "a laptop", namespace="shop")
    urls: dict[str, str] = dict.fromkeys(("sessions", "limits", "cache", "accounts"), url)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        info = ServiceInfo(
            pid=os.getpid(), address="", urls=urls, secret=(SECRET.encode(),), admin_key=(), namespace="shop"
        )
        service_file.write(info)
    variables["TOLLHOUSE_URL"] = variables["TOLLHOUSE_SECRET"] = ""

    told = run("list", "ada", "--json")

    assert [one["sid"] for one in said(told)["sessions"]] == [session.sid]
    assert said(told)["source"]["store"].endswith(", namespace shop")
    assert told.stderr == ""


def test_all_sessions_of_all_users_are_ended_if_that_is_meant(run: Run, url: str) -> None:
    """Without a terminal it needs --yes, and then says what was done and whether it is durable."""
    begun(url, None), begun(url, None, user="eve")

    refused = run("revoke-everyone")
    assert refused.exit_code == 2
    assert "--yes" in refused.output
    assert live(url)
    assert live(url, "eve")

    done = run("revoke-everyone", "--yes", "--json")
    assert done.exit_code == 0
    assert msgspec.json.decode(done.stdout)["durable"] in (True, False)
    assert not live(url)
    assert not live(url, "eve")
    assert "all sessions of all users ended" in run("revoke-everyone", "--yes").stdout
