"""Trusted devices: the value that a client gets after a login, and what it is good for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.accounts.throttling.devices import DEVICES_MAX, SEPARATOR, device_of, issue
from tollhouse.keyring import Keyring

OLD, NEW = b"the old secret, of 32 bytes or more", b"the new secret, of 32 bytes or more"
KEYRING = Keyring(secrets=(OLD,))
ISSUED_MS = 1_800_000_000_000
ADA = issue(KEYRING, "ada", ISSUED_MS).reveal()


def test_a_device_is_one_of_its_account():
    """The value that a login gave shows a device of that account, with the time of the login."""
    device = device_of(KEYRING, "ada", ADA)

    assert device is not None
    assert device.issued_ms == ISSUED_MS


def test_a_device_of_one_account_is_nothing_for_another():
    """The signature covers the name, also one that another begins or ends with."""
    assert [device_of(KEYRING, name, ADA) for name in ("eve", "ada2", "da", "")] == [None] * 4


def test_no_two_devices_are_the_same():
    """Each login gives a device of its own, with failures of its own."""
    nonces = {device_of(KEYRING, "ada", issue(KEYRING, "ada", ISSUED_MS).reveal()).nonce for _ in range(100)}

    assert len(nonces) == 100


@pytest.mark.parametrize("keyring", [Keyring(secrets=(NEW, OLD)), Keyring(secrets=(OLD, NEW))])
def test_a_device_outlives_a_rotation_of_the_secret(keyring):
    """While the older secret is configured its devices are trusted; new ones are made under the newest."""
    assert device_of(keyring, "ada", ADA) is not None
    assert issue(keyring, "ada", ISSUED_MS).reveal().split(".")[1] == keyring.key_ids()[0]


def test_a_device_of_a_secret_that_is_gone_is_none():
    """Without its secret nothing can be verified."""
    assert device_of(Keyring(secrets=(NEW,)), "ada", ADA) is None


@given(st.integers(0, len(ADA) - 1), st.characters(codec="ascii"))
def test_a_changed_value_is_none(place, character):
    """No character can be another: not the time, the nonce, the key or the signature."""
    changed = ADA[:place] + character + ADA[place + 1 :]

    # The last character of base64 has bits that stand for nothing; the signature is compared as text all the same.
    assert (device_of(KEYRING, "ada", changed) is None) == (changed != ADA)


@given(st.one_of(st.none(), st.text(), st.binary().map(lambda data: data.decode("latin-1"))))
def test_whatever_a_client_sends_is_read_without_an_error(presented):
    """What is no value shows no device, whatever it is."""
    assert device_of(KEYRING, "ada", presented) is None


def test_users_of_one_browser_keep_their_devices():
    """A login keeps the values of other accounts and replaces that of its own."""
    shared = issue(KEYRING, "eve", ISSUED_MS, ADA).reveal()
    again = issue(KEYRING, "ada", ISSUED_MS + 1, shared).reveal()

    assert device_of(KEYRING, "ada", again).issued_ms == ISSUED_MS + 1
    assert device_of(KEYRING, "eve", again).issued_ms == ISSUED_MS
    assert again.count(SEPARATOR) == 1


def test_a_cookie_has_the_last_four_devices():
    """More are dropped, and what is no value too: a cookie has a bound."""
    presented = "nonsense"
    for number in range(10):
        presented = issue(KEYRING, f"user-{number}", ISSUED_MS, presented).reveal()

    found = [device_of(KEYRING, f"user-{number}", presented) is not None for number in range(10)]
    assert found == [False] * 6 + [True] * DEVICES_MAX
    assert len(presented) < 400


def test_a_device_hides_its_value():
    """No log and no error shows it by accident."""
    token = issue(KEYRING, "ada", ISSUED_MS)

    assert token.reveal() not in f"{token} {token!r}"
