"""What the verbs of passkeys return is as true as what it says."""

from __future__ import annotations

from tollhouse.accounts.passkeys.outcomes import PasskeyAdded, PasskeyConfirmed, PasskeyRefused
from tollhouse.accounts.passkeys.passkey import Passkey

PASSKEY = Passkey(id="abc", public_key=b"key", sign_count=7, name="my phone", created_ms=1)


def test_a_refusal_is_false():
    """So `if not await …` reads as it works."""
    outcomes = (PasskeyRefused(), PasskeyAdded(passkey=PASSKEY, durable=True), PasskeyConfirmed(rotation=None))

    assert list(map(bool, outcomes)) == [False, True, True]
