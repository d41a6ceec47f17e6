"""Sessions, rate limits and cached results on Redis and Valkey.

Every name here is public and documented; all others may change without notice.
"""

from __future__ import annotations

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore, WriteResult, decode_credentials
from tollhouse.accounts.factors.outcomes import (
    AccountOverview,
    FactorRefused,
    FactorsChanged,
    FactorsRemoved,
    RecoveryCodesMade,
    TotpEnrolment,
)
from tollhouse.accounts.factors.recovery import RecoveryCode
from tollhouse.accounts.factors.tickets import LoginTicket
from tollhouse.accounts.factors.totp import TotpSeed
from tollhouse.accounts.hashing.passwords import StoredHash
from tollhouse.accounts.outcomes import (
    AccountCreated,
    AccountDeleted,
    AccountStatus,
    AttemptThrottled,
    CodeDue,
    LevelDue,
    LoginSucceeded,
    NameTaken,
    NoAccount,
    PasswordChanged,
    PasswordConfirmed,
    PasswordDue,
    ResetRefused,
    ResetToken,
    SecondFactorDue,
    TicketRefused,
    TooManyAttempts,
    WrongCode,
    WrongCredentials,
)
from tollhouse.accounts.passkeys.options import PasskeyOptions
from tollhouse.accounts.passkeys.outcomes import PasskeyAdded, PasskeyConfirmed, PasskeyRefused
from tollhouse.accounts.passkeys.passkey import Passkey
from tollhouse.accounts.throttling.devices import DeviceToken
from tollhouse.accounts.verbs.passkeys.passkeys import Passkeys
from tollhouse.ai.models import Model, Models
from tollhouse.ai.results import Results
from tollhouse.asgi.cache_headers import cache_headers
from tollhouse.asgi.ratelimit.current import current_decision, current_decisions, rate_limited_response
from tollhouse.asgi.ratelimit.decorator import limit
from tollhouse.asgi.ratelimit.key_rules import KeyRule
from tollhouse.asgi.ratelimit.middleware import RateLimitMiddleware
from tollhouse.asgi.ratelimit.refunds import Charge
from tollhouse.asgi.ratelimit.refusal_handlers import RefusalHandler
from tollhouse.asgi.ratelimit.rules import PolicyChoice, RateLimitRule
from tollhouse.asgi.response import HttpResponse
from tollhouse.cache.cache import Cache
from tollhouse.cache.management.stats import (
    CacheDetail,
    CacheLifetimes,
    CacheStats,
    CacheUsage,
    FamilyStats,
    HitLayers,
    MissCauses,
)
from tollhouse.cache.pending import PendingInvalidations
from tollhouse.cache.reading.result import CacheResult
from tollhouse.cache.ttl import CacheTTL
from tollhouse.cache.warming.keep import KeptWarm
from tollhouse.cache.warming.report import WarmFailure, WarmReport
from tollhouse.cache.writing.behind import WriteBehind, WriteReceipt
from tollhouse.cache.writing.consumer import QueuedWrite
from tollhouse.caching.decorators import CacheDecorator, CachedFunction, cache_response, cached, rcached
from tollhouse.caching.facade import CacheManager, CacheService
from tollhouse.caching.invalidating import invalidate_cache, invalidate_cache_for, invalidates
from tollhouse.caching.keys import CacheKeys
from tollhouse.errors import (
    ConfigurationError,
    InvalidInput,
    LoadFailed,
    LoadTimeout,
    Overloaded,
    PasskeysOff,
    ScriptFailed,
    StoreError,
    StoreUnavailable,
    TollhouseError,
    WeakPassword,
)
from tollhouse.limits.decision import (
    Decision,
    Lease,
    LimitState,
    RateLimited,
    Reservation,
    Settlement,
    Take,
    TakeAllResult,
)
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.definition import PolicyDefinition
from tollhouse.limits.policy.policy import Limit, Policy
from tollhouse.metrics import Metrics
from tollhouse.runtime.collector import tune_gc
from tollhouse.sessions.events.event import SessionEvent
from tollhouse.sessions.events.reader import SessionEventBatch, SessionEventReader
from tollhouse.sessions.levels import satisfies
from tollhouse.sessions.logins import Impersonation
from tollhouse.sessions.outcomes import (
    CapReached,
    Issued,
    Rotation,
    SessionRefused,
)
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.records import Session
from tollhouse.sessions.revoker import RevokeAllResult, RevokeResult
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tickets import Ticket
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.data_editor import DataRefused, DataResult, SessionData
from tollhouse.sessions.verbs.disabler import DisableResult, EnableResult
from tollhouse.sessions.verbs.explainer import SessionEnd
from tollhouse.sessions.verbs.global_revoker import EveryoneResult
from tollhouse.sessions.verbs.impersonator import ImpersonationEnded, ImpersonationRefused
from tollhouse.sessions.verbs.step_up import StepUpRefused
from tollhouse.settings import Settings
from tollhouse.settings.accounts import AccountSettings, Argon2Settings
from tollhouse.settings.ai import AiSettings, ModelSettings
from tollhouse.settings.credentials import CredentialsFunction, StoreCredentials
from tollhouse.settings.model import CacheSettings, Dialect, LimitSettings, PolicySettings
from tollhouse.settings.passkeys import PasskeySettings
from tollhouse.settings.sessions import SessionPolicySettings, SessionSettings
from tollhouse.settings.throttle import ThrottleSettings
from tollhouse.settings.totp import TotpSettings
from tollhouse.settings.watch import SettingsWatcher
from tollhouse.wiring import Tollhouse, load_settings, open  # noqa: A004 - `tollhouse.open(url)` is the public name

