"""The report of a drill: bounds that can be broken, unflattering figures, and charts that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from msgspec import structs

from tests.drills import call, take
from tollhouse.drill.clients.client import VIAS
from tollhouse.drill.faults import FAULTS
from tollhouse.drill.report import chart, markdown, slo, table
from tollhouse.drill.report.report import DrillOptions, Machine, Report, RoundReport, assemble
from tollhouse.drill.results.admission import SharedLimit
from tollhouse.drill.results.availability import buckets
from tollhouse.drill.results.history import Mark
from tollhouse.drill.results.metrics import (
    MEASURES,
    Figures,
    RoundData,
    StormResult,
    measure,
    median,
    no_figures,
    per_operation,
    worst,
)
from tollhouse.errors import ConfigurationError

SVG = "{http://www.w3.org/2000/svg}"
MARKS = [
    Mark(at_ms=100, kind="fault", who="server-1", what="<kill -9>"),
    Mark(at_ms=110, kind="sdown", who="sentinel-1"),
    Mark(at_ms=111, kind="sdown", who="sentinel-2"),
    Mark(at_ms=150, kind="promoted", who="server-2"),
    Mark(at_ms=9_000, kind="demoted", who="server-1"),
]
CALLS = [
    take(1, 0),
    take(2, 50, failure="ambiguous"),
    take(3, 160),
    call("create", "create-4", 170, durable=True),
    call("create", "create-5", 175, durable=False),
    call("revoke", "create-6", 180, durable=True),
    call("get", "put-1", 190, degraded=True),
    call("hot", "hot-1", 195),
    call("hot", "hot-2", 196),
    call("hot", "hot-3", 197, accepted=False),
    call("hot", "hot-4", 197, degraded=True),
    call("hot", "hot-5", 197),
]


def round_data(**changes: Any) -> RoundData:
    """A round in which all that can go wrong does."""
    facts: dict[str, Any] = {
        "calls": CALLS,
        "marks": MARKS,
        "surviving": {"take-2", "create-6", "hot-1", "hot-2", "hot-3"},
        "span_ms": 200,
        "deadline_ms": 1_000,
        "hot": SharedLimit(limit=1, window_ms=1_000),
        "failovers_expected": 1,
        "storm": StormResult(cancelled=90, missing=10, failed=2, foreign=1),
        "reconnects": 3,
        "leaked_slots": 4,
    }
    return RoundData(**{**facts, **changes})


def test_every_measure_is_taken() -> None:
    """A round has every measure that the report names, each from its data."""
    figures = measure(round_data())

    assert figures.keys() == MEASURES.keys()
    assert {name: figures[name] for name in ("calls", "answered", "degraded", "errors", "ambiguous")} == {
        "calls": 12, "answered": 9, "degraded": 2, "errors": 1, "ambiguous": 1,
    }  # fmt: skip
    assert figures["takes_degraded"] == 1
    assert {name: value for name, value in figures.items() if name.endswith(("lost", "applied", "durable"))} == {
        "plain_lost": 3, "takes_lost": 2, "creates_lost": 1, "durable_lost": 1, "unknown_applied": 1, "not_durable": 1,
        "hot_lost": 1,
    }  # fmt: skip
    assert (figures["resurrected"], figures["deposed"]) == (1, 3)
    assert (figures["hot_admitted"], figures["hot_degraded"]) == (4, 1)
    assert (figures["over_admission"], figures["over_admission_unexplained"]) == (3, 1)
    assert (figures["cancelled"], figures["cancellations_missing"], figures["storm_failed"]) == (90, 10, 2)
    assert (figures["foreign"], figures["reconnects"], figures["leaked_slots"]) == (1, 3, 4)
    assert (figures["promoted_ms"], figures["not_durable_ms"]) == (50, 76)


def test_what_cannot_be_observed_has_no_figure() -> None:
    """Without a storm, a shared limit and a view of connections those measures are None and not 0."""
    figures = measure(round_data(hot=None, storm=None, reconnects=None, leaked_slots=None, marks=[]))

    assert {name for name, value in figures.items() if value is None} == {
        *("hot_admitted", "hot_lost", "hot_degraded", "over_admission", "over_admission_unexplained"),
        *("cancelled", "cancellations_missing", "storm_failed", "leaked_slots", "reconnects"),
        *("detected_ms", "promoted_ms", "announced_ms", "announced_by_all_ms", "switched_ms", "not_durable_ms"),
    }
    assert figures["foreign"] == 0


def test_the_gap_is_that_of_the_worst_operation() -> None:
    """One operation that stands still is not hidden by others that go on."""
    one, *others = per_operation(round_data())

    assert (one.operation, one.calls, one.answered, one.errors, one.gap_ms) == ("take", 3, 2, 1, 160)
    assert [other.operation for other in others] == ["hot", "create", "revoke", "get"]
    assert measure(round_data())["gap_ms"] == 200  # the cache was never answered by a store
    assert measure(round_data(calls=[]))["gap_ms"] == 200


def figures(**some: float) -> Figures:
    """The figures of a round, all 0 but some."""
    return {**dict.fromkeys(MEASURES, 0), **some}


def test_the_worst_round_counts() -> None:
    """The worst is the largest, of what is good the smallest; the median is the middle."""
    rounds = [figures(gap_ms=1, cancelled=30), figures(gap_ms=9, cancelled=10), figures(gap_ms=2, cancelled=20)]

    assert (worst(rounds)["gap_ms"], worst(rounds)["cancelled"]) == (9, 10)
    assert (median(rounds)["gap_ms"], median(rounds)["cancelled"]) == (2, 20)


def test_a_measure_that_a_round_lacks_has_no_summary() -> None:
    """A round without a figure cannot be left out: then there is neither median nor worst."""
    assert worst([figures(), no_figures()]) == median([figures(), no_figures()]) == no_figures()
    assert worst([]) == no_figures()


#   fault, measure, most that is allowed at down-after 2000
BOUNDS = [
    ("forced", "plain_lost_ms", 50),
    ("forced", "durable_lost", 0),
    ("forced", "errors", 0),
    ("forced", "takes_degraded", 0),
    ("coordinated", "plain_lost", 0),
    ("coordinated", "durable_lost", 0),
    ("coordinated", "errors", 0),
    ("coordinated", "takes_degraded", 0),
    ("coordinated", "gap_ms", 500),
    ("kill9", "gap_ms", 2_800),
    ("kill9", "durable_lost", 0),
    ("kill9", "over_deadline", 0),
    ("sigstop", "gap_ms", 3_800),
    ("sigstop", "deposed", 0),
    *((fault, "durable_lost", 0) for fault in ("twice", "partition", "lag")),
    ("script-flush", "errors", 0),
    ("script-flush", "takes_degraded", 0),
    ("cancel-storm", "foreign", 0),
    ("cancel-storm", "leaked_slots", 0),
    ("cancel-storm", "reconnects", 0),
    ("cancel-storm", "cancellations_missing", 0),
    *((fault, "resurrected", 0) for fault in FAULTS),
    *((fault, "over_admission_unexplained", 0) for fault in FAULTS),
    *((fault, "ghosts", 0) for fault in FAULTS),
]


@pytest.mark.parametrize(("fault", "name", "at_most"), BOUNDS)
def test_a_broken_bound_is_reported(fault: str, name: str, at_most: float) -> None:
    """P9: what each fault must show is kept at its bound, and broken by anything above it or not observed."""
    bounds = slo.built_in(2_000, "library")

    kept = [
        {verdict.measure: verdict.kept for verdict in slo.check(bounds, fault, {**figures(), name: value})}[name]
        for value in (at_most, at_most + 0.1, None)
    ]

    assert kept == [True, False, False]


def test_every_fault_has_bounds_of_measures_that_exist() -> None:
    """The built-in bounds name every fault, and nothing that is not measured."""
    bounds = slo.built_in(3_000, "library")

    assert set(bounds) == {*FAULTS, slo.ALL}
    assert all(name in MEASURES for bounds in bounds.values() for name in bounds)
    assert slo.bounds(bounds, "kill9")["gap_ms"] == 3_800


def test_a_set_up_has_its_own_bounds() -> None:
    """Servers that refuse writes until a replica follows have longer gaps; a bound on trust is a bound on losses."""
    plain = slo.built_in(2_000, "library")
    followed = slo.built_in(2_000, "library", min_replicas=1)
    watched = slo.built_in(2_000, "library", max_unreplicated_ms=1_000)

    assert (plain["kill9"]["gap_ms"], followed["kill9"]["gap_ms"]) == (2_800, 4_300)
    assert "errors" in plain["forced"]
    assert "errors" not in followed["forced"]
    assert "plain_lost_ms" not in plain["partition"]
    assert [watched[fault]["plain_lost_ms"] for fault in ("twice", "partition", "lag")] == [1_050] * 3


def test_over_http_only_what_can_be_seen_is_asked() -> None:
    """The lanes of a service's workers cannot be seen from outside, so nothing is asked of them there."""
    library, http = (slo.bounds(slo.built_in(2_000, via), "cancel-storm") for via in VIAS)

    assert library.keys() - http.keys() == {"leaked_slots", "reconnects"}
    assert {name: bound for name, bound in library.items() if name in http} == http


