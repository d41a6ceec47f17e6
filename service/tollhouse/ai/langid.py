"""The model `langid`: language identification over 97 languages, with no network and no download."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import Any, Final

from tollhouse.ai.models import Model
from tollhouse.errors import InvalidInput

TEXT_CHARACTERS_MAX: Final = 100_000
"""Longer texts are refused; the language is clear long before."""


def langid(version_of: Callable[[str], str] = version) -> Model | None:
    """Return the model; None if py3langid is not installed (extra `demo`)."""
    try:
        package = version_of("py3langid")
    except PackageNotFoundError:
        return None
    return Model(name="langid", version=f"py3langid {package}", call=_Identifier(), check=_check)


class _Identifier:
    """Loads py3langid and its data in the first thread that calls it; the others wait."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._classify: Callable[[str], tuple[str, float]] | None = None

    def __call__(self, text: str) -> dict[str, Any]:
        with self._lock:
            classify = self._classify = self._classify or _load()
        language, probability = classify(text)
        return {"language": language, "probability": probability}


def _load() -> Callable[[str], tuple[str, float]]:
    package: Any = import_module("py3langid.langid")
    return package.LanguageIdentifier.from_model_file(package.MODEL_FILE, norm_probs=True).classify


def _check(value: Any) -> None:
    if not isinstance(value, str):
        raise InvalidInput("input", value, "send a text")
    if len(value) > TEXT_CHARACTERS_MAX:
        raise InvalidInput("input", len(value), f"send at most {TEXT_CHARACTERS_MAX} characters")
