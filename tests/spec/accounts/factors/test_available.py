"""What an account has now: whether a password is enough, what may follow it, and how high its user gets."""

from __future__ import annotations

import pytest

from tollhouse.accounts.credentials.credentials import Credentials
from tollhouse.accounts.factors.available import highest_level, second_factors, second_level, takes_second_step
from tollhouse.accounts.factors.recovery import RecoveryCode
from tollhouse.accounts.factors.totp import TotpSeed

PLAIN = Credentials(user="ada", password=None, created_ms=0, revision="r")
SEED = TotpSeed(nonce="n", key_id="new", confirmed=True)
CODE = RecoveryCode(hash="h", key_id="old")
LEVELS = ("aal1", "aal2", "aal3")

#    the account, whether it takes a second step, factors under the secrets `new` and `old`, the highest level
ACCOUNTS = [
    (PLAIN, False, (), "aal1"),
    (PLAIN.changed(totp=TotpSeed(nonce="n", key_id="new")), False, (), "aal1"),
    (PLAIN.changed(recovery=(CODE,)), False, (), "aal1"),
    (PLAIN.changed(totp=SEED), True, ("totp",), "aal2"),
    (PLAIN.changed(totp=SEED, recovery=(CODE,)), True, ("totp", "recovery"), "aal2"),
    (PLAIN.changed(totp=SEED, recovery=(RecoveryCode(hash="h", key_id="gone"),)), True, ("totp",), "aal2"),
    (PLAIN.changed(totp=TotpSeed(nonce="n", key_id="gone", confirmed=True)), True, (), "aal2"),
]


@pytest.mark.parametrize(("account", "steps", "factors", "level"), ACCOUNTS)
def test_factors_are_those_of_now(account, steps, factors, level):
    """A factor is asked for if it is confirmed, named if its secret is configured, and counts for the highest level."""
    assert takes_second_step(account) is steps
    assert second_factors(account, ("new", "old")) == factors
    assert highest_level(account, LEVELS) == level


def test_the_second_level_is_the_second_of_all():
    """Of one level alone it is that."""
    assert second_level(LEVELS) == "aal2"
    assert second_level(("only",)) == "only"