def test_bounds_are_read_from_a_file(tmp_path: Path) -> None:
    """A file replaces the built-in bounds; of two for one measure that of the fault counts."""
    path = tmp_path / "slo.toml"
    path.write_text("[all]\nerrors = 0\n[kill9]\nerrors = 500\ngap_ms = 2600.5\n")

    bounds = slo.read(path, FAULTS)

    assert slo.bounds(bounds, "kill9") == {"errors": 500, "gap_ms": 2600.5}
    assert slo.bounds(bounds, "forced") == {"errors": 0}


#   file, words of the error
WRONG = [
    ("[kill8]\nerrors = 0", ["kill8", "no fault", "did you mean 'kill9'"]),
    ("[kill9]\ngap = 0", ["kill9.gap", "no measure", "did you mean 'kill9.gap_ms'"]),
    ("[kill9]\nzzzzzzzzzz = 0", ["no measure", "known are"]),
    ("[kill9]\ngap_ms = 'soon'", ["write `[FAULT]`"]),
    ("[kill9]\ngap_ms = -1", ["write `[FAULT]`"]),
    ("kill9 = 3", ["write `[FAULT]`"]),
    ("[kill9", ["write `[FAULT]`"]),
    (None, ["write `[FAULT]`"]),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_a_file_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, words: list[str]
) -> None:
    """A name that does not exist and a value that is no number are one sentence with the remedy."""
    monkeypatch.chdir(tmp_path)  # a long path would be cut short in the message
    path = Path("slo.toml")
    if text is not None:
        path.write_text(text)

    with pytest.raises(ConfigurationError) as refused:
        slo.read(path, FAULTS)

    for word in ["slo.toml", *words]:
        assert word in str(refused.value)


