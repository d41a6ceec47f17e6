"""Settings: one validated value from a file and the environment, and errors that name the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from tests.project.console import blocks
from tests.project.settings_page import HEAD, row
from tollhouse.accounts.hashing.argon2id import PROFILES
from tollhouse.errors import ConfigurationError
from tollhouse.settings import Settings, read, remove_secrets, with_instances
from tollhouse.settings.leaf import Leaf, leaves, parse
from tollhouse.settings.model import (
    CacheSettings,
    Dialect,
    LimitSettings,
    PolicySettings,
    describe,
    differences,
)
from tollhouse.settings.networks import is_loopback, trusted_networks
from tollhouse.settings.passwords import PasswordProfile
from tollhouse.settings.sessions import SessionSettings

SECRET = "s" * 32
KEY = "k" * 16


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(
    environ: Mapping[str, str], path: Path | None = None, *, flags: Mapping[str, object] | None = None
) -> Settings:
    return read(environ, path, flags=flags).settings


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_as_many_instances_as_workers_share_the_limits_of_a_service() -> None:
    """Every worker is an instance, unless the settings say how many there are in all."""
    assert with_instances(Settings()).limits.instances == 1
    assert with_instances(Settings(workers=4)).limits.instances == 4
    assert with_instances(Settings(workers=4, limits=LimitSettings(instances=12))).limits.instances == 12


def test_everything_has_a_working_default() -> None:
    """With no file and no variable the settings are those of Settings(), on the embedded server (S1-32)."""
    assert load({}) == Settings()
    assert load({}).url == "embedded://"


VARIABLES = [
    ("TOLLHOUSE_URL", "redis://h/3", "url", "redis://h/3"),
    ("TOLLHOUSE_SESSIONS_URL", "redis://s", "sessions_url", "redis://s"),
    ("TOLLHOUSE_PORT", "0", "port", 0),
    ("TOLLHOUSE_PLAIN_HTTP", "TRUE", "plain_http", True),
    ("TOLLHOUSE_LOG_FORMAT", "JSON", "log_format", "json"),
    ("TOLLHOUSE_SECRET", f"{SECRET},{SECRET}2 {SECRET}3", "secret", (b"s" * 32, b"s" * 32 + b"2", b"s" * 32 + b"3")),
    ("TOLLHOUSE_SERVICE_KEY", f"{KEY}, {KEY}2", "service_key", (KEY, KEY + "2")),
    ("TOLLHOUSE_TRUSTED_PROXIES", "loopback,10.0.0.0/8", "trusted_proxies", ("loopback", "10.0.0.0/8")),
    ("TOLLHOUSE_IPV6_PREFIX_BITS", "56", "ipv6_prefix_bits", 56),
    ("TOLLHOUSE_SESSIONS_ACR", "aal2", "sessions", SessionSettings(acr="aal2")),
    ("TOLLHOUSE_SESSIONS_ACR_LEVELS", "low,high", "sessions", SessionSettings(acr_levels=("low", "high"))),
    ("TOLLHOUSE_CACHE_TTL_S", "60", "cache", CacheSettings(ttl_s=60)),
    ("TOLLHOUSE_LIMITS_INSTANCES", "12", "limits", LimitSettings(instances=12)),
    ("TOLLHOUSE_LIMITS_HEADERS", "Draft-07", "limits", LimitSettings(headers="draft-07")),
    ("TOLLHOUSE_WORKERS", "", "workers", 1),
]


@pytest.mark.parametrize(("variable", "text", "name", "value"), VARIABLES, ids=[row[0] for row in VARIABLES])
def test_every_setting_is_reachable_from_the_environment(variable: str, text: str, name: str, value: object) -> None:
    """TOLLHOUSE_ and the setting's path set it; lists are split at commas and spaces; an empty variable is unset."""
    assert getattr(load({variable: text}), name) == value


