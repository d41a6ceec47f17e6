"""Settings of AI models: the function that answers, and the bounds of its calls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct, field

from tollhouse.errors import ConfigurationError
from tollhouse.settings.leaf import conform

MODEL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
NAME_REMEDY: Final = "name it with a-z, 0-9, '_', '.' and '-', 64 at most"
VERSION_CHARACTERS_MAX: Final = 128


def check_call(text: str, setting: str) -> None:
    """Raise ConfigurationError for a text that cannot name a function."""
    module, _, function = text.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *function.split("."))):
        raise ConfigurationError(setting, text, "write `package.module:function`")


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One named model; `wiring/models` imports its function."""

    call: Annotated[
        str,
        Meta(
            description="The function that answers, as `package.module:function`: it takes the input.",
            extra={"check": check_call},
        ),
    ]
    version: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=VERSION_CHARACTERS_MAX,
            description="Version of the model; change it whenever its outputs may change.",
        ),
    ]
    ttl_s: Annotated[int, Meta(ge=1, le=30 * 86_400, description="Seconds for which an output is kept at most.")] = 3600
    timeout_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="Longest time of a call, that in the queue included.")
    ] = 30_000
    threads: Annotated[int, Meta(ge=1, le=64, description="Most calls that run in threads at once.")] = 4
    queued: Annotated[int, Meta(ge=0, le=10_000, description="Most calls that wait for a thread.")] = 64

    def __post_init__(self) -> None:
        conform(self)


class AiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """AI results; a model here replaces the built-in model of the same name."""

    models: Mapping[str, ModelSettings] = field(default_factory=dict[str, ModelSettings])

    def __post_init__(self) -> None:
        for name in self.models:
            if MODEL_NAME.fullmatch(name) is None:
                raise ConfigurationError(f"ai.models.{name}", name, NAME_REMEDY)
