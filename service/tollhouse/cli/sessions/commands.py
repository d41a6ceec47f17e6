"""`tollhouse sessions`: the live sessions of a user, their revocation, and users who are kept out."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import click
from rich_click import RichCommand, RichGroup

from tollhouse.accounts.names import canonical
from tollhouse.cli.query import CONFIG, JSON, print_result, query, require_secret, sessions_of
from tollhouse.cli.sessions import output
from tollhouse.cli.sessions.output import (
    RevokedEveryone,
    RevokedSession,
    RevokedUser,
    SessionFate,
    SessionList,
    SessionSource,
    UserStatusReport,
)
from tollhouse.errors import InvalidInput
from tollhouse.sessions import tokens
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.wiring import Tollhouse

T = TypeVar("T")

_TOKEN_BYTES_MAX: Final = 1_024
_NO_SID: Final = "that is no id of a session: give one of those that `tollhouse sessions list` shows, and never a token"


def _checked_sid(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Return a text that is a session's id; the error does not repeat another one, because it may be a token."""
    if text is not None and not tokens.is_sid(text):
        raise click.BadParameter(_NO_SID)
    return text


@click.group(cls=RichGroup)
def sessions() -> None:
    """Show the sessions of a user, end them, and keep a user out.

    Without a URL the commands use the store of the service that `tollhouse serve` runs for this user. They need the
    secret of the service. USER is a user's id, exactly as sessions have it; that of an account is in lower case.
    """


@sessions.command("list", cls=RichCommand)
@click.argument("user")
@CONFIG
@JSON
def list_sessions(*, user: str, config: Path | None, as_json: bool) -> None:
    """Show the live sessions of USER, the newest first, and whether USER is disabled.

    Times are local; with --json they are milliseconds since 1970.
    """

    async def ask(tollhouse: Tollhouse) -> SessionList:
        found, disabled = await tollhouse.sessions.list(user), await tollhouse.sessions.is_disabled(user)
        return SessionList(user=user, disabled=disabled, sessions=found, source=_source(tollhouse))

    now_ms = time.time_ns() // 1_000_000
    print_result(_query_user(config, user, ask), lambda found: output.show_list(found, now_ms), as_json=as_json)


@sessions.command(cls=RichCommand)
@click.argument("user")
@click.argument("sid", callback=_checked_sid)
@CONFIG
@JSON
def revoke(*, user: str, sid: str, config: Path | None, as_json: bool) -> None:
    """End the session SID of USER, without confirmation: exit code 0, or 1 if USER has no such session."""

    async def work(tollhouse: Tollhouse) -> RevokedSession:
        done = await tollhouse.sessions.revoke(user, sid, cause="revoked-by-admin")
        return RevokedSession(user=user, sid=sid, found=done.found, durable=done.durable, source=_source(tollhouse))

    done = _query_user(config, user, work)
    print_result(done, output.show_revoked, as_json=as_json)
    sys.exit(0 if done.found else 1)


@sessions.command(cls=RichCommand)
@click.argument("user")
@click.option("--keep", metavar="SID", callback=_checked_sid, help="Keep this session; nothing is done if it is over.")
@CONFIG
@JSON
def revoke_all(*, user: str, keep: str | None, config: Path | None, as_json: bool) -> None:
    """End all sessions of USER that began before, without confirmation: exit code 0, or 1 if there is none to --keep.

    USER may log in again; see `disable`.
    """

    async def work(tollhouse: Tollhouse) -> RevokedUser:
        kept = None if keep is None else await _live(tollhouse.sessions, user, keep)
        if keep is not None and kept is None:
            return RevokedUser(user=user, revoked=False, kept=None, removed=0, durable=False, source=_source(tollhouse))
        done = await tollhouse.sessions.revoke_all(user, keep=kept, cause="revoked-by-admin")
        return RevokedUser(
            user=user, revoked=True, kept=keep, removed=done.removed, durable=done.durable, source=_source(tollhouse)
        )

    done = _query_user(config, user, work)
    print_result(done, output.show_all_revoked, as_json=as_json)
    sys.exit(0 if done.revoked else 1)


@sessions.command(cls=RichCommand)
@click.argument("user")
@CONFIG
@JSON
def disable(*, user: str, config: Path | None, as_json: bool) -> None:
    """End all sessions of USER, who gets no other until `enable`, however right the password is.

    It asks for no confirmation.
    """

    async def work(tollhouse: Tollhouse) -> UserStatusReport:
        done = await tollhouse.sessions.disable(user)
        return UserStatusReport(
            user=user, disabled=True, removed=done.removed, durable=done.durable, source=_source(tollhouse)
        )

    print_result(_query_user(config, user, work), output.show_status, as_json=as_json)


