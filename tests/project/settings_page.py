"""Writes docs/settings.md from the settings themselves: python -m tests.project.settings_page > docs/settings.md."""

from __future__ import annotations

from tollhouse.settings import Settings
from tollhouse.settings.leaf import Leaf, leaves

HEAD = """\
# Settings

Each setting is a variable and a line of `tollhouse.toml`, which is looked for in the working folder; `TOLLHOUSE_CONFIG`
or `--config` names another file. All of them are in [the table](#all-settings). These two say the same:

```toml
url = "redis://valkey.internal:6379/0"
trusted_proxies = ["10.0.0.7", "10.0.0.8"]

[limits.policies.api]
limit = "100/minute"
```

```text
TOLLHOUSE_URL=redis://valkey.internal:6379/0
TOLLHOUSE_TRUSTED_PROXIES=10.0.0.7,10.0.0.8
TOLLHOUSE_LIMITS_POLICIES_API_LIMIT=100/minute
```

A variable wins over the file. `TOLLHOUSE_SECRET_FILE`, and so on for each variable, names a file that holds the value.
Aliases, if the variable is not set: `REDIS_URL`, `REDIS_HOST` with `REDIS_PORT`, `REDIS_PASSWORD` and `REDIS_DB`,
`CACHE_ENABLED`, `CACHE_TTL_SECONDS`, `CACHE_KEY_PREFIX`, `CACHE_DEBUG`. `TOLLHOUSE_EMBEDDED_BINARY` names another
`valkey-server` for `embedded://`.

`tollhouse limits lint` checks all of it without a server, `tollhouse check` also the servers.

## Who reads them

- `tollhouse serve` and the other commands; a flag wins over the variable.
- `tollhouse.open()`, `RateLimitMiddleware`, `TollhousePlugin`, and `RateLimit` of FastAPI, if they are given neither a
  URL nor settings; `@tollhouse.limit` outside of requests too, if the settings set a server.
  `tollhouse.load_settings()` returns what they read. An error names the variable, or the file and its line, of a value
  that cannot be used.
- If nothing sets a server, each process counts for itself on an embedded one, and says so in one warning.
- Each open reads them once, and later changes hold for the next one: for a middleware or a plugin when it is made, for
  FastAPI and `@limit` at the first use in an event loop. No request reads them, and neither does an import.

Arguments replace what is read: `namespace`, `headers`, `trusted_proxies` and `ipv6_prefix_bits` that setting,
`policies` those of the same name. A URL as an argument sets the server and nothing else: no file and no variable is
read, the secret included. To have another URL with all the rest, give
`msgspec.structs.replace(tollhouse.load_settings(), url="redis://…")`.

An application ignores what only the service uses: `service_key`, `admin_key`, `host`, `port`, `workers`, the bounds and
times of requests and connections, `sessions.acr`, `sessions.recent_auth_s`, `log_level` and `log_format`. They have to
be valid all the same.

`NAME` in a variable, and `*` in the file, stand for the name of a policy or of an AI model:
`TOLLHOUSE_LIMITS_POLICIES_API_NEXT_LIMIT` is the limit of `api-next` if the file has one, else of `api_next`.

## Applications on one server

Two applications on one server need a `namespace` each: without it they share accounts, sessions and cached results, and
policies of one name share their counters. It is a part of every key, behind the word of the store, as in
`tollhouse:rate:shop:…`. `cache.key_prefix` only replaces the first word of the cache's keys, before the namespace; no
other store uses it. An application that gets a namespace begins with empty stores: set it before there are users.

## Databases

Stores that follow from `url` have four databases, from the one that it names on. If the server has too few, or the
account may not SELECT, they share the one that it names, and `tollhouse check` says so. The first connection decides
for as long as the stores are open; a primary that refuses its database later is an error, because a store that is
moved no longer finds its data. So if your servers may differ, set `databases` to `separate` or `shared`. In a shared
database the `total_keys` of the cache are its own entries, an estimate above 20,000 keys, and 0 without
the right to `SCAN`.

## All settings

| variable | in the file | default | meaning |
|---|---|---|---|
"""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(row(leaf) for leaf in leaves(Settings))


def row(leaf: Leaf) -> str:
    """Return the row of one setting."""
    default = "required" if leaf.is_required else leaf.shown(leaf.default)
    return f"| `{leaf.variable}` | `{leaf.name}` | {default} | {leaf.meaning} |\n"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - it writes the page
