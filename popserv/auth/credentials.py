"""What a client proves itself with, for `twisted.cred`: both standard interfaces, so any checker for them works.

Secrets never show in a repr.
"""

from __future__ import annotations

import hmac
from hashlib import md5
from hmac import compare_digest
from typing import Literal, Self

import attrs
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from zope.interface import implementer

from popserv.auth.names import InvalidName, prepare, prepare_authorization, prepare_password
from popserv.auth.trail import Trail


@implementer(IUsernamePassword)
@attrs.frozen
class Password:
    """A name and a password: USER/PASS, SASL PLAIN. `authorization` is the identity to act as, b"" for the same."""

    username: bytes
    password: bytes = attrs.field(repr=False)
    authorization: bytes = b""
    typed: bytes = attrs.field(default=b"", repr=False)
    """The password before preparation, for hashes that others made of unprepared ones."""
    address: str = ""
    """Where the client connects from, numeric; "" = not known."""
    trail: Trail | None = attrs.field(default=None, eq=False)

    def checkPassword(self, password: bytes) -> bool:
        return compare_digest(password, self.password)

    def prepared(self, case: Literal["fold", "keep"]) -> Self:
        """The same with name and password prepared. Raises `InvalidName`."""
        return attrs.evolve(
            self,
            username=prepare(self.username, case).encode("utf-8"),
            password=prepare_password(self.password),
            authorization=prepare_authorization(self.authorization, case),
            typed=self.password,
        )


@implementer(IUsernameHashedPassword)
@attrs.frozen
class ApopDigest:
    """A name and the MD5 digest of greeting timestamp and secret (RFC 1939 section 7, APOP)."""

    username: bytes
    timestamp: bytes
    digest: bytes = attrs.field(repr=False)
    authorization: bytes = b""
    address: str = ""
    """Where the client connects from, numeric; "" = not known."""
    trail: Trail | None = attrs.field(default=None, eq=False)

    def checkPassword(self, password: bytes) -> bool:
        expected = md5(self.timestamp + password, usedforsecurity=False).hexdigest().encode("ascii")
        return compare_digest(expected, self.digest)

    def prepared(self, case: Literal["fold", "keep"]) -> Self:
        """The same with the name prepared. Raises `InvalidName`."""
        return attrs.evolve(self, username=prepare(self.username, case).encode("utf-8"))


@implementer(IUsernameHashedPassword)
@attrs.frozen
class CramDigest:
    """A name and the keyed MD5 digest of a challenge (RFC 2195 section 2)."""

    username: bytes
    challenge: bytes
    digest: bytes = attrs.field(repr=False)
    authorization: bytes = b""
    address: str = ""
    """Where the client connects from, numeric; "" = not known."""
    trail: Trail | None = attrs.field(default=None, eq=False)

    def checkPassword(self, password: bytes) -> bool:
        expected = hmac.digest(password, self.challenge, "md5").hex().encode("ascii")
        return hmac.compare_digest(expected, self.digest)

    def prepared(self, case: Literal["fold", "keep"]) -> Self:
        """The same with the name prepared. Raises `InvalidName`."""
        return attrs.evolve(self, username=prepare(self.username, case).encode("utf-8"))


__all__ = ["ApopDigest", "CramDigest", "InvalidName", "Password"]
