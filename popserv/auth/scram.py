"""SCRAM (RFC 5802, RFC 7677): the grammar of its messages, and the exchange as credentials for a checker.

The mechanism reads the client's first message and returns a `ScramExchange`; the checker, which has the keys, lets it
go on. So keys never leave the checker, and the mechanism knows no accounts.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from hmac import compare_digest
from os import urandom
from typing import Any, ClassVar, Literal, Self

import attrs
from zope.interface import implementer

from popserv.auth.names import prepare, prepare_authorization
from popserv.auth.scram_keys import HashName, ScramKeys
from popserv.auth.trail import Trail
from popserv.errors import MalformedResponse
from popserv.interfaces import IConversation, IScramSha1, IScramSha256, IScramSha512
from popserv.wire.arguments import base64

CHALLENGE_SECONDS = 0.25
"""No longer is a challenge held back so that its time does not tell whether there is the account: there may be."""

NONCE_OCTETS = 18
"""Of the server's part, before base64."""

BINDINGS = ("tls-exporter", "tls-server-end-point")
"""Types of channel binding that are taken, if the connection has them."""

_FIRST = re.compile(
    rb"(?P<header>(?P<flag>[ny]|p=(?P<binding>[A-Za-z0-9.-]{1,64})),(?:a=(?P<authorization>[^,\0]*))?,)"
    rb"(?P<bare>n=(?P<name>[^,\0]+),r=(?P<nonce>[!-+\--~]+)(?P<extensions>(?:,[A-Za-z]=[^,\0]+)*))"
)
_FINAL = re.compile(
    rb"(?P<signed>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-ln-z]=[^,\0]+)*),p=(?P<proof>[A-Za-z0-9+/=]+)"
)
_ESCAPE = re.compile(rb"=2C|=3D|=")


@attrs.frozen
class FirstMessage:
    """What the client begins with."""

    header: bytes
    """The GS2 header as received."""
    flag: bytes
    """``n``, ``y`` or ``p``: no channel binding, none because the server seemed to have none, or one."""
    binding: str
    """The type of channel binding, "" for none."""
    name: bytes
    """Unescaped, not prepared."""
    authorization: bytes
    nonce: bytes
    bare: bytes
    """The message without its header, as received: it goes into the proof (RFC 5802 section 5.1)."""

    @classmethod
    def parse(cls, message: bytes) -> Self:
        """Raises `MalformedResponse`."""
        match = _FIRST.fullmatch(message)
        if match is None or b",m=" in match["extensions"]:
            raise MalformedResponse("this is no SCRAM message that is understood here")
        return cls(
            match["header"],
            match["flag"][:1],
            (match["binding"] or b"").decode("ascii"),
            unescape(match["name"]),
            unescape(match["authorization"] or b""),
            match["nonce"],
            match["bare"],
        )


def unescape(name: bytes) -> bytes:
    """A saslname as what it stands for (RFC 5802 section 5.1). Raises `MalformedResponse`."""

    def character(match: re.Match[bytes]) -> bytes:
        if match[0] == b"=":
            raise MalformedResponse("a name must have =2C and =3D in place of comma and equals sign")
        return b"," if match[0] == b"=2C" else b"="

    unescaped = _ESCAPE.sub(character, name)
    try:
        unescaped.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedResponse("a name must be UTF-8") from None
    return unescaped


def check_binding(message: FirstMessage, conversation: IConversation, plus: bool) -> bytes:
    """The channel-binding data to expect, b"" for none (RFC 5802 section 6). Raises `MalformedResponse`.

    `plus` says that the mechanism is the one with channel binding.
    """
    if plus != (message.flag == b"p"):
        raise MalformedResponse("channel binding belongs to the mechanisms whose names end in PLUS, and only to them")
    if message.flag == b"y" and any(name.endswith(b"-PLUS") for name in conversation.offered):
        # Somebody between us has taken those mechanisms out of the list.
        raise MalformedResponse("this server offers channel binding")
    if not plus:
        return b""
    data = conversation.channel.binding(message.binding) if message.binding in BINDINGS else None
    if data is None:
        raise MalformedResponse("this type of channel binding is not available here")
    return data


