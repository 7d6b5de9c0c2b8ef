"""What an access token says, and what it has to say so that it opens a maildrop. Pure: no keys, no network."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from math import isfinite
from typing import Any, Literal

import attrs

from popserv.auth.names import InvalidName, prepare

HEADER_OCTETS = 8192
"""A header of a JWT, base64, is no longer than this; longer ones are not looked into."""

Claims = Mapping[str, Any]


class TokenRefused(Exception):
    """The token is not good here. The message, a few fixed words, is for the log; `status` is for the client."""

    def __init__(self, reason: str, status: Literal["invalid_token", "insufficient_scope"] = "invalid_token") -> None:
        super().__init__(reason)
        self.status = status


@attrs.frozen
class Unverified:
    """A JWT (RFC 7519) in compact form whose signature nobody has looked at: enough to see who should."""

    header: Claims
    issuer: str

    @classmethod
    def read(cls, token: bytes) -> Unverified | None:
        """None if it is no JWT, or names no issuer. Never raises."""
        parts = token.split(b".")
        if len(parts) != 3 or len(parts[0]) > HEADER_OCTETS:
            return None
        header, claims = _record(parts[0]), _record(parts[1])
        issuer = claims.get("iss") if claims is not None else None
        if header is None or not isinstance(issuer, str):
            return None
        return cls(header, issuer)


def _record(part: bytes) -> Claims | None:
    try:
        read = json.loads(urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


@attrs.frozen
class Demands:
    """What a token has to say."""

    issuer: str
    audience: frozenset[str]
    """One of these has to be in ``aud``."""
    scope: frozenset[str]
    """All of these have to be in ``scope``, or ``scp``."""
    username: str
    """The claim that is the account's name."""
    skew: float
    """Seconds that clocks may differ by."""
    types: frozenset[str]
    """The values of ``typ`` that stand for an access token, in lower case."""
    case: Literal["fold", "keep"]

    def check_header(self, header: Claims, algorithms: frozenset[str]) -> None:
        """Of a JWT, before a key is looked for. Raises `TokenRefused`."""
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in algorithms:
            raise TokenRefused("algorithm")
        # RFC 7515 section 4.1.11: what must be understood, and is not, makes it invalid.
        if "crit" in header:
            raise TokenRefused("critical extension")
        kind = header.get("typ", "jwt")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in self.types:
            raise TokenRefused("type")

    def name(self, claims: Claims, now: float, *, introspected: bool) -> bytes:
        """The prepared name of the account that these claims, verified, are about. Raises `TokenRefused`.

        `introspected` claims (RFC 7662 section 2.2) come from the provider itself, which may leave out what it has
        looked at; those of a JWT have to be complete (RFC 9068 section 2.2).
        """
        self._check_issuer(claims, introspected)
        self._check_audience(claims, introspected)
        self._check_times(claims, now, introspected)
        for key in ("token_type", "typ"):
            if str(claims.get(key, "Bearer")).lower() != "bearer":
                raise TokenRefused("type")
        if "cnf" in claims:
            # RFC 9449 section 6, RFC 8705 section 3: it is good only with a key, and nobody has shown that.
            raise TokenRefused("bound to a key")
        if not self.scope <= _words(claims.get("scope")) | _words(claims.get("scp")):
            raise TokenRefused("scope", "insufficient_scope")
        return self._name(claims)

    def _check_issuer(self, claims: Claims, introspected: bool) -> None:
        if claims.get("iss", self.issuer if introspected else None) != self.issuer:
            raise TokenRefused("issuer")

    def _check_audience(self, claims: Claims, introspected: bool) -> None:
        if introspected and "aud" not in claims and self.scope:
            # Nothing but the scope ties it to mail then; without one, any program's token would do.
            return
        named = claims.get("aud")
        several = named if isinstance(named, list) else [named]
        if not any(isinstance(each, str) and each in self.audience for each in several):
            raise TokenRefused("audience")

    def _check_times(self, claims: Claims, now: float, introspected: bool) -> None:
        expires, begins = _time(claims, "exp"), _time(claims, "nbf")
        if expires is None and not introspected:
            raise TokenRefused("no expiry")
        if expires is not None and now >= expires + self.skew:
            raise TokenRefused("expired")
        if begins is not None and now < begins - self.skew:
            raise TokenRefused("not yet valid")

    def _name(self, claims: Claims) -> bytes:
        value = claims.get(self.username)
        if not isinstance(value, str):
            raise TokenRefused("no user name")
        if self.username == "email" and claims.get("email_verified", True) not in (True, "true"):
            raise TokenRefused("address not verified")
        try:
            return prepare(value.encode("utf-8"), self.case).encode("utf-8")
        except (InvalidName, UnicodeEncodeError):
            raise TokenRefused("user name") from None


def _words(value: Any) -> frozenset[str]:
    """Scopes: separated by spaces (RFC 6749 section 3.3), or a list, as some providers have it."""
    if isinstance(value, str):
        return frozenset(value.split(" "))
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()


def _time(claims: Claims, key: str) -> float | None:
    """Seconds since the epoch (RFC 7519 section 2), None if it is not said. Raises `TokenRefused`."""
    if key not in claims:
        return None
    value = claims[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused("time")
    try:
        seconds = float(value)
    except OverflowError:
        raise TokenRefused("time") from None
    if not isfinite(seconds):
        raise TokenRefused("time")
    return seconds
