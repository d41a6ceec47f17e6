"""Damaged values in the store: with any bytes under its key, a limit answers without an error."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tests import twins
from tests.histories import COUNTING
from tests.worlds import START_MS, StoreWorld
from tollhouse.limits.policy.policy import Limit, Policy

KEY = "tollhouse:rate:{a}:api"

_NUMBERS = st.integers(0, 40) | st.integers(0, 10**18) | st.sampled_from([START_MS, START_MS + 1, START_MS // 3_750])
_NAMES = st.sampled_from(
    ["60000/16", "7000/2", *(f"{name}/{ms}" for name in COUNTING[1:] for ms in (60_000, 7_000)), "x", "hold/a"]
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
    return st.lists(pieces, max_size=8).map(lambda parts: "".join(f"{part};" for part in parts))


@given(algorithm=st.sampled_from(COUNTING), text=_fields())
@example(algorithm="sliding-window", text="hold/b=0,0,100001799999998985;")
async def test_damaged_values_cause_no_error(world: StoreWorld, algorithm, text: str) -> None:
    """Every script answers in bounds over any text that begins and ends as ours do, and takes can go on."""
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
        await world.command("limits", "SET", KEY, f"TH1;{text}")
        reply = await twins.ask(world, script, KEY, policy, *words)
        assert all(0 <= remaining <= 10 for remaining in reply[-4::2])
    for script in ("limits/take", "limits/take_all"):
        await world.command("limits", "SET", KEY, f"TH1;{text}")
        await twins.take(world, [(KEY, policy, 1)], script)
        await twins.take(world, [(KEY, policy, 1)], script)
