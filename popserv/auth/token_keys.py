"""The keys that an OAuth provider signs its tokens with (RFC 7517), and the signatures of tokens (RFC 7515)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from popserv.auth.remote import Misconfigured
from popserv.auth.token_claims import HEADER_OCTETS, Claims, TokenRefused

MOST_KEYS = 100
LEAST_RSA_BITS = 2048

PublicKey = RSAKey | ECKey | OKPKey
_TYPES = {"RSA", "EC", "OKP"}
_SUITABLE = {"R": RSAKey, "P": RSAKey, "E": ECKey}
"""Key types by the first letter of an algorithm; those of EdDSA are told by name."""


class _Registry(jws.JWSRegistry):
    max_header_length = HEADER_OCTETS

    def get_alg(self, name: str) -> Any:
        # Which ones are permitted has been looked at. The original warns of the name EdDSA (RFC 9864), which most
        # providers still use.
        return self.algorithms[name]


_REGISTRY = _Registry(strict_check_header=False)


def key_set(document: Any) -> Sequence[PublicKey]:
    """The keys of a JWK Set that are for signatures and are not secret. Raises `Misconfigured` if there are none."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise Misconfigured("it is no JWK Set")
    keys = [key for each in listed[:MOST_KEYS] if (key := _public_key(each)) is not None]
    if not keys:
        raise Misconfigured("there is no public key for signatures in it")
    return keys


def _public_key(data: Any) -> PublicKey | None:
    if not isinstance(data, dict) or str(data.get("kty")) not in _TYPES or data.get("use", "sig") != "sig":
        return None
    try:
        key = JWKRegistry.import_key(data)
        if isinstance(key, RSAKey) and key.public_key.key_size < LEAST_RSA_BITS:
            return None
    except (JoseError, ValueError, TypeError, KeyError):
        # RFC 7517 section 5: what is not understood is left out.
        return None
    return key if isinstance(key, PublicKey) else None


def find(keys: Sequence[PublicKey], header: Claims) -> PublicKey | None:
    """The key that a token's header asks for; without ``kid`` the only one that fits. None if there is none."""
    algorithm, wanted = header["alg"], header.get("kid")
    fitting = [key for key in keys if _fits(key, algorithm) and wanted in (None, key.kid)]
    return fitting[0] if len(fitting) == 1 or (fitting and wanted is not None) else None


def _fits(key: PublicKey, algorithm: str) -> bool:
    suitable = OKPKey if algorithm.startswith("Ed") else _SUITABLE[algorithm[0]]
    return isinstance(key, suitable) and key.alg in (None, algorithm)


def verify(token: bytes, key: PublicKey) -> Claims:
    """The claims of a token, whose header has been looked at, that this key has signed. Raises `TokenRefused`."""
    from joserfc import jwt

    try:
        return jwt.decode(token, key, registry=_REGISTRY).claims
    except (JoseError, ValueError, RecursionError):
        raise TokenRefused("signature") from None
