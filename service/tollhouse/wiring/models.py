"""Models that the settings name: their functions are imported, and refused if they cannot answer."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from tollhouse.ai.models import Model, Models
from tollhouse.errors import ConfigurationError
from tollhouse.runtime.functions import checked_function
from tollhouse.settings import Settings
from tollhouse.suggest import one_of


def models_from_settings(settings: Settings, built_in: Iterable[Model] = ()) -> Models:
    """Import the models of the settings; each replaces a built-in one of its name.

    Raises ConfigurationError for a function that cannot be imported, or that does not take an input.
    """
    named = {model.name: model for model in built_in}
    for name, chosen in settings.ai.models.items():
        named[name] = Model(
            name=name,
            version=chosen.version,
            call=_model_function(f"ai.models.{name}.call", chosen.call),
            ttl_s=chosen.ttl_s,
            timeout_ms=chosen.timeout_ms,
            threads=chosen.threads,
            queued=chosen.queued,
        )
    return Models(named.values())


def named_function(setting: str, text: str) -> Callable[..., Any]:
    """Return the function that a text such as `package.module:function` names; raise ConfigurationError if none."""
    module_name, _, path = text.partition(":")
    with _Import(setting, text):
        found: Any = import_module(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            remedy = f"{module_name} has no {part!r}: {one_of(part, public, listed='name a function of it')}"
            raise ConfigurationError(setting, text, remedy)
        found = getattr(found, part)
    if not callable(found):
        raise ConfigurationError(setting, text, f"name a function, not a value of type {type(found).__name__}")
    return found


def _model_function(setting: str, text: str) -> Callable[[Any], Any]:
    found = named_function(setting, text)
    _require_one_argument(setting, text, found)
    return checked_function(setting, found)


def _require_one_argument(setting: str, text: str, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # of some functions that are written in C
        return
    try:
        signature.bind("input")
    except TypeError as error:
        remedy = f"name a function that takes one argument, the input; this one takes {signature}"
        raise ConfigurationError(setting, text, remedy) from error


class _Import:
    """Turns whatever a module raises while it is imported into a ConfigurationError that says where."""

    def __init__(self, setting: str, text: str) -> None:
        self._setting = setting
        self._text = text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, Exception):
            raise ConfigurationError(self._setting, self._text, self._remedy(error, trace)) from error

    def _remedy(self, error: Exception, trace: TracebackType | None) -> str:
        module = self._text.partition(":")[0]
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            return f"there is no module {error.name!r}: install it, or start in the folder that has it"
        places = [f" ({frame.filename}, line {frame.lineno})" for frame in _module_frames(trace)]
        return f"mend {module}: it raises {type(error).__name__}: {error}{''.join(places[-1:])}"


def _module_frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    """Return the frames of modules that were being imported; of one that cannot be parsed there is none."""
    return [frame for frame in traceback.extract_tb(trace) if frame.name == "<module>"]
