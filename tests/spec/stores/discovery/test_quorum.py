"""Votes of Sentinels, quarantine, the order of candidates, and which Sentinels are polled: tables of pure decisions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.stores.discovery.quorum import (
    DISCOVERED_MAX,
    FormerPrimary,
    PrimaryName,
    SentinelPeer,
    Vote,
    candidates,
    is_quarantined,
    latest_name,
    majority,
    members,
    rank,
)
from tollhouse.stores.urls import Host

A: Host = ("10.0.0.1", 6379)
B: Host = ("10.0.0.2", 6379)
C: Host = ("10.0.0.3", 6379)


def votes(*pairs: tuple[Host, int]) -> list[Vote]:
    return [Vote(sentinel=f"s{number}", address=address, epoch=epoch) for number, (address, epoch) in enumerate(pairs)]


#    votes, known Sentinels, the addresses worth asking
RANKED: list[tuple[list[Vote], int, tuple[Host, ...]]] = [
    ([], 3, ()),
    (votes((A, 0)), 1, (A,)),
    (votes((A, 0), (A, 0), (A, 0)), 3, (A,)),
    (votes((A, 5), (A, 5), (B, 4)), 3, (A,)),  # an older epoch is never worth asking
    (votes((A, 5), (A, 5), (B, 6)), 3, (A, B)),  # the leader of a failover knows first
    (votes((A, 5), (B, 6)), 3, (B,)),  # two of three is a majority only if both name the same
    (votes((A, 5), (B, 5)), 3, (A, B)),  # undecided: both are asked, in a fixed order
    (votes((A, 5), (A, 5), (B, 6)), 7, (B,)),  # two of seven are no majority
    (votes((A, 1), (B, 2), (C, 3)), 3, (C,)),
    (votes((A, 5), (A, 5), (A, 5), (B, 6), (C, 7)), 5, (A, C, B)),
    (votes((A, 6), (A, 5), (B, 6)), 3, (A,)),  # an address counts with the latest epoch it is named in
]


@pytest.mark.parametrize(("cast", "known", "ranking"), RANKED)
def test_a_majority_comes_first_and_then_later_epochs(cast: list[Vote], known: int, ranking: tuple[Host, ...]) -> None:
    """The address that more than half of all known Sentinels name is asked first, then those of later epochs."""
    assert rank(cast, known) == ranking


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(0, 3)), max_size=7), st.integers(0, 2))
def test_two_majorities_never_exist(cast: list[tuple[Host, int]], silent: int) -> None:
    """At most one address has a majority, it has more than half of the known, and it is ranked first."""
    known = len(cast) + silent
    chosen = majority(votes(*cast), known)

    assert chosen is None or sum(address == chosen for address, _ in cast) * 2 > known
    assert chosen is None or rank(votes(*cast), known)[0] == chosen


FORMER = FormerPrimary(aliases=frozenset({A}), epoch=5, until_s=15.0)

#    votes, now, whether A is quarantined
QUARANTINED = [
    (votes((A, 5), (A, 5), (B, 6)), 1.0, True),  # the majority has not heard of the failover
    (votes((A, 5), (A, 5), (A, 5)), 14.9, True),
    (votes((A, 5), (A, 5), (A, 5)), 15.0, False),  # long enough: the Sentinels mean it
    (votes((A, 6), (A, 6), (B, 5)), 1.0, False),  # a majority made it primary once more
    (votes((A, 6), (B, 5), (B, 5)), 1.0, True),  # one Sentinel is no majority
]


@pytest.mark.parametrize(("cast", "now_s", "expected"), QUARANTINED)
def test_a_former_primary_is_quarantined(cast: list[Vote], now_s: float, *, expected: bool) -> None:
    """A former primary is not used for a while, unless a majority names it in a later epoch."""
    assert is_quarantined(A, cast, 3, [FORMER], now_s) is expected
    assert not is_quarantined(C, votes((C, 1)), 3, [FORMER], now_s)


#    votes, hint, current, its epoch, the candidates
ORDERED: list[tuple[list[Vote], Host | None, Host | None, int, tuple[Host, ...]]] = [
    ([], None, B, 5, (B,)),  # no Sentinel replies: the present one, if it still reports the role
    (votes((A, 5), (A, 5)), None, B, 5, (B, A)),  # A was just replaced, and is still named: only if B is no primary
    (votes((C, 6), (C, 6)), None, B, 5, (C,)),  # replaced in a later epoch: B's own report does not count
    (votes((C, 5), (C, 5)), None, B, 5, (C, B)),
    (votes((B, 6), (B, 6)), None, B, 5, (B,)),
    (votes((B, 6), (B, 6)), C, B, 5, (C, B)),  # a server redirected us to C: it is asked first
]


@pytest.mark.parametrize(("cast", "hint", "current", "epoch", "order"), ORDERED)
def test_candidates_are_asked_in_this_order(
    cast: list[Vote], hint: Host | None, current: Host | None, epoch: int, order: tuple[Host, ...]
) -> None:
    """First the redirection target, then those that Sentinels name, the present primary, and the quarantined."""
    asked = candidates(cast, 3, hint=hint, current=current, epoch=epoch, former=[FORMER], now_s=1.0)

    assert asked == order


S1, S2, S3, L = ("s1", 26379), ("s2", 26379), ("s3", 26379), ("10.0.0.9", 26379)


def peers(*hosts: Host, down: bool = False) -> list[SentinelPeer]:
    return [SentinelPeer(id=f"id-{host[0]}", host=host, down=down) for host in hosts]


Group = list[list[SentinelPeer]]
#    configured, polled until now, ids of the connected, what each says of its peers, the Sentinels to poll
MEMBERS: list[tuple[tuple[Host, ...], tuple[Host, ...], dict[Host, str], Group, tuple[Host, ...]]] = [
    ((S1, S2), (S1, S2), {}, [], (S1, S2)),
    ((S1,), (S1, L), {}, [], (S1, L)),  # no reply: none is dropped
    ((S1,), (S1,), {S1: "id-s1"}, [peers(S2, S3)], (S1, S2, S3)),
    ((S1,), (S1, S2), {S1: "id-s1"}, [peers(S3)], (S1, S3)),  # S2 is not listed any more
    ((S1,), (S1, S2), {S1: "id-s1", S2: "id-s2"}, [peers(S3)], (S1, S2, S3)),  # but it is connected
    ((S1, S2), (S1, S2), {}, [peers(S3)], (S1, S2, S3)),  # a configured one stays, listed or not
    ((S1,), (S1,), {S1: "id-s1"}, [peers(S2, down=True)], (S1,)),
    ((S1,), (S1,), {S1: "id-s1"}, [peers(S2, down=True), peers(S2)], (S1, S2)),
    ((S1,), (S1,), {S1: "id-10.0.0.9"}, [peers(L)], (S1,)),  # the same Sentinel by its address
    ((S1,), (S1, L), {S1: "x", L: "x"}, [peers(S2)], (S1, S2)),
    ((S1, S1), (), {}, [], (S1,)),
]


@pytest.mark.parametrize(("configured", "polled", "connected", "listed", "hosts"), MEMBERS)
def test_sentinels_are_discovered_and_configured_ones_kept(
    configured: tuple[Host, ...],
    polled: tuple[Host, ...],
    connected: dict[Host, str],
    listed: list[list[SentinelPeer]],
    hosts: tuple[Host, ...],
) -> None:
    """Every Sentinel of the URL is polled for ever; those that others list come and go."""
    assert members(configured, polled, connected, listed) == hosts


def test_discovered_sentinels_are_bounded() -> None:
    """However many Sentinels one lists, at most DISCOVERED_MAX beyond the configured ones are polled."""
    crowd = peers(*((f"10.0.1.{number}", 26379) for number in range(100)))

    assert len(members((S1,), (S1,), {}, [crowd])) == 1 + DISCOVERED_MAX


def seen(address: Host, epoch: int, text: str, at_s: float) -> Vote:
    name = PrimaryName(text=text, seen_s=at_s) if text else None
    return Vote(sentinel=f"{address} {epoch} {text}", address=address, epoch=epoch, name=name)


#    votes, the name of the primary, which has the addresses A and B
NAMED: list[tuple[list[Vote], str | None]] = [
    ([], None),
    ([seen(A, 1, "", 0)], None),  # the Sentinel has not asked it yet
    ([seen(A, 1, "x", 5), seen(A, 1, "x", 4)], "x"),
    ([seen(A, 1, "old", 5), seen(A, 1, "new", 9)], "new"),  # it was restarted, and one Sentinel knows
    ([seen(A, 1, "old", 9), seen(B, 2, "new", 5)], "new"),  # a later epoch, whatever was seen later
    ([seen(A, 1, "old", 9), seen(B, 2, "", 10)], None),  # it has no name yet since it came back
    ([seen(C, 1, "other", 9), seen(A, 1, "x", 5)], "x"),  # another server has another name
    ([seen(C, 2, "next", 9), seen(A, 1, "x", 5)], None),  # it is being replaced
]


@pytest.mark.parametrize(("cast", "name"), NAMED)
def test_the_name_of_a_primary_is_the_latest_one(cast: list[Vote], name: str | None) -> None:
    """Of what Sentinels call one primary, the last epoch counts, and in it what its server said last."""
    found = latest_name(cast, frozenset({A, B}))
    assert (None if found is None else found.text) == name
