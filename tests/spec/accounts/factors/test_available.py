"""What an account has now: whether a password is enough, what may follow it, and how high its user gets."""

from __future__ import annotations

import pytest

from tollhouse.accounts.credentials.credentials import Credentials
from tollhouse.accounts.factors.available import highest_level, second_factors, second_level, takes_second_step
from tollhouse.accounts.factors.recovery import RecoveryCode
from tollhouse.accounts.factors.totp import TotpSeed
from tollhouse.accounts.passkeys.passkey import Passkey

PLAIN = Credentials(user="ada", password=None, created_ms=0, revision="r")
SEED = TotpSeed(nonce="n", key_id="new", confirmed=True)
CODE = RecoveryCode(hash="h", key_id="old")
KEY = Passkey(id="k", public_key=b"k", sign_count=0, name="n", created_ms=0)
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
    (PLAIN.changed(passkeys=(KEY,)), False, (), "aal2"),
    (PLAIN.changed(totp=SEED, passkeys=(KEY,)), True, ("totp", "passkey"), "aal2"),
]


@pytest.mark.parametrize(("account", "steps", "factors", "level"), ACCOUNTS)
def test_factors_are_those_of_now(account, steps, factors, level):
    """A factor is asked for if it is confirmed, named if its secret is configured, and counts for the highest level."""
    assert takes_second_step(account) is steps
    assert second_factors(account, ("new", "old"), passkeys=True) == factors
    assert highest_level(account, LEVELS, passkeys=True) == level


def test_passkeys_are_no_factor_while_the_settings_have_none():
    """What cannot be shown is not asked for, and keeps no user from a change."""
    both = PLAIN.changed(totp=SEED, passkeys=(KEY,))

    assert second_factors(both, ("new",), passkeys=False) == ("totp",)
    assert highest_level(PLAIN.changed(passkeys=(KEY,)), LEVELS, passkeys=False) == "aal1"


def test_the_second_level_is_the_second_of_all():
    """Of one level alone it is that."""
    assert second_level(LEVELS) == "aal2"
    assert second_level(("only",)) == "only"
