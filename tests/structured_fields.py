"""A reader of structured fields (RFC 9651, section 4.2) that shares no code with what writes them."""

from __future__ import annotations

import re

Bare = int | str | bool
Item = tuple[Bare, dict[str, Bare]]

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_STRING = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return match

    def skip(self, text: str) -> bool:
        found = self.text.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def ends(self) -> bool:
        return self.at == len(self.text)

    def bare(self) -> Bare:
        if match := self.take(_INTEGER):
            return int(match[0])
        if match := self.take(_STRING):
            return re.sub(r"\\(.)", r"\1", match[1])
        if match := self.take(_TOKEN):
            return match[0]
        raise ValueError(f"no item at {self.at} of {self.text!r}")

    def item(self) -> Item:
        value, parameters = self.bare(), dict[str, Bare]()
        while self.skip(";"):
            while self.skip(" "):
                pass
            key = self.key()
            parameters[key] = self.bare() if self.skip("=") else True
        return value, parameters

    def key(self) -> str:
        match = self.take(_KEY)
        if match is None:
            raise ValueError(f"no key at {self.at} of {self.text!r}")
        return match[0]

    def comma(self) -> bool:
        """Read what separates two members; False at the end."""
        while self.skip(" "):
            pass
        if self.ends():
            return False
        if not self.skip(","):
            raise ValueError(f"no comma at {self.at} of {self.text!r}")
        while self.skip(" "):
            pass
        if self.ends():
            raise ValueError(f"a comma ends {self.text!r}")
        return True


def parse_list(text: str) -> list[Item]:
    """Return a List of Items; raise ValueError if the text is none."""
    reader = _Reader(text)
    items = [reader.item()]
    while reader.comma():
        items.append(reader.item())
    return items


def parse_dictionary(text: str) -> dict[str, Item]:
    """Return a Dictionary of Items; raise ValueError if the text is none."""
    reader, members = _Reader(text), dict[str, Item]()
    more = True
    while more:
        key = reader.key()
        members[key] = reader.item() if reader.skip("=") else (True, {})
        more = reader.comma()
    return members
