"""What routes of accounts have in common: how a client presents its device, and the answers to what is refused."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, assert_never

from litestar import Request, Response
from litestar.exceptions import NotAuthorizedException
from msgspec import Meta

from tollhouse.accounts.outcomes import AttemptThrottled, LoginSucceeded, TicketRefused
from tollhouse.accounts.passkeys.options import PasskeyOptions
from tollhouse.asgi.credentials import session_cookie
from tollhouse.asgi.ratelimit.headers import retry_after
from tollhouse.asgi.response import problem_response
from tollhouse.http.authentication import no_session
from tollhouse.http.challenges import Impersonated, challenge
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.limits.responses import TakeResponses
from tollhouse.http.problems import litestar_response, problem
from tollhouse.http.sessions.cap import cap_problem
from tollhouse.http.sessions.impersonation import login_response
from tollhouse.limits.decision import Decision
from tollhouse.sessions.outcomes import CapReached, SessionRefused
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.step_up import StepUpRefused

_DEVICE_LENGTH: Final = 120

CredentialJson = Annotated[
    dict[str, Any],
    Meta(description="What `PublicKeyCredential.toJSON()` returned in the browser: at most 64 KiB in each member."),
]
"""The answer of a passkey; `tollhouse.accounts.passkeys.answers` takes it apart."""
DeviceTokenText = Annotated[str, Meta(max_length=512)]
"""The device token of a client without cookies."""


def presented_device(request: Request[Any, Any, Any], cookies: SessionCookies, given: str | None) -> str | None:
    """Return the device token of the body, else of the cookie, else None."""
    return given or session_cookie(request.scope, cookies.device_name) or None


def device_name(request: Request[Any, Any, Any]) -> str | None:
    """Return the device name: the printable part of the User-Agent header, None if nothing is left."""
    user_agent = request.headers.get("user-agent", "")
    printable = "".join(character if character.isprintable() else " " for character in user_agent)
    return printable[:_DEVICE_LENGTH].strip() or None


async def login_answer(
    request: Request[Any, Any, Any],
    result: LoginSucceeded | AttemptThrottled | TicketRefused | CapReached | SessionRefused,
    sessions: Sessions,
    cookies: SessionCookies,
    transport: Literal["cookie", "bearer"],
) -> Response[Any]:
    """Return what a login answers, whatever its factor: the new session, or why there is none; raise for a ticket."""
    match result:
        case LoginSucceeded():
            given, by_cookie = (result.issued, result.device), transport == "cookie"
            return await login_response(request, *given, sessions, cookies, by_cookie=by_cookie)
        case AttemptThrottled():
            return throttled(result)
        case TicketRefused():
            raise ticket_refused()
        case CapReached():
            return cap_problem(result)
        case SessionRefused():
            return problem(409, "session-refused", "Session Refused", "end another session of this user first")
        case _:
            assert_never(result)


def options_response(options: PasskeyOptions) -> Response[Any]:
    """Return options as a page gives them to its browser."""
    return Response({"publicKey": options.public_key})


def passkey_refused(status: int = 401) -> Response[Any]:
    """Return the one problem for whatever is wrong with the answer of a passkey."""
    detail = "the passkey opens nothing here, or its answer is wrong or too late: ask for new options"
    headers = challenge(detail) if status == 401 else None
    return problem(status, "passkey-refused", "Passkey Refused", detail, headers=headers)


def no_passkey() -> Response[Any]:
    """Return 404 for an account that is to show a passkey, and has none."""
    return problem(404, "no-passkey", "No Passkey", "the account has no passkey: use another factor")


def ticket_refused() -> Exception:
    """Return what to raise for a ticket that opens nothing (any more)."""
    return NotAuthorizedException("the ticket is not good any more; log in again")


def limited(responses: TakeResponses, decision: Decision) -> Response[Any]:
    """Return 429 without the key, which would reveal the user name."""
    return litestar_response(responses.refusal(decision, reveal_key=False))


def throttled(refusal: AttemptThrottled) -> Response[Any]:
    """Return 429 with the time to wait: the same for every name, and for right and wrong passwords."""
    detail = "too many attempts that failed: wait before the next one, or use a device that logged in before"
    members, headers = {"retry_after_ms": refusal.retry_after_ms}, retry_after(refusal.retry_after_ms)
    return litestar_response(problem_response(429, "throttled", "Throttled", detail, members, headers=headers))


def wrong_password() -> Response[Any]:
    """Return 401 for a password that is not the one of the session's user."""
    detail = "the password is not the one of the session's user"
    return problem(401, "wrong-password", "Wrong Password", detail, headers=challenge(detail))


def step_up_error(refused: StepUpRefused) -> Exception:
    """Return what to raise for a session that is over, or in which another user acts."""
    if refused.reason == "over":
        return no_session()
    return Impersonated("another user acts in this session: end the impersonation instead")