ALIASES = [
    ({"REDIS_URL": "redis://h:1/2"}, "redis://h:1/2"),
    ({"REDIS_HOST": "cache.internal"}, "redis://cache.internal:6379/0"),
    ({"REDIS_PORT": "6380"}, "redis://localhost:6380/0"),
    ({"REDIS_DB": "4"}, "redis://localhost:6379/4"),
    ({"REDIS_PASSWORD": "a@b/c"}, "redis://:a%40b%2Fc@localhost:6379/0"),
    ({"REDIS_HOST": "::1", "REDIS_PORT": "1"}, "redis://[::1]:1/0"),
    ({"REDIS_HOST": "h", "REDIS_URL": "redis://wins"}, "redis://wins"),
    ({"REDIS_HOST": "h", "TOLLHOUSE_URL": "redis://ours"}, "redis://ours"),
    ({"REDIS_HOST": "h", "REDIS_PORT": "tcp://10.0.0.1:6379"}, "redis://h:6379/0"),
]


@pytest.mark.parametrize(("environ", "url"), ALIASES)
def test_the_variables_of_redis_name_the_server(environ: dict[str, str], url: str) -> None:
    """REDIS_URL, or REDIS_HOST, PORT, PASSWORD and DB, name the server unless TOLLHOUSE_URL does.

    S1-35, S1-36, S1-37, S1-38, S4-10.
    """
    assert load(environ).url == url


def test_the_variables_of_the_cache_are_aliases() -> None:
    """CACHE_ENABLED, CACHE_TTL_SECONDS, CACHE_KEY_PREFIX and CACHE_DEBUG set the cache.

    S1-28, S1-39, S1-40, S1-41, S1-42.
    """
    settings = load(
        {"CACHE_ENABLED": "false", "CACHE_TTL_SECONDS": "60", "CACHE_KEY_PREFIX": "chitram", "CACHE_DEBUG": "1"}
    )

    assert settings.cache == CacheSettings(enabled=False, ttl_s=60, key_prefix="chitram", debug=True)


def test_flag_variable_alias_and_file_win_in_that_order(tmp_path: Path) -> None:
    """A flag wins over a TOLLHOUSE_ variable, that over an alias, that over the file, that over the default."""
    file = write(tmp_path / "t.toml", "port = 1\n[cache]\nttl_s = 1\nkey_prefix = 'file'\n")
    environ = {
        "TOLLHOUSE_CACHE_TTL_S": "3",
        "CACHE_TTL_SECONDS": "2",
        "CACHE_KEY_PREFIX": "alias",
        "TOLLHOUSE_PORT": "3",
    }

    settings = load(environ, file, flags={"port": 4, "workers": None})

    assert (settings.port, settings.workers) == (4, 1)
    assert settings.cache == CacheSettings(ttl_s=3, key_prefix="alias")


def test_the_file_is_the_given_one_then_the_named_one_then_the_local_one(tmp_path: Path) -> None:
    """S3-29: the file is the one given, else the one that TOLLHOUSE_CONFIG names, else ./tollhouse.toml."""
    write(tmp_path / "tollhouse.toml", "port = 1")
    named = write(tmp_path / "named.toml", "port = 2")
    given = write(tmp_path / "given.toml", "port = 3")

    assert load({}).port == 1
    assert load({"TOLLHOUSE_CONFIG": str(named)}).port == 2
    assert load({"TOLLHOUSE_CONFIG": str(named)}, given).port == 3


def test_policies_come_from_the_file_and_the_environment_alike(tmp_path: Path) -> None:
    """A policy's variable changes the policy of that name in the file, whatever its hyphens, or adds one."""
    file = write(tmp_path / "t.toml", '[limits.policies.my-api]\nlimit = "5/second"\n')

    settings = load(
        {"TOLLHOUSE_LIMITS_POLICIES_MY_API_LIMIT": "9/second", "TOLLHOUSE_LIMITS_POLICIES_NEW_LIMIT": "1/day"}, file
    )

    assert settings.limits.policies == {
        "my-api": PolicySettings(limit="9/second"),
        "new": PolicySettings(limit="1/day"),
    }


