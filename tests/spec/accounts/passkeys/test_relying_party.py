"""Who asks for passkeys: a domain and origins that browsers accept, or an error that says what to write."""

from __future__ import annotations

import pytest

from tollhouse.accounts.passkeys.relying_party import RelyingParty, local_party, relying_party
from tollhouse.errors import ConfigurationError
from tollhouse.settings.passkeys import PasskeySettings

RP_ID, ORIGINS = "accounts.passkeys.rp_id", "accounts.passkeys.origins"

#    domain, origins
RIGHT = [
    ("example.com", ("https://example.com",)),
    ("example.com", ("https://login.example.com", "https://example.com:8443")),
    ("xn--bcher-kva.example", ("https://xn--bcher-kva.example",)),
    ("localhost", ("http://localhost:8000", "http://localhost", "https://localhost")),
    ("localhost", ("http://shop.localhost:3000",)),
    ("intranet", ("https://intranet",)),
]

#    domain, origins, the setting that is wrong, what the remedy says
WRONG = [
    ("127.0.0.1", (), RP_ID, "use a name, and localhost for a trial"),
    ("::1", (), RP_ID, "use a name"),
    ("[::1]", (), RP_ID, "use a name"),
    ("https://example.com", (), RP_ID, "a domain alone"),
    ("example.com:443", (), RP_ID, "a domain alone"),
    ("Example.com", (), RP_ID, "lower case"),
    ("bücher.example", (), RP_ID, "xn--"),
    ("example.com.", (), RP_ID, "a domain alone"),
    ("a..b", (), RP_ID, "a domain alone"),
    ("example.com", ("example.com",), ORIGINS, "https:// alone"),
    ("example.com", ("http://example.com",), ORIGINS, "https:// alone"),
    ("example.com", ("http://127.0.0.1:8000",), ORIGINS, "https:// alone"),
    ("example.com", ("https://example.com/",), ORIGINS, "as browsers do"),
    ("example.com", ("https://example.com/login",), ORIGINS, "as browsers do"),
    ("example.com", ("https://example.com?x",), ORIGINS, "as browsers do"),
    ("example.com", ("https://example.com#x",), ORIGINS, "as browsers do"),
    ("example.com", ("https://ada@example.com",), ORIGINS, "as browsers do"),
    ("example.com", ("https://Example.com",), ORIGINS, "as browsers do"),
    ("example.com", ("https://example.com:443",), ORIGINS, "as browsers do"),
    ("example.com", ("https://example.com:x",), ORIGINS, "give an origin"),
    ("example.com", ("https://[::1",), ORIGINS, "give an origin"),
    ("example.com", ("https://badexample.com",), ORIGINS, "or below it"),
    ("example.com", ("https://example.com.evil.example",), ORIGINS, "or below it"),
    ("login.example.com", ("https://example.com",), ORIGINS, "or below it"),
    (None, ("https://example.com",), RP_ID, "name the domain"),
]


@pytest.mark.parametrize(("domain", "origins"), RIGHT)
def test_pages_of_the_domain_and_below_it_may_ask(domain, origins):
    """The settings are taken as they are."""
    party = relying_party(PasskeySettings(rp_id=domain, origins=origins, rp_name="Acme"))

    assert party == RelyingParty(id=domain, name="Acme", origins=origins)


def test_by_default_the_pages_are_those_of_the_domain():
    """Without origins it is `https://` and the domain; without a domain there are no passkeys."""
    assert relying_party(PasskeySettings(rp_id="example.com")).origins == ("https://example.com",)
    assert relying_party(PasskeySettings()) is None


@pytest.mark.parametrize(("domain", "origins", "setting", "remedy"), WRONG)
def test_what_no_browser_takes_is_refused(domain, origins, setting, remedy):
    """The error names the setting, the value and what to write instead."""
    with pytest.raises(ConfigurationError) as refused:
        relying_party(PasskeySettings(rp_id=domain, origins=origins))

    assert refused.value.setting == setting
    assert remedy in refused.value.remedy


def test_a_trial_without_tls_is_of_this_machine_by_its_name():
    """An address is no domain, so it is `localhost`, on the port of the service."""
    assert local_party("Acme", 8000) == RelyingParty(id="localhost", name="Acme", origins=("http://localhost:8000",))
    assert local_party("Acme", 80).origins == ("http://localhost",)
