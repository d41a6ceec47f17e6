"""A filter is built from an operator's own list, whatever the list is like."""

from __future__ import annotations

import hashlib

import pytest

from tollhouse.accounts.blocklist.filter_builder import LINE_BYTES_MAX, build_filter
from tollhouse.accounts.blocklist.filter_file import PasswordFilter
from tollhouse.accounts.rules import PasswordRules
from tollhouse.errors import ConfigurationError, WeakPassword


def sha1(password):
    return hashlib.sha1(password.encode()).hexdigest().upper()


def built(tmp_path, content, **options):
    source, target = tmp_path / "list.txt", tmp_path / "list.filter"
    source.write_bytes(content)
    return build_filter(source, target, **options), PasswordFilter(target, "password_filter")


def test_a_list_of_passwords_becomes_a_filter(tmp_path):
    """Each line is found in every folded spelling, in UTF-8 or Latin-1; what is too long or empty is left out."""
    lines = [
        b"tandem walrus cartwheel",
        "caf\u00e9 caf\u00e9 au lait".encode("latin-1"),
        b"",
        b"x" * LINE_BYTES_MAX * 2,
    ]

    result, found = built(tmp_path, b"\n".join(lines) + b"\r\nthe last line")

    assert (result.head.entries, result.digests) == (3, False)
    assert result.skipped == 4  # the empty line, and the long one in three parts
    assert all(map(found.has, ["tandemwalruscartwheel", "cafecafeaulait", "thelastline"]))
    assert not found.has("tandem")


@pytest.mark.asvs("6.2.12")
def test_a_list_of_digests_becomes_a_filter(tmp_path):
    """The well-known download is read as it is: HASH:COUNT; and a password is found however it is typed."""
    lines = [f"\ufeff{sha1('tandem walrus cartwheel')}:37", sha1("quilted otter lantern").lower(), "no digest"]

    result, _ = built(tmp_path, "\r\n".join(lines).encode())
    rules = PasswordRules(filter_path=str(tmp_path / "list.filter"))

    assert (result.head.entries, result.digests, result.skipped) == (2, True, 1)
    for password in ("tandem walrus cartwheel", "Quilted Otter Lantern"):
        with pytest.raises(WeakPassword) as refused:
            rules.check(password, "ada")
        assert refused.value.rules == ("breached",)
    rules.check("velvet harpoon biscuit", "ada")


@pytest.mark.parametrize("wanted", [1e-2, 1e-4])
def test_the_share_of_false_positives_is_what_was_wanted(tmp_path, wanted):
    """Of passwords that are not in the list about the wanted share is found, and the size follows from it."""
    content = "\n".join(f"member {number}" for number in range(20_000)).encode()

    result, found = built(tmp_path, content, false_positives=wanted)

    others = sum(found.has(f"stranger{number}") for number in range(20_000))
    assert all(found.has(f"member{number}") for number in range(0, 20_000, 97))
    assert others <= 1.5 * wanted * 20_000 + 6
    assert result.head.false_positives() < 1.1 * wanted
    assert result.head.file_bytes == (tmp_path / "list.filter").stat().st_size


def test_progress_counts_every_byte_once(tmp_path):
    """What is reported adds up to the size of the list."""
    content, done = b"password\n" * 40_000, []

    built(tmp_path, content, on_progress=done.append)

    assert len(done) > 2
    assert sum(done) == len(content)


def test_a_failure_leaves_the_older_filter(tmp_path):
    """A list without lines, that cannot be read or is the filter itself changes nothing, and leaves no other file."""
    _, before = built(tmp_path, b"tandem walrus cartwheel\n")
    (tmp_path / "empty.txt").touch()

    for name in ("empty.txt", "absent.txt", "list.filter"):
        with pytest.raises(ConfigurationError):
            build_filter(tmp_path / name, tmp_path / "list.filter")

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_filter(tmp_path / "list.txt", tmp_path / "list.filter", on_progress=stop)
    assert before.has("tandemwalruscartwheel")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.txt", "list.filter", "list.txt"]