def test_every_field_of_a_policy_is_reachable_from_file_and_environment(tmp_path: Path) -> None:
    """Every setting of a policy has a variable; lists are separated by commas or spaces."""
    file = write(
        tmp_path / "t.toml",
        """
        [limits.policies.next]
        limit = "5/second burst 9"
        algorithm = "gcra"
        on_outage = "closed"
        shadow = true
        shadow_of = "api"
        cost = 2
        key = "header:x-tenant"
        allow = ["10.0.0.0/8", "user:ada"]
        deny = "2001:db8::/32"
        """,
    )
    variables = {
        "LIMIT": "5/second burst 9",
        "ALGORITHM": "gcra",
        "ON_OUTAGE": "closed",
        "SHADOW": "true",
        "SHADOW_OF": "api",
        "COST": "2",
        "KEY": "header:x-tenant",
        "ALLOW": "10.0.0.0/8, user:ada",
        "DENY": "2001:db8::/32",
    }

    from_file = load({}, file).limits.policies
    from_variables = load({f"TOLLHOUSE_LIMITS_POLICIES_NEXT_{name}": text for name, text in variables.items()})

    assert from_file["next"] == PolicySettings(
        limit="5/second burst 9",
        algorithm="gcra",
        on_outage="closed",
        shadow=True,
        shadow_of="api",
        cost=2,
        key="header:x-tenant",
        allow=("10.0.0.0/8", "user:ada"),
        deny=("2001:db8::/32",),
    )
    assert from_variables.limits.policies == from_file


def test_a_file_variable_holds_the_path_of_the_value(tmp_path: Path) -> None:
    """X_FILE is read as the value of X, with one trailing newline cut off."""
    file = write(tmp_path / "url", "redis://h/1\r\n")

    assert load({"TOLLHOUSE_URL_FILE": str(file)}).url == "redis://h/1"
    assert load({"REDIS_PASSWORD_FILE": str(write(tmp_path / "p", "pw\n"))}).url == "redis://:pw@localhost:6379/0"


def test_what_kubernetes_sets_for_a_service_of_our_name_is_ignored() -> None:
    """Variables that Kubernetes sets for services named tollhouse or tollhouse-redis are ignored."""
    environ = {
        "TOLLHOUSE_PORT": "tcp://10.0.0.1:8000",
        "TOLLHOUSE_SERVICE_HOST": "10.0.0.1",
        "TOLLHOUSE_SERVICE_PORT_HTTP": "8000",
        "TOLLHOUSE_PORT_8000_TCP_ADDR": "10.0.0.1",
        "TOLLHOUSE_REDIS_PORT": "tcp://10.0.0.2:6379",
        "TOLLHOUSE_EMBEDDED_BINARY": "/usr/bin/valkey-server",
    }

    assert load(environ) == Settings()


