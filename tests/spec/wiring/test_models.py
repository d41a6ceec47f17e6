"""Models that the settings name."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tollhouse import wiring
from tollhouse.ai.models import Model, Models
from tollhouse.app import installed_models
from tollhouse.cli.models import import_models
from tollhouse.errors import ConfigurationError
from tollhouse.settings import Settings, read
from tollhouse.settings.ai import AiSettings, ModelSettings
from tollhouse.wiring import load_settings, models_from_settings


def naming(call: str, name: str = "m", **options: Any) -> Settings:
    return Settings(
        url=f"fake://{secrets.token_hex(4)}",
        ai=AiSettings(models={name: ModelSettings(call=call, version="1", **options)}),
    )


@pytest.mark.parametrize(
    ("call", "output"),
    [
        ("tests.answers:echo", "a"),
        ("tests.answers:later", {"later": "a"}),
        ("tests.answers:Answers.upper", "A"),
        ("builtins:repr", "'a'"),
        ("builtins:str", "a"),
    ],
)
async def test_a_function_of_a_module_answers(call: str, output: Any) -> None:
    """A function, an async one, one of a class, or one written in C."""
    async with wiring.open(naming(call)) as tollhouse:
        result = await tollhouse.results.answer("m", "a", tenant="t")

    assert result.value == output


def test_a_model_has_what_the_settings_say() -> None:
    """Every setting of the table is one of the model; the defaults are those of `Model`."""
    chosen = {"ttl_s": 60, "timeout_ms": 500, "threads": 1, "queued": 0}
    call = "tests.answers:echo"

    found = models_from_settings(naming(call, **chosen)).find("m")
    plain = models_from_settings(naming(call)).find("m")

    assert {name: getattr(found, name) for name in chosen} == chosen
    assert (found.name, found.version) == ("m", "1")
    assert plain == Model(name="m", version="1", call=plain.call, check=plain.check)


#   call, words of the remedy
WRONG: Mapping[str, list[str]] = {
    "": ["package.module:function"],
    "tests.answers": ["package.module:function"],
    "tests.answers:": ["package.module:function"],
    ":echo": ["package.module:function"],
    "tests/answers.py:echo": ["package.module:function"],
    "tests..answers:echo": ["package.module:function"],
    "tests.answers:echo()": ["package.module:function"],
    "tests.answer:echo": ["no module 'tests.answer'", "install"],
    "no_such_package.answers:echo": ["no module 'no_such_package'", "install"],
    "tests.answers:ecko": ["'echo'", "did you mean"],
    "tests.answers:Answers.lower": ["'lower'"],
    "tests.answers:NUMBER": ["int", "function"],
    "tests.answers:two": ["one argument", "other"],
    "tests.answers:many": ["generator"],
}


@pytest.mark.parametrize("call", WRONG, ids=WRONG)
def test_a_function_that_cannot_answer_is_a_wrong_setting(call: str) -> None:
    """The error names the setting, the value and the remedy: what is wrong with the text is told before any import."""
    with pytest.raises(ConfigurationError) as wrong:
        models_from_settings(naming(call))

    assert wrong.value.setting in ("ai.models.m.call", "call")
    assert call in str(wrong.value.value) or "answers" in str(wrong.value.value)
    for word in WRONG[call]:
        assert word in wrong.value.remedy


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os\nos.environ['NO_SUCH_VARIABLE']\n", ["KeyError", "broken_answers.py, line 2"]),
        ("import no_such_package\n", ["ModuleNotFoundError", "no_such_package", "line 1"]),
        ("def answer(:\n", ["SyntaxError", "line 1"]),
    ],
)
def test_a_module_that_cannot_be_imported_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: list[str]
) -> None:
    """What a module raises while it is imported is told with its file and line."""
    (tmp_path / "broken_answers.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigurationError) as wrong:
        models_from_settings(naming("broken_answers:answer"))

    assert wrong.value.setting == "ai.models.m.call"
    for word in words:
        assert word in wrong.value.remedy


def test_the_error_of_a_text_names_its_origin(tmp_path: Path) -> None:
    """A text that cannot be a function is told with the file and the setting, or with the variable."""
    file = tmp_path / "tollhouse.toml"
    file.write_text('[ai.models.m]\ncall = "answers"\nversion = "1"\n')

    with pytest.raises(ConfigurationError) as in_file:
        load_settings(file, environ={})
    with pytest.raises(ConfigurationError) as in_variable:
        read({"TOLLHOUSE_AI_MODELS_M_CALL": "answers", "TOLLHOUSE_AI_MODELS_M_VERSION": "1"}, tmp_path / file)

    assert in_file.value.setting == "tollhouse.toml: ai.models.m.call"
    assert in_variable.value.setting == "TOLLHOUSE_AI_MODELS_M_CALL"


@pytest.mark.parametrize("name", ["Upper", "a b", "m" * 65, ""])
def test_a_name_is_a_lower_case_word(name: str) -> None:
    """A model's name is part of paths, keys and metrics."""
    with pytest.raises(ConfigurationError) as wrong:
        naming("tests.answers:echo", name)

    assert wrong.value.setting == f"ai.models.{name}"


