"""Stored passwords in Dovecot's notation, ``{SCHEME}value``: check one, make one.

Everything here blocks and belongs into the hashing pool. A stored value says how much work its check is; each such
number is bounded from above, so that a hash from elsewhere cannot stop the server.
"""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from hmac import compare_digest

import argon2
import attrs
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from popserv.auth.crypt_hashes import MissingExtra, UnusableHash, make_bcrypt, make_sha_crypt, verify_crypt
from popserv.auth.names import prepare_password
from popserv.auth.scram_keys import LEAST_ITERATIONS, HashName, ScramKeys

__all__ = [
    "DEFAULT_SCHEME",
    "MADE_SCHEMES",
    "MissingExtra",
    "UnknownScheme",
    "UnusableHash",
    "canonical_scheme",
    "dummy_hash",
    "hash_password",
    "is_outdated",
    "plain_secret",
    "scram_keys",
    "verify",
]

DEFAULT_SCHEME = "ARGON2ID"

PASSWORD_OCTETS = 1024
"""A longer password fits nothing: the work of some schemes grows with its length."""

STORED_OCTETS = 4096
"""A longer stored value is refused."""

MOST_ARGON2_KIB = 1024 * 1024
MOST_ARGON2_WORK_KIB = 4 * MOST_ARGON2_KIB
"""Memory times passes."""
MOST_ARGON2_LANES = 16
MOST_PBKDF2_ROUNDS = 1_000_000

_PREFIX = re.compile(r"\{([0-9A-Za-z-]+)(?:\.(b64|base64|hex))?\}", re.IGNORECASE)
_PBKDF2 = re.compile(r"\$1\$([^$]+)\$([0-9]{1,10})\$([0-9A-Fa-f]{40})")


class UnknownScheme(UnusableHash):
    """The ``{SCHEME}`` is none of those that are known here."""


@attrs.frozen
class _Scheme:
    verify: Callable[[bytes, bytes], bool]
    """Takes the stored octets, decoded, and the password."""
    binary: bool = False
    """Stands in base64 when no suffix says otherwise."""
    hex_length: int = 0
    """A value of exactly this length is taken for hex when no suffix says otherwise, as Dovecot does; 0 = never."""


def verify(stored: str, password: bytes, default_scheme: str = "PLAIN") -> bool:
    """Whether `password` fits the stored value, which is of `default_scheme` when it has no prefix.

    Raises `UnusableHash` for a value that is malformed, of an unknown scheme, or asks for too much work.
    """
    scheme, octets = _parse(stored, default_scheme)
    # NUL: to HMAC, and so to PBKDF2, a key is the same with NULs behind it.
    if not 0 < len(password) <= PASSWORD_OCTETS or b"\0" in password:
        return False
    return _SCHEMES[scheme].verify(octets, password)


def plain_secret(stored: str, default_scheme: str = "PLAIN") -> bytes | None:
    """The secret itself when it is stored as such, else None; for APOP and CRAM-MD5. Raises `UnusableHash`."""
    scheme, octets = _parse(stored, default_scheme)
    return octets if scheme == "PLAIN" and octets else None


def hash_password(password: bytes, scheme: str = DEFAULT_SCHEME) -> str:
    """Prepare the password (RFC 4616 section 2 wants that before hashing) and make ``{SCHEME}value`` of it.

    Raises `popserv.auth.names.InvalidName` for what cannot be prepared, `UnknownScheme` unless the scheme is one of
    `MADE_SCHEMES`, `MissingExtra`, and `ValueError` for a password that is too long.
    """
    name = canonical_scheme(scheme)
    if name not in _MAKERS:
        raise UnknownScheme(f"no new passwords are made for this scheme; known: {', '.join(MADE_SCHEMES)}")
    prepared = prepare_password(password, stored=True)
    if len(prepared) > PASSWORD_OCTETS:
        raise ValueError(f"it is longer than {PASSWORD_OCTETS} octets")
    if name == "PLAIN" and b":" in prepared:
        # A colon would end the field of a passwd-file.
        return "{PLAIN.b64}" + _base64(prepared)
    return f"{{{name}}}{_MAKERS[name](prepared)}"