WRONG = [
    ({"TOLLHOUSE_PORT": "99999"}, "TOLLHOUSE_PORT", "'99999'", "a whole number <= 65535"),
    ({"TOLLHOUSE_IPV6_PREFIX_BITS": "128"}, "TOLLHOUSE_IPV6_PREFIX_BITS", "128", "give 32 to 64"),
    ({"TOLLHOUSE_WORKERS": "many"}, "TOLLHOUSE_WORKERS", "'many'", "a whole number"),
    ({"TOLLHOUSE_PROT": "1"}, "TOLLHOUSE_PROT", "***", "did you mean 'TOLLHOUSE_PORT'?"),
    (
        {"TOLLHOUSE_LIMITS_POLICIES_API_BESIDE": "x"},
        "TOLLHOUSE_LIMITS_POLICIES_API_BESIDE",
        "***",
        "did you mean 'TOLLHOUSE_LIMITS_POLICIES_API_SHADOW_OF'?",
    ),
    (
        {"TOLLHOUSE_LIMITS_POLICIES_MY_API_LIMT": "5/m"},
        "TOLLHOUSE_LIMITS_POLICIES_MY_API_LIMT",
        "***",
        "did you mean 'TOLLHOUSE_LIMITS_POLICIES_MY_API_LIMIT'?",
    ),
    (
        {"TOLLHOUSE_LIMITS_POLICIES_LIMT": "5/m"},
        "TOLLHOUSE_LIMITS_POLICIES_LIMT",
        "***",
        "did you mean 'TOLLHOUSE_LIMITS_POLICIES_NAME_LIMIT'?",
    ),
    ({"TOLLHOUSE_XYZZY": "1"}, "TOLLHOUSE_XYZZY", "***", "the table of settings"),
    ({"TOLLHOUSE_SECRET": "short"}, "TOLLHOUSE_SECRET", "***", "length >= 32"),
    ({"TOLLHOUSE_ADMIN_KEY": "short"}, "TOLLHOUSE_ADMIN_KEY", "***", "16 visible characters"),
    ({"TOLLHOUSE_LOG_LEVEL": "loud"}, "TOLLHOUSE_LOG_LEVEL", "'loud'", "debug, info, warning or error"),
    ({"TOLLHOUSE_TRUSTED_PROXIES": "10.0.0.1/8"}, "TOLLHOUSE_TRUSTED_PROXIES", "'10.0.0.1/8'", "host bits"),
    ({"TOLLHOUSE_PLAIN_HTTP": "1", "TOLLHOUSE_HOST": "0.0.0.0"}, "TOLLHOUSE_PLAIN_HTTP", "0.0.0.0", "127.0.0.1"),
    ({"CACHE_ENABLED": "nein"}, "CACHE_ENABLED", "'nein'", "true or false"),
    ({"REDIS_PORT": "default"}, "REDIS_PORT", "'default'", "a number"),
    ({"TOLLHOUSE_SECRET_FILE": "./missing"}, "TOLLHOUSE_SECRET_FILE", "'./missing'", "readable"),
    ({"TOLLHOUSE_SECRET_FILE": "./empty"}, "TOLLHOUSE_SECRET_FILE", "'./empty'", "is empty"),
    ({"TOLLHOUSE_SECRET_FILE": "./binary"}, "TOLLHOUSE_SECRET_FILE", "'./binary'", "text file"),
    ({"TOLLHOUSE_SECRET": SECRET, "TOLLHOUSE_SECRET_FILE": "/f"}, "TOLLHOUSE_SECRET_FILE", "'/f'", "unset one"),
    ({"TOLLHOUSE_SECRET_FILE": SECRET}, "TOLLHOUSE_SECRET_FILE", "'***'", "name a readable text file"),
    ({"TOLLHOUSE_URL_FILE": "redis://:hunter2@h/0"}, "TOLLHOUSE_URL_FILE", "'***'", "name a readable text file"),
    ({"TOLLHOUSE_URL_FILE": "/a\0b"}, "TOLLHOUSE_URL_FILE", r"'/a\x00b'", "name a readable text file"),
    ({"TOLLHOUSE_CONFIG_FILE": "/etc/t.toml"}, "TOLLHOUSE_CONFIG_FILE", "***", "did you mean 'TOLLHOUSE_CONFIG'?"),
    ({"TOLLHOUSE_SECRET": f"{SECRET}\udcff"}, "TOLLHOUSE_SECRET", "***", "UTF-8"),
    ({"REDIS_HOST": "h", "REDIS_PASSWORD": "p\udcff"}, "REDIS_PASSWORD", "***", "UTF-8"),
    ({"TOLLHOUSE_CONFIG": "missing.toml"}, "missing.toml", "No such file", "can be read"),
    ({"TOLLHOUSE_LIMITS_INSTANCES": "0"}, "TOLLHOUSE_LIMITS_INSTANCES", "'0'", ">= 1"),
    ({"TOLLHOUSE_SESSIONS_ACR": "aal4"}, "TOLLHOUSE_SESSIONS_ACR", "'aal4'", "aal1"),
    ({"TOLLHOUSE_SESSIONS_ACR_LEVELS": 'a"b'}, "TOLLHOUSE_SESSIONS_ACR_LEVELS", 'a"b', "the weakest first"),
    ({"TOLLHOUSE_SESSIONS_RECENT_AUTH_S": "0"}, "TOLLHOUSE_SESSIONS_RECENT_AUTH_S", "'0'", ">= 1"),
    ({"TOLLHOUSE_DATABASES": "share"}, "TOLLHOUSE_DATABASES", "'share'", "did you mean 'shared'?"),
    ({"TOLLHOUSE_PASSWORD_PROFILE": "strong"}, "TOLLHOUSE_PASSWORD_PROFILE", "'strong'", "rfc9106-high"),
    ({"TOLLHOUSE_LIMITS_HEADERS": "draft-7"}, "TOLLHOUSE_LIMITS_HEADERS", "'draft-7'", "x-ratelimit-epoch, or off"),
    ({"TOLLHOUSE_LIMITS_POLICIES_API_ALGORITHM": "x"}, "limits.policies.api.limit", "not set", "_ALGORITHM needs it"),
]


