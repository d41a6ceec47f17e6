"""All errors that Tollhouse raises, as one tree.

TollhouseError
├── ConfigurationError      a setting is missing or wrong; commands end with exit code 2
│   └── PasskeysOff         passkeys are used, and no setting names their domain; HTTP answers 404
├── InvalidInput            a value given by a caller is wrong; HTTP answers 400 or 422
│   ├── OutOfBounds         it is of the right type, so that a client may have sent it
│   └── WeakPassword        a new password that is too easy to guess; names the rules that it breaks
├── Overloaded              a bounded queue is full; nothing was done; HTTP answers 503
├── LoadFailed              a loader or model failed; HTTP answers 502
│   └── LoadTimeout         a model took longer than it may; HTTP answers 504
├── RateLimited             a function with a limit was called too often (limits/decision.py); HTTP answers 429
└── StoreError
    ├── StoreUnavailable    no reliable reply; HTTP answers 503
    ├── StoreRefused        with `strict`: a refusal that only a change of the setup mends; HTTP answers 503
    └── ScriptFailed        the server rejected the call: a defect, or a key of another type

A refusal (a reached limit, an unknown session, a wrong password) is a value, not an exception. RateLimited is the
exception to this rule, because a limited function can refuse only by raising.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self

Outcome = Literal["not-sent", "rejected", "ambiguous"]
"""The server never got the call, or refused it: nothing was changed · it may have run, or a part of it did."""

_SHOWN_MAX = 80
_REASON_MAX = 200
_OUTCOMES: Final[tuple[Outcome, ...]] = ("not-sent", "rejected", "ambiguous")


class TollhouseError(Exception):
    """The base class of all errors that Tollhouse raises on purpose. They can be pickled: pools of processes do so."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes a copy: the message and the fields, and not the arguments that they came from."""
        return _copy, (type(self), *self.args), vars(self)


class ConfigurationError(TollhouseError):
    """A setting that cannot be used; names the setting, the value (None if it is not set) and the remedy."""

    def __init__(self, setting: str, value: object, remedy: str) -> None:
        self.setting = setting
        self.value = value
        self.remedy = remedy
        super().__init__(f"{setting}: {'not set' if value is None else _shown(value)}: {remedy}")


class PasskeysOff(ConfigurationError):
    """A verb of passkeys is used, and no setting names the domain that they are for."""

    def __init__(self) -> None:
        super().__init__("accounts.passkeys.rp_id", None, "set it to the domain of your pages to turn passkeys on")


class InvalidInput(TollhouseError):
    """A value of the caller that cannot be used; names the field, the value and the remedy."""

    def __init__(self, field: str, value: object, remedy: str, *, kind: str = "invalid-input") -> None:
        self.field = field
        self.value = value
        self.remedy = remedy
        self.kind = kind
        super().__init__(f"{field}: {_shown(value)}: {remedy}")


class OutOfBounds(InvalidInput):
    """A value of the right type that is too long or too large, or has a character that cannot stand there."""


class WeakPassword(InvalidInput):
    """A new password that is too easy to guess; `rules` are the names of the rules that it breaks."""

    def __init__(self, rules: Sequence[str], remedy: str) -> None:
        self.rules = tuple(rules)
        super().__init__("password", "(hidden)", remedy, kind="weak-password")


class Overloaded(TollhouseError):
    """A bounded queue is full, or its deadline has passed. Nothing was done; the caller may retry."""

    def __init__(self, what: str, retry_after_ms: int) -> None:
        self.what = what
        self.retry_after_ms = retry_after_ms
        super().__init__(f"{what} is at its bound; retry in {retry_after_ms} ms")


class LoadFailed(TollhouseError):
    """A loader or model raised; the cause is chained. Nothing was cached."""


class LoadTimeout(LoadFailed):
    """A model took longer than it may. Nothing was cached; it may go on in its thread for a while."""


class StoreError(TollhouseError):
    """A call to a store failed.

    `outcome` is what may have happened: `not-sent` and `rejected` changed nothing, `ambiguous` may have run. Of a call
    that was sent twice, or that has several steps, it is the worst.
    """

    outcome: Outcome = "rejected"


class StoreUnavailable(StoreError):
    """The store gave no reliable reply."""

    def __init__(self, store: str, outcome: Outcome, reason: str) -> None:
        self.store = store
        self.outcome = outcome
        self.reason = reason
        super().__init__(f"store {store!r}: {reason} ({outcome})")


class StoreRefused(ConfigurationError, StoreError):
    """The server of a store refuses it until the setup is changed, as with a wrong password.

    It is raised in place of StoreUnavailable if `strict` is set, so that no outage rule hides the mistake.
    """

    def __init__(self, store: str, outcome: Outcome, reason: str, remedy: str) -> None:
        self.store = store
        self.outcome = outcome
        self.reason = reason
        super().__init__(f"store {store!r}", reason, remedy)
        self.args = (f"store {store!r}: {reason}; {remedy} ({outcome})",)


class ScriptFailed(StoreError):
    """The server answered a script with an error that does not mean an outage."""

    def __init__(self, message: str, outcome: Outcome = "rejected") -> None:
        self.outcome = outcome
        super().__init__(message)


def worst(*outcomes: Outcome) -> Outcome:
    """Return the outcome of a whole whose parts had these: what is not known of one is not known of all."""
    return max(outcomes, key=_OUTCOMES.index)


class Steps:
    """A call of several steps: if one fails and an earlier one ran, the error of the call is ambiguous.

    The caller sets `begun` after the first step that may have changed something.
    """

    def __init__(self) -> None:
        self.begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.begun and isinstance(error, StoreError) and error.outcome != "ambiguous":
            raise _after_others(error) from error


def require_type(field: str, value: object, kind: Any, remedy: str) -> None:
    """Raise InvalidInput for a value of another type; it names that type alone, because the value may be a secret."""
    if not isinstance(value, kind):
        raise InvalidInput(field, type(value).__name__, remedy)


def brief(error: Exception) -> str:
    """Return what an error says, cut if it repeats a long value."""
    text = str(error)
    return text if len(text) <= _REASON_MAX else text[: _REASON_MAX - 3] + "..."


def _copy(kind: type[TollhouseError], *args: object) -> TollhouseError:
    return kind.__new__(kind, *args)


def _after_others(error: StoreError) -> StoreError:
    """Return the error of a step as that of a call of which earlier steps ran."""
    ran = "; earlier steps of the call ran"
    match error:
        case StoreUnavailable():
            return StoreUnavailable(error.store, "ambiguous", error.reason + ran)
        case StoreRefused():
            return StoreRefused(error.store, "ambiguous", error.reason + ran, error.remedy)
        case _:
            return ScriptFailed(f"{error}{ran}", "ambiguous")


def _shown(value: object) -> str:
    """Return a short text for a value, at a cost that does not grow with the value."""
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= _SHOWN_MAX else repr(value[: _SHOWN_MAX - 3]) + "..."
    if isinstance(value, int) and value.bit_length() > _SHOWN_MAX:
        return f"an integer of {value.bit_length()} bits"
    return reprlib.repr(value)
