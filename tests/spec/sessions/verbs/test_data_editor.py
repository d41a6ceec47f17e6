"""Session data: changes merge, versions are checked, sizes are bounded, and nothing comes back with them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sessions import counted, verified
from tests.spec.stored import assert_sound, records
from tests.worlds import SCRIPTS, StoreWorld
from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.revocation_log import RevocationLog
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.data_editor import (
    DATA_BYTES_MAX,
    DATA_NAMES_MAX,
    NUMBER_MAX,
    DataRefused,
    DataResult,
    SessionData,
)
from tollhouse.sessions.verbs.rotator import GRACE_MS

MINUTE_MS = 60_000
POLICIES = {"default": SessionPolicy(idle_ms=20 * MINUTE_MS, absolute_ms=60 * MINUTE_MS, renew_ms=MINUTE_MS)}
OVER = DataRefused(reason="over")


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)


async def refused(call):
    with pytest.raises(InvalidInput) as raised:
        await call
    return raised.value.field


async def test_a_new_session_has_no_data(sessions):
    """Its version is 1."""
    issued = await sessions.create("ada")

    assert await sessions.data(issued.token) == SessionData(values={}, version=1)


async def test_a_session_may_begin_with_data(world, sessions):
    """Its values are there with the session, without None; its bounds count them as if they had been patched in."""
    full = {"lang": "de", "gone": None, "cart": [1], "text": "x" * (DATA_BYTES_MAX - 24)}
    issued = await sessions.create("ada", data=full)

    assert await sessions.data(issued.token) == SessionData(
        values={name: value for name, value in full.items() if value is not None}, version=1
    )
    too_large = await sessions.patch(issued.token, {"text": "x" * (DATA_BYTES_MAX - 23)})
    assert too_large == DataRefused(reason="too-large", version=1)
    assert await sessions.patch(issued.token, {"text": None, "more": 1}) == DataResult(version=2)
    await assert_sound(world)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"text": "x" * (DATA_BYTES_MAX - 6)}, "data"),
        ({f"n{number}": 1 for number in range(DATA_NAMES_MAX + 1)}, "data"),
        ({"a b": 1}, "name"),
        ({"a": object()}, "a"),
        (["a"], "data"),
    ],
    ids=["bytes", "values", "name", "value", "no names"],
)
async def test_a_session_with_data_that_cannot_be_is_not_created(world, sessions, data, field):
    """Nothing is written, and the error names what is wrong."""
    assert await refused(sessions.create("ada", data=data)) == field
    assert await records(world) == []


async def test_a_patch_changes_what_it_names(world, sessions):
    """Values are set and removed by name, the others stay, and each patch raises the version."""
    token = (await sessions.create("ada")).token

    assert await sessions.patch(token, {"theme": "dark", "cart": [1, {"n": None}], "step": 2}) == DataResult(version=2)
    assert await sessions.patch(token, {"theme": "light", "step": None, "absent": None}) == DataResult(version=3)

    assert await sessions.data(token) == SessionData(values={"theme": "light", "cart": [1, {"n": None}]}, version=3)
    assert counted(world, "patch", "ok") == 2
    await assert_sound(world)


async def test_changes_side_by_side_are_all_kept(world, sessions):
    """No update is lost: 20 patches of 20 names and 50 increments, in two processes, leave all of them."""
    other = Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)
    token = (await sessions.create("ada")).token
    processes = (sessions, other)

    await asyncio.gather(
        *(processes[number % 2].patch(token, {f"n{number}": number}) for number in range(20)),
        *(processes[number % 2].increment(token, "visits") for number in range(50)),
    )

    expected = {f"n{number}": number for number in range(20)} | {"visits": 50}
    assert await sessions.data(token) == SessionData(values=expected, version=71)


async def test_a_patch_of_another_version_changes_nothing(sessions):
    """Of two that read the same version, one changes the data and the other is told the new version."""
    token = (await sessions.create("ada")).token

    answers = await asyncio.gather(*(sessions.patch(token, {"a": number}, version=1) for number in range(2)))

    assert sorted(answers, key=bool) == [DataRefused(reason="version", version=2), DataResult(version=2)]
    assert await sessions.patch(token, {"a": 9}, version=2) == DataResult(version=3)


async def test_one_caller_takes_a_value(world, sessions):
    """Of 20 who take a value at once, one gets it and it is gone; if there is none, nothing is written."""
    token = (await sessions.create("ada")).token
    await sessions.patch(token, {"flash": "saved", "kept": 1})

    answers = await asyncio.gather(*(sessions.take(token, "flash") for _ in range(20)))

    assert sorted(answer.value or "" for answer in answers) == [""] * 19 + ["saved"]
    assert await sessions.data(token) == SessionData(values={"kept": 1}, version=3)


async def test_a_sum_counts_from_zero(sessions):
    """A number that does not exist is 0, steps may be negative, and a patch may set what is added to."""
    token = (await sessions.create("ada")).token

    assert await sessions.increment(token, "n") == DataResult(version=2, value=1)
    assert await sessions.increment(token, "n", -5) == DataResult(version=3, value=-4)
    await sessions.patch(token, {"n": 40})
    assert await sessions.increment(token, "n", 2) == DataResult(version=5, value=42)
    assert (await sessions.data(token)).values == {"n": 42}


@pytest.mark.parametrize("value", ["1", 1.5, [1], True, 10**14, -(10**14)])
async def test_what_is_no_whole_number_is_not_added_to(sessions, value):
    """It stays as it is, and the refusal says why."""
    token = (await sessions.create("ada")).token
    await sessions.patch(token, {"n": value})

    assert await sessions.increment(token, "n") == DataRefused(reason="not-a-number", version=2)

    assert (await sessions.data(token)).values == {"n": value}


async def test_a_sum_stays_a_number_that_every_reader_has(sessions):
    """A sum of more than 14 digits is refused."""
    token = (await sessions.create("ada")).token
    await sessions.increment(token, "n", NUMBER_MAX - 1)

    assert await sessions.increment(token, "n", 1) == DataRefused(reason="not-a-number", version=2)
    assert (await sessions.increment(token, "n", 1 - NUMBER_MAX)).value == 0
    assert (await sessions.increment(token, "n", 1 - NUMBER_MAX)).value == 1 - NUMBER_MAX


async def test_the_data_of_a_session_is_bounded_in_bytes(sessions):
    """P10: names and values have at most 16 KiB; a change that exceeds it is refused whole, a smaller one is not."""
    token = (await sessions.create("ada")).token
    full = "x" * (DATA_BYTES_MAX - len(".full") - 2)

    assert await sessions.patch(token, {"full": full}) == DataResult(version=2)
    too_large = DataRefused(reason="too-large", version=2)
    assert await sessions.patch(token, {"full": full + "x"}) == too_large
    assert await sessions.patch(token, {"full": full, "n": 1}) == too_large
    assert await sessions.increment(token, "n") == too_large
    assert await sessions.patch(token, {"full": full[1:]}) == DataResult(version=3)
    assert await sessions.patch(token, {"full": None, "n": 1}) == DataResult(version=4)
    assert (await sessions.data(token)).values == {"n": 1}


async def test_what_exceeds_every_bound_is_not_sent(world, sessions):
    """A patch of megabytes costs no call."""
    token = (await sessions.create("ada")).token
    await world.stores.sessions.aclose()

    assert await sessions.patch(token, {"a": "x" * 100_000}) == DataRefused(reason="too-large")


async def test_the_data_of_a_session_is_bounded_in_names(sessions):
    """P10: a session has at most 64 values; one that is removed makes room."""
    token = (await sessions.create("ada")).token
    await sessions.patch(token, {f"n{number}": number for number in range(DATA_NAMES_MAX)})

    assert await sessions.patch(token, {"more": 1}) == DataRefused(reason="too-large", version=2)
    assert await sessions.increment(token, "more") == DataRefused(reason="too-large", version=2)
    assert await sessions.patch(token, {"more": 1, "n0": None}) == DataResult(version=3)
    await sessions.take(token, "n1")
    assert await sessions.increment(token, "last") == DataResult(version=5, value=1)


@given(
    steps=st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers() | st.text(max_size=9), min_size=1),
        max_size=12,
    )
)
def test_patches_agree_with_a_dictionary(steps):
    """RFC 7396 for the names of a session: whatever is set and removed, the data is that of a dictionary."""

    async def compare():
        world = StoreWorld("fake", "fake://patches")
        await world.clear()
        sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)
        token, expected = (await sessions.create("ada")).token, {}
        for changes in steps:
            assert isinstance(await sessions.patch(token, changes), DataResult)
            expected = {name: value for name, value in (expected | changes).items() if value is not None}
            assert (await sessions.data(token)).values == expected
        (record,) = await records(world)
        sizes = {name: len(value) for name, value in record.fields.items() if name.startswith(".")}
        assert int(record.fields.get("k", 0)) == len(sizes)
        assert isinstance(await sessions.patch(token, {"z": 1}), DataResult)
        await world.stores.aclose()

    asyncio.run(compare())


async def test_data_of_a_session_that_is_over_is_refused(world, sessions):
    """P4: an update without a record is refused and never makes one."""
    token = (await sessions.create("ada")).token
    await sessions.patch(token, {"a": 1})
    await sessions.revoke("ada", token.sid)
    forgetful = Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)

    assert await forgetful.data(token) is None
    assert await forgetful.patch(token, {"a": 2}) == OVER
    assert await forgetful.take(token, "a") == OVER
    assert await forgetful.increment(token, "b") == OVER

    assert await records(world) == []
    await assert_sound(world)


async def test_a_wrong_secret_reads_and_changes_nothing(world, sessions):
    """The sid of a session is public: without its secret its data is not."""
    issued, other = await sessions.create("ada"), await sessions.create("ada")
    await sessions.patch(issued.token, {"a": 1})
    guess = issued.token.reveal().replace(issued.token.secret, other.token.secret)

    for text in (guess, "", "v1.x"):
        assert await sessions.data(text) is None
        assert await sessions.patch(text, {"a": 2}) == OVER
        assert await sessions.take(text, "a") == OVER
        assert await sessions.increment(text, "a") == OVER

    assert (await sessions.data(issued.token)).values == {"a": 1}


async def test_data_survives_rotation_and_renewal(world, sessions):
    """It belongs to the session, whatever its secret; a former one reads it in its grace and ends the session after."""
    first = (await sessions.create("ada")).token
    await sessions.patch(first, {"a": 1})
    await world.advance(MINUTE_MS)
    renewed = (await sessions.renew(first)).token

    assert (await sessions.data(first)).values == {"a": 1}
    await verified(sessions, renewed)
    await world.advance(GRACE_MS + 1)
    rotated = (await sessions.rotate(renewed)).token
    assert (await sessions.data(rotated)).values == {"a": 1}

    await world.advance(MINUTE_MS)
    last = (await sessions.renew(rotated)).token
    await verified(sessions, last)
    await world.advance(GRACE_MS + 1)
    assert await sessions.patch(rotated, {"a": 2}) == OVER
    assert await sessions.data(last) is None
    assert await records(world) == []


async def test_data_is_no_use_of_a_session(world, sessions):
    """Reading and changing data does not prolong a session: the verify of the request did."""
    issued = await sessions.create("ada")
    await world.advance(10 * MINUTE_MS)
    await sessions.patch(issued.token, {"a": 1})
    await sessions.data(issued.token)

    await world.advance(10 * MINUTE_MS)

    assert await sessions.data(issued.token) is None


async def test_what_this_process_revoked_has_no_data(world):
    """P4: a server that does not know of a revocation gives no data to a process that does."""
    log = RevocationLog()
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES, revocation_log=log)
    issued = await sessions.create("ada")
    record = (await records(world))[0].key
    kept = await world.command("sessions", "DUMP", record)
    await world.advance(1)
    await sessions.revoke_all("ada")
    await world.command("sessions", "RESTORE", record, MINUTE_MS, kept)
    for key in await world.command("sessions", "KEYS", "*:epoch:*"):
        await world.command("sessions", "HSET", key, "ep", issued.session.created_at)

    assert await Sessions(world.stores.sessions, world.keyring, world.metrics).data(issued.token) is not None
    assert await sessions.data(issued.token) is None
    assert await sessions.take(issued.token, "a") == OVER


def test_a_change_without_an_answer_is_not_repeated():
    """It may have run, so stores send it once; reads are sent again."""
    changing = ("sessions/patch", "sessions/take", "sessions/increment")

    assert not any(SCRIPTS[name].idempotent for name in changing)
    assert SCRIPTS["sessions/data"].idempotent


NO_JSON = ["a\ud800", object(), {1j: 1}]


async def test_wrong_input_is_told_by_its_field(sessions):
    """A name, a value, a step or a version that cannot be used is refused before any call."""
    token = (await sessions.create("ada")).token

    for value in NO_JSON:
        assert await refused(sessions.patch(token, {"a": value})) == "a"
    for name in ("", "a b", "ä", "n" * 65, 7):
        assert await refused(sessions.patch(token, {name: 1})) == "name"
        assert await refused(sessions.take(token, name)) == "name"
        assert await refused(sessions.increment(token, name)) == "name"
    for by in (NUMBER_MAX, -NUMBER_MAX, True, 1.5, "1"):
        assert await refused(sessions.increment(token, "n", by)) == "by"
    for version in (0, -1, "1", True):
        assert await refused(sessions.patch(token, {"a": 1}, version=version)) == "version"
    for changes in ({}, {f"n{number}": 1 for number in range(129)}, [("a", 1)]):
        assert await refused(sessions.patch(token, changes)) == "changes"
    assert (await sessions.data(token)).version == 1


async def test_an_outage_is_no_refusal(world, sessions):
    """P8: while the store is down, data is neither empty nor over."""

    class Down:
        async def run(self, script, keys, args):
            raise StoreUnavailable("sessions", "not-sent", "it is down")

    token = (await sessions.create("ada")).token

    with pytest.raises(StoreUnavailable):
        await Sessions(Down(), world.keyring, world.metrics).data(token)
