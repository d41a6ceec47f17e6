"""TLS as a URL asks for it. The options have the names that redis-py gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from tollhouse.errors import ConfigurationError
from tollhouse.suggest import one_of

TLS_OPTIONS: Final = frozenset({"ca", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs"})
"""The options of a URL that speak of TLS; `ca` is short for `ssl_ca_certs`."""
_VERIFIED: Final = {"required": True, "optional": True, "none": False}


class Tls(Struct, frozen=True, kw_only=True):
    """The files of TLS: the authorities that may sign a server, our own certificate and its key.

    Without authorities those of the system are used. `verified` is False if any certificate will do. The repr hides
    the password of the key.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = None
    verified: bool = True

    def __repr__(self) -> str:
        return f"Tls(ca={self.ca!r}, certificate={self.certificate!r}, key={self.key!r}, verified={self.verified})"

    def files(self) -> tuple[str, ...]:
        """Return the files that are read."""
        return tuple(path for path in (self.ca, self.certificate, self.key) if path is not None)


def read_tls(setting: str, scheme: str, options: Mapping[str, str], *, tls: bool) -> Tls | None:
    """Return what the options of a URL say of TLS; None for a scheme without it, which takes none of them."""
    given = sorted(TLS_OPTIONS & options.keys())
    if not tls:
        if given:
            raise ConfigurationError(setting, given[0], f"{scheme}:// has no TLS; begin with {_with_tls(scheme)}://")
        return None
    if "ca" in options and "ssl_ca_certs" in options:
        raise ConfigurationError(setting, "ca", "ssl_ca_certs is set too, and means the same; set one of them")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ConfigurationError(setting, "ssl_keyfile", "name the certificate too: ssl_certfile=FILE")
    verified = _VERIFIED.get(options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_"))
    if verified is None:
        wrong = options["ssl_cert_reqs"]
        raise ConfigurationError(setting, f"ssl_cert_reqs={wrong}", one_of(wrong, _VERIFIED))
    return Tls(
        ca=options.get("ca") or options.get("ssl_ca_certs"),
        certificate=options.get("ssl_certfile"),
        key=options.get("ssl_keyfile"),
        key_password=options.get("ssl_password"),
        verified=verified,
    )


def _with_tls(scheme: str) -> str:
    first, plus, rest = scheme.partition("+")
    return f"{first}s{plus}{rest}"
