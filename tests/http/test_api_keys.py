"""API keys: right ones wait for no store, wrong ones are limited by address, and a flood keeps few others out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from tests.http.client import ADMIN_KEY, SERVICE_KEY
from tests.http.twins import HEADERS, HttpRequest, Messages, Twins, twins
from tollhouse.errors import ScriptFailed, StoreUnavailable

HERE = ("203.0.113.9", 4711)
ELSEWHERE = ("198.51.100.1", 4711)
GUESSES = 10
"""The first limit of the policy `wrong-key`, in a minute."""
WITHOUT_KEY = tuple(header for header in HEADERS if header[0] != b"authorization")
TOKEN = b"v1.00000000." + b"ab" * 16 + b"." + b"a" * 26 + b"." + b"%s" + b"A" * 42


def with_key(key: bytes, client: tuple[str, int] = HERE, *, path: str = "/v1/limits/take") -> HttpRequest:
    method = "GET" if path == "/v1/limits" else "POST"
    return HttpRequest(path=path, method=method, headers=(*WITHOUT_KEY, (b"x-api-key", key)), client=client)


RIGHT = with_key(SERVICE_KEY.encode())
LISTING = with_key(SERVICE_KEY.encode(), path="/v1/limits")


def status(messages: Messages) -> int:
    return messages[0]["status"]


async def guess(both: Twins, guesses: int = GUESSES) -> list[int]:
    """Send so many different wrong keys; return the statuses."""
    answers = [await both.answers(with_key(b"a-guess-at-a-key-%d" % number)) for number in range(guesses)]
    assert [served for served, _ in answers] == [documented for _, documented in answers]
    return [status(served) for served, _ in answers]


@pytest.fixture
async def both() -> AsyncIterator[Twins]:
    async with twins() as made:
        yield made


async def test_an_address_that_guesses_is_refused_and_then_no_guess_is_tried(both: Twins) -> None:
    """Ten different wrong keys a minute are 401; from then on every key of the address is 429, a right one too."""
    statuses = await guess(both, GUESSES + 2)
    right = [await both.answers(request) for request in (RIGHT, LISTING, with_key(ADMIN_KEY.encode()))]
    elsewhere = await both.answers(replace(RIGHT, client=ELSEWHERE))

    assert statuses == [401] * GUESSES + [429] * 2
    for served, documented in right:
        assert served == documented
        assert status(served) == 429
        assert int(dict(served[0]["headers"])[b"retry-after"]) > 0
        assert HERE[0].encode() not in served[1]["body"]
        assert SERVICE_KEY.encode() not in served[1]["body"]
    assert status(elsewhere[0]) == status(elsewhere[1]) == 200


@pytest.mark.parametrize("before", [RIGHT, LISTING], ids=["a take", "another verb"])
async def test_a_key_that_was_accepted_from_an_address_stays_accepted_there(both: Twins, before: HttpRequest) -> None:
    """A flood of wrong keys from a shared address does not stop a service behind it that worked before, on any verb."""
    await both.answers(before)
    statuses = await guess(both, GUESSES + 2)

    for request in (RIGHT, LISTING):
        served, documented = await both.answers(request)
        assert served == documented
        assert status(served) == 200
    other_key = await both.answers(with_key(ADMIN_KEY.encode()))
    assert statuses[-1] == 429
    assert status(other_key[0]) == status(other_key[1]) == 429
    assert both.served.passed_on < both.documented.passed_on, "the fast path answered the takes"


async def test_a_connection_remembers_a_credential_for_its_address_alone() -> None:
    """A proxy sends requests of several clients over one connection: a key that one was accepted with is no pass.

    An address that has sent too many wrong keys then sends the right one, as another did before and does again.
    """
    right = [
        replace(RIGHT, headers=(*RIGHT.headers, (b"x-forwarded-for", client[0].encode()))).segments[0]
        for client in (ELSEWHERE, HERE)
    ]
    wrong = [right[1].replace(SERVICE_KEY.encode(), b"a-guess-at-a-key-%d" % number) for number in range(GUESSES + 1)]
    async with twins(trusted_proxies=("127.0.0.1",)) as both:
        served, documented = await both.exchanges([right[0], *wrong, right[1], right[0]])

    assert served == documented
    statuses = [message["status"] for message in served if message["type"] == "start"]
    assert statuses == [200, *[401] * GUESSES, 429, 429, 200]
    assert both.documented.passed_on - both.served.passed_on == 2


async def test_the_same_wrong_key_is_one_guess(both: Twins) -> None:
    """A client that goes on with an old key learns nothing: it is 401 for ever, and uses up no limit of its address."""
    wrong = [status((await both.answers(with_key(b"a-key-of-last-year")))[0]) for _ in range(3 * GUESSES)]
    right = await both.answers(RIGHT)

    assert set(wrong) == {401}
    assert status(right[0]) == status(right[1]) == 200


async def test_session_tokens_are_no_guesses(both: Twins) -> None:
    """A bearer token in the form of a session token is no key: sessions that are over are 401, however many."""
    asked = [
        replace(with_key(b""), headers=(*WITHOUT_KEY, (b"authorization", b"Bearer " + TOKEN % (b"%c" % (65 + number)))))
        for number in range(2 * GUESSES)
    ]

    statuses = [status((await both.answers(one))[0]) for one in asked]

    assert set(statuses) == {401}


async def test_a_right_key_calls_no_store(both: Twins) -> None:
    """Only wrong keys are counted, one call each, and none while their refusal is cached."""
    for twin in (both.served, both.documented):
        await twin.answer(LISTING)
        assert twin.store.calls == 0

    await guess(both, 3 * GUESSES)

    assert both.served.store.calls == both.documented.store.calls == GUESSES + 1


OUTAGES = [
    (StoreUnavailable("limits", "ambiguous", "no reply"), 401),
    (ScriptFailed("the server refused the script"), 503),
]


@pytest.mark.parametrize(("failure", "wanted"), OUTAGES)
async def test_an_outage_is_never_500_for_a_wrong_key(
    both: Twins, failure: StoreUnavailable | ScriptFailed, wanted: int
) -> None:
    """P8: while the store of limits is down the process counts wrong keys by itself; right keys need no store."""
    for twin in (both.served, both.documented):
        twin.store.failure = failure

    served, documented = await both.answers(with_key(b"a-guess-at-a-key"))
    listed = await both.answers(LISTING)

    assert served == documented
    assert status(served) == wanted
    assert status(listed[0]) == status(listed[1]) == 200
