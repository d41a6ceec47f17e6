"""What a failed call may have done: the classes that decide whether it may be tried again."""

from __future__ import annotations

from typing import Final, Literal

Verdict = Literal["load-script", "reconnect", "refuse", "defect"]
"""Load the script and send once more · find the primary and send once more · an outage · not an outage."""

_VERDICTS: Final[dict[str, Verdict]] = {
    "NOSCRIPT": "load-script",
    "READONLY": "reconnect",
    "REDIRECT": "reconnect",
    "MASTERDOWN": "reconnect",
    "NOREPLICAS": "reconnect",
    "LOADING": "reconnect",
    "UNBLOCKED": "reconnect",
    "BUSY": "refuse",
    "OOM": "refuse",
    "MISCONF": "refuse",
    "NOPERM": "refuse",
    "NOAUTH": "refuse",
    "WRONGPASS": "refuse",
    "MAXCLIENTS": "refuse",
    "MOVED": "refuse",
    "ASK": "refuse",
    "TRYAGAIN": "refuse",
    "CLUSTERDOWN": "refuse",
}


class ServerError(Exception):
    """An error reply: the server answered, and did not do what was asked."""

    @property
    def code(self) -> str:
        """The first word, such as READONLY; scripts add their own text behind it."""
        return str(self).partition(" ")[0]


class LaneLost(Exception):
    """The connection ended after the call was sent: it may or may not have run."""


class LaneFull(Exception):
    """The connection's bound on calls or bytes in flight is reached: the call was not sent."""


class DeadlinePassed(Exception):
    """No reply arrived in time: the call was sent and may run still."""


CALL_FAILED: Final = (ServerError, LaneLost, LaneFull, DeadlinePassed)
"""All that a call on a lane can raise."""


def verdict(error: ServerError) -> Verdict:
    """Tell what an error reply asks for; whatever is not known is a defect of the call."""
    text = str(error)
    if text.startswith("ERR max number of clients"):
        return "refuse"
    return _VERDICTS.get(error.code, "defect")