def report(*rounds: RoundReport) -> Report:
    options = DrillOptions(
        command="tollhouse drill run --fault forced",
        faults=("forced",),
        clients=("tollhouse", "redis-py"),
        rounds=len(rounds) // 2,
        rate=200,
        down_after_ms=2_000,
        min_replicas=0,
        max_unreplicated_ms=None,
        via="library",
        seed=1,
        deadline_ms=1_000,
    )
    machine = Machine(
        system="Linux",
        processor="x86_64",
        cores=2,
        load_before=0.5,
        load_after=1.25,
        python="3.11",
        server="valkey 9.1.2",
        versions={"redis": "8.1.0"},
    )
    return assemble(options, machine, rounds, slo.built_in(2_000, "library"))


def one_round(client: Any, number: int, problem: str | None = None, **some: float) -> RoundReport:
    return RoundReport(
        fault="forced",
        client=client,
        number=number,
        figures=no_figures() if problem else figures(**some),
        operations=(),
        marks=(),
        history=f"forced-{client}-{number}.jsonl",
        timeline="" if problem else f"forced-{client}-{number}.svg",
        problem=problem,
    )


def test_only_tollhouse_is_held_to_the_bounds() -> None:
    """A report is ok when Tollhouse kept every bound, whatever the client beside it did."""
    good = report(one_round("tollhouse", 1), one_round("redis-py", 1, plain_lost_ms=11_000))
    bad = report(one_round("tollhouse", 1, plain_lost_ms=50.01), one_round("redis-py", 1))

    assert good.ok
    assert not bad.ok
    assert [verdict.measure for verdict in bad.verdicts if not verdict.kept] == ["plain_lost_ms"]


