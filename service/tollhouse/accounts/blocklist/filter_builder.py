"""Building a password filter from a list: in two passes over the file, with memory that does not grow with it.

A line is a password, or the SHA-1 digest of one in 40 hexadecimal digits and perhaps `:COUNT`, as in the well-known
download of leaked passwords. Which of the two a file has is what its first line is.
"""

from __future__ import annotations

import mmap
import os
import re
import tempfile
from codecs import BOM_UTF8
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.accounts.blocklist.filter_format import PAGE_BYTES, FilterHead, bits_of, digest_of, planned_head
from tollhouse.accounts.blocklist.folding import plain
from tollhouse.errors import ConfigurationError

FALSE_POSITIVES: Final = 1e-4
LINE_BYTES_MAX: Final = 4_096
"""The longest line that is read: a password is at most a quarter of it."""

_CHUNK_BYTES: Final = 1 << 20
_STEP: Final = 1 << 14
_DIGEST: Final = re.compile(rb"[0-9A-Fa-f]{40}(?::[0-9]+)?\s*\Z")
_DIGEST_DIGITS: Final = 40
_MODE: Final = 0o644

OnProgress = Callable[[int], None]


class BuiltFilter(Struct, frozen=True, kw_only=True):
    """What was built: the head of the file, whether the lines were digests, and how many lines were left out."""

    head: FilterHead
    digests: bool
    skipped: int


def build_filter(
    source: Path, target: Path, false_positives: float = FALSE_POSITIVES, on_progress: OnProgress = lambda _: None
) -> BuiltFilter:
    """Write the filter of the list `source` in place of `target`, which changes at the end and as a whole.

    `on_progress` is called with numbers of bytes of the list as they are done, each byte once. Lines that are too
    long, have separators alone, or are no digests among digests are left out. Raises ConfigurationError for a file that
    cannot be read or written, for a list without lines, and for one that would be replaced itself.
    """
    try:
        if target.exists() and source.samefile(target):
            raise ConfigurationError("output", str(target), "name another file than the list")
        lines, digests = _survey(source)
        if not lines:
            raise ConfigurationError("passwords", str(source), "give a list with a password, or a digest, in each line")
        with _replacement(target) as temporary:
            return _fill(source, temporary, planned_head(lines, false_positives), on_progress, is_digest=digests)
    except OSError as error:
        raise ConfigurationError("passwords", str(error.filename or source), error.strerror or str(error)) from error


def _survey(source: Path) -> tuple[int, bool]:
    """Return the greatest number of lines that the list can have, and whether they are digests."""
    with _opened(source) as file:
        first = file.readline(LINE_BYTES_MAX)
        file.seek(0)
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""))
    return lines + bool(first), _DIGEST.match(first) is not None


@contextmanager
def _opened(source: Path) -> Generator[BinaryIO]:
    """Yield the list, behind the byte order mark that some programs put in front."""
    with source.open("rb") as file:
        if file.read(len(BOM_UTF8)) != BOM_UTF8:
            file.seek(0)
        yield file


@contextmanager
def _replacement(target: Path) -> Generator[BinaryIO]:
    """Yield a file that takes the place of `target` at the end, or is removed after an error."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(_MODE)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink()
        raise


def _fill(
    source: Path, file: BinaryIO, planned: FilterHead, on_progress: OnProgress, *, is_digest: bool
) -> BuiltFilter:
    # Zeros are written, not skipped: a full disk is an error now, and would end the process later.
    file.writelines(bytes(PAGE_BYTES) for _ in range(planned.pages + 1))
    file.flush()
    entries = skipped = 0
    with mmap.mmap(file.fileno(), 0) as target:
        for digest in _digests(source, on_progress, is_digest=is_digest):
            if digest is None:
                skipped += 1
                continue
            entries += 1
            for at, bit in bits_of(digest, planned):
                target[at] |= bit
        head = replace(planned, entries=entries)
        target[:PAGE_BYTES] = head.encode()
        target.flush()
    return BuiltFilter(head=head, digests=is_digest, skipped=skipped)


def _digests(source: Path, on_progress: OnProgress, *, is_digest: bool) -> Iterator[bytes | None]:
    """Yield the digest of each line, None for one that is left out."""
    read = _listed_digest if is_digest else _digest_of_line
    done = 0
    with _opened(source) as file:
        for number, (line, is_whole) in enumerate(_lines(file)):
            yield read(line) if is_whole else None
            done += len(line)
            if number % _STEP == 0:
                on_progress(done)
                done = 0
    on_progress(done)


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield each line, and whether it is whole: one that is too long comes in parts."""
    is_start = True
    while line := file.readline(LINE_BYTES_MAX):
        is_end = line.endswith(b"\n") or len(line) < LINE_BYTES_MAX
        yield line, is_start and is_end
        is_start = is_end


def _listed_digest(line: bytes) -> bytes | None:
    return bytes.fromhex(line[:_DIGEST_DIGITS].decode()) if _DIGEST.match(line) else None


def _digest_of_line(line: bytes) -> bytes | None:
    """Return the digest of the folded password in a line; old lists are Latin-1 in part."""
    line = line.rstrip(b"\r\n")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = line.decode("latin-1")
    folded = plain(text)
    return digest_of(folded) if folded else None