def dummy_hash() -> str:
    """A stored value that no password fits and whose check is as much work as that of `hash_password`'s default."""
    hasher = argon2.PasswordHasher()
    parameters = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = _base64(os.urandom(hasher.salt_len)), _base64(os.urandom(hasher.hash_len))
    return f"{{ARGON2ID}}$argon2id$v=19${parameters}${salt.rstrip('=')}${digest.rstrip('=')}"


def scram_keys(stored: str, default_scheme: str = "PLAIN") -> ScramKeys | None:
    """The keys, when they are what is stored, else None. Raises `UnusableHash`."""
    scheme, octets = _parse(stored, default_scheme)
    return _scram_keys(octets, _SCRAM[scheme]) if scheme in _SCRAM else None


def is_outdated(stored: str) -> bool:
    """Whether this is an argon2id hash that new ones are better than."""
    scheme, value = _parse(stored, "PLAIN")
    return scheme == "ARGON2ID" and argon2.PasswordHasher().check_needs_rehash(value.decode("ascii", "replace"))


def complaint(stored: str, default_scheme: str = "PLAIN") -> str:
    """Why nobody can or should log in with this stored value, as far as it shows without a password; else ""."""
    try:
        scheme, octets = _parse(stored, default_scheme)
        if not octets:
            return "it is empty"
        if scheme.startswith("ARGON2"):
            _argon2_text(octets)
        keys = _scram_keys(octets, _SCRAM[scheme]) if scheme in _SCRAM else None
    except UnusableHash as error:
        return str(error)
    if keys is not None and keys.iterations < LEAST_ITERATIONS:
        return f"its SCRAM keys have {keys.iterations} iterations, and RFC 7677 asks for {LEAST_ITERATIONS} at least"
    return ""


def canonical_scheme(name: str) -> str:
    """The name of a scheme as it stands in the table here. Raises `UnknownScheme`."""
    scheme = _ALIASES.get(name.upper(), name.upper())
    if scheme not in _SCHEMES:
        raise UnknownScheme("its scheme is not known here")
    return scheme


def _parse(stored: str, default_scheme: str) -> tuple[str, bytes]:
    if len(stored) > STORED_OCTETS:
        raise UnusableHash(f"it is longer than {STORED_OCTETS} octets")
    prefix = _PREFIX.match(stored)
    if prefix is None and stored.startswith("{"):
        raise UnknownScheme("its scheme is not known here")
    scheme = canonical_scheme(prefix[1] if prefix else default_scheme)
    encoding = (prefix[2] or "").lower() if prefix else ""
    text = stored[prefix.end() :] if prefix else stored
    if not encoding and _SCHEMES[scheme].binary:
        encoding = "hex" if len(text) == _SCHEMES[scheme].hex_length else "b64"
    return scheme, _decode(text, encoding)


def _decode(text: str, encoding: str) -> bytes:
    try:
        if encoding == "hex":
            return bytes.fromhex(text)
        if encoding:
            return b64decode(text, validate=True)
        return text.encode("utf-8")
    except ValueError:
        raise UnusableHash("its encoding is broken") from None


def _verify_plain(stored: bytes, password: bytes) -> bool:
    return compare_digest(stored, password)


def _argon2_text(stored: bytes) -> str:
    """The hash, if it asks for no more work than is done here. Raises `UnusableHash`."""
    text = _ascii(stored)
    try:
        asked = argon2.extract_parameters(text)
    except InvalidHashError:
        raise UnusableHash("it is malformed") from None
    if (
        asked.memory_cost > MOST_ARGON2_KIB
        or asked.memory_cost * asked.time_cost > MOST_ARGON2_WORK_KIB
        or asked.parallelism > MOST_ARGON2_LANES
    ):
        raise UnusableHash("it asks for more memory, passes or lanes than are spent here")
    return text


def _verify_argon2(stored: bytes, password: bytes) -> bool:
    text = _argon2_text(stored)
    try:
        return argon2.PasswordHasher().verify(text, password)
    except VerifyMismatchError:
        return False
    except (InvalidHashError, VerificationError):
        raise UnusableHash("it is malformed, or there is no memory for it") from None


def _verify_crypt(stored: bytes, password: bytes) -> bool:
    return verify_crypt(_ascii(stored), password)