@pytest.mark.parametrize(("environ", "setting", "value", "remedy"), WRONG, ids=[row[1] for row in WRONG])
def test_an_error_names_the_variable_the_value_and_the_remedy(
    tmp_path: Path, environ: dict[str, str], setting: str, value: str, remedy: str
) -> None:
    """A setting that cannot be used raises an error with its variable, its value and the remedy (S1-32)."""
    write(tmp_path / "empty", "\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe" * 20)

    with pytest.raises(ConfigurationError) as refused:
        load(environ)

    assert refused.value.setting == setting
    assert value in str(refused.value)
    assert remedy in str(refused.value)


WRONG_FILES = [
    ("port = ", "t.toml", "TOML"),
    (f"port = {'[' * 5_000}", "t.toml", "TOML"),
    ("prot = 1", "t.toml: prot", "did you mean 'port'?"),
    ("[cache]\nttl = 1", "t.toml: cache.ttl", "did you mean 'ttl_s'?"),
    ("[limits.policies.api]\nlimits = '5/s'", "t.toml: limits.policies.api.limits", "did you mean 'limit'?"),
    ("[limits.policies.api]\non_outge = 'open'", "t.toml: limits.policies.api.on_outge", "did you mean 'on_outage'?"),
    ("[limits.policies.api]\nbeside = 'x'", "t.toml: limits.policies.api.beside", "did you mean 'shadow_of'?"),
    ("[limits]\nheader = 'off'", "t.toml: limits.header", "did you mean 'headers'?"),
    ("[limits.policies.api]\nlimit = '5/s'\nallow = [7]", "t.toml: limits.policies.api.allow", "expected text"),
    ("[limits.policies.api]\nlimit = '5/s'\nshadow = 'x'", "t.toml: limits.policies.api.shadow", "true or false"),
    ("[limits.policies.api]\nlimit = '5/s'\ncost = -1", "t.toml: limits.policies.api.cost", ">= 0"),
    ("cache = 3", "t.toml: cache", "[cache]"),
    ("port = 'http'", "t.toml: port", "a whole number"),
    ("[url]\nserver = 'h'", "t.toml: url", "expected text"),
    ("[cache]\nttl_s = 'a'", "t.toml: cache.ttl_s", "expected a whole number, without quotes"),
    ("limits_url = 5", "t.toml: limits_url", "expected text; Another server"),
    ("[limits.policies.api]\nlimit = 5", "t.toml: limits.policies.api.limit", "5/second; 100/minute"),
]


