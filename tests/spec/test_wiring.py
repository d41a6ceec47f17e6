"""Wiring: what holds of a configuration before anything connects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tollhouse import wiring
from tollhouse.accounts.hashing.passwords import Passwords
from tollhouse.errors import ConfigurationError
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics
from tollhouse.sessions.sessions import Sessions
from tollhouse.settings import Settings

SECRET = b"a secret of 32 bytes, or of more"

#    settings, has a secret
SECRET_RULE: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"url": "embedded:///var/lib/tollhouse"}, True),
    ({"url": "embedded-sentinel://"}, True),
    ({"url": "fake://"}, True),
    ({"url": "redis://h"}, False),
    ({"url": "redis://h", "secret": (SECRET,)}, True),
    ({"sessions_url": "redis://h"}, False),
    ({"limits_url": "unix:///run/valkey.sock"}, False),
    (
        {"url": "redis://h", **{f"{name}_url": "embedded://" for name in ("sessions", "limits", "cache", "accounts")}},
        True,
    ),
]


@pytest.mark.parametrize(("values", "has_secret"), SECRET_RULE)
def test_a_store_outside_this_process_needs_a_secret(tmp_path: Path, values: dict[str, Any], has_secret: bool) -> None:
    """A secret is made only if every server is started by this process; else it must be set. One rule decides both."""
    if values.get("url", "").startswith("embedded:///"):
        values = {"url": f"embedded://{tmp_path}/data"}
    settings = Settings(**values)
    urls = wiring.store_urls(settings)

    secrets = wiring.resolve_secrets(settings, urls)

    assert wiring.has_secret(settings, urls) is has_secret
    assert bool(secrets) is has_secret


def test_sessions_and_passwords_name_the_setting_that_they_need() -> None:
    """Without a secret neither opens, and both errors name TOLLHOUSE_SECRET and what needs it."""
    keyring, metrics = Keyring(), Metrics()

    with pytest.raises(ConfigurationError) as sessions:
        Sessions(None, keyring, metrics)  # type: ignore[arg-type] - nothing is called
    with pytest.raises(ConfigurationError) as passwords:
        Passwords(keyring, metrics)

    assert {sessions.value.setting, passwords.value.setting} == {"TOLLHOUSE_SECRET"}
    assert sessions.value.remedy != passwords.value.remedy
    Keyring(secrets=(SECRET,)).require_secret("nothing")
