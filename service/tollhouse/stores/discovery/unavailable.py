"""Why a server or a Sentinel gave no usable answer, in words for operators."""

from __future__ import annotations

from msgspec import Struct

from tollhouse.stores.transport.errors import LOGIN_CODES, DeadlinePassed, ServerError


class Unavailable(Struct, frozen=True, kw_only=True):
    """Why there is no answer; `permanent` when asking again cannot help until the setup is changed."""

    reason: str
    permanent: bool = False


def explain(place: str, error: Exception, *, timeout_s: float, login_remedy: str) -> Unavailable:
    """Return why `place` could not be asked. Only a refused login is permanent; its reason ends with the remedy."""
    if isinstance(error, ServerError) and error.code in LOGIN_CODES:
        return Unavailable(reason=f"{place} refused the login: {error}; {login_remedy}", permanent=True)
    if isinstance(error, TimeoutError | DeadlinePassed):
        return Unavailable(reason=f"{place}: no answer within {timeout_s * 1000:g} ms; if it is far, set round_trip_ms")
    return Unavailable(reason=f"{place}: {str(error) or type(error).__name__}")