def test_a_round_that_could_not_be_finished_keeps_no_bound() -> None:
    """A round that says why it has no figures breaks every bound, and the report says it too."""
    unfinished = report(
        one_round("tollhouse", 1),
        one_round("redis-py", 1),
        one_round("tollhouse", 2, "no primary"),
        one_round("redis-py", 2),
    )

    assert not any(verdict.kept for verdict in unfinished.verdicts)
    assert "Round 2 of tollhouse could not be finished: no primary." in markdown.render(unfinished)


def test_a_report_is_the_same_after_json() -> None:
    """The JSON of a report holds all of it, and reads back as the same."""
    whole = report(one_round("tollhouse", 1, gap_ms=1.5), one_round("redis-py", 1))

    assert msgspec.json.decode(msgspec.json.encode(whole), type=Report) == whole


def test_the_page_shows_both_clients_and_what_was_asked() -> None:
    """The page has the command, the machine, a row per measure with both clients, and the worst round's timeline."""
    page = markdown.render(
        report(
            one_round("tollhouse", 1, plain_lost_ms=12.01, gap_ms=100),
            one_round("tollhouse", 2, plain_lost_ms=50.01, gap_ms=90),
            one_round("redis-py", 1, plain_lost_ms=10_000),
            one_round("redis-py", 2, plain_lost_ms=11_000),
        )
    )

    row = next(line for line in page.splitlines() if line.startswith("| plain writes lost: time"))
    assert row.split(" | ")[1:] == ["31.1", "50.1", "10,500", "11,000", "50", "**no** |"]
    assert "    tollhouse drill run --fault forced" in page
    assert "Load average 0.50 before and 1.25 after." in page
    assert "2 cores of x86_64, valkey 9.1.2, Python 3.11:\nredis 8.1.0." in page
    assert "![forced, tollhouse, round 1](forced-tollhouse-1.svg)" in page
    assert "calls cancelled" not in page


def test_drills_of_one_set_up_share_a_table() -> None:
    """A table has a row for each figure that is not 0 everywhere, what was lost of how much, and the worst of all."""
    both = report(
        one_round("tollhouse", 1, plain_acknowledged=1_200, gap_ms=205.5),
        one_round("redis-py", 1, plain_lost=881, plain_acknowledged=1_281, takes_lost=881),
    )
    other = structs.replace(both, options=structs.replace(both.options, min_replicas=1, command="the second"))

    lines = table.render([both, other, both]).splitlines()

    heads = [line for line in lines if line.startswith("min-replicas")]
    assert heads == [f"min-replicas-to-write {number}, max_unreplicated_ms off:" for number in (0, 1)]
    first = lines[: lines.index(heads[1])]
    assert "| fault | | tollhouse, median | worst | redis-py, median | worst |" in first
    assert "| `forced` | errors that a user sees | 0 | 0 | 0 | 0 |" in first
    assert "|  | longest gap of any operation, ms | 205.5 | 205.5 | 0 | 0 |" in first
    lost = "plain writes acknowledged and lost"
    assert f"|  | {lost} | 0 of 1,200 | 0 of 1,200 | 881 of 1,281 | 881 of 1,281 |" in first
    assert "|  | of these: takes | 0 | 0 | 881 | 881 |" in first
    assert not any("not sent" in line for line in first)
    assert "| all | writes answered durable and lost |  | 0 |  | 0 |" in first
    assert first.count("    tollhouse drill run --fault forced") == 2
    assert "    the second" in lines