@pytest.mark.parametrize(("text", "setting", "remedy"), WRONG_FILES)
def test_an_error_in_the_file_names_the_line(tmp_path: Path, text: str, setting: str, remedy: str) -> None:
    """An error in the file names the file and the path of the setting."""
    file = write(tmp_path / "t.toml", text)

    with pytest.raises(ConfigurationError) as refused:
        load({}, file)

    assert refused.value.setting in (setting, str(tmp_path / setting))
    assert remedy in str(refused.value)


def test_a_list_of_secrets_is_no_base64(tmp_path: Path) -> None:
    """The same text is the same secret in a variable, alone in the file, and in a list of the file or of code."""
    text = "c2VjcmV0" * 8
    files = [write(tmp_path / f"{i}.toml", f"secret = {given}") for i, given in enumerate((f"'{text}'", f"['{text}']"))]
    in_code: Any = [text]

    found = [load({"TOLLHOUSE_SECRET": text}), *(load({}, file) for file in files), Settings(secret=in_code)]

    assert [one.secret for one in found] == [(text.encode(),)] * 4


QUOTED_IN_FILE = [
    ("port = '1'", "t.toml: port"),
    ("plain_http = 'true'", "t.toml: plain_http"),
    ("[limits]\ninstances = '2'", "t.toml: limits.instances"),
    ("[cache]\nttl_s = '60'", "t.toml: cache.ttl_s"),
    ("[limits.policies.api]\nlimit = '5/s'\ncost = '1'", "t.toml: limits.policies.api.cost"),
    ("[limits.policies.api]\nlimit = '5/s'\nshadow = 'true'", "t.toml: limits.policies.api.shadow"),
]


@pytest.mark.parametrize(("text", "setting"), QUOTED_IN_FILE)
def test_a_number_in_quotes_is_no_number_in_a_file(tmp_path: Path, text: str, setting: str) -> None:
    """TOML has numbers and truth values: a text in the place of one is refused, and the remedy says why."""
    with pytest.raises(ConfigurationError) as refused:
        load({}, write(tmp_path / "t.toml", text))

    assert refused.value.setting == setting
    assert "without quotes" in refused.value.remedy


def texts_of_numbers(leaf: Leaf) -> list[str]:
    """Return the texts that a variable may have for a setting that is a number or a truth value."""

    def is_read(text: str) -> bool:
        try:
            return isinstance(parse(leaf, text, leaf.name, is_text=True), int)
        except ConfigurationError:
            return False

    return [text for text in ("true", "64", "1000") if is_read(text)]


def test_a_text_is_a_number_only_in_a_variable() -> None:
    """Each setting that is a number or a truth value is read from the text of a variable, and from no other text."""
    texts = {leaf.name: (leaf, texts_of_numbers(leaf)) for leaf in leaves(Settings)}
    numbers = {name: found for name, found in texts.items() if found[1]}

    for leaf, given in numbers.values():
        for text in given:
            with pytest.raises(ConfigurationError):
                parse(leaf, text, leaf.name)
    assert {"port", "strict", "limits.enabled", "limits.policies.*.cost", "limits.policies.*.shadow"} <= set(numbers)


IN_CODE = [
    (PolicySettings, {"limit": "5/s", "cost": "1"}, "cost"),
    (PolicySettings, {"limit": "5/s", "cost": True}, "cost"),
    (PolicySettings, {"limit": "5/s", "shadow": 1}, "shadow"),
    (Settings, {"port": "1"}, "port"),
    (Settings, {"plain_http": "true"}, "plain_http"),
    (Settings, {"limits": {"enabled": False}}, "limits"),
    (Settings, {"cache": None}, "cache"),
    (LimitSettings, {"policies": ["api"]}, "policies"),
    (LimitSettings, {"policies": {"api": "5/minute"}}, "policies.api"),
]


@pytest.mark.parametrize(("kind", "fields", "setting"), IN_CODE)
def test_a_value_of_another_type_in_code_is_told(kind: type[Any], fields: dict[str, Any], setting: str) -> None:
    """A value of another type is a ConfigurationError that names the setting, be it a number or a whole table."""
    with pytest.raises(ConfigurationError) as refused:
        kind(**fields)

    assert refused.value.setting == setting


