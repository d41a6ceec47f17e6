"""Sessions, rate limits and cached results on Redis and Valkey.

Every name here is public and documented; all others may change without notice.
"""

from __future__ import annotations

from tollhouse.asgi.ratelimit.decorator import limit
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.asgi.ratelimit.request_context import rate_limited_response
from tollhouse.asgi.ratelimit.rules import RateLimitRule
from tollhouse.asgi.response import HttpResponse
from tollhouse.errors import ConfigurationError, InvalidInput, StoreUnavailable, TollhouseError
from tollhouse.limits.decision import Decision, RateLimited, Take
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Issued
from tollhouse.settings import Settings
from tollhouse.settings.credentials import StoreCredentials
from tollhouse.wiring import Tollhouse, load_settings, open  # noqa: A004 - `tollhouse.open(url)` is the public name

__all__ = [
    "ConfigurationError",
    "Decision",
    "HttpResponse",
    "InvalidInput",
    "Issued",
    "Limit",
    "Policy",
    "RateLimitMiddleware",
    "RateLimitRule",
    "RateLimited",
    "Session",
    "Settings",
    "StoreCredentials",
    "StoreUnavailable",
    "Take",
    "Tollhouse",
    "TollhouseError",
    "limit",
    "load_settings",
    "open",
    "rate_limited_response",
]
