"""What a process remembers of refusals."""

from __future__ import annotations

from tollhouse.accounts.throttling.charges import Charge, ThrottleVerdict, rules_of
from tollhouse.accounts.throttling.refusals import Refusals
from tollhouse.settings.throttle import ThrottleSettings

RULES = rules_of(ThrottleSettings())


def charge(account):
    """Return an attempt at an account that nothing else counts."""
    rule = RULES.factors["password"]
    names = {"account": account, "ended": "ended", "device": "device"}
    return Charge(**names, rule=rule, device_rule=RULES.device, issued_ms=0, windows=())


def test_a_process_remembers_a_bounded_number():
    """Beyond it those that refused first are forgotten."""
    refusals = Refusals(clock=lambda: 0, keys_max=2)

    for account in ("ada", "eve", "kim"):
        verdict = ThrottleVerdict(trusted=False, at_ms=0, device_wait_ms=0, waits_ms=(500,))
        refusals.store(charge(account), verdict, 0)

    assert [refusals.wait_of(charge(account)) for account in ("ada", "eve", "kim")] == [0, 500, 500]
