"""Every interleaving of a small cache: readers in two processes, a writer, and every failure.

The protocol is written down once more, as pure steps over an immutable state, and all orders of all steps are
tried. A step is either something that one process does without waiting, or one script on the server; so the time
that a reply is on its way is between steps. Readers share loads as `cache/reading/single_flight.py` lets them.

What must hold in every order:

- a reader who began after the invalidation was acknowledged never gets the old value (P6);
- nor does one that asks for a fresh value, and began after the source was written;
- when all is quiet, whatever would be given is the present value.

That the search can fail is shown too: each rule of the protocol is left out in turn, and a stale read is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

OLD, NEW = 0, 1


class Server(NamedTuple):
    """The state of the primary.

    `tag` is the mark of the tag, `floor` that of everything; `epoch` 0 means a lost clock, a lease below 0 is a hold.
    `granted` is the sequence at the grant of the lease, which is a part of its name.
    """

    entry: tuple[int, tuple[int, int], int] | None = None
    lease: int = 0
    granted: int = 0
    epoch: int = 1
    sequence: int = 0
    tag: int = 0
    floor: int = 0
    primary: int = 0
    tokens: int = 1

    def serves(self) -> bool:
        return self.entry is not None and self.would_serve(self.entry[1], self.entry[2])

    def would_serve(self, epoch: tuple[int, int], sequence: int) -> bool:
        return epoch == (self.epoch, self.primary) and max(self.tag, self.floor) <= sequence


class Flight(NamedTuple):
    """One flight: waiting for another process, looking up, loading, filling, or done; dead if its caller gave up.

    Its kind is that of its load: for a read, for a fresh value, or without a lease because others kept waiting.
    """

    process: int
    starter: int
    phase: str
    kind: str = "read"
    open: bool = True
    token: int = 0
    epoch: tuple[int, int] = (0, 0)
    sequence: int = 0
    granted: int = 0
    value: int = -1
    shared: bool = False


class Reader(NamedTuple):
    """One caller: `late` if it began when the invalidation had been acknowledged, and its hold was over.

    `unleased` is how many loads without a lease its process had begun by then.
    """

    process: int
    phase: str = "new"
    fresh: bool = False
    late: bool = False
    unleased: int = 0
    flight: int = -1


class State(NamedTuple):
    server: Server
    replica: Server
    source: int
    readers: tuple[Reader, ...]
    flights: tuple[Flight, ...] = ()
    writer: int = 0
    told: int = 0
    lags: bool = False
    expiries: int = 0
    losses: int = 0
    failovers: int = 0
    syncs: int = 0
    give_ups: int = 0
    forgettings: int = 0
    copies: int = 0
    impatience: int = 0
    shortages: int = 0
    late: tuple[int, ...] = ()
    loads: int = 0
    stale: bool = False


class Rules(NamedTuple):
    """The protocol; each rule can be left out."""

    fills_need_the_lease: bool = True
    fills_check_the_clock: bool = True
    sequence_before_load: bool = True
    key_ends_the_lease: bool = True
    epoch_names_the_primary: bool = True
    lost_clocks_get_new_epochs: bool = True
    refused_values_are_not_shared: bool = True
    flights_shut_before_they_ask: bool = True
    leases_are_taken_over_under_a_new_token: bool = True
    leases_name_their_sequence: bool = True
    forgotten_marks_raise_the_floor: bool = True
    portions_have_sequences_of_their_own: bool = True
    holds_keep_loads_out: bool = True
    fresh_reads_load_themselves: bool = True
    unleased_loads_are_for_earlier_readers: bool = True
    shared_values_are_confirmed: bool = True
    by_tag: bool = False
    in_portions: bool = False


def successors(state: State, rules: Rules) -> Iterator[State]:
    """Return every state that one step can lead to."""
    yield from _writer(state, rules)
    yield from _trouble(state, rules)
    yield from _given_up(state)
    yield from _copied(state)
    for number in range(len(state.readers)):
        yield from _reader(state, number, rules)
    for number in range(len(state.flights)):
        yield from _flight(state, number, rules)


def _writer(state: State, rules: Rules) -> Iterator[State]:
    """Write the source, then invalidate, and only then call it done."""
    server = state.server
    if state.writer == 0:
        yield state._replace(source=NEW, writer=1)
    elif state.writer == 1 and rules.in_portions and not state.told:
        sequence = server.sequence + 1
        yield state._replace(server=server._replace(sequence=sequence), told=sequence)
    elif state.writer == 1 and rules.by_tag:
        sequence = server.sequence + 1 if rules.portions_have_sequences_of_their_own else state.told
        after = server._replace(sequence=max(server.sequence, sequence), tag=sequence)
        yield state._replace(server=after, writer=2)
    elif state.writer == 1:
        lease = 0 if rules.key_ends_the_lease else server.lease
        if state.lags and rules.holds_keep_loads_out:
            lease = -1 - server.sequence
        after = server._replace(sequence=server.sequence + 1, entry=None, lease=lease)
        yield state._replace(server=after, writer=2)
    elif state.writer == 2:
        yield state._replace(writer=3)


def _trouble(state: State, rules: Rules) -> Iterator[State]:
    """Expire leases, evict the clock, sync the replica or promote it; forget a mark; end a lag, and then a hold."""
    server = state.server
    if state.forgettings and server.tag:
        floor = max(server.floor, server.tag) if rules.forgotten_marks_raise_the_floor else server.floor
        yield state._replace(server=server._replace(tag=0, floor=floor), forgettings=state.forgettings - 1)
    if state.lags and state.writer == 3:
        yield state._replace(lags=False)
    if server.lease < 0 and not state.lags:
        yield state._replace(server=server._replace(lease=0))
    if state.expiries and server.lease > 0:
        yield state._replace(server=server._replace(lease=0), expiries=state.expiries - 1)
    if state.losses:
        epoch = 0 if rules.lost_clocks_get_new_epochs else server.epoch
        yield state._replace(server=server._replace(epoch=epoch, sequence=0, tag=0, floor=0), losses=state.losses - 1)
    if state.syncs and state.replica != server:
        yield state._replace(replica=server, syncs=state.syncs - 1)
    if state.failovers:
        primary = server.primary + rules.epoch_names_the_primary
        promoted = state.replica._replace(primary=primary, tokens=server.tokens)
        yield state._replace(server=promoted, failovers=state.failovers - 1)


def _given_up(state: State) -> Iterator[State]:
    """End a caller that waits for the reply of its lookup; a second copy of that call may arrive at any later time."""
    for number, reader in enumerate(state.readers):
        if state.give_ups and reader.phase == "leased":
            flight = state.flights[reader.flight]
            left = state._replace(give_ups=state.give_ups - 1, late=(*state.late, flight.token))
            yield _with_reader(
                _with_flight(left, reader.flight, flight._replace(phase="dead")), number, reader._replace(phase="done")
            )
    for number, token in enumerate(state.late):
        server = state.server
        if not server.serves() and server.lease in (0, token):
            granted = server.granted if server.lease else server.sequence
            server = server._replace(lease=token, granted=granted, epoch=server.epoch or token)
        yield state._replace(server=server, late=state.late[:number] + state.late[number + 1 :])


def _copied(state: State) -> Iterator[State]:
    """Leave a second copy of the lookup of a load in progress on its way: its connection was slow, and is given up."""
    for flight in state.flights:
        if state.copies and flight.token > 0 and flight.phase in ("load", "loaded", "fill"):
            yield state._replace(copies=state.copies - 1, late=(*state.late, flight.token))


def _reader(state: State, number: int, rules: Rules) -> Iterator[State]:
    reader = state.readers[number]
    joinable = _joinable(state, reader.process)
    match reader.phase:
        case "new":
            yield _with_reader(state, number, _arrived(state, reader))
        case "ready" if reader.fresh and rules.fresh_reads_load_themselves:
            yield _granted(state, number, "fresh", rules)
        case "ready" if joinable >= 0:
            yield _with_reader(state, number, reader._replace(phase="waits", flight=joinable))
        case "ready":
            yield from _first_look(state, number, rules)
        case "busy":
            yield _after_busy(state, number, max(joinable, _joinable(state, reader.process, "fresh")))
        case "leased":
            yield _begin(state, number, state.flights[reader.flight]._replace(phase="load", open=True))
        case "waits":
            yield from _landing(state, number)
            yield from _impatient(state, number, rules)


def _arrived(state: State, reader: Reader) -> Reader:
    """Return a reader as it begins."""
    late = state.writer == 3 and not state.lags and state.server.lease >= 0
    late = late or (reader.fresh and state.source == NEW)
    return reader._replace(phase="ready", late=late, unleased=len(_unleased(state, reader.process)))


def _after_busy(state: State, number: int, joinable: int) -> State:
    """Join the flight of the process that has the lease, or wait for another process."""
    reader = state.readers[number]
    if joinable >= 0:
        return _with_reader(state, number, reader._replace(phase="waits", flight=joinable))
    return _begin(state, number, Flight(process=reader.process, starter=number, phase="pause"))


def _first_look(state: State, number: int, rules: Rules) -> Iterator[State]:
    """Run get_or_lease for a caller; the reply is read in a later step."""
    reader = state.readers[number]
    if state.server.serves():
        assert state.server.entry is not None
        yield _with_result(state, number, state.server.entry[0])
    elif _is_in_use(state, reader.process):
        yield _with_reader(state, number, reader._replace(phase="busy"))
    else:
        yield _granted(state, number, "read", rules)


def _granted(state: State, number: int, kind: str, rules: Rules) -> State:
    """Grant a caller the lease, or for a fresh value take it from the load that has it."""
    reader = state.readers[number]
    flight = Flight(process=reader.process, starter=number, phase="reply", kind=kind, open=False)
    server, flight = _grant(state.server, flight, rules)
    granted = state._replace(server=server, flights=(*state.flights, flight))
    return _with_reader(granted, number, reader._replace(phase="leased", flight=len(state.flights)))


def _impatient(state: State, number: int, rules: Rules) -> Iterator[State]:
    """Leave a flight that takes too long, for the load without a lease of this process, or one that begins."""
    reader = state.readers[number]
    flight = state.flights[reader.flight]
    if not state.impatience or flight.phase == "done" or flight.starter == number or flight.kind == "unleased":
        return
    left = state._replace(impatience=state.impatience - 1)
    begun = _unleased(state, reader.process)
    earlier = reader.unleased if rules.unleased_loads_are_for_earlier_readers else 0
    if begun[earlier:] and state.flights[begun[-1]].open:
        yield _with_reader(left, number, reader._replace(flight=begun[-1]))
    else:
        yield _begin(left, number, Flight(process=reader.process, starter=number, phase="load", kind="unleased"))


def _begin(state: State, number: int, flight: Flight) -> State:
    """Start a flight for the caller, in place of an earlier one of its process."""
    reader = state.readers[number]
    if reader.phase == "leased":
        flights = (*state.flights[: reader.flight], flight, *state.flights[reader.flight + 1 :])
        begun = reader._replace(phase="waits")
    else:
        flights = (*state.flights, flight)
        begun = reader._replace(phase="waits", flight=len(state.flights))
    return _with_reader(state._replace(flights=flights), number, begun)


def _landing(state: State, number: int) -> Iterator[State]:
    """Take the value of a flight that is done, or look up again."""
    reader = state.readers[number]
    flight = state.flights[reader.flight]
    if flight.phase != "done":
        return
    if flight.starter == number or flight.shared:
        yield _with_result(state, number, flight.value)
    else:
        yield _with_reader(state, number, reader._replace(phase="ready"))


def _flight(state: State, number: int, rules: Rules) -> Iterator[State]:
    flight = state.flights[number]
    keeps_open = not rules.flights_shut_before_they_ask
    match flight.phase:
        case "pause":
            yield _with_flight(state, number, flight._replace(phase="ask", open=keeps_open))
        case "ask":
            yield from _asked(state, number, flight, rules)
        case "found":
            yield _with_flight(state, number, flight._replace(phase="done", open=False, shared=True))
        case "load":
            yield _loaded(state, number, flight, rules)
        case "loaded":
            yield _with_flight(state, number, flight._replace(phase="fill", open=keeps_open))
        case "fill" | "confirm":
            yield from _sent(state, number, flight, rules)
        case "filled":
            shared = flight.shared or not rules.refused_values_are_not_shared
            yield _with_flight(state, number, flight._replace(phase="done", open=False, shared=shared))


def _sent(state: State, number: int, flight: Flight, rules: Rules) -> Iterator[State]:
    """Run fill, or refuse it for want of memory; then confirm."""
    yield _filled(state, number, flight, rules, stores=flight.phase == "fill")
    if state.shortages and flight.phase == "fill":
        refused = state._replace(shortages=state.shortages - 1)
        yield _with_flight(refused, number, flight._replace(phase="confirm"))


def _loaded(state: State, number: int, flight: Flight, rules: Rules) -> State:
    """Read the source, or a copy of it that lags behind."""
    sequence = flight.sequence if rules.sequence_before_load else -1
    phase = "found" if flight.kind == "unleased" else "loaded"
    loaded = flight._replace(phase=phase, value=OLD if state.lags else state.source, sequence=sequence)
    return _with_flight(state._replace(loads=state.loads + 1), number, loaded)


def _asked(state: State, number: int, flight: Flight, rules: Rules) -> Iterator[State]:
    """Run get_or_lease for all callers of a flight."""
    if state.server.serves():
        assert state.server.entry is not None
        yield _with_flight(state, number, flight._replace(phase="found", value=state.server.entry[0]))
    elif _is_in_use(state, flight.process):
        yield _with_flight(state, number, flight._replace(phase="pause", open=True))
    else:
        server, granted = _grant(state.server, flight, rules)
        granted = granted._replace(phase="load", open=True)
        yield _with_flight(state._replace(server=server), number, granted)


def _filled(state: State, number: int, flight: Flight, rules: Rules, *, stores: bool = True) -> State:
    """Run fill, or confirm; what is accepted is valid at the present sequence, and a hold stores nothing."""
    server = state.server
    sequence = server.sequence if flight.sequence < 0 else flight.sequence
    is_of_this_grant = server.granted == flight.granted or not rules.leases_name_their_sequence
    holds = (server.lease == flight.token and is_of_this_grant) or not rules.fills_need_the_lease
    accepted = holds and (server.would_serve(flight.epoch, sequence) or not rules.fills_check_the_clock)
    if accepted and flight.token > 0:
        entry = (flight.value, flight.epoch, max(sequence, server.sequence)) if stores else server.entry
        state = state._replace(server=server._replace(entry=entry, lease=0))
    shared = accepted or not (stores or rules.shared_values_are_confirmed)
    return _with_flight(state, number, flight._replace(phase="filled", shared=shared))


def _is_in_use(state: State, process: int) -> bool:
    """Return whether there is a lease that this process does not know to be that of a dead caller of its own."""
    dead = {flight.token for flight in state.flights if flight.process == process and flight.phase == "dead"}
    return state.server.lease > 0 and state.server.lease not in dead


def _grant(server: Server, flight: Flight, rules: Rules) -> tuple[Server, Flight]:
    """Grant the lease with the state of the clock, or the hold; a lost clock gets a new epoch."""
    if server.lease < 0:
        return server, flight._replace(
            token=server.lease, epoch=(server.epoch, server.primary), sequence=server.sequence
        )
    token = server.tokens + 1
    if server.lease and not rules.leases_are_taken_over_under_a_new_token:
        token = server.lease
    server = server._replace(
        lease=token, granted=server.sequence, tokens=max(server.tokens, token), epoch=server.epoch or token
    )
    epoch = (server.epoch, server.primary)
    return server, flight._replace(token=token, epoch=epoch, sequence=server.sequence, granted=server.sequence)


def _with_result(state: State, number: int, value: int) -> State:
    reader = state.readers[number]
    state = state._replace(stale=state.stale or (reader.late and value == OLD))
    return _with_reader(state, number, reader._replace(phase="done"))


def _unleased(state: State, process: int) -> list[int]:
    """Return the loads without a lease that a process has begun."""
    every = enumerate(state.flights)
    return [number for number, flight in every if flight.process == process and flight.kind == "unleased"]


def _joinable(state: State, process: int, kind: str = "read") -> int:
    """Return the flight that a caller of this process may join: the latest of its kind, while that is open."""
    every = enumerate(state.flights)
    own = [number for number, flight in every if flight.process == process and flight.kind == kind]
    begun = [number for number in own if state.flights[number].phase not in ("reply", "dead")]
    return begun[-1] if begun and state.flights[begun[-1]].open else -1


def _with_reader(state: State, number: int, reader: Reader) -> State:
    return state._replace(readers=(*state.readers[:number], reader, *state.readers[number + 1 :]))


def _with_flight(state: State, number: int, flight: Flight) -> State:
    return state._replace(flights=(*state.flights[:number], flight, *state.flights[number + 1 :]))


class Found(NamedTuple):
    """The result of a search: the number of states, a stale read in one of them, and the most loads of any."""

    states: int
    stale: bool
    loads: int


def explore(start: State, rules: Rules) -> Found:
    """Visit every state, or stop at the first stale one."""
    seen, waiting, loads = {start}, [start], 0
    while waiting:
        state = waiting.pop()
        loads = max(loads, state.loads)
        if state.stale or _wrong_when_quiet(state):
            return Found(len(seen), stale=True, loads=loads)
        after = [following for following in successors(state, rules) if following not in seen]
        seen.update(after)
        waiting.extend(after)
    return Found(len(seen), stale=False, loads=loads)


def _wrong_when_quiet(state: State) -> bool:
    quiet = all(reader.phase == "done" for reader in state.readers) and state.writer == 3 and not state.lags
    return quiet and state.server.serves() and state.server.entry is not None and state.server.entry[0] != NEW


def beginning(readers: tuple[int, ...], **trouble: int) -> State:
    """Return the state in which callers of these processes are about to begin."""
    callers = tuple(Reader(process=each) for each in readers)
    return State(server=Server(), replica=Server(), source=OLD, readers=callers, **trouble)


TROUBLES: dict[str, State] = {
    "two in one process": beginning((0, 0), expiries=1),
    "three over two processes": beginning((0, 0, 1)),
    "two processes, a lease expires": beginning((0, 1), expiries=2),
    "two processes, the clock is lost": beginning((0, 1), losses=1, expiries=1),
    "a lagging replica is promoted": beginning((0, 1), failovers=1, syncs=1),
    "a caller gives up": beginning((0, 0), give_ups=1),
    "a caller gives up, a lease expires": beginning((0, 0), give_ups=1, expiries=2),
    "a copy of a call arrives late": beginning((0, 1), copies=1),
    "a copy of a call arrives late, a lease expires": beginning((0, 0), copies=1, expiries=1),
    "a mark is forgotten, a lease expires": beginning((0, 1), forgettings=1, expiries=1),
    "a mark is forgotten, the clock is lost": beginning((0, 1), forgettings=1, losses=1),
    "a mark is forgotten, a lagging replica is promoted": beginning((0, 1), forgettings=1, failovers=1, syncs=1),
}


def with_fresh(state: State) -> State:
    """Return a beginning in which the last caller asks for a fresh value."""
    return state._replace(readers=(*state.readers[:-1], state.readers[-1]._replace(fresh=True)))


def during_a_load(state: State) -> State:
    """Return a beginning in which a load is under way, and the first two callers wait for it."""
    server = state.server._replace(lease=2, tokens=2)
    load = Flight(process=0, starter=0, phase="load", token=2, epoch=(server.epoch, server.primary))
    waiting = [reader._replace(phase="waits", flight=0) for reader in state.readers[:2]]
    return state._replace(server=server, flights=(load,), readers=(*waiting, *state.readers[2:]))


TROUBLES |= {
    "a fresh value, in one process": with_fresh(beginning((0, 0))),
    "a fresh value, a lease expires": with_fresh(beginning((0, 1), expiries=1)),
    "a fresh value, a copy of a call arrives late": with_fresh(beginning((0, 1), copies=1)),
    "callers are impatient": during_a_load(beginning((0, 0, 0), impatience=2)),
    "a caller is impatient, a lease expires": beginning((0, 0), impatience=1, expiries=1),
    "the server is full": beginning((0, 0), shortages=2),
    "the server is full, a lease expires": beginning((0, 0), shortages=1, expiries=1),
}

LAG = beginning((0, 1), lags=1, expiries=1)


@pytest.mark.parametrize("by_tag", [False, True], ids=["key", "tag"])
@pytest.mark.parametrize("name", TROUBLES)
def test_no_order_of_steps_returns_an_invalidated_value(name: str, by_tag: bool):
    """P6: in every interleaving, a read that begins after the invalidation gets the new value."""
    found = explore(TROUBLES[name], Rules(by_tag=by_tag))

    assert not found.stale
    assert found.states > 100


def test_no_order_of_steps_stores_what_was_read_from_a_copy_that_lags():
    """P6: with a hold as long as the lag, no value that a lagging copy had is given to a read that begins after it."""
    found = explore(LAG, Rules())

    assert not found.stale
    assert found.states > 100


def test_no_order_of_steps_returns_a_value_whose_tag_was_in_a_later_portion():
    """P6: a call with more tags than one step takes is several invalidations, and each hides what was loaded before."""
    found = explore(TROUBLES["a mark is forgotten, a lease expires"], Rules(by_tag=True, in_portions=True))

    assert not found.stale
    assert found.states > 100


@pytest.mark.parametrize("processes", [(0, 0, 0), (0, 0, 1), (0, 1, 2)])
def test_every_order_of_steps_loads_once(processes: tuple[int, ...]):
    """P7: while nothing is invalidated and no lease is lost, all readers together load once."""
    quiet = beginning(processes)._replace(writer=3, source=NEW)

    assert explore(quiet, Rules()).loads == 1


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("two processes, a lease expires", Rules(fills_need_the_lease=False)),
        ("two processes, a lease expires", Rules(key_ends_the_lease=False)),
        ("two processes, a lease expires", Rules(by_tag=True, fills_check_the_clock=False, sequence_before_load=False)),
        ("two processes, a lease expires", Rules(by_tag=True, sequence_before_load=False)),
        ("two in one process", Rules(by_tag=True, fills_check_the_clock=False)),
        ("two in one process", Rules(refused_values_are_not_shared=False)),
        ("three over two processes", Rules(flights_shut_before_they_ask=False)),
        (
            "a caller gives up",
            Rules(leases_are_taken_over_under_a_new_token=False, leases_name_their_sequence=False),
        ),
        ("two processes, the clock is lost", Rules(by_tag=True, lost_clocks_get_new_epochs=False)),
        ("a copy of a call arrives late", Rules(leases_name_their_sequence=False)),
        ("a mark is forgotten, a lease expires", Rules(by_tag=True, forgotten_marks_raise_the_floor=False)),
        (
            "two in one process",
            Rules(by_tag=True, in_portions=True, portions_have_sequences_of_their_own=False),
        ),
        ("a fresh value, in one process", Rules(by_tag=True, fresh_reads_load_themselves=False)),
        ("callers are impatient", Rules(unleased_loads_are_for_earlier_readers=False)),
        ("the server is full", Rules(by_tag=True, shared_values_are_confirmed=False)),
        ("a lagging replica is promoted", Rules(epoch_names_the_primary=False)),
        ("a lagging replica is promoted", Rules(by_tag=True, epoch_names_the_primary=False)),
    ],
)
def test_each_rule_is_needed(name: str, rules: Rules):
    """Leaving out one rule of the protocol lets some order of steps return an invalidated value."""
    assert explore(TROUBLES[name], rules).stale


def test_a_hold_is_needed():
    """Without it, some order stores what a copy that lags had."""
    assert explore(LAG, Rules(holds_keep_loads_out=False)).stale
