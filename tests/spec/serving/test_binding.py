"""Binding: what an error of the system comes to."""

from __future__ import annotations

import errno
import os

import pytest

from tollhouse.serving.binding import not_bound

#   the error, the setting that it is about, its value, and a word of the remedy
ERRORS = [
    (errno.EADDRINUSE, "port", 80, "TOLLHOUSE_PORT"),
    (errno.EACCES, "port", 80, "systemd"),
    (errno.EADDRNOTAVAIL, "host", "192.0.2.1", "0.0.0.0"),
]


@pytest.mark.parametrize(("number", "setting", "value", "remedy"), ERRORS)
def test_an_error_names_the_setting_that_mends_it(number: int, setting: str, value: object, remedy: str) -> None:
    """A port that is taken, or that the user may not have, is about the port; all else about the address."""
    error = not_bound("192.0.2.1", 80, OSError(number, os.strerror(number)))

    assert (error.setting, error.value) == (setting, value)
    assert remedy in error.remedy
