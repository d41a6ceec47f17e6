"""Blocks of commands are read, run and compared as a reader of the page would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.project.console import Command, blocks, commands, differences, languages, run

pytestmark = pytest.mark.project

PAGE = """\
Some words, `inline` too.

```console
$ KIND=sliding
$ printf '%s window\\n%s\\n' "$KIND" \\
    "$HOME"
sliding window
…
```

```python
print("hello")
```
"""

RESPONSE = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-cache: HIT\r\nage: 31\r\n\r\n{"a": 1, "b": [1, 2]}'

AGREEING = [
    ("anything\n12 takes", "first\nanything  \nbetween\n240 takes"),
    ("ready in …", "ready in 3 seconds and a half"),
    ("HTTP/1.1 200 OK\nX-Cache: HIT\nAge: 2", RESPONSE),
    ("HTTP/1.1 200 OK\n…\nAge: 2\n\n…", RESPONSE),
    ('HTTP/1.1 200\n\n{"b": [1, …]}', RESPONSE),
    ('{"a": 1, …}', '{"a": 1, "b": 2}'),
    ('{"token": "v1.…", "sid": …}', '{"token": "v1.abc", "sid": "x"}'),
    ('{"at_ms": 5, "created_at": 7, "probability": 0.99}', '{"at_ms": 9, "created_at": 8, "probability": 0.992}'),
    ('{\n  "a": null,\n  "b": false\n}', '{"b": false, "a": null}'),
]

DIFFERING = [
    ("one\ntwo", "two\none", "'two' is shown"),
    ("HTTP/1.1 429 Too Many Requests", RESPONSE, "429"),
    ("HTTP/1.1 200 OK\nX-Cache: MISS", RESPONSE, "'HIT'"),
    ("HTTP/1.1 200 OK\nRetry-After: 5", RESPONSE, "no such header"),
    ("HTTP/1.1 200 OK\nContent-Type: text/plain", RESPONSE, "application/json"),
    ('HTTP/1.1 200 OK\n\n{"c": 1}', RESPONSE, ".c is shown"),
    ('{"a": 1}', '{"a": 2}', ".a is 1"),
    ('{"a": true}', '{"a": 1}', ".a is True"),
    ('{"a": null}', '{"a": 0}', ".a is None"),
    ('{"a": 0.5}', '{"a": 0.7}', ".a is 0.5"),
    ('{"a": "v1.…"}', '{"a": "v2.x"}', ".a is 'v1."),
    ('{"at_ms": 5}', '{"at_ms": null}', ".at_ms is 5"),
    ('{"a": [1]}', '{"a": [1, 2]}', ".a has 1 members"),
    ('{"a": 1}', "out of order", "JSON is shown"),
]


def test_a_page_is_read_into_commands_and_what_they_show() -> None:
    """Lines after `$ ` are commands, joined after a backslash; what follows is what they show."""
    [block] = blocks(PAGE, "console")

    assert languages(PAGE) == {"console", "python"}
    assert commands(block) == [
        Command(line="KIND=sliding"),
        Command(line='printf \'%s window\\n%s\\n\' "$KIND"     "$HOME"', shown="sliding window\n…"),
    ]


def test_a_block_without_a_command_is_an_error() -> None:
    """Output that no command stands above cannot be checked, so it is refused."""
    with pytest.raises(ValueError, match="starts with"):
        commands("sliding window\n")


def test_commands_share_one_shell(tmp_path: Path) -> None:
    """A variable of one command is there in the next, and each has its own output and exit status."""
    lines = [command.line for block in blocks(PAGE, "console") for command in commands(block)]

    ran = run([*lines, "false", "echo out; echo wrong >&2"], tmp_path, {**os.environ, "HOME": "/home/ada"})

    assert [(one.status, one.output) for one in ran] == [
        (0, ""),
        (0, "sliding window\n/home/ada\n"),
        (1, ""),
        (0, "out\nwrong\n"),
    ]


def test_a_command_that_ends_the_shell_is_an_error(tmp_path: Path) -> None:
    """Commands that would never run are not taken for ones that passed."""
    with pytest.raises(ValueError, match="after 1 of 3"):
        run(["true", "exit 3", "true"], tmp_path, os.environ)


@pytest.mark.parametrize(("shown", "output"), AGREEING)
def test_what_agrees_but_for_moving_parts_is_the_same(shown: str, output: str) -> None:
    """Numbers in text, times in JSON, unnamed headers and members, and whatever is shown as `…` may differ."""
    assert list(differences(shown, output)) == []


@pytest.mark.parametrize(("shown", "output", "expected"), DIFFERING)
def test_what_differs_is_said(shown: str, output: str, expected: str) -> None:
    """A status, a named header, X-Cache or a member that is not as shown is a difference."""
    said = list(differences(shown, output))

    assert any(expected in difference for difference in said), said