def test_commands_find_models_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed command searches the working folder last, and only if there are models."""
    (tmp_path / "answers_in_folder.py").write_text("def answer(value):\n    return value\n")
    searched = [folder for folder in sys.path if folder]
    monkeypatch.setattr(sys, "path", [*searched])
    monkeypatch.chdir(tmp_path)

    import_models(Settings())
    assert sys.path == searched
    import_models(naming("answers_in_folder:answer"))

    assert sys.path == [*searched, str(tmp_path)]


def test_a_model_replaces_a_built_in_one() -> None:
    """The service has `langid`, unless the settings name another function so."""
    chosen = installed_models(naming("tests.answers:echo", "langid"))
    both = installed_models(naming("tests.answers:echo"))

    assert chosen.find("langid").version == "1"
    assert both.names() == ("langid", "m")


async def test_models_in_code_are_the_only_ones() -> None:
    """Models that code gives stand in place of those of the settings, which are then not imported."""
    own = Models([Model(name="own", version="1", call=len)])
    async with wiring.open(naming("no_such_package.answers:echo"), models=own) as tollhouse:
        assert tollhouse.models is own


async def test_nothing_is_imported_before_it_is_used() -> None:
    """A wrong model fails at its first use: an app may open its settings while its own modules are imported."""
    async with wiring.open(naming("no_such_package.answers:echo")) as tollhouse:
        with pytest.raises(ConfigurationError):
            assert tollhouse.results


async def test_a_reload_leaves_models_in_force(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Models that a file changes, adds or loses wait for a restart, with a warning; a wrong text refuses the file."""
    caplog.set_level(logging.INFO)
    file = tmp_path / "tollhouse.toml"

    def write(*tables: str) -> None:
        fresh = file.with_suffix(".fresh")
        fresh.write_text('url = "fake://"\n' + "\n".join(tables))
        fresh.replace(file)

    one = '[ai.models.one]\ncall = "tests.answers:echo"\nversion = "1"\n'
    write(one)
    async with wiring.open(load_settings(file, environ={})) as tollhouse:
        watch = await tollhouse.watch(file)
        assert tollhouse.models.names() == ("one",)
        pending = []
        for tables in ([one.replace('"1"', '"2"')], [one, one.replace("one", "two")], []):
            write(*tables)
            assert await watch.check() == "applied"
            pending.append(vars(caplog.records[-1])["settings"])
        write(one.replace("tests.answers:echo", "answers"), '[limits.policies.api]\nlimit = "1/hour"')
        refused = await watch.check()
        await asyncio.sleep(0)

        assert tollhouse.models.find("one").version == "1"
        assert tollhouse.models.names() == ("one",)
        assert "api" not in tollhouse.policies

    assert refused == "refused"
    assert pending[0] == "ai.models.one.version"
    assert "ai.models.two.call" in pending[1]
    assert "ai.models.one.call" in pending[2]
