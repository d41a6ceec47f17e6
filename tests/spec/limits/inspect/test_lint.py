"""Lint: problems, canonical forms, sizes, warnings and notes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.worlds import World
from tollhouse.limits.inspect.lint import LintReport, findings, lint, stored_bytes_max
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import BUILT_IN
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.settings.model import PolicySettings


def lint_report(**policies: dict[str, Any]) -> LintReport:
    return lint({name: PolicySettings(**fields) for name, fields in policies.items()})


def test_a_valid_policy_is_reported_in_canonical_form() -> None:
    """A valid policy is ok, and reported with its limits in canonical notation."""
    found = lint_report(api={"limit": "5/s, 100 per min"}, log={"limit": "9-H", "algorithm": "sliding-log"})

    assert found.ok
    assert [(one.policy, one.limit, one.algorithm) for one in found.policies] == [
        ("api", "5/second; 100/minute", "sliding-window"),
        ("log", "9/hour", "sliding-log"),
    ]
    assert found.problems == found.findings == ()


def test_every_invalid_policy_is_named() -> None:
    """All invalid policies are reported at once, with value and remedy, and the valid ones as well."""
    found = lint_report(api={"limit": "5/mn"}, login={"limit": "9/minute"}, mail={"limit": "5/m", "algorithm": "gcar"})

    assert not found.ok
    assert [problem.field for problem in found.problems] == ["policies.api", "policies.mail.algorithm"]
    assert found.problems[0].sentence == "policies.api: '5/mn': did you mean 5/min or 5/month?"
    assert [one.policy for one in found.policies] == ["login"]


def test_a_problem_names_the_place_of_its_value() -> None:
    """The sentence names the variable or the line that has the value, if there is one; the field stays."""
    policies = {"api": PolicySettings(limit="5/minuet"), "next": PolicySettings(limit="5/m", shadow_of="defaul")}
    origins = {"limits.policies.api.limit": "API_LIMIT", "limits.policies.next.shadow_of": "NEXT_SHADOW_OF"}

    found = lint(policies, origins=origins)

    assert [problem.field for problem in found.problems] == ["policies.api", "policies.next.shadow_of"]
    assert [problem.sentence.split(":")[0] for problem in found.problems] == ["API_LIMIT", "NEXT_SHADOW_OF"]


def test_policies_that_contradict_each_other_are_a_problem() -> None:
    """Errors between policies are reported too, including those with built-in policies."""
    candidate = {"limit": "5/m", "shadow_of": "defaul"}

    found = lint_report(next=candidate, api={"limit": "5/m"})

    assert [problem.field for problem in found.problems] == ["policies.next.shadow_of"]
    assert "did you mean 'default'?" in found.problems[0].remedy
    assert [one.policy for one in found.policies] == ["api"]
    assert lint_report(next={**candidate, "shadow_of": "default"}).ok


#    the policy's fields, level, and the words of the sentence; None if nothing is found
FINDINGS: list[tuple[dict[str, Any], str | None, str]] = [
    ({"limit": "5/s; 100/m; 1000/h"}, None, ""),
    ({"limit": "5/m", "shadow": True}, "warning", "shadow = true: it decides and counts, and never refuses"),
    ({"limit": "5/m", "shadow_of": "default"}, None, ""),
    ({"limit": "129/m", "lease": "auto"}, None, ""),
    ({"limit": "9/m; 500/h", "lease": "auto"}, "warning", "9/minute leases nothing, because that takes more than 128"),
    ({"limit": "500/m", "lease": "auto", "shadow_of": "default"}, "warning", "a shadow counts every take in the store"),
    ({"limit": "5/m", "on_outage": "closed"}, "note", "while its store is down every take is refused"),
    ({"limit": "5/m", "on_outage": "open"}, None, ""),
    ({"limit": "9/s; 20/m", "cost": 10}, "warning", "cost = 10 is above 9/second"),
    ({"limit": "9/s; 20/m", "cost": 9}, None, ""),
    ({"limit": "9/s burst 20", "algorithm": "gcra"}, "warning", "up to 29 units pass in one window"),
    ({"limit": "9/s burst 9; 9/m", "algorithm": "gcra"}, None, ""),
    ({"limit": "5/s; 5/m"}, "warning", "5/second never refuses: 5/minute allows no more in a longer time"),
    ({"limit": "300/m; 5/s"}, "warning", "300/minute never refuses: 5/second allows no more in the same time"),
    ({"limit": "299/m; 5/s"}, None, ""),
    ({"limit": "10/m; 15/90"}, None, ""),
    ({"limit": "10/m; 20/90"}, "warning", "20/90 seconds never refuses"),
    ({"limit": "5/s; 300/m", "algorithm": "fixed-window"}, None, ""),
    ({"limit": "5/s; 305/m", "algorithm": "fixed-window"}, "warning", "305/minute never refuses"),
    ({"limit": "5/s; 5/m", "algorithm": "sliding-window-counter"}, None, ""),
    ({"limit": "10/s; 5/m", "algorithm": "sliding-window-counter"}, "warning", "10/second never refuses"),
    ({"limit": "5/m", "allow": "0.0.0.0/0"}, "warning", "every address of IPv4, which is never counted"),
    ({"limit": "5/m", "deny": "::/0"}, "warning", "every address of IPv6, which is always refused"),
    ({"limit": "5/m", "deny": "2001:db8::1"}, "warning", "deny: 2001:db8::1 matches no client"),
    ({"limit": "5/m", "deny": "2001:db8::/64 10.0.0.1"}, None, ""),
    ({"limit": "5/m", "allow": "user:ada", "deny": "user:ada"}, "warning", "user:ada is on both lists, and deny wins"),
]


def test_an_entry_longer_than_the_prefix_of_clients_matches_none() -> None:
    """With a longer or shorter prefix of IPv6 clients other entries are too long."""
    policies = {"api": PolicySettings(limit="5/m", deny=("2001:db8::/64",))}

    (finding,) = lint(policies, ipv6_prefix_bits=56).findings
    assert "whole /56; list the /56" in finding.text
    assert lint(policies).findings == ()


@pytest.mark.parametrize(("fields", "level", "words"), FINDINGS, ids=[str(row[0]) for row in FINDINGS])
def test_likely_mistakes_are_found(fields: dict[str, Any], level: str | None, words: str) -> None:
    """A valid policy that is probably a mistake has a warning; a choice that should be deliberate has a note."""
    found = lint_report(api=fields)

    assert found.ok
    assert [finding.level for finding in found.findings] == ([] if level is None else [level])
    assert all(finding.policy == "api" and words in finding.text for finding in found.findings)


SIZES = [
    ("100/minute", "sliding-window"),
    ("7/second; 100/minute; 1000000/366 days", "sliding-window"),
    ("100/minute; 1000/hour", "sliding-window-counter"),
    ("40/minute; 60/hour", "sliding-log"),
    ("100/minute; 1000/hour", "fixed-window"),
    ("100/minute burst 1000; 1000/hour", "gcra"),
]


@pytest.mark.parametrize(("limits", "algorithm"), SIZES)
async def test_the_counters_of_a_key_stay_within_the_size(world: World, limits: str, algorithm: str) -> None:
    """However takes are spread, what is stored for a key stays within the reported size."""
    policy = parse_policy("api", limits, algorithm)
    limiter = Limiter(world.stores.limits, {"api": policy}, world.keyring, world.metrics)

    most = 0
    for _ in range(70):
        await limiter.take("api", "ada")
        await world.advance(997)
        for key in await world.command("limits", "KEYS", "*"):
            most = max(most, await world.command("limits", "STRLEN", key))

    assert 0 < most <= stored_bytes_max(policy)


def test_a_finer_algorithm_stores_more() -> None:
    """The size grows with sub-buckets, logged units and permits, and hardly with the limit."""
    bounds = {
        algorithm: stored_bytes_max(parse_policy("api", "100/hour", algorithm))
        for algorithm in ("gcra", "sliding-window-counter", "sliding-window", "sliding-log")
    }

    assert sorted(bounds, key=bounds.__getitem__) == list(bounds)
    assert stored_bytes_max(parse_policy("api", "100/30 s", "concurrency")) == 100 * 45


def test_the_built_in_policies_have_no_findings() -> None:
    """The built-in policies need no change."""
    assert list(findings(BUILT_IN.values())) == []
