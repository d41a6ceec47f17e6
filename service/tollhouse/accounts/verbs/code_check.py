"""The check of a code that the verbs of accounts share.

An attempt is charged before the code is compared, to the codes of its user and factor alone: guesses at codes use up no
attempts at the password, nor the other way round. Who has no password of the user, and no session, gets not so far.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tollhouse.accounts.credentials.credentials import Credentials
from tollhouse.accounts.factors.codes import CodeFactor, Codes
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import AttemptThrottled, WrongCode
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.metrics import Metrics
from tollhouse.sessions.events.notes import AccountEvents


class CodeCheck:
    """Charges attempts, and spends codes that are right."""

    def __init__(self, codes: Codes, throttle: Throttle, events: AccountEvents, metrics: Metrics) -> None:
        self._codes = codes
        self._throttle = throttle
        self._events = events
        self._metrics = metrics

    def required(self, factor: CodeFactor, text: str) -> str:
        """Return the code in a text; raises InvalidInput for what no code of this factor can be."""
        return self._codes.required(factor, text)

    async def spend(
        self,
        factor: CodeFactor,
        user: str,
        code: str,
        client: LoginClient,
        load: Callable[[], Awaitable[Credentials | None]],
    ) -> Credentials | WrongCode | AttemptThrottled | None:
        """Return the credentials if the code is right, which is spent then; count an attempt that is wrong.

        They are loaded once the attempt is charged. If there are none, nothing is compared or counted: None.
        """
        attempt = await self._throttle.begin(factor, user, client)
        if isinstance(attempt, AttemptThrottled):
            self._metrics.login("throttled")
            return attempt
        try:
            found = await load()
            if found is None:
                return None
            attempt.on_begin()
            spent = await self._codes.spend(found, factor, code)
            if spent is None:
                self._metrics.login("wrong")
                return WrongCode()
            attempt.on_match()
            self._throttle.begin_to_settle(attempt)
            if factor == "recovery":
                await self._events.write("recovery-code-used", user)
            return spent.credentials
        finally:
            await self._throttle.settle(attempt)
