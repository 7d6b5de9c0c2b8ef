"""What a server keeps to check a SCRAM login (RFC 5802 section 3, RFC 7677): no password and no client key."""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Literal, Self

import attrs

HashName = Literal["sha1", "sha256", "sha512"]

LEAST_ITERATIONS = 4096
"""What RFC 7677 section 4 asks for at least. Keys with fewer are taken, and told of."""

ITERATIONS = 100_000
"""For new keys. These keys stand beside an argon2 hash and must not be the easy way in, so far above the least."""

MOST_ITERATIONS = 1_000_000
"""Keys that ask for more are refused instead of computed."""

_HASHES: Mapping[int, HashName] = {20: "sha1", 32: "sha256", 64: "sha512"}
"""By the octets of a key."""


@attrs.frozen
class ScramKeys:
    """The keys of one account for one hash function; SHA-1 keys have 20 octets, SHA-256 keys 32, SHA-512 keys 64."""

    salt: bytes
    iterations: int
    stored_key: bytes = attrs.field(repr=False)
    server_key: bytes = attrs.field(repr=False)

    @classmethod
    def make(
        cls,
        password: bytes,
        hash_name: HashName = "sha256",
        iterations: int = ITERATIONS,
        salt: bytes | None = None,
    ) -> Self:
        """Derive the keys from a prepared password; a new salt of 16 octets unless one is given."""
        salt = os.urandom(16) if salt is None else salt
        salted = hashlib.pbkdf2_hmac(hash_name, password, salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", hash_name)
        stored_key = hashlib.new(hash_name, client_key).digest()
        return cls(salt, iterations, stored_key, hmac.digest(salted, b"Server Key", hash_name))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` writes. Raises `ValueError`, which quotes nothing of the text."""
        try:
            count, *encoded = text.split(",")
            salt, stored_key, server_key = (b64decode(part, validate=True) for part in encoded)
        except ValueError:
            raise ValueError("these are no SCRAM keys") from None
        if not (count.isascii() and count.isdigit() and len(count) < 10 and int(count) > 0):
            raise ValueError("the iteration count of these SCRAM keys is no number")
        if not salt:
            raise ValueError("the SCRAM keys have no salt")
        if len(stored_key) not in _HASHES or len(server_key) != len(stored_key):
            raise ValueError("the SCRAM keys have no length of a known hash function")
        if int(count) > MOST_ITERATIONS:
            raise ValueError(f"the SCRAM keys ask for more than {MOST_ITERATIONS} iterations")
        return cls(salt, int(count), stored_key, server_key)

    def to_text(self) -> str:
        """``iterations,salt,stored-key,server-key`` with base64, the form Dovecot keeps."""
        parts = (b64encode(part).decode("ascii") for part in (self.salt, self.stored_key, self.server_key))
        return ",".join((str(self.iterations), *parts))

    @property
    def hash_name(self) -> HashName:
        """The hash function these keys belong to."""
        return _HASHES[len(self.stored_key)]

    def verify(self, password: bytes) -> bool:
        """Whether these keys were made of this prepared password. Blocks for the time of the key derivation."""
        made = self.make(password, self.hash_name, self.iterations, self.salt)
        return hmac.compare_digest(made.stored_key, self.stored_key)


def salt_for(secret: bytes, name: bytes, octets: int = 16) -> bytes:
    """The salt of an account that has none of its own, or that there is not: nobody can tell it from a real one.

    The same for the same prepared name as long as the `secret` of the server is (RFC 5802 section 9 asks for no less of
    real ones).
    """
    return hashlib.pbkdf2_hmac("sha256", secret, b"SCRAM salt " + name, 1, octets)
