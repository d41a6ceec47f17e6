"""A filter that cannot be used is refused with what is wrong; one that is replaced is used at once."""

from __future__ import annotations

import logging
import struct
import zlib

import pytest

from tollhouse.accounts.blocklist.filter_builder import build_filter
from tollhouse.accounts.blocklist.filter_file import PasswordFilter
from tollhouse.accounts.blocklist.filter_format import MAGIC, PAGE_BYTES
from tollhouse.accounts.rules import PasswordRules
from tollhouse.errors import ConfigurationError, WeakPassword

FIRST, SECOND = "tandem walrus cartwheel", "quilted otter lantern"


def filter_of(folder, *passwords):
    (folder / "list.txt").write_text("\n".join(passwords), encoding="utf-8")
    build_filter(folder / "list.txt", folder / "own.filter")
    return folder / "own.filter"


def head(version=1, hashes=13, pages=1):
    body = struct.pack(">8sIIQQ", MAGIC, version, hashes, pages, 1)
    return (body + struct.pack(">I", zlib.crc32(body))).ljust(PAGE_BYTES, b"\0")


DAMAGED = [
    ("an empty file", b""),
    ("another kind of file", b"a list of passwords\n" * 1_000),
    ("a later version", head(version=2) + bytes(PAGE_BYTES)),
    ("no page", head(pages=0)),
    ("no hashes", head(hashes=0) + bytes(PAGE_BYTES)),
    ("too many hashes", head(hashes=33) + bytes(PAGE_BYTES)),
    ("another checksum", head()[:20] + b"\1" + head()[21:] + bytes(PAGE_BYTES)),
    ("a file that was cut", head(pages=2) + bytes(PAGE_BYTES)),
    ("a file that is too long", head() + bytes(PAGE_BYTES + 1)),
]


@pytest.mark.parametrize("content", [content for _, content in DAMAGED], ids=[what for what, _ in DAMAGED])
def test_a_damaged_filter_is_a_mistake_of_the_setup(tmp_path, content):
    """The error names the setting and the file, and nothing is looked up in it."""
    path = tmp_path / "own.filter"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as refused:
        PasswordFilter(path, "password_filter")

    assert (refused.value.setting, refused.value.value) == ("password_filter", str(path))


def test_a_filter_that_is_not_there_is_a_mistake_of_the_setup(tmp_path):
    """A wrong path is found when the service starts."""
    with pytest.raises(ConfigurationError):
        PasswordRules(filter_path=str(tmp_path / "absent.filter"))


def test_a_new_filter_is_used_at_once(tmp_path):
    """The next check reads the file that took the place of the first; no restart is needed."""
    rules = PasswordRules(filter_path=str(filter_of(tmp_path, FIRST)))
    rules.check(SECOND, "ada")

    filter_of(tmp_path, SECOND, "and another")

    rules.check(FIRST, "ada")
    with pytest.raises(WeakPassword) as refused:
        rules.check(SECOND, "ada")
    assert refused.value.rules == ("breached",)


@pytest.mark.parametrize("is_damaged", [True, False], ids=["damaged", "gone"])
def test_a_filter_that_becomes_unusable_stays_in_use(tmp_path, caplog, is_damaged):
    """The one before goes on to refuse, and the log says once why the new one is not used."""
    path = filter_of(tmp_path, FIRST)
    rules = PasswordRules(filter_path=str(path))
    path.unlink()
    if is_damaged:
        path.write_bytes(b"damaged")

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with pytest.raises(WeakPassword):
                rules.check(FIRST, "ada")

    assert [record.event for record in caplog.records] == ["password filter cannot be used"]
