"""What Sentinel could promote, and whether a write has reached all of it."""

from __future__ import annotations

import pytest

from tollhouse.stores.succession import (
    AttachedReplica,
    ListedReplica,
    State,
    Succession,
    deposed_hosts,
    is_durable,
    successors,
    with_offsets,
)

END = 100
NONE: frozenset[tuple[str, int]] = frozenset()
Listing = tuple[tuple[ListedReplica, ...], ...]


def listed(name: str, priority: int = 100, state: State = "up") -> ListedReplica:
    return ListedReplica(aliases=frozenset({(name, 1)}), priority=priority, state=state)


def former(written: int | None) -> ListedReplica:
    """Return a former primary that does not follow yet, and ends at an offset."""
    return ListedReplica(aliases=frozenset({("o", 1)}), priority=100, state="up", deposed=True, written=written)


def attached(**offsets: int) -> list[AttachedReplica]:
    return [AttachedReplica(host=(name, 1), offset=offset) for name, offset in offsets.items()]


A, B, C = listed("a"), listed("b"), listed("c")
SPARE, DOWN = listed("s", 0), listed("d", state="down")
UNSETTLED = listed("u", state="unsettled")
OLD = former(END - 1)

#    what each Sentinel lists, who has acknowledged how much, is it durable
VERDICTS: list[tuple[Listing, dict[str, int], bool]] = [
    (((A, B),), {"a": 100, "b": 100}, True),
    (((A, B),), {"a": 101, "b": 250}, True),
    (((A, B),), {"a": 100, "b": 99}, False),
    (((A, B),), {"a": 100}, False),
    # the drill: priorities 10 and 100 and a spare one, which is fast
    (((listed("a", 10), B, SPARE),), {"a": 0, "b": 100, "s": 100}, False),
    (((listed("a", 10), B, SPARE),), {"a": 100, "b": 100, "s": 0}, True),
    (((A, DOWN),), {"a": 100, "d": 0}, True),
    (((A, DOWN),), {"a": 100}, True),
    # at least one that could be promoted
    ((), {"a": 100}, False),
    (((),), {"a": 100}, False),
    (((SPARE,),), {"s": 100}, False),
    # any of the Sentinels may lead
    (((A,), (A, B)), {"a": 100}, False),
    (((A,), (A,), (A, listed("b", state="down"))), {"a": 100}, True),
    (((A, listed("b", state="down")), (A, B)), {"a": 100, "b": 0}, False),
    (((A, listed("b", 0)), (A, B)), {"a": 100, "b": 0}, False),
    # not examined yet: no candidate, but what is attached may become one at any time
    (((A, UNSETTLED),), {"a": 100}, True),
    (((A, UNSETTLED),), {"a": 100, "u": 99}, False),
    (((A, UNSETTLED),), {"a": 100, "u": 100}, True),
    (((UNSETTLED,),), {"u": 100}, False),
    # attached, and on no list yet
    (((A,),), {"a": 100, "x": 99}, False),
    (((A,),), {"a": 100, "x": 100}, True),
    # a former primary that does not follow yet comes last among those of its priority
    (((A, OLD),), {"a": 100}, True),
    (((listed("a", 10), OLD),), {"a": 100}, True),
    (((listed("a", 101), OLD),), {"a": 100}, False),
    (((A, OLD),), {"o": 100}, False),
    (((OLD,),), {}, False),
    (((A, OLD), (OLD,)), {"a": 100}, False),
    # unless it ends behind the write, or nothing is known of it: then it may go before them once it is a replica
    (((A, former(END)),), {"a": 250}, False),
    (((A, former(None)),), {"a": 100}, False),
    (((listed("a", 10), former(None)),), {"a": 100}, True),
    # a server without a usable address is never a holder
    (((A, ListedReplica(aliases=frozenset(), priority=100, state="up")),), {"a": 100}, False),
]


