"""The composition root: the only part that connects features to stores, as the settings say.

tollhouse  Tollhouse and `open`        features  limits and sessions on their stores
servers    URLs, programs and secrets    configuration  the settings of an application
models     models that the settings name
per_loop   one Tollhouse in each event loop    current  the request that is being served
"""

from tollhouse.wiring.configuration import default_settings, load_settings, settings_for, settings_with_server
from tollhouse.wiring.features import open_limiter, open_sessions
from tollhouse.wiring.models import models_from_settings
from tollhouse.wiring.servers import embedded_binary, has_secret, owns_servers, resolve_secrets, store_urls, wall_clock
from tollhouse.wiring.tollhouse import Tollhouse, open  # noqa: A004 - the public name

__all__ = [
    "Tollhouse",
    "default_settings",
    "embedded_binary",
    "has_secret",
    "load_settings",
    "models_from_settings",
    "open",
    "open_limiter",
    "open_sessions",
    "owns_servers",
    "resolve_secrets",
    "settings_for",
    "settings_with_server",
    "store_urls",
    "wall_clock",
]
