"""Step-up: the user of a session was authenticated anew, in the session and not by another login.

That resets its idle time and its lifetime (NIST SP 800-63B-4, 5.2), and opens a session that is locked. Level, methods
and time are those of this authentication alone (OpenID Connect Core, 2): who counts an earlier factor says so. The
secret is replaced as by `rotate`, so that no token of before has what this one may (ASVS 7.2.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.sessions import tokens
from tollhouse.sessions.logins import login_text, valid_login
from tollhouse.sessions.outcomes import Rotation
from tollhouse.sessions.presentation import IMPERSONATED, Presentations
from tollhouse.sessions.tokens import RandomBytes, Token
from tollhouse.sessions.verbs.rotator import Rotator


class StepUpRefused(Struct, frozen=True, kw_only=True):
    """Nothing was changed: the token opens no session and no locked one, or another user acts in it.

    Who acts as the user of a session that is `impersonated` has no factor of that user's to show.
    """

    reason: Literal["over", "impersonated"]

    def __bool__(self) -> Literal[False]:
        """Return False, so that a type checker knows a true result as `Rotation`."""
        return False


class StepUp:
    """Notes that users were authenticated anew."""

    def __init__(self, presentations: Presentations, rotator: Rotator, random_bytes: RandomBytes) -> None:
        self._presentations = presentations
        self._rotator = rotator
        self._random_bytes = random_bytes

    async def step_up(self, token: Token | str, acr: str | None, amr: Sequence[str]) -> Rotation | StepUpRefused:
        """Note that a user was authenticated, as `Sessions.step_up` does."""
        login = valid_login(acr, amr)
        shown = self._presentations.read("step_up", token)
        if shown is None:
            return StepUpRefused(reason="over")
        successor = replace(shown.token, secret=tokens.new_secret(self._random_bytes))
        reply, session, durable = await self._rotator.send("step_up", shown, successor, login_text(login))
        if session is None:
            return StepUpRefused(reason="impersonated" if reply[0] == IMPERSONATED else "over")
        return Rotation(session=session, token=successor, durable=durable)
