"""Renewal: a browser whose session is due for another token gets it with whichever response is the next.

The token is asked for as soon as the request was identified: later, the secret that it was sent with might be past its
grace, which would look like theft. All requests that run side by side get the same one, and none gets one back that
it had. A response that begins much later leaves the cookie as it is, because it may have been replaced again since;
the next request gets it. So does one that sets the cookie itself, as a login or a logout.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, cast

from litestar.types import Message, Send

from tollhouse.asgi.types import Headers
from tollhouse.errors import StoreError
from tollhouse.http.cookies import SessionCookies
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import Rotation
from tollhouse.sessions.policies import RENEW_MS_MIN
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token

FRESH_S: Final = RENEW_MS_MIN / 2 / 1000
"""How long a renewed token may wait for its response to begin: well before it can be replaced in its turn."""

WAIT_S: Final = 0.25
"""How long a request waits for its renewal, which it can do without: a primary that may not write lets callers wait."""


class Renewals:
    """Renews the tokens of cookies, and puts them into responses."""

    def __init__(
        self,
        sessions: Sessions,
        metrics: Metrics,
        cookies: SessionCookies,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._metrics = metrics
        self._cookies = cookies
        self._clock = clock

    async def renew(self, token: Token) -> Rotation | None:
        """Return what replaces the token of a session that is due for it; None if nothing does.

        If the store does not answer soon, the request goes on with the token that it has, which stays good, also if the
        renewal is done later; the next request asks again.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                rotation = await self._sessions.renew(token)
        except (StoreError, TimeoutError):
            self._metrics.session("renew", "failed")
            return None
        return None if rotation is None or rotation.token == token else rotation

    def setting_cookie(self, rotation: Rotation, send: Send) -> Send:
        """Return a `send` that adds the cookie of a renewed token to the response."""
        _, value = self._cookies.holding(rotation.token, rotation.session).to_encoded_header()
        own, until_s = f"{self._cookies.name}=".encode(), self._clock() + FRESH_S

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and self._clock() < until_s:
                headers = cast("Headers", cast("dict[str, Any]", message).setdefault("headers", []))
                if not any(name.lower() == b"set-cookie" and text.startswith(own) for name, text in headers):
                    headers.append((b"set-cookie", value))
            await send(message)

        return sending
