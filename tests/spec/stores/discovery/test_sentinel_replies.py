"""Why a Sentinel has no answer, and what the operator is to do."""

from __future__ import annotations

import pytest

from tollhouse.stores.discovery.sentinel_replies import explain_silence
from tollhouse.stores.transport.errors import DeadlinePassed, ServerError

SENTINEL = ("s1", 26379)

#    the error, what the reason names, whether asking again cannot help
FAILURES: list[tuple[Exception, str, bool]] = [
    (ServerError("ERR No such master with that name"), "SENTINEL MASTERS", True),
    (ServerError("IDONTKNOW"), "'main'", True),
    (ServerError("WRONGPASS invalid username-password pair"), "sentinel_user and sentinel_password", True),
    (ServerError("NOAUTH Authentication required."), "sentinel_user and sentinel_password", True),
    (ServerError("NOPERM no permissions"), "sentinel_user and sentinel_password", True),
    (ServerError("ERR unknown command 'SENTINEL', with args"), "name the Sentinels in the URL", True),
    (ServerError("DENIED running in protected mode"), "DENIED", False),
    (DeadlinePassed("no reply in time"), "250 ms", False),
    (ConnectionRefusedError(111, "refused"), "refused", False),
    (ConnectionError(), "ConnectionError", False),
]


@pytest.mark.parametrize(("error", "words", "permanent"), FAILURES)
def test_the_reason_names_the_sentinel_and_the_remedy(error: Exception, words: str, *, permanent: bool) -> None:
    """The reason has the Sentinel's address, and the remedy if asking again cannot help."""
    unavailable = explain_silence(SENTINEL, "main", error, 0.25)

    assert "s1:26379" in unavailable.reason
    assert words in unavailable.reason
    assert unavailable.permanent is permanent
