"""Where SCRAM keys come from when an account has one stored value: read from it, or derived from a plain password."""

from __future__ import annotations

from collections import OrderedDict
from os import urandom

import attrs

from popserv.auth.names import InvalidName, prepare_password
from popserv.auth.passwords import UnusableHash, plain_secret, scram_keys
from popserv.auth.scram_keys import HashName, ScramKeys, salt_for
from popserv.pools import Pool

DERIVED_ITERATIONS = 10_000
"""For keys that are made of a password which is stored as it is: they protect nothing there, and cost each login."""

CACHED_KEYS = 10_000


@attrs.frozen
class _Derived:
    password: bytes = attrs.field(repr=False)
    keys: ScramKeys = attrs.field(repr=False)


class ScramSource:
    """Gives the keys of an account, for one hash function. What blocks runs in `hashing`."""

    def __init__(self, hashing: Pool, secret: bytes, default_scheme: str = "PLAIN") -> None:
        """`secret` makes salts; `default_scheme` is that of stored values without a prefix."""
        self._hashing = hashing
        self._secret = secret
        self._default_scheme = default_scheme
        self._derived: OrderedDict[tuple[bytes, HashName], _Derived] = OrderedDict()
        self._nobodys = urandom(16)

    def can(self, stored: str, hash_name: HashName) -> bool:
        """Whether keys can be had from this stored value."""
        try:
            keys = scram_keys(stored, self._default_scheme)
            return keys.hash_name == hash_name if keys else plain_secret(stored, self._default_scheme) is not None
        except UnusableHash:
            return False

    async def keys(self, name: bytes, stored: str, hash_name: HashName) -> ScramKeys | None:
        """The keys of the account of this prepared name; None if its stored value gives none."""
        if not self.can(stored, hash_name):
            return None
        keys = scram_keys(stored, self._default_scheme)
        if keys is not None:
            return keys
        return await self._derive(name, plain_secret(stored, self._default_scheme) or b"", hash_name)

    async def nobodys(self, name: bytes, typical: str, hash_name: HashName) -> ScramKeys:
        """Keys for a name that has none, which look, and cost, like those of `typical`, another's stored value."""
        keys = scram_keys(typical, self._default_scheme) if self.can(typical, hash_name) else None
        if keys is None:
            return await self._derive(name, self._nobodys, hash_name)
        return attrs.evolve(keys, salt=salt_for(self._secret, name, len(keys.salt)))

    async def _derive(self, name: bytes, password: bytes, hash_name: HashName) -> ScramKeys:
        known = self._derived.get((name, hash_name))
        if known is not None and known.password == password:
            self._derived.move_to_end((name, hash_name))
            return known.keys
        salt = salt_for(self._secret, name)
        keys = await self._hashing.run(ScramKeys.make, _normalized(password), hash_name, DERIVED_ITERATIONS, salt)
        self._derived[name, hash_name] = _Derived(password, keys)
        if len(self._derived) > CACHED_KEYS:
            self._derived.popitem(last=False)
        return keys


def _normalized(password: bytes) -> bytes:
    """As the client prepares it (RFC 5802 section 2.2), as far as it can be prepared."""
    try:
        return prepare_password(password)
    except InvalidName:
        return password