@sessions.command(cls=RichCommand)
@click.argument("user")
@CONFIG
@JSON
def enable(*, user: str, config: Path | None, as_json: bool) -> None:
    """Allow USER to log in again; sessions of before stay over."""

    async def work(tollhouse: Tollhouse) -> UserStatusReport:
        done = await tollhouse.sessions.enable(user)
        return UserStatusReport(user=user, disabled=False, removed=0, durable=done.durable, source=_source(tollhouse))

    print_result(_query_user(config, user, work), output.show_status, as_json=as_json)


@sessions.command(cls=RichCommand)
@click.option("--yes", is_flag=True, help="Do not ask.")
@CONFIG
@JSON
def revoke_everyone(*, yes: bool, config: Path | None, as_json: bool) -> None:
    """End all sessions of all users, as after a secret has leaked; they may log in again.

    It asks first; without a terminal it needs --yes. If it fails, some users may be logged out: run it again.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("this ends every session of every user: give --yes, too")
    if not yes:
        click.confirm(f"End all sessions of all users of {_query(config, _store_of)}?", abort=True)

    async def work(tollhouse: Tollhouse) -> RevokedEveryone:
        done = await tollhouse.sessions.revoke_everyone()
        return RevokedEveryone(durable=done.durable, source=_source(tollhouse))

    print_result(_query(config, work, warns=yes), output.show_everyone_revoked, as_json=as_json)


@sessions.command(cls=RichCommand)
@CONFIG
@JSON
def why(*, config: Path | None, as_json: bool) -> None:
    """Show why the session of a token is over: exit code 0, or 1 if that is not known.

    The token is read from standard input, and never an argument: those are in the list of processes, and in the history
    of the shell. Why a session is over is known for 24 hours, to its last token. It counts as no use of the session.
    """
    token = tokens.parse(_read_token())
    if token is None:
        raise click.UsageError("give one session token on standard input, and nothing else")

    async def ask(tollhouse: Tollhouse) -> SessionFate:
        end = await tollhouse.sessions.why(token)
        alive = end is None and await tollhouse.sessions.verify(token, passive=True) is not None
        known = token.key_id in tollhouse.keyring.key_ids()
        return SessionFate(sid=token.sid, alive=alive, end=end, secret_known=known, source=_source(tollhouse))

    found = _query(config, ask)
    print_result(found, output.show_fate, as_json=as_json)
    sys.exit(0 if found.alive or found.end is not None else 1)


def _read_token() -> str:
    """Return what standard input has; on a terminal ask for it, and do not show it."""
    if sys.stdin.isatty():
        return click.prompt("Token", hide_input=True)
    return sys.stdin.buffer.read(_TOKEN_BYTES_MAX).decode("ascii", "replace").strip()


def _query_user(config: Path | None, user: str, ask: Callable[[Tollhouse], Awaitable[T]]) -> T:
    """Return what `ask` returns for the sessions of a user, as `_query` does."""
    _warn_of_spelling(user)
    return _query(config, ask)


def _query(config: Path | None, ask: Callable[[Tollhouse], Awaitable[T]], *, warns: bool = True) -> T:
    """Return what `ask` returns for the sessions of the settings, or of the running service.

    Raises ConfigurationError if there is no secret.
    """

    async def with_secret(tollhouse: Tollhouse) -> T:
        require_secret(tollhouse)
        return await ask(tollhouse)

    return query(config, with_secret, warns=warns)


async def _store_of(tollhouse: Tollhouse) -> str:
    """Return which store a question is about, once that has answered."""
    await tollhouse.sessions.list("-")
    return sessions_of(tollhouse)


def _source(tollhouse: Tollhouse) -> SessionSource:
    """Return which sessions were asked about; a store that has answered names its database, too."""
    return SessionSource(store=sessions_of(tollhouse), key_ids=tollhouse.keyring.key_ids())


def _warn_of_spelling(user: str) -> None:
    """Print a warning if no account has this id: to disable `Ada` would leave `ada` logged in."""
    with suppress(InvalidInput):
        if (name := canonical(user)) != user:
            click.echo(f"warning: {user!r} is no account: sessions of an account are those of {name!r}", err=True)


async def _live(sessions: Sessions, user: str, sid: str) -> Session | None:
    """Return a live session of a user."""
    return next((session for session in await sessions.list(user) if session.sid == sid), None)
