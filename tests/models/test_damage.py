"""Damaged values in the store: with any bytes under its key, a limit answers without an error."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tests import twins
from tests.histories import COUNTING
from tests.worlds import START_MS, StoreWorld
from tollhouse.limits.policy.policy import Limit, Policy

KEY = "tollhouse:rate:{a}:api"

HEADS = ["TH1;", "TH2;", "TH2;60/16=7/2=", "TH2;fixed-window/60=fixed-window/7=", "TH2;sliding-log/60=sliding-log/7="]
_NUMBERS = st.integers(10**15, 10**16 - 1) | st.integers(0, 40)
_NUMBERS |= st.integers(0, 10**18) | st.sampled_from([START_MS, START_MS + 1, START_MS // 3_750])
_NAMES = st.sampled_from(
    ["60000/16", "7000/2", "60/16", *(f"{name}/{ms}" for name in COUNTING[1:] for ms in (60_000, 7_000)), "x", "hold/a"]
)


def _fields() -> st.SearchStrategy[str]:
    older = st.lists(st.tuples(_NUMBERS, _NUMBERS).map(lambda pair: f"{pair[0]}:{pair[1]}"), max_size=3)
    pieces = st.one_of(
        _NUMBERS.map(str),
        st.tuples(_NAMES, _NUMBERS).map(lambda pair: f"{pair[0]}={pair[1]}"),
        st.tuples(_NUMBERS, older).map(lambda pair: ",".join([str(pair[0]), *pair[1]])),
        st.tuples(_NUMBERS, _NUMBERS, _NUMBERS).map(lambda three: "hold/b={},{},{}".format(*three)),
        st.text(alphabet="0123456789,:=/-xh", max_size=12),
    )
    ends = st.sampled_from([";", ";", ""])
    return st.lists(st.tuples(pieces, ends).map("".join), max_size=8).map("".join)


@given(algorithm=st.sampled_from(COUNTING), head=st.sampled_from(HEADS), text=_fields())
@example(algorithm="sliding-window", head="TH1;", text="hold/b=0,0,100001799999998985;")
@example(algorithm="sliding-window", head="TH2;60/16=7/2=", text="             1e3             1e3")
@example(algorithm="sliding-window", head="TH2;60/16=7/2=", text="             nan             inf")
@example(algorithm="sliding-window", head="TH2;60/16=7/2=", text="0000000000001e990000000000001e99")
async def test_damaged_values_cause_no_error(world: StoreWorld, algorithm, head: str, text: str) -> None:
    """Every script answers in bounds over any text that begins as ours do, and takes can go on."""
    limits = (Limit(units=10, window_ms=60_000), Limit(units=5, window_ms=7_000, resolution=2))
    policy = Policy(name="api", algorithm=algorithm, limits=limits)
    calls: list[tuple[str, list[str | int]]] = [
        ("limits/peek", [3]),
        ("limits/take_up_to", [3]),
        ("limits/refund", [3, "c", 0, 0]),
        ("limits/reserve", ["a", 3, 1_000]),
        ("limits/settle", ["b", 3, "c"]),
    ]

    for script, words in calls:
        await world.command("limits", "SET", KEY, head + text)
        reply = await twins.ask(world, script, KEY, policy, *words)
        assert all(0 <= remaining <= 10 for remaining in reply[-4::2])
    for script in ("limits/take", "limits/take_all"):
        await world.command("limits", "SET", KEY, head + text)
        await twins.take(world, [(KEY, policy, 1)], script)
        await twins.take(world, [(KEY, policy, 1)], script)
