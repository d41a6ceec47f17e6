"""Generations, and the quarantine of former primaries."""

from __future__ import annotations

from tollhouse.stores.discovery.primary_history import PrimaryHistory, adoption_reason
from tollhouse.stores.discovery.quorum import Vote
from tollhouse.stores.discovery.role_probe import VerifiedPrimary
from tollhouse.stores.urls import Host, SentinelService

A: Host = ("10.0.0.1", 6379)
B: Host = ("10.0.0.2", 6379)
C: Host = ("10.0.0.3", 6379)


def verified(host: Host, peer: Host | None = None, start: Host | None = None) -> VerifiedPrimary:
    return VerifiedPrimary(host=host, peer=peer or host, start=start or host)


def new_history() -> PrimaryHistory:
    return PrimaryHistory(SentinelService(hosts=(("s1", 26379),), service="main"), quarantine_s=15.0)


def test_generations_only_grow_and_former_primaries_are_remembered() -> None:
    """Each other primary is a generation with the next number, and its predecessor is in quarantine."""
    history = new_history()
    for number, (host, now_s) in enumerate([(A, 0.0), (B, 10.0), (A, 20.0), (C, 21.0)], start=1):
        made = history.adopt(verified(host), "named", [Vote(sentinel="s", address=host, epoch=number)], now_s)

        assert made is not None
        assert (made.number, made.epoch, history.host) == (number, number, host)

    assert [(former.aliases, former.epoch, former.until_s) for former in history.former] == [
        (frozenset({B}), 3, 35.0),
        (frozenset({A}), 4, 36.0),
    ]


def test_another_name_is_no_other_primary() -> None:
    """The same server under another name, and the same name with another address, keep the generation."""
    history = new_history()
    history.adopt(verified(A), "named", [], 0.0)

    assert history.adopt(verified(("valkey-0", 6379), A), "named", [], 1.0) is None
    assert history.aliases == {A, ("valkey-0", 6379)}
    assert history.adopt(verified(A, C), "named", [], 2.0) is None
    assert history.aliases == {A, C}


def test_former_primaries_are_bounded() -> None:
    """Only the latest eight former primaries are remembered."""
    history = new_history()
    for number in range(1, 40):
        history.adopt(verified((f"10.0.0.{number}", 6379)), "named", [], 0.0)

    assert len(history.former) == 8


def test_how_a_primary_was_found() -> None:
    """Redirected if the search began at the hint, named if the named server is the primary itself, else followed."""
    assert adoption_reason(verified(B, start=A), A) == "redirected"
    assert adoption_reason(verified(A), None) == "named"
    assert adoption_reason(verified(B, start=A), C) == "followed"