def _verify_pbkdf2(stored: bytes, password: bytes) -> bool:
    parts = _PBKDF2.fullmatch(_ascii(stored))
    if parts is None:
        raise UnusableHash("it is malformed")
    salt, rounds, digest = parts[1].encode("ascii"), int(parts[2]), bytes.fromhex(parts[3])
    if not 0 < rounds <= MOST_PBKDF2_ROUNDS:
        raise UnusableHash(f"it asks for no rounds or for more than {MOST_PBKDF2_ROUNDS}")
    return compare_digest(hashlib.pbkdf2_hmac("sha1", password, salt, rounds), digest)


def _scram_keys(stored: bytes, hash_name: HashName) -> ScramKeys:
    try:
        keys = ScramKeys.from_text(_ascii(stored))
    except ValueError as error:
        raise UnusableHash(str(error)) from None
    if keys.hash_name != hash_name:
        raise UnusableHash("its keys belong to another hash function")
    return keys


def _verify_scram(hash_name: HashName) -> Callable[[bytes, bytes], bool]:
    return lambda stored, password: _scram_keys(stored, hash_name).verify(password)


def _digest(hash_name: str, salted: bool) -> _Scheme:
    octets = hashlib.new(hash_name, usedforsecurity=False).digest_size

    def verify_digest(stored: bytes, password: bytes) -> bool:
        digest, salt = stored[:octets], stored[octets:]
        if len(digest) < octets or bool(salt) != salted:
            raise UnusableHash("it does not have the length of its scheme")
        return compare_digest(hashlib.new(hash_name, password + salt).digest(), digest)

    return _Scheme(verify_digest, binary=True, hex_length=0 if salted else 2 * octets)


def _ascii(stored: bytes) -> str:
    try:
        return stored.decode("ascii")
    except UnicodeDecodeError:
        raise UnusableHash("it is malformed") from None


def _base64(octets: bytes) -> str:
    return b64encode(octets).decode("ascii")


_SCRAM: Mapping[str, HashName] = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}

_ALIASES = {"SHA1": "SHA", "CLEAR": "PLAIN", "CLEARTEXT": "PLAIN"}

_SCHEMES: Mapping[str, _Scheme] = {
    "PLAIN": _Scheme(_verify_plain),
    "ARGON2ID": _Scheme(_verify_argon2),
    "ARGON2I": _Scheme(_verify_argon2),
    # crypt(3) goes by the value, whatever the scheme says; so does Dovecot.
    "BLF-CRYPT": _Scheme(_verify_crypt),
    "SHA512-CRYPT": _Scheme(_verify_crypt),
    "SHA256-CRYPT": _Scheme(_verify_crypt),
    "MD5-CRYPT": _Scheme(_verify_crypt),
    "CRYPT": _Scheme(_verify_crypt),
    "PBKDF2": _Scheme(_verify_pbkdf2),
    "SSHA": _digest("sha1", salted=True),
    "SSHA256": _digest("sha256", salted=True),
    "SSHA512": _digest("sha512", salted=True),
    "SHA": _digest("sha1", salted=False),
    "SHA256": _digest("sha256", salted=False),
    "SHA512": _digest("sha512", salted=False),
    **{scheme: _Scheme(_verify_scram(hash_name)) for scheme, hash_name in _SCRAM.items()},
}


def _make_ssha512(password: bytes) -> str:
    salt = os.urandom(16)
    return _base64(hashlib.sha512(password + salt).digest() + salt)


_MAKERS: Mapping[str, Callable[[bytes], str]] = {
    "ARGON2ID": lambda password: argon2.PasswordHasher().hash(password),
    "BLF-CRYPT": make_bcrypt,
    "SHA512-CRYPT": make_sha_crypt,
    "SHA256-CRYPT": lambda password: make_sha_crypt(password, 256),
    "CRYPT": make_sha_crypt,
    "SSHA512": _make_ssha512,
    "SCRAM-SHA-1": lambda password: ScramKeys.make(password, "sha1").to_text(),
    "SCRAM-SHA-256": lambda password: ScramKeys.make(password, "sha256").to_text(),
    "SCRAM-SHA-512": lambda password: ScramKeys.make(password, "sha512").to_text(),
    "PLAIN": lambda password: password.decode("utf-8"),
}

MADE_SCHEMES: tuple[str, ...] = tuple(_MAKERS)
"""What `hash_password` makes; the rest is only checked, because it is weak or better had otherwise."""