@pytest.mark.parametrize(("lists", "offsets", "durable"), VERDICTS)
def test_a_write_is_durable_when_what_could_be_promoted_has_it(
    lists: Listing, offsets: dict[str, int], *, durable: bool
) -> None:
    """Each server that a Sentinel could promote has the write, at least one; or another one goes before it and has."""
    view = successors(lists, NONE, believed=True)

    assert is_durable(view, attached(**offsets), END) is durable


#    the same, while nothing but a priority of 0 is believed
DOUBTS: list[tuple[Listing, dict[str, int], bool]] = [
    (((A, B),), {"a": 100, "b": 100}, True),
    (((A, DOWN),), {"a": 100}, False),
    (((A, UNSETTLED),), {"a": 100}, False),
    (((A, OLD),), {"a": 100}, False),
    (((A, OLD),), {"a": 100, "o": 100}, True),
    (((A, SPARE),), {"a": 100, "s": 0}, True),
]


@pytest.mark.parametrize(("lists", "offsets", "durable"), DOUBTS)
def test_in_doubt_every_server_may_be_up(lists: Listing, offsets: dict[str, int], *, durable: bool) -> None:
    """While states are not believed, every server with a priority above 0 has to have the write."""
    view = successors(lists, NONE, believed=False)

    assert is_durable(view, attached(**offsets), END) is durable


def test_former_primaries_are_completed_by_their_offsets() -> None:
    """Only a deposed server has an offset of its own, and only if it said so."""
    lists = ((A, former(7)), (former(7), B))

    assert deposed_hosts(lists) == [("o", 1)]
    assert with_offsets(lists, {("o", 1): 9, ("a", 1): 8}) == ((A, former(9)), (former(9), B))
    assert with_offsets(lists, {}) == ((A, former(None)), (former(None), B))


def test_two_replicas_behind_one_address_both_acknowledge() -> None:
    """Replicas that share an address cannot be told apart: while one of them lags, the other confirms nothing."""
    view = successors(((A,),), NONE, believed=True)
    twins = [*attached(a=100), *attached(a=99)]

    assert not is_durable(view, twins, END)


def test_servers_that_are_not_on_a_list_of_servers_do_not_matter() -> None:
    """If the URL lists the servers, no other becomes the primary; of those listed, each that is attached matters."""
    view = successors(((A, UNSETTLED),), NONE, believed=True, strangers_matter=False)

    assert is_durable(view, attached(a=100, x=0), END)
    assert not is_durable(view, attached(a=100, u=0), END)


def test_any_address_of_a_server_is_its_own() -> None:
    """A server is a holder under its name and under its address, and the primary is no successor under either."""
    both = ListedReplica(aliases=frozenset({("name", 1), ("10.0.0.1", 1)}), priority=1, state="up")
    view = successors(((both, A),), frozenset({("a", 1)}), believed=True)

    assert view.known == view.wanted == view.promotable == 1
    assert is_durable(view, [AttachedReplica(host=("10.0.0.1", 1), offset=END)], END)


def test_what_is_counted() -> None:
    """`wanted` is what one Sentinel could promote at most, `promotable` is up and follows, `known` is everything."""
    view = successors(((A, B, OLD, SPARE), (A, DOWN, UNSETTLED)), NONE, believed=True)

    assert (view.wanted, view.promotable, view.known) == (2, 2, 6)
    assert successors((), NONE, believed=True).wanted == 1


def test_the_view_is_computed_once() -> None:
    """The same lists, primary and belief give the same object; another one of them gives another view."""
    succession, lists, primary = Succession(strangers_matter=True), ((A, DOWN),), frozenset({("p", 1)})

    view = succession.view(lists, primary, believed=True)

    assert succession.view(lists, primary, believed=True) is view
    assert succession.view(lists, primary, believed=False).wanted == 2
    assert succession.view(((A,),), primary, believed=True).known == 1
    assert succession.view(((A,),), frozenset({("a", 1)}), believed=True).known == 0
