"""The passkeys of the caller's account over HTTP: how they are added, renamed and removed.

As each change of a factor it takes a recent authentication by all factors that the account has, by the user alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, assert_never

from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta, Struct

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.factors.outcomes import FactorRefused
from tollhouse.accounts.passkeys.outcomes import PasskeyAdded, PasskeyRefused
from tollhouse.accounts.passkeys.passkey import PASSKEYS_MAX, Passkey
from tollhouse.http.accounts.answers import CredentialJson, options_response, passkey_refused
from tollhouse.http.accounts.factors import END_OTHERS, factor_changed, factor_refusal, no_account, recent_session
from tollhouse.http.authentication import current_session
from tollhouse.http.challenges import LoginRules
from tollhouse.http.headers import DURABLE_FIELD, durable_header
from tollhouse.http.openapi import problems
from tollhouse.http.problems import UNIQUE_MEMBERS

_REFUSED: Final = {
    "present": (409, "factor-present", "this passkey is one of the account already"),
    "missing": (404, "no-passkey", "the account has no passkey of this id"),
    "full": (409, "passkeys-full", f"an account has at most {PASSKEYS_MAX} passkeys: remove one first"),
    "last": (409, "last-factor", "nothing else opens the account: add another passkey first"),
}
"""What is told of refusals of passkeys: status, kind and detail."""


class PasskeyBody(Struct, frozen=True, kw_only=True):
    """A passkey as its user sees it; one that is `synced` may be on other devices of the user, too."""

    id: str
    name: str
    created_at: int
    last_used_at: int | None
    synced: bool
    transports: tuple[str, ...]


class PasskeyList(Struct, frozen=True, kw_only=True):
    """The passkeys of an account, in the order in which they were added."""

    passkeys: tuple[PasskeyBody, ...]


class NewPasskeyBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer of the browser, a name, and whether the user's other sessions end."""

    credential: CredentialJson
    name: Annotated[str, Meta(description="Of 1 to 64 characters, as the user knows the device.")]
    end_others: Annotated[bool, Meta(description=END_OTHERS)] = False


class PasskeyNameBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another name of a passkey."""

    name: str


@get("/passkeys", responses=problems(400, 401, 403, 404, 429, 503))
async def list_passkeys(request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]) -> Response[Any]:
    """Return the caller's passkeys; 404 `no-account` for the user of a session that an application began."""
    found = await accounts.passkeys.list(current_session(request).user)
    return no_account() if found is None else Response(PasskeyList(passkeys=tuple(map(_body, found))))


@post("/passkeys/options", status_code=200, responses=problems(400, 401, 403, 404, 409, 429, 503))
async def begin_passkey(
    request: Request[Any, Any, Any], accounts: NamedDependency[Accounts], login_rules: NamedDependency[LoginRules]
) -> Response[Any]:
    """Return what a page gives `navigator.credentials.create`: `{"publicKey"}`, for `parseCreationOptionsFromJSON`.

    It takes a recent authentication by all factors of the account, else it is 401
    `insufficient-user-authentication`. With twenty passkeys it is 409 `passkeys-full`.
    """
    passkeys = accounts.passkeys
    result = await passkeys.creation_options(recent_session(request, login_rules))
    if isinstance(result, FactorRefused):
        return factor_refusal(result, login_rules, _REFUSED)
    return options_response(result)


@post(
    "/passkeys",
    status_code=201,
    responses=problems(400, 401, 403, 404, 409, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def add_passkey(
    request: Request[Any, Any, Any],
    data: JSONBody[NewPasskeyBody],
    accounts: NamedDependency[Accounts],
    login_rules: NamedDependency[LoginRules],
) -> Response[Any]:
    """Add the passkey that the user's device made by the options of this session, and return it.

    An answer that is wrong, or too late, is 422 `passkey-refused`: ask for new options. One that is there is 409.
    """
    passkeys, session = accounts.passkeys, recent_session(request, login_rules)
    result = await passkeys.register(session, data.credential, data.name, end_others=data.end_others)
    match result:
        case PasskeyAdded():
            return Response(_body(result.passkey), status_code=201, headers=durable_header(durable=result.durable))
        case PasskeyRefused():
            return passkey_refused(422)
        case FactorRefused():
            return factor_refusal(result, login_rules, _REFUSED)
        case _:
            assert_never(result)


@patch(
    "/passkeys/{passkey_id:str}",
    status_code=204,
    responses=problems(400, 401, 403, 404, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def rename_passkey(
    request: Request[Any, Any, Any],
    passkey_id: FromPath[str],
    data: JSONBody[PasskeyNameBody],
    accounts: NamedDependency[Accounts],
    login_rules: NamedDependency[LoginRules],
) -> Response[None]:
    """Store another name for a passkey; 404 `no-passkey` if the account has none of this id."""
    passkeys, session = accounts.passkeys, recent_session(request, login_rules)
    return factor_changed(await passkeys.rename(session, passkey_id, data.name), login_rules, _REFUSED)


@delete(
    "/passkeys/{passkey_id:str}",
    status_code=204,
    responses=problems(400, 401, 403, 404, 409, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt={"query": ("end_others",)},
)
async def remove_passkey(
    request: Request[Any, Any, Any],
    passkey_id: FromPath[str],
    accounts: NamedDependency[Accounts],
    login_rules: NamedDependency[LoginRules],
    end_others: Annotated[
        Literal["true", "false"], QueryParameter(name="end_others", description=END_OTHERS)
    ] = "false",
) -> Response[None]:
    """Remove a passkey, which opens nothing any more; 409 `last-factor` if nothing else opens the account."""
    passkeys, session = accounts.passkeys, recent_session(request, login_rules)
    result = await passkeys.remove(session, passkey_id, end_others=end_others == "true")
    return factor_changed(result, login_rules, _REFUSED)


def _body(passkey: Passkey) -> PasskeyBody:
    return PasskeyBody(
        id=passkey.id,
        name=passkey.name,
        created_at=passkey.created_ms,
        last_used_at=passkey.last_used_ms,
        synced=passkey.synced,
        transports=passkey.transports,
    )


OF_USERS = [list_passkeys, begin_passkey, add_passkey, rename_passkey, remove_passkey]
