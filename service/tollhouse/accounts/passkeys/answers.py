"""Answers of browsers, as `PublicKeyCredential.toJSON()` writes them: taken apart, each member within bounds.

Members that are not needed here are left alone: browsers add some with every version. What an answer says is still to
be verified; of its values only the field and the remedy are told, for an answer is as good as a password until its
challenge is spent.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from tollhouse.accounts.passkeys.passkey import ID_BYTES_MAX, TRANSPORT_MAX, TRANSPORTS_MAX
from tollhouse.errors import InvalidInput, require_type

CREDENTIAL: Final = "credential"
"""The name of an answer in errors, as in the bodies of requests."""

_CLIENT_DATA_MAX: Final = 4_096
_AUTHENTICATOR_DATA_MAX: Final = 4_096
_ATTESTATION_MAX: Final = 8_192
_SIGNATURE_MAX: Final = 1_024
_HANDLE_MAX: Final = 64

_HIDDEN: Final = "(hidden)"
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_TRANSPORT: Final = re.compile(rf"[a-z-]{{1,{TRANSPORT_MAX}}}")
_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_REMEDY: Final = "send what `PublicKeyCredential.toJSON()` returned in the browser"
_TEXT_MAX: Final = 65_536

_Text = Annotated[str, Meta(max_length=_TEXT_MAX)]


class ClientDataJson(Struct, frozen=True, kw_only=True):
    """What the browser says of the page: signed, with the rest of it, by the authenticator."""

    challenge: str
    origin: str
    cross_origin: bool = field(name="crossOrigin", default=False)


class AssertionResponseJson(Struct, frozen=True, kw_only=True):
    """The signature of a passkey, in base64url."""

    client_data: _Text = field(name="clientDataJSON")
    authenticator_data: _Text = field(name="authenticatorData")
    signature: _Text
    user_handle: _Text | None = field(name="userHandle", default=None)


class AttestationResponseJson(Struct, frozen=True, kw_only=True):
    """A new passkey, in base64url."""

    client_data: _Text = field(name="clientDataJSON")
    attestation_object: _Text = field(name="attestationObject")
    transports: list[_Text] = []


class AssertionJson(Struct, frozen=True, kw_only=True):
    """The answer of `navigator.credentials.get`."""

    id: _Text
    raw_id: _Text = field(name="rawId")
    type: Literal["public-key"]
    response: AssertionResponseJson


class AttestationJson(Struct, frozen=True, kw_only=True):
    """The answer of `navigator.credentials.create`."""

    id: _Text
    raw_id: _Text = field(name="rawId")
    type: Literal["public-key"]
    response: AttestationResponseJson


class Assertion(Struct, frozen=True, kw_only=True):
    """A use of a passkey, as its browser tells of it; `user_handle` names the account, None if it was not sent."""

    id: str
    raw_id: bytes
    client_data: bytes
    authenticator_data: bytes
    signature: bytes
    user_handle: str | None
    page: ClientDataJson
    challenge: bytes


class Attestation(Struct, frozen=True, kw_only=True):
    """A new passkey, as its browser tells of it."""

    id: str
    raw_id: bytes
    client_data: bytes
    attestation_object: bytes
    transports: tuple[str, ...]
    page: ClientDataJson
    challenge: bytes


def read_assertion(answer: Mapping[str, object]) -> Assertion:
    """Return the answer of a passkey that was used; raises InvalidInput, naming the member that is wrong."""
    read = _converted(answer, AssertionJson)
    raw_id, client_data, page = _common(read.id, read.raw_id, read.response.client_data)
    handle = read.response.user_handle or None
    if handle is not None:
        _decoded("response.userHandle", handle, _HANDLE_MAX)
    return Assertion(
        id=read.id,
        raw_id=raw_id,
        client_data=client_data,
        authenticator_data=_decoded(
            "response.authenticatorData", read.response.authenticator_data, _AUTHENTICATOR_DATA_MAX
        ),
        signature=_decoded("response.signature", read.response.signature, _SIGNATURE_MAX),
        user_handle=handle,
        page=page,
        challenge=_challenge(page),
    )


def read_attestation(answer: Mapping[str, object]) -> Attestation:
    """Return the answer of a new passkey; raises InvalidInput, naming the member that is wrong."""
    read = _converted(answer, AttestationJson)
    raw_id, client_data, page = _common(read.id, read.raw_id, read.response.client_data)
    return Attestation(
        id=read.id,
        raw_id=raw_id,
        client_data=client_data,
        attestation_object=_decoded("response.attestationObject", read.response.attestation_object, _ATTESTATION_MAX),
        transports=_transports(read.response.transports),
        page=page,
        challenge=_challenge(page),
    )


def base64url(value: bytes) -> str:
    """Return bytes as base64url without padding, as the JSON of browsers has them."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


_Json = TypeVar("_Json", AssertionJson, AttestationJson)


def _converted(answer: Mapping[str, object], kind: type[_Json]) -> _Json:
    require_type(CREDENTIAL, answer, Mapping, _REMEDY)
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error))
        _refuse(found[1] if found else "", f"{_PATH.sub('', str(error))}; {_REMEDY}")


def _common(passkey_id: str, raw_id: str, client_data: str) -> tuple[bytes, bytes, ClientDataJson]:
    """Return the id, what the browser says of the page as it was signed, and the same as a value."""
    decoded_id = _decoded("id", passkey_id, ID_BYTES_MAX)
    if not decoded_id or raw_id != passkey_id:
        _refuse("rawId", f"it is to be the same as `id`, and not empty; {_REMEDY}")
    signed = _decoded("response.clientDataJSON", client_data, _CLIENT_DATA_MAX)
    try:
        return decoded_id, signed, _CLIENT_DATA.decode(signed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _refuse("response.clientDataJSON", _REMEDY)


def _challenge(page: ClientDataJson) -> bytes:
    return _decoded("response.clientDataJSON", page.challenge, _CLIENT_DATA_MAX)


def _transports(given: list[str]) -> tuple[str, ...]:
    """Return the first few transports that are words: they only help a browser to find the passkey again."""
    return tuple(dict.fromkeys(one for one in given if _TRANSPORT.fullmatch(one)))[:TRANSPORTS_MAX]


def _decoded(member: str, text: str, bytes_max: int) -> bytes:
    """Return the bytes in the one base64url spelling that they have; raises InvalidInput."""
    if len(text) > -(-bytes_max * 4 // 3):
        _refuse(member, f"it has at most {bytes_max:,} bytes")
    if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        _refuse(member, f"write it in base64url without padding; {_REMEDY}")
    value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(value) != text:
        _refuse(member, f"its last character has bits that no byte has; {_REMEDY}")
    return value


def _refuse(member: str, remedy: str) -> NoReturn:
    raise InvalidInput(f"{CREDENTIAL}.{member}" if member else CREDENTIAL, _HIDDEN, remedy)


_CLIENT_DATA: Final = msgspec.json.Decoder(ClientDataJson)