def test_what_was_not_drilled_has_empty_cells() -> None:
    """A client that one of the drills left out has no figures there, and a round without figures has none to sum up."""
    both = report(one_round("tollhouse", 1, "no primary"), one_round("redis-py", 1))
    alone = structs.replace(
        both, options=structs.replace(both.options, clients=("tollhouse",), faults=("kill9",)), summaries=()
    )

    lines = table.render([alone, both]).splitlines()

    assert "| `forced` | errors that a user sees | ? | ? | 0 | 0 |" in lines
    assert "| all | writes answered durable and lost |  |  |  | 0 |" in lines


def test_the_page_says_what_http_does_not_show() -> None:
    """Over HTTP the page says which operations go another way, and what it cannot show."""
    whole = report(one_round("tollhouse", 1), one_round("redis-py", 1))
    over_http = structs.replace(whole, options=structs.replace(whole.options, via="http"))

    assert "Over HTTP sessions are created through the library" in markdown.render(over_http)
    assert "Over HTTP" not in markdown.render(whole)


#   measure, value, as shown
SHOWN = [
    ("gap_ms", 100.0, "100"),
    ("gap_ms", 100.01, "100.1"),
    ("gap_ms", 1234.5, "1,234.5"),
    ("gap_ms", 0.1 + 0.2, "0.3"),
    ("errors", 2.5, "2.5"),
    ("errors", 0, "0"),
    ("cancelled", 99_999.99, "99,999.9"),
    ("cancelled", 100_000, "100,000"),
    ("gap_ms", None, "?"),
]


@pytest.mark.parametrize(("name", "value", "expected"), SHOWN)
def test_figures_are_rounded_in_the_unfavourable_direction(name: str, value: float | None, expected: str) -> None:
    """P9: what should be small is rounded up, what should be large down, and what is unknown is no 0."""
    assert markdown.format_figure(name, value) == expected


def test_a_timeline_is_a_picture_for_light_and_dark() -> None:
    """The SVG is well formed, draws each kind of answer, marks the fault and the switch, and fits both schemes."""
    drawn = chart.draw("kill9 & more", buckets(CALLS, 200), MARKS, 200)

    root = ElementTree.fromstring(drawn)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert root.findtext(f"{SVG}title") == "kill9 & more"
    assert {"fault server-1", "+sdown sentinel-1", "ROLE master server-2"} <= set(texts)
    assert "+sdown sentinel-2" not in texts  # of what all say the first is enough
    assert "ROLE replica server-1" not in texts  # it was after the end
    assert {path.get("class") for path in root.iter(f"{SVG}path")} == {
        *("served", "degraded", "failed", "axis", "event", "mark")
    }
    assert "prefers-color-scheme: dark" in drawn
    assert "<script" not in drawn


def test_labels_do_not_cover_each_other() -> None:
    """Marks that are close together are written in rows of their own, and later ones use the first that is free."""
    close = [Mark(at_ms=at, kind="switch", who=f"sentinel-{at}") for at in (10, 11, 12, 190)]

    root = ElementTree.fromstring(chart.draw("x", (), close, 200))

    rows = {text.text: float(text.get("y", "0")) for text in root.iter(f"{SVG}text")}
    first, second, third, last = (rows[f"+switch-master sentinel-{at}"] for at in (10, 11, 12, 190))
    assert first < second < third
    assert last == first
