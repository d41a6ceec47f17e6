"""Passkeys by the settings: for a domain, in a trial for this machine, and with the package that verifies them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tollhouse
from tollhouse.accounts.passkeys.relying_party import RelyingParty
from tollhouse.errors import ConfigurationError, PasskeysOff
from tollhouse.settings import Settings
from tollhouse.settings.accounts import AccountSettings
from tollhouse.settings.passkeys import PasskeySettings
from tollhouse.wiring.passkeys import passkey_party

DOMAIN = AccountSettings(passkeys=PasskeySettings(rp_id="example.com"))
SECRET = (b"a secret for tests, 32 bytes or more",)


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process one that has no package `webauthn`."""
    monkeypatch.setitem(sys.modules, "webauthn", None)


def test_a_domain_turns_passkeys_on() -> None:
    """Without one there are none, unless it is a trial on this machine."""
    assert passkey_party(Settings(accounts=DOMAIN)).id == "example.com"
    assert passkey_party(Settings()) is None
    local = RelyingParty(id="localhost", name="Tollhouse", origins=("http://localhost:8001",))
    assert passkey_party(Settings(plain_http=True, port=8001)) == local
    assert passkey_party(Settings(plain_http=True, accounts=DOMAIN)).id == "example.com"


@pytest.mark.usefixtures("without_package")
def test_a_trial_without_the_package_has_no_passkeys() -> None:
    """They were not asked for, so that is no error."""
    assert passkey_party(Settings(plain_http=True)) is None


@pytest.mark.usefixtures("without_package")
def test_a_domain_without_the_package_is_an_error_at_the_start() -> None:
    """The error says what to install."""
    with pytest.raises(ConfigurationError) as refused:
        tollhouse.open(Settings(url="fake://", secret=SECRET, accounts=DOMAIN))

    assert refused.value.setting == "accounts.passkeys.rp_id"
    assert "pip install 'tollhouse[webauthn]'" in str(refused.value)


async def test_open_has_the_passkeys_of_its_settings() -> None:
    """Those of the domain, and an error that names the setting if there is none."""
    async with tollhouse.open(Settings(url="fake://passkeys-on", secret=SECRET, accounts=DOMAIN)) as opened:
        assert opened.accounts.passkeys.login_options().public_key["rpId"] == "example.com"
    async with tollhouse.open(Settings(url="fake://passkeys-off", secret=SECRET)) as opened:
        with pytest.raises(PasskeysOff, match=r"accounts\.passkeys\.rp_id: not set"):
            _ = opened.accounts.passkeys


def test_an_error_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    """When the settings are read, before anything starts."""
    file = tmp_path / "tollhouse.toml"
    file.write_text('[accounts.passkeys]\nrp_id = "127.0.0.1"\n', encoding="utf-8")

    with pytest.raises(ConfigurationError) as refused:
        tollhouse.load_settings(file, environ={})

    assert refused.value.setting == "tollhouse.toml: accounts.passkeys.rp_id"
    assert "localhost" in refused.value.remedy