def test_settings_built_by_hand_are_checked_too() -> None:
    """Settings constructed in code are checked by the same rules; a list may be one text, as in the environment."""
    assert Settings(secret=SECRET).secret == (SECRET.encode(),)  # pyright: ignore[reportArgumentType] - as a file or variable gives it
    for wrong in ({"secret": (b"short",)}, {"trusted_proxies": ("nowhere",)}, {"host": "0.0.0.0", "plain_http": True}):
        with pytest.raises(ConfigurationError):
            Settings(**wrong)  # pyright: ignore[reportArgumentType] - as a file or variable gives it
    with pytest.raises(ConfigurationError):
        replace(Settings(), port=-1)


def test_settings_can_be_handed_to_another_process() -> None:
    """Settings that were encoded for a worker are the same settings when it decodes them."""
    settings = Settings(
        secret=(SECRET.encode(),), limits=LimitSettings(policies={"api": PolicySettings(limit="5/second")})
    )

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(settings), type=Settings) == settings


def test_a_flag_out_of_range_is_named_as_it_was_typed() -> None:
    """A value from the command line that cannot be used raises an error with the name of its flag."""
    with pytest.raises(ConfigurationError) as refused:
        load({}, flags={"head_bytes": 1})

    assert refused.value.setting == "--head-bytes"


def test_the_file_and_the_variables_that_the_page_begins_with_say_the_same(tmp_path: Path) -> None:
    """The first two examples of docs/settings.md, one for each way, are the same settings."""
    (file,), (variables, *_) = blocks(HEAD, "toml"), blocks(HEAD, "text")
    written = write(tmp_path / "mine.toml", file)

    assert load(dict(line.split("=", 1) for line in variables.splitlines())) == load({}, written) != Settings()


def test_a_flag_that_is_no_setting_is_an_error() -> None:
    """Code gives flags too: by the names of settings in the file, and a wrong one says which may be meant."""
    with pytest.raises(ConfigurationError, match="did you mean 'port'") as refused:
        load({}, flags={"prot": 1})

    assert (refused.value.setting, refused.value.value) == ("flags", "prot")
    assert load({}, flags={"cache.ttl_s": 60}).cache.ttl_s == 60


def test_an_error_does_not_repeat_a_long_value() -> None:
    """What is quoted of a value has a bound, in the remedy as well."""
    with pytest.raises(ConfigurationError) as refused:
        load({"TOLLHOUSE_TRUSTED_PROXIES": "1" * 10_000})

    assert len(str(refused.value)) < 300


def test_secrets_are_in_no_text() -> None:
    """Neither repr nor description nor error shows a secret, a key, or the password of a URL."""
    settings = Settings(
        url="redis://user:hunter2@h/0",
        secret=(SECRET.encode(),),
        service_key=(KEY,),
        trusted_proxies=("loopback", "private"),
        limits=LimitSettings(policies={"api": PolicySettings(limit="5/second")}),
    )

    with pytest.raises(ConfigurationError) as refused:
        load({"TOLLHOUSE_PORT": "redis://:hunter2@h"})

    for text in (repr(settings), str(settings.__rich_repr__()), str(describe(settings)), str(refused.value)):
        assert not any(secret in text for secret in ("hunter2", SECRET, KEY))
    assert describe(settings)["url"] == "redis://user:***@h/0"
    assert describe(settings)["trusted_proxies"] == "loopback, private"
    assert describe(settings)["limits.policies.api.limit"] == "5/second"


def test_trusted_networks_know_two_words() -> None:
    """`loopback` and `private` mean their networks, an address means itself."""
    texts = [str(network) for network in trusted_networks(("loopback", "192.0.2.7", "private"))]

    assert texts[:3] == ["127.0.0.0/8", "::1/128", "192.0.2.7/32"]
    assert "10.0.0.0/8" in texts


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("h", False)],
)
def test_loopback_is_known_by_its_text(host: str, loopback: bool) -> None:
    """A host is loopback when its text says so; a name that must be looked up is not."""
    assert is_loopback(host) is loopback


