"""What hashing may cost: the profile and the budget of the settings, checked together."""

from __future__ import annotations

import pytest

from tollhouse.accounts.hashing.argon2id import PROFILES, Profile
from tollhouse.accounts.hashing.cost import HashingCost, hashing_cost, warnings
from tollhouse.errors import ConfigurationError
from tollhouse.settings import Settings
from tollhouse.settings.accounts import AccountSettings, Argon2Settings

MIB = 1_024**2


def settings(profile="default", memory_mib=256, **own):
    accounts = AccountSettings(hash_memory_mib=memory_mib, argon2=Argon2Settings(**own))
    return Settings(password_profile=profile, accounts=accounts)


#     profile, memory_mib, processors, permits
PERMITS = [
    ("default", 256, 2, 2),
    ("default", 256, 64, 4),
    ("default", 64, 64, 1),
    ("owasp", 256, 64, 13),
    ("rfc9106-low", 128, 64, 2),
    ("rfc9106-high", 2_048, 64, 1),
]


@pytest.mark.parametrize(("profile", "memory_mib", "cpus", "permits"), PERMITS)
def test_as_many_hashes_run_as_there_are_processors_and_as_fit_the_budget(profile, memory_mib, cpus, permits):
    """The permits of the settings: one for each processor, within the memory."""
    cost = hashing_cost(settings(profile, memory_mib), cpus)

    assert cost == HashingCost(name=profile, profile=PROFILES[profile], memory_kib=1_024 * memory_mib, permits=permits)


def test_without_a_number_the_processors_are_those_of_this_machine():
    """By default the machine is this one."""
    assert hashing_cost(settings()).permits >= 1


@pytest.mark.parametrize(("profile", "memory_mib", "needed"), [("default", 63, "64"), ("rfc9106-high", 256, "2048")])
def test_a_budget_that_is_less_than_one_hash_is_refused(profile, memory_mib, needed):
    """The error names the budget, the profile, and the memory that it takes."""
    with pytest.raises(ConfigurationError) as refused:
        hashing_cost(settings(profile, memory_mib))

    assert (refused.value.setting, refused.value.value) == ("accounts.hash_memory_mib", memory_mib)
    assert f"{profile!r} takes {needed} MiB" in refused.value.remedy


def test_parameters_of_its_own_are_the_profile_named_own():
    """An operator may choose all three parameters."""
    cost = hashing_cost(settings("own", memory_kib=100_000, time_cost=4, parallelism=2), 2)

    assert cost.profile == Profile(memory_kib=100_000, time_cost=4, parallelism=2)


#     memory_kib, passes, the least
BELOW = [(47_103, 1, "47104"), (19_455, 2, "19456"), (12_287, 3, "12288"), (12_287, 9, "12288")]


@pytest.mark.parametrize(("memory_kib", "time_cost", "least"), BELOW)
def test_parameters_below_the_floor_of_asvs_are_refused(memory_kib, time_cost, least):
    """No parameters are weaker than those of Appendix C; the least that is allowed is."""
    with pytest.raises(ConfigurationError) as refused:
        hashing_cost(settings("own", memory_kib=memory_kib, time_cost=time_cost))

    assert refused.value.setting.endswith("memory_kib")
    assert least in refused.value.remedy
    assert hashing_cost(settings("own", memory_kib=int(least), time_cost=time_cost))


@pytest.mark.parametrize("profile", PROFILES)
def test_no_named_profile_is_below_the_floor(profile):
    """Every profile that has a name satisfies Appendix C."""
    named = PROFILES[profile]

    assert hashing_cost(
        settings(
            "own",
            2_048,
            memory_kib=named.memory_kib,
            time_cost=named.time_cost,
            parallelism=named.parallelism,
        )
    )


def test_parameters_that_no_profile_uses_are_refused():
    """Parameters of one's own beside a named profile would do nothing, so they are a mistake."""
    with pytest.raises(ConfigurationError) as refused:
        hashing_cost(settings("owasp", time_cost=4))

    assert "own" in refused.value.remedy


#     profile, budget, workers, processors, machine MiB, words of the warnings
FITS = [
    ("default", 256, 1, 2, 1_024, []),
    ("default", 256, 4, 2, 1_024, ["1024 MiB"]),
    ("default", 256, 4, 2, None, []),
    ("default", 64, 1, 2, 1_024, ["one password is hashed at a time"]),
    ("default", 64, 1, 1, 1_024, []),
    ("rfc9106-low", 256, 1, 2, 1_024, ["4 threads"]),
]


@pytest.mark.parametrize(("profile", "memory_mib", "workers", "cpus", "machine_mib", "words"), FITS)
def test_what_does_not_fit_the_machine_is_a_warning(profile, memory_mib, workers, cpus, machine_mib, words):
    """More than half of the memory for hashes, one permit on several processors, more threads than processors."""
    cost = hashing_cost(settings(profile, memory_mib), cpus)
    machine_bytes = None if machine_mib is None else machine_mib * MIB

    found = list(warnings(cost, workers=workers, cpus=cpus, machine_bytes=machine_bytes))

    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))
