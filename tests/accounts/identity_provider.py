"""An OAuth provider on loopback that says whatever a test wants, and tokens that it, or somebody else, has signed."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

Answer = Callable[[Request], Any]
"""Given the request, what goes out as JSON; octets go out as they are."""

AUDIENCE = "https://mail.example.org"
OPENID = "/.well-known/openid-configuration"
RFC_8414 = "/.well-known/oauth-authorization-server"


def key(kind: str = "RSA", name: str = "first") -> Any:
    """A key pair; the same one for the same kind and name."""
    return _key(kind, name)


@cache
def _key(kind: str, name: str) -> Any:
    if kind == "RSA":
        return RSAKey.generate_key(2048, {"kid": name}, auto_kid=False)
    if kind == "EC":
        return ECKey.generate_key("P-256", {"kid": name}, auto_kid=False)
    return OKPKey.generate_key("Ed25519", {"kid": name}, auto_kid=False)


def public(*keys: Any) -> dict[str, Any]:
    """The JWK Set of these."""
    return {"keys": [each.as_dict(private=False) for each in keys]}


def encoded(value: Any) -> bytes:
    """A part of a JWT."""
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(octets).rstrip(b"=")


def by_hand(header: Any, claims: Any, secret: bytes = b"") -> bytes:
    """A JWT with an HMAC, or without a signature."""
    signed = encoded(header) + b"." + encoded(claims)
    return signed + b"." + (encoded(hmac.digest(secret, signed, sha256)) if secret else b"")


class IdentityProvider(Resource):
    """Serves `answers` by path."""

    isLeaf = True

    def __init__(self, tls: Any = None) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.headers: list[dict[bytes, bytes]] = []
        self._tls = tls
        self._port: Any = None
        self.start()
        self.issuer = f"{'https' if tls else 'http'}://127.0.0.1:{self.number}"
        self.answers[OPENID] = lambda _request: self.metadata()
        self.answers["/jwks"] = lambda _request: public(*self.keys)
        self.answers["/introspection"] = self.introspect
        self.keys = [key()]
        self.known: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        """Listen; again at the same port."""
        number = self.number if self._port is not None else 0
        site = Site(self)
        if self._tls is None:
            self._port = reactor.listenTCP(number, site, interface="127.0.0.1")
        else:
            self._port = reactor.listenSSL(number, site, self._tls, interface="127.0.0.1")
        self.number = self._port.getHost().port

    def stop(self) -> Any:
        """A Deferred."""
        return self._port.stopListening()

    def metadata(self, **changes: Any) -> dict[str, Any]:
        """As it stands in discovery."""
        addresses = {"jwks_uri": f"{self.issuer}/jwks", "introspection_endpoint": f"{self.issuer}/introspection"}
        return {"issuer": self.issuer, **addresses, **changes}

    def introspect(self, _request: Request) -> dict[str, Any]:
        """RFC 7662 section 2.2."""
        found = self.known.get(self.forms[-1].get("token", ""))
        return {"active": False} if found is None else {"active": True, **found}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token; None takes one away."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "17",
            "email": "Fred@Example.org",
            "scope": "openid mail",
            "iat": now,
            "exp": now + 600,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, signer: Any = None, algorithm: str = "RS256", header: Any = None, **changes: Any) -> bytes:
        """A good one, but for the changes."""
        signer = signer or self.keys[0]
        protected = {"alg": algorithm, "typ": "at+jwt", "kid": signer.kid, **(header or {})}
        protected = {name: value for name, value in protected.items() if value is not None}
        signed = jwt.encode(protected, self.claims(**changes), signer, algorithms=[algorithm], default_type=None)
        return signed.encode()

    def render(self, request: Request) -> Any:
        path = request.path.decode()
        self.asked.append(path)
        form = parse_qs(request.content.read().decode()) if request.content else {}
        self.forms.append({name: values[0] for name, values in form.items()})
        self.headers.append({name.lower(): values[0] for name, values in request.requestHeaders.getAllRawHeaders()})
        if path not in self.answers:
            request.setResponseCode(404)
            return b""
        answer = self.answers[path](request)
        if answer is NOT_DONE_YET or isinstance(answer, bytes):
            return answer
        request.setHeader(b"content-type", b"application/json")
        return json.dumps(answer).encode()
