"""Trusted devices: a signed value that a client gets after a login and sends with the next (OWASP, device cookies).

A value is `d1.<key id>.<time of issue in ms>.<nonce>.<HMAC>`. The HMAC, under a key of its own for each secret of the
deployment, covers the name of the account: for any other account the value is nothing. It holds no secret and proves no
password; all that it gives is a count of failures of its own. So nothing is stored of a device until it fails.

A browser that several users share sends the values of all of them in one cookie, the last login first.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from tollhouse.keyring import Keyring

DEVICES_MAX: Final = 4
"""Values in one cookie; those of accounts whose logins are longer ago are dropped."""
SEPARATOR: Final = "~"

_LABEL: Final = "trusted-device"
_NONCE_BYTES: Final = 16
_VALUE: Final = re.compile(r"d1\.([0-9a-f]{8})\.([1-9][0-9]{0,14})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")


class TrustedDevice(Struct, frozen=True, kw_only=True):
    """A device of an account: what names its failures, and when it was issued, in milliseconds of the store's time."""

    nonce: str
    issued_ms: int


class DeviceToken:
    """The values to send next time; only `reveal` shows them."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text for the client: of its cookie, or for `device_token` of a login."""
        return self._text

    def __repr__(self) -> str:
        return "DeviceToken(<hidden>)"


def issue(
    keyring: Keyring,
    name: str,
    issued_ms: int,
    presented: str | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> DeviceToken:
    """Return a new value for a device of the account, before those of other accounts that were presented."""
    key_id, nonce = keyring.key_ids()[0], _text(random_bytes(_NONCE_BYTES))
    value = f"d1.{key_id}.{issued_ms}.{nonce}.{_mac(keyring, key_id, f'{issued_ms}.{nonce}', name)}"
    others = [one for one in _values(presented) if _verified(keyring, name, one) is None]
    return DeviceToken(SEPARATOR.join([value, *others][:DEVICES_MAX]))


def device_of(keyring: Keyring, name: str, presented: str | None) -> TrustedDevice | None:
    """Return the device of the account among the values that a client presented; None if there is none."""
    return next(filter(None, (_verified(keyring, name, value) for value in _values(presented))), None)


def _values(presented: str | None) -> list[str]:
    """Return what has the form of a value; more than a cookie may have is not read."""
    parts = [] if presented is None else presented.split(SEPARATOR, DEVICES_MAX)[:DEVICES_MAX]
    return [part for part in parts if _VALUE.fullmatch(part)]


def _verified(keyring: Keyring, name: str, value: str) -> TrustedDevice | None:
    _, key_id, issued, nonce, mac = value.split(".")
    expected = _mac(keyring, key_id, f"{issued}.{nonce}", name)
    if expected is None or not hmac.compare_digest(expected, mac):
        return None
    return TrustedDevice(nonce=nonce, issued_ms=int(issued))


def _mac(keyring: Keyring, key_id: str, signed: str, name: str) -> str | None:
    """Return the HMAC of a value for an account; None if the secret is no longer configured."""
    key = keyring.key(_LABEL, key_id)
    return None if key is None else _text(hmac.digest(key, f"{signed}.{name}".encode(), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
