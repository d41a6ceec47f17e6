"""The processors and the memory that a process may use."""

from __future__ import annotations

import os

import pytest

from tollhouse.runtime.machine import memory_bytes, processors

MEMINFO = "MemTotal:       16384 kB\nMemFree:         1024 kB\n"
#    /proc/meminfo, memory.max of the control group, bytes
FILES = [
    (MEMINFO, None, 16_384 * 1_024),
    (MEMINFO, "max\n", 16_384 * 1_024),
    (MEMINFO, "4194304\n", 4_194_304),
    (MEMINFO, "999999999999\n", 16_384 * 1_024),
    (None, "4194304\n", 4_194_304),
    (None, None, None),
    ("nothing of the kind\n", None, None),
]


@pytest.mark.parametrize(("meminfo", "limit", "expected"), FILES)
def test_the_memory_is_that_of_the_machine_or_of_its_control_group(tmp_path, meminfo, limit, expected):
    """The lesser of the two, and None if the system says neither."""
    for name, text in (("proc/meminfo", meminfo), ("sys/fs/cgroup/memory.max", limit)):
        if text is not None:
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).write_text(text)

    assert memory_bytes(tmp_path) == expected


def test_the_processors_are_those_that_the_process_may_run_on(monkeypatch):
    """One at least; without word of an affinity, those of the machine."""
    assert 1 <= processors() <= (os.cpu_count() or 1)

    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert processors() == (os.cpu_count() or 1)
