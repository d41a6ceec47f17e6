"""What counts an attempt: the keys of an account, a device and windows, and the rules of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Protocol

from msgspec import Struct

from tollhouse.accounts.throttling.failures import FailureRule
from tollhouse.accounts.throttling.windows import WindowRule
from tollhouse.settings.throttle import ThrottleSettings

Factor = Literal["password", "totp", "recovery"]
"""What is guessed at; each is counted apart."""

FIRST_WAIT_MS: Final = 1_000
DAY_MS: Final = 86_400_000


class Window(Struct, frozen=True, kw_only=True):
    """A window that counts an attempt, by its key."""

    key: str
    rule: WindowRule


class Charge(Struct, frozen=True, kw_only=True):
    """All that counts one attempt. Without a device `issued_ms` is 0, and no key of one is touched."""

    account: str
    rule: FailureRule
    ended: str
    device: str
    device_rule: FailureRule
    issued_ms: int
    windows: tuple[Window, ...]


class ThrottleVerdict(Struct, frozen=True, kw_only=True):
    """What a charge found: an attempt is charged if the device is `trusted`, or if no wait is left.

    `at_ms` is the time of the store. `waits_ms` are those of the account and of each window.
    """

    trusted: bool
    at_ms: int
    device_wait_ms: int
    waits_ms: tuple[int, ...] = ()

    @property
    def wait_ms(self) -> int:
        """How long the client has to wait until an attempt is charged again; 0 if this one was."""
        return 0 if self.trusted else max(self.waits_ms)


class Counters(Protocol):
    """What counts failures: the store, or this process while that is down."""

    async def begin(self, charge: Charge) -> ThrottleVerdict:
        """Charge an attempt as a failure, or refuse it and charge nothing."""
        ...

    async def settle(self, charge: Charge, verdict: ThrottleVerdict, *, right: bool) -> None:
        """Uncount a charged attempt that was no failure; a right one begins anew what counted it.

        If that was the device alone the account's row of failures ends, and the waits of other clients go on.
        """
        ...


class ThrottleRules(Struct, frozen=True, kw_only=True):
    """The numbers of the settings as rules."""

    factors: Mapping[Factor, FailureRule]
    device: FailureRule
    address: WindowRule
    site: WindowRule
    everyone: WindowRule

    @property
    def device_ms(self) -> int:
        """How long a device is trusted."""
        return self.device.kept_ms


def rules_of(settings: ThrottleSettings) -> ThrottleRules:
    """Return the rules of the settings."""
    kept_ms, code_ms = DAY_MS * settings.device_days, 1000 * settings.code_wait_s
    rest_ms = 1000 * settings.device_window_s
    password = FailureRule(
        free=settings.free_failures,
        wait_ms=min(FIRST_WAIT_MS, 1000 * settings.wait_max_s),
        wait_max_ms=1000 * settings.wait_max_s,
        memory_ms=1000 * settings.memory_s,
        row_max=settings.row_max,
        kept_ms=kept_ms,
    )
    code = FailureRule(
        free=settings.code_failures,
        wait_ms=code_ms,
        wait_max_ms=code_ms,
        memory_ms=1000 * settings.code_window_s,
        row_max=settings.row_max,
        kept_ms=kept_ms,
    )
    device = FailureRule(
        free=settings.device_failures,
        wait_ms=rest_ms,
        wait_max_ms=rest_ms,
        memory_ms=rest_ms,
        row_max=settings.row_max,
        kept_ms=kept_ms,
    )
    window_ms, failures = 1000 * settings.address_window_s, settings.address_failures
    return ThrottleRules(
        factors={"password": password, "totp": code, "recovery": code},
        device=device,
        address=WindowRule(failures=failures, window_ms=window_ms),
        site=WindowRule(failures=failures * settings.network_factor, window_ms=window_ms),
        everyone=WindowRule(failures=settings.all_failures, window_ms=1000 * settings.all_window_s),
    )
