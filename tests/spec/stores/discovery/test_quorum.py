"""Who is the primary, and what is a reason to look again: the decisions behind the resolver, as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.stores.addresses import format_host, parse_host_port, read_host
from tollhouse.stores.discovery import roster
from tollhouse.stores.discovery import sentinel_events as announcements
from tollhouse.stores.discovery.failover_hints import FailoverHint, failover_hint
from tollhouse.stores.discovery.primary_history import PrimaryHistory
from tollhouse.stores.discovery.quorum import FormerPrimary, Vote, candidates, is_quarantined, majority, rank
from tollhouse.stores.discovery.role_probe import Primary, Replica, VerifiedPrimary, read_greeting, read_role
from tollhouse.stores.discovery.roster import DISCOVERED_MAX, SentinelPeer
from tollhouse.stores.discovery.sentinel_events import FailoverAborted, Promotion, SentinelEvent, TopologyChange
from tollhouse.stores.discovery.sentinel_replies import read_refusal
from tollhouse.stores.transport.errors import ConnectionFull, ConnectionLost, DeadlinePassed, ServerError
from tollhouse.stores.urls import Host, SentinelService

A: Host = ("10.0.0.1", 6379)
B: Host = ("10.0.0.2", 6379)
C: Host = ("10.0.0.3", 6379)


def votes(*said: tuple[Host, int]) -> list[Vote]:
    return [Vote(sentinel=f"s{number}", address=address, epoch=epoch) for number, (address, epoch) in enumerate(said)]


#    votes, known Sentinels, the addresses worth asking
RANKED: list[tuple[list[Vote], int, tuple[Host, ...]]] = [
    ([], 3, ()),
    (votes((A, 0)), 1, (A,)),
    (votes((A, 0), (A, 0), (A, 0)), 3, (A,)),
    (votes((A, 5), (A, 5), (B, 4)), 3, (A,)),  # an older epoch is never worth asking
    (votes((A, 5), (A, 5), (B, 6)), 3, (A, B)),  # the leader of a failover knows first
    (votes((A, 5), (B, 6)), 3, (B,)),  # two of three is a majority only where both say the same
    (votes((A, 5), (B, 5)), 3, (A, B)),  # undecided: both are asked, in a fixed order
    (votes((A, 5), (A, 5), (B, 6)), 7, (B,)),  # two of seven are no majority
    (votes((A, 1), (B, 2), (C, 3)), 3, (C,)),
    (votes((A, 5), (A, 5), (A, 5), (B, 6), (C, 7)), 5, (A, C, B)),
    (votes((A, 6), (A, 5), (B, 6)), 3, (A,)),  # an address counts with the latest epoch it is named in
]


@pytest.mark.parametrize(("said", "known", "ranked"), RANKED)
def test_a_majority_comes_first_and_then_later_epochs(said: list[Vote], known: int, ranked: tuple[Host, ...]) -> None:
    """The address that more than half of all known Sentinels name is asked first, then those of later epochs."""
    assert rank(said, known) == ranked


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(0, 3)), max_size=7), st.integers(0, 2))
def test_two_majorities_never_exist(said: list[tuple[Host, int]], silent: int) -> None:
    """At most one address has a majority, it has more than half of the known, and it is ranked first."""
    known = len(said) + silent
    chosen = majority(votes(*said), known)

    assert chosen is None or sum(address == chosen for address, _ in said) * 2 > known
    assert chosen is None or rank(votes(*said), known)[0] == chosen


LEFT = FormerPrimary(aliases=frozenset({A}), epoch=5, until_s=15.0)

#    votes, now, barred
BARRED = [
    (votes((A, 5), (A, 5), (B, 6)), 1.0, True),  # the majority has not been told yet
    (votes((A, 5), (A, 5), (A, 5)), 14.9, True),
    (votes((A, 5), (A, 5), (A, 5)), 15.0, False),  # long enough: the Sentinels mean it
    (votes((A, 6), (A, 6), (B, 5)), 1.0, False),  # a majority made it primary once more
    (votes((A, 6), (B, 5), (B, 5)), 1.0, True),  # one Sentinel is no majority
]


@pytest.mark.parametrize(("said", "now_s", "out"), BARRED)
def test_a_primary_that_was_left_is_barred(said: list[Vote], now_s: float, *, out: bool) -> None:
    """A deposed address is barred for a while, unless a majority names it in a later epoch."""
    assert is_quarantined(A, said, 3, [LEFT], now_s) is out
    assert not is_quarantined(C, votes((C, 1)), 3, [LEFT], now_s)


#    votes, hint, current, its epoch, the candidates
ORDERED: list[tuple[list[Vote], Host | None, Host | None, int, tuple[Host, ...]]] = [
    ([], None, B, 5, (B,)),  # no Sentinel answers: the present one, if it still says so
    (votes((A, 5), (A, 5)), None, B, 5, (B, A)),  # just left, still named: back only if B is a primary no more
    (votes((C, 6), (C, 6)), None, B, 5, (C,)),  # replaced in a later epoch: B's own word does not count
    (votes((C, 5), (C, 5)), None, B, 5, (C, B)),
    (votes((B, 6), (B, 6)), None, B, 5, (B,)),
    (votes((B, 6), (B, 6)), C, B, 5, (C, B)),  # a server sent us to C: there first
]


@pytest.mark.parametrize(("said", "hint", "current", "epoch", "order"), ORDERED)
def test_candidates_are_asked_in_this_order(
    said: list[Vote], hint: Host | None, current: Host | None, epoch: int, order: tuple[Host, ...]
) -> None:
    """First whom a server names, then whom the Sentinels name, then the present primary, then one just left."""
    found = candidates(said, 3, hint=hint, current=current, epoch=epoch, former=[LEFT], now_s=1.0)

    assert found == order


NEW_FOR_OLD = Promotion(new_primary=B, old_primary=A)
OF_A_REPLICA = "slave 10.0.0.2:6379 10.0.0.2 6379 @ main 10.0.0.1 6379"
OF_THE_PRIMARY = "master main 10.0.0.1 6379"

#    channel, text, what it means
MESSAGES: list[tuple[str, str, SentinelEvent | None]] = [
    ("+switch-master", "main 10.0.0.1 6379 10.0.0.2 6379", NEW_FOR_OLD),
    ("+switch-master", "other 10.0.0.1 6379 10.0.0.2 6379", None),
    ("+switch-master", "main 10.0.0.1 6379 10.0.0.2 port", None),
    ("+selected-slave", OF_A_REPLICA, NEW_FOR_OLD),
    ("+failover-state-wait-promotion", OF_A_REPLICA, NEW_FOR_OLD),
    ("+promoted-slave", OF_A_REPLICA, NEW_FOR_OLD),
    ("+promoted-slave", OF_A_REPLICA.replace("main", "other"), None),
    ("+promoted-slave", OF_A_REPLICA.replace(" 10.0.0.2 6379", " 10.0.0.2 0"), None),
    ("-failover-abort-slave-timeout", OF_THE_PRIMARY, FailoverAborted()),
    ("-failover-abort-not-elected", OF_THE_PRIMARY, TopologyChange(channel="-failover-abort-not-elected")),
    ("+odown", f"{OF_THE_PRIMARY} #quorum 2/2", TopologyChange(channel="+odown")),
    ("-odown", OF_THE_PRIMARY, TopologyChange(channel="-odown")),
    ("+reboot", OF_THE_PRIMARY, TopologyChange(channel="+reboot")),
    ("+convert-to-slave", OF_A_REPLICA, TopologyChange(channel="+convert-to-slave")),
    ("+slave", OF_A_REPLICA, TopologyChange(channel="+slave")),
    ("+sentinel", "sentinel 1e2c 10.0.0.13 26379 @ main 10.0.0.1 6379", TopologyChange(channel="+sentinel")),
    ("+odown", "master other 10.0.0.1 6379", None),
    ("+odown", "", None),
    ("+odown", f"{OF_THE_PRIMARY} {'x' * announcements.TEXT_MAX}", None),
]


@pytest.mark.parametrize(("channel", "text", "meaning"), MESSAGES)
def test_announcements_have_a_meaning(channel: str, text: str, meaning: SentinelEvent | None) -> None:
    """A message of our service is a promotion, an abort or a reason to look again; any other is nothing."""
    assert announcements.read_event(channel, text, "main") == meaning


@pytest.mark.parametrize("channel", [message[0] for message in MESSAGES])
def test_every_meaningful_channel_is_subscribed_to(channel: str) -> None:
    """What is understood is also listened to."""
    assert channel in announcements.CHANNELS


S1, S2, S3, L = ("s1", 26379), ("s2", 26379), ("s3", 26379), ("10.0.0.9", 26379)


def peers(*hosts: Host, down: bool = False) -> list[SentinelPeer]:
    return [SentinelPeer(id=f"id-{host[0]}", host=host, down=down) for host in hosts]


#    configured, before, met, told, hosts to be connected to
ROSTERS: list[
    tuple[tuple[Host, ...], tuple[Host, ...], dict[Host, str], list[list[SentinelPeer]], tuple[Host, ...]]
] = [
    ((S1, S2), (S1, S2), {}, [], (S1, S2)),
    ((S1,), (S1, L), {}, [], (S1, L)),  # nobody answers: nothing is forgotten
    ((S1,), (S1,), {S1: "id-s1"}, [peers(S2, S3)], (S1, S2, S3)),
    ((S1,), (S1, S2), {S1: "id-s1"}, [peers(S3)], (S1, S3)),  # S2 is told of no more
    ((S1,), (S1, S2), {S1: "id-s1", S2: "id-s2"}, [peers(S3)], (S1, S2, S3)),  # but it is connected
    ((S1, S2), (S1, S2), {}, [peers(S3)], (S1, S2, S3)),  # a configured one stays, told of or not
    ((S1,), (S1,), {S1: "id-s1"}, [peers(S2, down=True)], (S1,)),
    ((S1,), (S1,), {S1: "id-s1"}, [peers(S2, down=True), peers(S2)], (S1, S2)),
    ((S1,), (S1,), {S1: "id-10.0.0.9"}, [peers(L)], (S1,)),  # the same Sentinel by its address
    ((S1,), (S1, L), {S1: "x", L: "x"}, [peers(S2)], (S1, S2)),
    ((S1, S1), (), {}, [], (S1,)),
]


@pytest.mark.parametrize(("configured", "before", "met", "told", "hosts"), ROSTERS)
def test_sentinels_are_learned_and_configured_ones_kept(
    configured: tuple[Host, ...],
    before: tuple[Host, ...],
    met: dict[Host, str],
    told: list[list[SentinelPeer]],
    hosts: tuple[Host, ...],
) -> None:
    """Every Sentinel of the URL is listened to for ever; those that others tell of come and go."""
    assert roster.members(configured, before, met, told) == hosts


def test_learned_sentinels_are_bounded() -> None:
    """However many Sentinels one tells of, only so many are listened to."""
    crowd = peers(*((f"10.0.1.{number}", 26379) for number in range(100)))

    assert len(roster.members((S1,), (S1,), {}, [crowd])) == 1 + DISCOVERED_MAX


SIGNALS: list[tuple[Exception, FailoverHint | None]] = [
    (ConnectionLost("the connection ended"), FailoverHint(why="eof")),
    (DeadlinePassed("no reply in time"), FailoverHint(why="stall")),
    (ConnectionRefusedError(111, "refused"), FailoverHint(why="connect")),
    (TimeoutError(), FailoverHint(why="connect")),
    (ServerError("READONLY You can't write against a read only replica."), FailoverHint(why="readonly")),
    (ServerError("UNBLOCKED force unblock from blocking operation"), FailoverHint(why="readonly")),
    (ServerError("NOREPLICAS Not enough good replicas to write. script: abc"), FailoverHint(why="noreplicas")),
    (ServerError("MASTERDOWN Link with MASTER is down"), FailoverHint(why="masterdown")),
    (ServerError("LOADING Valkey is loading the dataset in memory"), FailoverHint(why="loading")),
    (ServerError("REDIRECT 10.0.0.2:6379"), FailoverHint(why="redirect", candidate=B)),
    (ServerError("REDIRECT 10.0.0.2:6379 script: abc, on @user_script:1."), FailoverHint(why="redirect", candidate=B)),
    (ServerError("REDIRECT fe80::1:6379"), FailoverHint(why="redirect", candidate=("fe80::1", 6379))),
    (ServerError("REDIRECT"), FailoverHint(why="redirect")),
    (ServerError("OOM command not allowed"), None),
    (ConnectionFull("4096 calls are in flight"), None),
]


@pytest.mark.parametrize(("error", "meaning"), SIGNALS)
def test_failures_that_suggest_a_new_primary(error: Exception, meaning: FailoverHint | None) -> None:
    """A lost connection, and each error of a server that is no primary, is a signal; other failures are none."""
    assert failover_hint(error) == meaning


HOSTS: list[tuple[str, str, Host | None]] = [
    ("10.0.0.1", "6379", A),
    ("valkey-0.valkey.svc", "6379", ("valkey-0.valkey.svc", 6379)),
    ("fe80::1%eth0", "1", ("fe80::1%eth0", 1)),
    ("host.", "65535", ("host.", 65535)),
    ("", "6379", None),
    ("a..b", "6379", None),
    ("x" * 64, "6379", None),
    (".".join(["x" * 60] * 5), "6379", None),
    ("a b", "6379", None),
    ("häst", "6379", None),
    ("h", "0", None),
    ("h", "65536", None),
    ("h", "-1", None),
    ("h", "\u0661", None),
    ("h", "123456", None),
]


@pytest.mark.parametrize(("name", "port", "host"), HOSTS)
def test_only_addresses_that_can_be_connected_to_are_read(name: str, port: str, host: Host | None) -> None:
    """A name that no resolver could take, or a port out of range, is no address."""
    assert read_host(name, port) == host


def test_addresses_are_shown_and_read_back() -> None:
    """IPv6 addresses are shown in brackets, and both forms are read."""
    assert (format_host(A), format_host(("::1", 6379))) == ("10.0.0.1:6379", "[::1]:6379")
    assert parse_host_port("[::1]:6379") == parse_host_port("::1:6379") == ("::1", 6379)


ROLES = [
    ([b"master", 100, []], Primary()),
    ([b"primary", 100, []], Primary()),
    ([b"slave", b"10.0.0.1", 6379, b"connected", 100], Replica(primary=A)),
    ([b"slave", b"", 0, b"connect", -1], Replica(primary=None)),
    ([b"sentinel", [b"main"]], Replica(primary=None)),
    (b"OK", Replica(primary=None)),
]


@pytest.mark.parametrize(("reply", "role"), ROLES)
def test_roles_are_read(reply: object, role: Primary | Replica) -> None:
    """Only a server that says it is a primary is taken for one."""
    assert read_role(reply) == role


def test_roles_of_greetings_are_read() -> None:
    """HELLO tells the role too; a greeting without one is that of a replica."""
    assert read_greeting({b"role": b"master"}) == Primary()
    assert read_greeting({b"role": b"replica"}) == Replica(primary=None)
    assert read_greeting({}) == read_greeting([b"role", b"master"]) == Replica(primary=None)


REFUSALS = [
    ("ERR No such master with that name", "knows no service 'main'; SENTINEL MASTERS lists", True),
    ("IDONTKNOW", "knows no service 'main'", True),
    ("WRONGPASS invalid username-password pair", "set sentinel_user and sentinel_password", True),
    ("NOAUTH Authentication required.", "set sentinel_user and sentinel_password", True),
    ("NOPERM no permissions", "set sentinel_user and sentinel_password", True),
    ("ERR unknown command 'SENTINEL', with args", "is no Sentinel; name the Sentinels", True),
    ("DENIED running in protected mode", "refused: DENIED", False),
]


@pytest.mark.parametrize(("error", "words", "lasting"), REFUSALS)
def test_refusals_of_sentinels_name_the_remedy(error: str, words: str, *, lasting: bool) -> None:
    """What a Sentinel refuses is told with its address, and with what mends it where somebody must."""
    silence = read_refusal(S1, "main", ServerError(error))

    assert "s1:26379" in silence.reason
    assert words in silence.reason
    assert silence.permanent is lasting


def found(host: Host, peer: Host | None = None) -> VerifiedPrimary:
    return VerifiedPrimary(host=host, peer=peer or host, start=host)


def test_generations_only_grow_and_remember_whom_they_left() -> None:
    """Each other primary is a generation with the next number, and the one that was left is barred for a while."""
    past = PrimaryHistory(SentinelService(hosts=(S1,), service="main"), quarantine_s=15.0)
    for number, (host, now_s) in enumerate([(A, 0.0), (B, 10.0), (A, 20.0), (C, 21.0)], start=1):
        made = past.adopt(found(host), "named", votes((host, number)), now_s)

        assert made is not None
        assert (made.number, made.epoch, past.host) == (number, number, host)

    assert [(left.aliases, left.epoch, left.until_s) for left in past.former] == [
        (frozenset({B}), 3, 35.0),
        (frozenset({A}), 4, 36.0),
    ]


def test_another_name_is_no_other_primary() -> None:
    """The same server under another name, and the same name with another address, keep the generation."""
    past = PrimaryHistory(SentinelService(hosts=(S1,), service="main"), quarantine_s=15.0)
    past.adopt(found(A), "named", [], 0.0)

    assert past.adopt(found(("valkey-0", 6379), A), "named", [], 1.0) is None
    assert past.aliases == {A, ("valkey-0", 6379)}
    assert past.adopt(found(A, C), "named", [], 2.0) is None
    assert past.aliases == {A, C}


def test_the_memory_of_generations_is_bounded() -> None:
    """Only the latest primaries that were left are remembered."""
    past = PrimaryHistory(SentinelService(hosts=(S1,), service="main"), quarantine_s=15.0)
    for number in range(1, 40):
        past.adopt(found((f"10.0.0.{number}", 6379)), "named", [], 0.0)

    assert len(past.former) == 8
