"""The client of an attempt, as logs may show it."""

from __future__ import annotations

from tollhouse.accounts.login_client import LoginClient


def test_the_text_of_a_client_has_its_address_and_no_secret():
    """A traceback or a log that shows it gives no device away."""
    assert repr(LoginClient(address="192.0.2.1", device_token="d1.x")) == (
        "LoginClient('192.0.2.1', device_token=<hidden>)"
    )