@attrs.frozen(eq=False)
class ScramExchange:
    """The rest of the exchange; see `popserv.interfaces.IScramCredentials`."""

    username: bytes
    authorization: bytes
    first: FirstMessage = attrs.field(repr=False)
    binding: bytes = attrs.field(repr=False)
    """The channel-binding data, b"" for none."""
    conversation: IConversation = attrs.field(repr=False)
    address: str = ""
    trail: Trail | None = None

    hash_name: ClassVar[HashName]

    def prepared(self, case: Literal["fold", "keep"]) -> Self:
        """The same with the names prepared. Raises `InvalidName`."""
        return attrs.evolve(
            self,
            username=prepare(self.username, case).encode("utf-8"),
            authorization=prepare_authorization(self.authorization, case),
        )

    async def prove(self, keys: ScramKeys) -> bool:
        message, proof = await self._converse(keys.salt, keys.iterations)
        if not self._is_proof(keys.stored_key, message, proof):
            # RFC 5802 section 6: the server may end it without a word of its own.
            return False
        signature = hmac.digest(keys.server_key, message, self.hash_name)
        # RFC 5034 section 4: data with success goes into a challenge, which is answered by an empty line.
        if await self.conversation.challenge(b"v=" + b64encode(signature)):
            raise MalformedResponse("the last response must be empty")
        return True

    async def prove_nothing(self, salt: bytes, iterations: int) -> None:
        message, proof = await self._converse(salt, iterations)
        self._is_proof(urandom(hashlib.new(self.hash_name).digest_size), message, proof)

    async def _converse(self, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
        """What is signed, and the client's proof. Raises `MalformedResponse`."""
        nonce = self.first.nonce + b64encode(urandom(NONCE_OCTETS))
        challenge = b"r=%b,s=%b,i=%d" % (nonce, b64encode(salt), iterations)
        response = await self._ask(challenge)
        match = _FINAL.fullmatch(response)
        if match is None:
            raise MalformedResponse("this is no final message of SCRAM")
        if not compare_digest(match["nonce"], nonce):
            raise MalformedResponse("the nonce is not the one of this exchange")
        message = b",".join((self.first.bare, challenge, match["signed"]))
        proof = base64(match["proof"])
        # What the client is bound to is not told apart from a wrong proof: it may be somebody in between.
        bound = compare_digest(base64(match["binding"]), self.first.header + self.binding)
        return message, proof if bound else b""

    async def _ask(self, challenge: bytes) -> bytes:
        """The client's answer to the challenge, which is sent when no time tells whether it is a real one."""
        pace = None if self.trail is None else self.trail.pace
        if self.trail is None or pace is None:
            return await self.conversation.challenge(challenge)
        await pace.hold("challenge", self.trail, most=CHALLENGE_SECONDS)
        return await self.conversation.challenge(challenge)

    def _is_proof(self, stored_key: bytes, message: bytes, proof: bytes) -> bool:
        signature = hmac.digest(stored_key, message, self.hash_name)
        key = bytes(one ^ other for one, other in zip(signature, proof.ljust(len(signature), b"\0"), strict=False))
        made = hashlib.new(self.hash_name, key).digest()
        return len(proof) == len(signature) and compare_digest(made, stored_key)


@implementer(IScramSha1)
class Sha1Exchange(ScramExchange):
    """SCRAM-SHA-1."""

    hash_name = "sha1"


@implementer(IScramSha256)
class Sha256Exchange(ScramExchange):
    """SCRAM-SHA-256."""

    hash_name = "sha256"


@implementer(IScramSha512)
class Sha512Exchange(ScramExchange):
    """SCRAM-SHA-512."""

    hash_name = "sha512"


EXCHANGES: Mapping[HashName, type[ScramExchange]] = {
    "sha1": Sha1Exchange,
    "sha256": Sha256Exchange,
    "sha512": Sha512Exchange,
}
INTERFACES: Mapping[HashName, Any] = {"sha1": IScramSha1, "sha256": IScramSha256, "sha512": IScramSha512}
