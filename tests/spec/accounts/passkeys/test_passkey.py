"""A passkey as it is stored: what its use changes, what its name may be, and that twenty of them fit a record."""

from __future__ import annotations

import pytest

from tollhouse.accounts.credentials.credentials import Credentials, decode_credentials
from tollhouse.accounts.passkeys.passkey import (
    ID_BYTES_MAX,
    KEY_BYTES_MAX,
    NAME_MAX,
    PASSKEYS_MAX,
    TRANSPORT_MAX,
    TRANSPORTS_MAX,
    Passkey,
    passkey_of,
    required_name,
)
from tollhouse.errors import InvalidInput

PASSKEY = Passkey(id="abc", public_key=b"key", sign_count=7, name="my phone", created_ms=1)
LARGEST = Passkey(
    id="x" * (-(-ID_BYTES_MAX * 4 // 3)),
    public_key=b"\xff" * KEY_BYTES_MAX,
    sign_count=2**32 - 1,
    name="\U0001f511" * NAME_MAX,
    created_ms=10**13,
    last_used_ms=10**13,
    synced=True,
    transports=("x" * TRANSPORT_MAX,) * TRANSPORTS_MAX,
)


def test_a_use_is_noted():
    """The counter and whether it is backed up are those of the use; the rest stays."""
    used = PASSKEY.used(sign_count=8, synced=True, now_ms=5)

    assert (used.sign_count, used.synced, used.last_used_ms) == (8, True, 5)
    assert (used.id, used.public_key, used.name, used.created_ms) == ("abc", b"key", "my phone", 1)


def test_its_method_says_whether_the_key_leaves_the_device():
    """RFC 8176: `hwk` for a key in hardware, `swk` for one that a service keeps in sync."""
    assert PASSKEY.method == "hwk"
    assert PASSKEY.used(sign_count=8, synced=True, now_ms=5).method == "swk"


def test_it_is_found_by_its_id():
    """None if the account has no passkey of this id."""
    assert passkey_of((PASSKEY,), "abc") is PASSKEY
    assert passkey_of((PASSKEY,), "ABC") is None


def test_twenty_of_them_fit_a_record():
    """The record of an account with as many passkeys as may be, each as large as may be, has less than 64 KiB."""
    account = Credentials(user="a" * 255, password=None, created_ms=1, revision="r", passkeys=(LARGEST,) * PASSKEYS_MAX)

    encoded = account.encoded()

    assert len(encoded) < 62 * 1024
    assert decode_credentials(encoded) == account


@pytest.mark.parametrize(("name", "kept"), [("my phone", "my phone"), ("  work  ", "work"), ("e\u0301", "é")])
def test_a_name_is_what_its_user_reads(name, kept):
    """Trimmed, and in NFC."""
    assert required_name(name) == kept


@pytest.mark.parametrize(
    "name", ["", "   ", "x" * 65, "x" * 100_000, "a\nb", "a\x00", "\u202e", "\ud800", 7, None, b"x"]
)
def test_what_cannot_be_read_is_no_name(name):
    """The error names the field, and repeats little of what was sent."""
    with pytest.raises(InvalidInput) as refused:
        required_name(name)

    assert refused.value.field == "name"
    assert len(str(refused.value)) < 300
