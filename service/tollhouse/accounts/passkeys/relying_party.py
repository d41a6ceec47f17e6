"""The relying party: who asks for passkeys. A browser gives one to the pages of its domain, and to no other."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from tollhouse.errors import ConfigurationError
from tollhouse.settings.passkeys import PasskeySettings

RP_ID: Final = "accounts.passkeys.rp_id"
ORIGINS: Final = "accounts.passkeys.origins"

_LOCAL: Final = "localhost"
_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class RelyingParty(Struct, frozen=True, kw_only=True):
    """A domain, the name that users see, and the origins of the pages that may use its passkeys."""

    id: str
    name: str
    origins: tuple[str, ...]


def relying_party(settings: PasskeySettings) -> RelyingParty | None:
    """Return who asks for passkeys by the settings, None if there are none; raises ConfigurationError."""
    if settings.rp_id is None:
        if settings.origins:
            raise ConfigurationError(RP_ID, None, f"name the domain of the passkeys of {settings.origins[0]}")
        return None
    domain = _domain(settings.rp_id)
    origins = settings.origins or (f"https://{domain}",)
    for origin in origins:
        _check_origin(origin, domain)
    return RelyingParty(id=domain, name=settings.rp_name, origins=origins)


def local_party(name: str, port: int) -> RelyingParty:
    """Return who asks for passkeys in a trial without TLS: the pages of this machine, by its name and not its address.

    A browser takes `http://localhost` for as safe as `https:`.
    """
    shown = "" if port == _DEFAULT_PORTS["http"] else f":{port}"
    return RelyingParty(id=_LOCAL, name=name, origins=(f"http://{_LOCAL}{shown}",))


def _domain(rp_id: str) -> str:
    """Return a domain in the spelling of browsers; raises ConfigurationError for what no browser takes."""
    if _is_address(rp_id):
        raise ConfigurationError(RP_ID, rp_id, f"an address is no domain: use a name, and {_LOCAL} for a trial")
    if _DOMAIN.fullmatch(rp_id) is None:
        remedy = "give a domain alone, in lower case and without scheme and port; one of other letters as xn--…"
        raise ConfigurationError(RP_ID, rp_id, remedy)
    return rp_id


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _check_origin(origin: str, domain: str) -> None:
    try:
        parts, port = urlsplit(origin), urlsplit(origin).port
    except ValueError:
        raise ConfigurationError(ORIGINS, origin, "give an origin, such as https://login.example.com") from None
    host = parts.hostname or ""
    if not _is_safe(parts.scheme, host):
        raise ConfigurationError(ORIGINS, origin, f"browsers take https:// alone, and http:// of {_LOCAL}")
    if origin != _spelt(parts, host, port):
        remedy = "write it as browsers do: scheme, host in lower case, and the port unless it is that of the scheme"
        raise ConfigurationError(ORIGINS, origin, remedy)
    if host != domain and not host.endswith(f".{domain}"):
        raise ConfigurationError(ORIGINS, origin, f"its host is to be {domain}, which {RP_ID} names, or below it")


def _is_safe(scheme: str, host: str) -> bool:
    """Return whether a browser has passkeys for pages of this scheme and host."""
    return scheme == "https" or (scheme == "http" and (host == _LOCAL or host.endswith(f".{_LOCAL}")))


def _spelt(parts: SplitResult, host: str, port: int | None) -> str:
    """Return the origin as a browser writes it."""
    shown = "" if port is None or port == _DEFAULT_PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{host}{shown}"