def test_what_differs_between_settings_is_named() -> None:
    """Settings that differ are named as in the file, secrets and policies that only one has included."""
    one = Settings(admin_key=(KEY,), limits=LimitSettings(policies={"api": PolicySettings(limit="5/second")}))
    other = Settings(admin_key=(KEY + "2",), port=1, limits=LimitSettings(instances=2))

    assert differences(one, one) == ()
    assert set(differences(one, other)) == {
        "admin_key",
        "port",
        "limits.instances",
        *(f"limits.policies.api.{field}" for field in PolicySettings.__struct_fields__),
    }
    assert differences(Settings(), Settings(plain_http=True)) == ("plain_http",)


def test_the_dialects_are_those_that_there_are() -> None:
    """The setting accepts every dialect of the RateLimit fields."""
    for dialect in get_args(Dialect):
        assert load({"TOLLHOUSE_LIMITS_HEADERS": dialect}).limits.headers == dialect
        assert dialect in next(leaf.meaning for leaf in leaves(Settings) if leaf.name == "limits.headers")


def test_the_password_profiles_are_those_that_there_are() -> None:
    """The setting takes every profile that hashing knows, and one of the operator's own."""
    assert set(get_args(PasswordProfile)) == {*PROFILES, "own"}


def test_a_value_that_breaks_a_pattern_is_not_told_to_be_text() -> None:
    """The remedy for a text of the wrong form says which form is right, and nothing else."""
    with pytest.raises(ConfigurationError) as refused:
        load({"TOLLHOUSE_CACHE_KEY_PREFIX": "a:b"})

    assert refused.value.remedy.startswith("First word of every cache key")


def test_a_deadline_below_the_usual_round_trip_is_refused() -> None:
    """A call that could never be answered in time is a mistake of the settings; a short deadline nearby is none."""
    with pytest.raises(ConfigurationError) as refused:
        load({"TOLLHOUSE_ROUND_TRIP_MS": "1500"})

    assert (refused.value.setting, refused.value.value) == ("deadline_ms", 1000)
    assert load({"TOLLHOUSE_DEADLINE_MS": "50"}).deadline_ms == 50


def test_the_reference_names_every_variable_once() -> None:
    """The table of settings has one row for each variable, with a meaning and no secret."""
    rows = {leaf.variable: leaf for leaf in leaves(Settings)}

    assert len(rows) == len(list(leaves(Settings)))
    assert "| 3600 |" in row(rows["TOLLHOUSE_CACHE_TTL_S"])
    assert "| required |" in row(rows["TOLLHOUSE_LIMITS_POLICIES_NAME_LIMIT"])
    assert all(leaf.meaning.endswith(".") for leaf in rows.values())


def test_secrets_are_removed_from_an_environment() -> None:
    """`remove_secrets` takes away secrets and URLs with passwords, and leaves what other processes may read."""
    kept = {
        "TOLLHOUSE_SECRET_FILE": "/run/secret",
        "TOLLHOUSE_CACHE_URL": "redis://h/1",
        "TOLLHOUSE_PORT": "8001",
        "REDIS_HOST": "h",
        "PATH": "/bin",
    }
    environ = {
        **kept,
        "TOLLHOUSE_SECRET": "s" * 32,
        "TOLLHOUSE_ADMIN_KEY": "an-admin-key-for-tests",
        "TOLLHOUSE_SERVICE_KEY": "a-service-key-for-tests",
        "TOLLHOUSE_LIMITS_URL": "redis://ada:sesame@h/2",
        "REDIS_URL": "redis+sentinel://h/m?sentinel_password=sesame",
        "REDIS_PASSWORD": "sesame",
    }

    remove_secrets(environ)

    assert environ == kept
