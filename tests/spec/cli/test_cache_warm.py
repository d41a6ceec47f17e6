"""`tollhouse cache warm`: results of a list, on a store of this process (S2-30, S4-62)."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tollhouse.cli.cache_warm import LINE_BYTES_MAX
from tollhouse.cli.commands import cli
from tollhouse.errors import InvalidInput

Run = Callable[..., Result]
_NUMBERS = itertools.count()

APPLICATION = """
from tollhouse import rcached

@rcached(ttl=60)
async def divided(number: int, by: int = 1) -> float:
    return number / by

@rcached(ttl=60)
def squared(number: int) -> int:
    return number * number

def plain(number: int) -> int:
    return number

def length(text):
    return len(text)
"""
MODEL = '[ai.models.length]\ncall = "{module}:length"\nversion = "1"\n'


@pytest.fixture
def module(tmp_path: Path) -> str:
    """The name of a module in the working folder."""
    name = f"warmed_{next(_NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(APPLICATION)
    (tmp_path / "tollhouse.toml").write_text(MODEL.format(module=name))
    return name


@pytest.fixture
def run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in a folder that has a module and a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    environment = {
        "TOLLHOUSE_URL": f"fake://cli-{module}",
        "XDG_RUNTIME_DIR": str(tmp_path),
        "COLUMNS": "200",
    }

    def run(*args: str, typed: str | bytes | None = None, command: str = "warm") -> Result:
        return CliRunner().invoke(cli, ["cache", command, *args], env=environment, input=typed)

    return run


def test_calls_of_a_function_are_warmed(run: Run, module: str, tmp_path: Path) -> None:
    """Each line is a list, an object or the only argument; a second run finds everything."""
    (tmp_path / "calls").write_text('[1, 2]\n\n{"number": 3}\n4\n')

    first = run(f"{module}:divided", "--from", "calls")
    second = run(f"{module}:divided", "--from", "-", "--json", typed="[1, 2]\n4\n5\n")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.startswith("loaded: 3; present: 0: fake://")
    assert msgspec.json.decode(second.stdout) == {"present": 2, "loaded": 1, "unstored": 0, "failed": 0}


def test_calls_of_a_function_that_is_not_async_are_warmed(run: Run, module: str) -> None:
    """They run in threads."""
    told = run(f"{module}:squared", "--from", "-", "--json", typed="1\n2\n1\n")

    assert told.exit_code == 0
    counts = msgspec.json.decode(told.stdout)
    assert (counts["present"] + counts["loaded"], counts["failed"]) == (3, 0)


def test_inputs_of_a_model_are_warmed(run: Run) -> None:
    """The model of the settings runs for what is not stored; the service then finds it."""
    first = run("length", "--from", "-", "--json", typed='"abc"\n"de"\n')
    second = run("length", "--from", "-", "--json", "--at-once", "1", typed='"abc"\n')

    assert msgspec.json.decode(first.stdout) == {"present": 0, "loaded": 2, "unstored": 0, "failed": 0}
    assert msgspec.json.decode(second.stdout) == {"present": 1, "loaded": 0, "unstored": 0, "failed": 0}


def test_the_result_for_an_input_is_inspected(run: Run) -> None:
    """S4-45: a model and its input name the result that a request gets, however the JSON is written."""
    before = run("--model", "length", "--input", '"abc"', command="inspect")
    run("length", "--from", "-", typed='"abc"\n')
    after = run("--model", "length", "--input", ' "a\\u0062c"', "--value", "--json", command="inspect")

    assert (before.exit_code, after.exit_code) == (1, 0)
    assert msgspec.json.decode(after.stdout)["value"] == "3"


@pytest.mark.parametrize(("model", "text", "field"), [("lenght", "7", "model"), ("length", "no json", "input")])
def test_a_wrong_input_is_not_inspected(run: Run, model: str, text: str, field: str) -> None:
    """InvalidInput names the option; a process ends with exit code 2."""
    refused = run("--model", model, "--input", text, command="inspect")

    assert isinstance(refused.exception, InvalidInput)
    assert refused.exception.field == field


def test_lines_that_fail_are_told_with_their_numbers(run: Run, module: str) -> None:
    """One that is no JSON, is too long or raises fails alone: exit code 1, and the remedy on standard error."""
    typed = b'[1, 0]\nno json\n"' + b"x" * LINE_BYTES_MAX + b'"\n[3, 1]\n{"other": 1}\n'

    told = run(f"{module}:divided", "--from", "-", typed=typed)

    assert told.exit_code == 1
    assert "loaded: 1; present: 0: " in told.stdout
    assert "not stored: 0; failed: 4" in told.stdout
    lines = sorted(line for line in told.stderr.splitlines() if line.startswith("line "))
    assert [line.partition(":")[0] for line in lines] == ["line 1", "line 2", "line 3", "line 5"]
    assert lines[0] == "line 1: ZeroDivisionError: division by zero"
    assert "give one JSON value" in lines[1]
    assert f"give at most {LINE_BYTES_MAX} bytes on a line" in lines[2]


def test_a_model_refuses_a_line_alone(run: Run) -> None:
    """An input that the model fails for is a line that failed."""
    told = run("length", "--from", "-", "--json", typed='7\n"abc"\n{"a": 1, "a": 2}\n')

    assert told.exit_code == 1
    assert msgspec.json.decode(told.stdout) == {"present": 0, "loaded": 1, "unstored": 0, "failed": 2}


@pytest.mark.parametrize("target", ["no-model", "{module}:plain", "{module}:none", "no_module:none"])
def test_a_wrong_target_is_a_mistake(run: Run, module: str, target: str) -> None:
    """Exit code 2 from a process; here the error itself, before a line is read."""
    told = run(target.format(module=module), "--from", "-", typed="1\n")

    assert type(told.exception).__name__ in ("InvalidInput", "ConfigurationError")


def test_a_file_that_is_not_there_is_a_mistake(run: Run, module: str) -> None:
    """Exit code 2."""
    assert run(f"{module}:divided", "--from", "missing").exit_code == 2
