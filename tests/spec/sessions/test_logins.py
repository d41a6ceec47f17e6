"""What a session tells of its login: the level, the methods, and who acts for the user."""

from __future__ import annotations

import pytest

from tests.sessions import verified
from tollhouse.errors import InvalidInput
from tollhouse.sessions.logins import Impersonation, LoginContext, login_text, read_login, valid_login
from tollhouse.sessions.sessions import Sessions


@pytest.mark.parametrize(
    "login",
    [
        LoginContext(),
        LoginContext(acr="aal1", amr=("pwd",)),
        LoginContext(acr="urn:mace:incommon:iap:silver", amr=("pwd", "otp", "x.y_z:1-2")),
        LoginContext(acr="https://example.com/acr/?loa=2#high"),
        LoginContext(amr=("hwk",), impersonation=Impersonation(actor="ada l", actor_sid="a" * 26, reason='"a" b,\n-')),
    ],
)
def test_a_login_is_read_as_it_was_stored(login):
    """Whatever may be stored comes back whole, also a text with spaces and quotes."""
    assert read_login(f"1800000000000 {login_text(login)}") == (1_800_000_000_000, login)


@pytest.mark.parametrize(
    ("field", "acr", "amr"),
    [
        ("acr", "", ()),
        ("acr", "-", ()),
        ("acr", "two words", ()),
        ("acr", 'a"b', ()),
        ("acr", "\u00e9", ()),
        ("acr", "a" * 129, ()),
        ("acr", 2, ()),
        ("amr", None, "pwd"),
        ("amr", None, 7),
        ("amr", None, ("",)),
        ("amr", None, ("-",)),
        ("amr", None, ("a b",)),
        ("amr", None, ("a,b",)),
        ("amr", None, ("a" * 33,)),
        ("amr", None, (None,)),
        ("amr", None, ("pwd",) * 9),
    ],
)
def test_a_claim_that_could_be_read_as_two_is_refused(field, acr, amr):
    """The error names the claim; nothing that the stored text uses between claims can be in one."""
    with pytest.raises(InvalidInput) as raised:
        valid_login(acr, amr)
    assert raised.value.field == field


async def test_a_session_tells_of_its_login(world):
    """The level, the methods and the time come back from create, verify and list alike."""
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics)
    issued = await sessions.create("ada", acr="aal2", amr=["pwd", "otp"])

    assert (issued.session.acr, issued.session.amr) == ("aal2", ("pwd", "otp"))
    assert issued.session.authenticated_at == world.now_ms
    await world.advance(1_000)
    assert await verified(sessions, issued.token) == issued.session
    assert await sessions.list("ada") == (issued.session,)
    unknown = await sessions.create("eve")
    assert (unknown.session.acr, unknown.session.amr, unknown.session.impersonation) == (None, (), None)