__all__ = [
    "AccountCreated",
    "AccountDeleted",
    "AccountOverview",
    "AccountSettings",
    "AccountStatus",
    "Accounts",
    "AiSettings",
    "Argon2Settings",
    "AttemptThrottled",
    "Cache",
    "CacheDecorator",
    "CacheDetail",
    "CacheKeys",
    "CacheLifetimes",
    "CacheManager",
    "CacheResult",
    "CacheService",
    "CacheSettings",
    "CacheStats",
    "CacheTTL",
    "CacheUsage",
    "CachedFunction",
    "CapReached",
    "Charge",
    "CodeDue",
    "ConfigurationError",
    "CredentialStore",
    "Credentials",
    "CredentialsFunction",
    "DataRefused",
    "DataResult",
    "Decision",
    "DeviceToken",
    "Dialect",
    "DisableResult",
    "EnableResult",
    "EveryoneResult",
    "FactorRefused",
    "FactorsChanged",
    "FactorsRemoved",
    "FamilyStats",
    "HitLayers",
    "HttpResponse",
    "Impersonation",
    "ImpersonationEnded",
    "ImpersonationRefused",
    "InvalidInput",
    "Issued",
    "KeptWarm",
    "KeyRule",
    "Lease",
    "LevelDue",
    "Limit",
    "LimitSettings",
    "LimitState",
    "Limiter",
    "LoadFailed",
    "LoadTimeout",
    "LoginSucceeded",
    "LoginTicket",
    "Metrics",
    "MissCauses",
    "Model",
    "ModelSettings",
    "Models",
    "NameTaken",
    "NoAccount",
    "Overloaded",
    "Passkey",
    "PasskeyAdded",
    "PasskeyConfirmed",
    "PasskeyOptions",
    "PasskeyRefused",
    "PasskeySettings",
    "Passkeys",
    "PasskeysOff",
    "PasswordChanged",
    "PasswordConfirmed",
    "PasswordDue",
    "PendingInvalidations",
    "Policy",
    "PolicyChoice",
    "PolicyDefinition",
    "PolicySettings",
    "QueuedWrite",
    "RateLimitMiddleware",
    "RateLimitRule",
    "RateLimited",
    "RecoveryCode",
    "RecoveryCodesMade",
    "RefusalHandler",
    "Reservation",
    "ResetRefused",
    "ResetToken",
    "Results",
    "RevokeAllResult",
    "RevokeResult",
    "Rotation",
    "ScriptFailed",
    "SecondFactorDue",
    "Session",
    "SessionData",
    "SessionEnd",
    "SessionEvent",
    "SessionEventBatch",
    "SessionEventReader",
    "SessionPolicy",
    "SessionPolicySettings",
    "SessionRefused",
    "SessionSettings",
    "Sessions",
    "Settings",
    "SettingsWatcher",
    "Settlement",
    "StepUpRefused",
    "StoreCredentials",
    "StoreError",
    "StoreUnavailable",
    "StoredHash",
    "Take",
    "TakeAllResult",
    "ThrottleSettings",
    "Ticket",
    "TicketRefused",
    "Token",
    "Tollhouse",
    "TollhouseError",
    "TooManyAttempts",
    "TotpEnrolment",
    "TotpSeed",
    "TotpSettings",
    "WarmFailure",
    "WarmReport",
    "WeakPassword",
    "WriteBehind",
    "WriteReceipt",
    "WriteResult",
    "WrongCode",
    "WrongCredentials",
    "cache_headers",
    "cache_response",
    "cached",
    "current_decision",
    "current_decisions",
    "decode_credentials",
    "invalidate_cache",
    "invalidate_cache_for",
    "invalidates",
    "limit",
    "load_settings",
    "open",
    "rate_limited_response",
    "rcached",
    "satisfies",
    "tune_gc",
]
