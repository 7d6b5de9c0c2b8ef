"""Hashes in the forms of crypt(3): MD5, SHA-2, bcrypt, yescrypt and DES. Needs the extra ``popserv[crypt]``.

Each form goes to the library that computes it best: libpass and bcrypt let other threads run meanwhile and take the
password as octets; the crypt(3) of the system does neither, so it gets only what they do not know.
"""

from __future__ import annotations

import re
import sys
import warnings
from hmac import compare_digest
from importlib import import_module
from typing import Any

NATIVE = "crypt" if sys.version_info < (3, 13) else "crypt_r"
"""What calls crypt(3): the standard library, and crypt-r since that has lost it."""

SHA_ROUNDS = 100_000
"""For new hashes: about as much work as argon2 here."""
MOST_SHA_ROUNDS = 1_000_000
"""A second of work; libpass makes hashes of 656,000 rounds when it is not told otherwise."""
MOST_BCRYPT_COST = 15
BCRYPT_OCTETS = 72
"""What bcrypt sees of a password."""

_MD5 = re.compile(r"\$1\$")
_SHA = re.compile(r"\$([56])\$(?:rounds=([0-9]{1,10})\$)?")
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./0-9A-Za-z]{53}")
_NATIVE = re.compile(
    r"\$g?y\$j[./0-9AB][./0-9A-T]\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43}"  # yescrypt up to cost 7: 64 MiB
    r"|[./0-9A-Za-z]{13}"  # DES
)


class UnusableHash(ValueError):
    """This stored value cannot or must not be checked. The message says why and quotes nothing of it."""


class MissingExtra(UnusableHash):
    """A library that is not installed is needed; the message names the extra that brings it."""


def verify_crypt(stored: str, password: bytes) -> bool:
    """Whether `password` fits this value of crypt(3). Raises `UnusableHash`."""
    if b"\0" in password:
        return False
    if sha := _SHA.match(stored):
        if int(sha[2] or 0) > MOST_SHA_ROUNDS:
            raise UnusableHash(f"it asks for more than {MOST_SHA_ROUNDS} rounds")
        return _verify_libpass("sha256_crypt" if sha[1] == "5" else "sha512_crypt", stored, password)
    if bcrypt := _BCRYPT.fullmatch(stored):
        if int(bcrypt[1]) > MOST_BCRYPT_COST:
            raise UnusableHash(f"it asks for more than cost {MOST_BCRYPT_COST}")
        return _verify_bcrypt(stored, password)
    if _MD5.match(stored):
        return _verify_libpass("md5_crypt", stored, password)
    if _NATIVE.fullmatch(stored):
        return _verify_native(stored, password)
    raise UnusableHash("it is no form of crypt(3) that is known here, or asks for too much work")


def make_bcrypt(password: bytes) -> str:
    """A bcrypt hash with a new salt. Raises `ValueError` for a password that bcrypt would cut short."""
    if len(password) > BCRYPT_OCTETS:
        raise ValueError(f"bcrypt takes no password of more than {BCRYPT_OCTETS} octets")
    bcrypt = _library("bcrypt")
    made: bytes = bcrypt.hashpw(password, bcrypt.gensalt())
    return made.decode("ascii")


def make_sha_crypt(password: bytes, bits: int = 512) -> str:
    """A SHA-512 (or, with `bits` 256, SHA-256) hash with a new salt."""
    hasher = getattr(_library("passlib.hash"), f"sha{bits}_crypt")
    return str(hasher.using(rounds=SHA_ROUNDS).hash(password))


def _verify_libpass(scheme: str, stored: str, password: bytes) -> bool:
    hasher = getattr(_library("passlib.hash"), scheme)
    try:
        return bool(hasher.verify(password, stored))
    except ValueError:
        raise UnusableHash("it is malformed") from None


def _verify_bcrypt(stored: str, password: bytes) -> bool:
    bcrypt = _library("bcrypt")
    try:
        return bool(bcrypt.checkpw(password[:BCRYPT_OCTETS], stored.encode("ascii")))
    except ValueError:
        raise UnusableHash("it is malformed") from None


def _verify_native(stored: str, password: bytes) -> bool:
    crypt = _library(NATIVE).crypt
    try:
        computed = crypt(password.decode("utf-8"), stored)
    except UnicodeDecodeError:
        return False
    except OSError:
        raise UnusableHash("crypt(3) of this system does not know its form") from None
    return computed is not None and compare_digest(computed, stored)


def _library(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            # The standard library's crypt says that it is going to leave; where it has, crypt-r stands in.
            warnings.simplefilter("ignore", DeprecationWarning)
            return import_module(name)
    except ImportError:
        raise MissingExtra('it needs a library that the extra "popserv[crypt]" installs') from None
