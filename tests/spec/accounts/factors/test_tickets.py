"""Tickets of logins in two steps: what a client holds whose password was right."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.accounts import ROTATED_SECRET
from tests.spec.stored import everything, keys_of
from tests.worlds import START_MS
from tollhouse.accounts.factors.tickets import ATTEMPTS, LIFE_MS, HeldLogin, LoginTicket, LoginTickets, parse_ticket
from tollhouse.errors import InvalidInput
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED

LOGIN = HeldLogin(user="ada", epoch="e1", policy="remember", device="a laptop", carry=True)
TICKET = LoginTicket(key_id="0123abcd", secret="A" * 43)
TEXT = TICKET.reveal()
SCRIPTS = ["accounts/hold_login", "accounts/find_login", "accounts/try_login", "accounts/spend_login"]

#    what is wrong, the text
MALFORMED = [
    ("nothing at all", ""),
    ("another version", TEXT.replace("s1.", "s2.", 1)),
    ("the version of a ticket at the cap", TEXT.replace("s1.", "t1.", 1)),
    ("a part too few", TEXT.rpartition(".")[0]),
    ("a part too many", TEXT + ".x"),
    ("a line feed at the end", TEXT + "\n"),
    ("a space in front", " " + TEXT),
    ("a secret in a second spelling", TEXT[:-1] + "9"),
    ("a secret that is too short", TEXT[:-1]),
    ("digits of another script", TEXT.replace("s1.", "s\u0661.", 1)),
]


@pytest.fixture
def tickets(world):
    return LoginTickets(world.stores.accounts, world.keyring, UNNAMED)


def test_a_ticket_reads_back_as_itself():
    """A ticket is parsed back into the same parts."""
    assert parse_ticket(TEXT) == TICKET


@pytest.mark.parametrize(("what", "text"), MALFORMED, ids=[what for what, _ in MALFORMED])
def test_what_is_no_ticket_is_refused(what, text):
    """One exact form, anything else is no ticket."""
    assert parse_ticket(text) is None


@given(st.one_of(st.text("abcABC0123456789-_.st", max_size=80), st.text(max_size=80)))
def test_no_other_text_is_a_ticket(text):
    """A text is a ticket only if the ticket is spelt like it."""
    found = parse_ticket(text)

    assert found is None or found.reveal() == text


@pytest.mark.parametrize("value", [None, 1, b"s1", TICKET])
def test_what_is_no_text_is_an_error(value):
    """A caller that passes something else made a mistake, which is named without the value."""
    with pytest.raises(InvalidInput) as raised:
        parse_ticket(value)

    assert (raised.value.field, raised.value.value) == ("ticket", type(value).__name__)


def test_a_ticket_hides_its_secret():
    """P5: no text that a log could get of a ticket has its secret."""
    assert TICKET.secret not in repr(TICKET)


async def test_a_ticket_finds_its_login(world, tickets):
    """What the client asked for with its password is kept for five minutes, as it was."""
    held = await tickets.hold(LOGIN)

    assert held.expires_at == START_MS + LIFE_MS
    assert await tickets.find(held.ticket) == LOGIN
    assert await tickets.find(held.ticket.reveal()) == LOGIN
    assert await tickets.attempt(held.ticket) == LOGIN


async def test_a_ticket_ends_by_time(world, tickets):
    """After five minutes a ticket opens nothing, and nothing of it is left."""
    held = await tickets.hold(LOGIN)
    await world.advance(LIFE_MS - 5_000)
    assert await tickets.find(held.ticket) == LOGIN

    await world.advance(5_000)

    assert await tickets.find(held.ticket) is None
    assert await tickets.attempt(held.ticket) is None
    assert await tickets.use_up(held.ticket) is False
    assert await keys_of(world, "accounts") == []


async def test_a_ticket_has_five_attempts(world, tickets):
    """Parallel attempts count like attempts in a row; a look counts as none."""
    held = await tickets.hold(LOGIN)

    found = await asyncio.gather(*(tickets.attempt(held.ticket) for _ in range(20)))

    assert found.count(LOGIN) == ATTEMPTS
    assert await tickets.find(held.ticket) is None


@pytest.mark.asvs("6.5.1")
async def test_a_ticket_is_good_once(world, tickets):
    """ASVS 6.5.1: of several requests with one ticket, one spends it."""
    held = await tickets.hold(LOGIN)

    spent = await asyncio.gather(*(tickets.use_up(held.ticket) for _ in range(10)))

    assert sorted(spent) == [False] * 9 + [True]
    assert await tickets.attempt(held.ticket) is None


async def test_a_second_run_keeps_what_the_first_one_wrote(world, tickets):
    """A call that is sent twice, for want of a reply, keeps one login with one end."""
    key = UNNAMED.login_ticket("ab" * 24)
    first = await world.stores.accounts.run("accounts/hold_login", (key,), ("{}", LIFE_MS))
    await world.advance(1_000)

    assert await world.stores.accounts.run("accounts/hold_login", (key,), ("{}", LIFE_MS)) == first


async def test_the_store_opens_no_ticket(world, tickets):
    """P5, P10: neither keys nor values have the secret, and a key has a digest alone."""
    held = await tickets.hold(LOGIN)

    ((key, stored),) = [entry async for entry in everything(world, "accounts")]

    assert held.ticket.secret.encode() not in stored
    assert held.ticket.secret not in key
    assert "ada" not in key


@pytest.mark.parametrize("text", ["", "s1.00000000." + "A" * 43, "s1." + "A" * 43])
async def test_a_ticket_that_is_none_opens_nothing(world, tickets, text):
    """A text that is malformed, or of a secret that no one has, is looked for nowhere."""
    assert await tickets.find(text) is None
    assert await tickets.attempt(text) is None
    assert await tickets.use_up(text) is False


async def test_a_rotation_of_the_secret_keeps_a_ticket(world, tickets):
    """While the older secret is configured, its tickets are good."""
    held = await tickets.hold(LOGIN)
    (old,) = world.keyring.secrets
    both, new = Keyring(secrets=(ROTATED_SECRET, old)), Keyring(secrets=(ROTATED_SECRET,))

    assert await LoginTickets(world.stores.accounts, both, UNNAMED).find(held.ticket) == LOGIN
    assert await LoginTickets(world.stores.accounts, new, UNNAMED).find(held.ticket) is None
