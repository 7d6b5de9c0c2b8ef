"""A login without a connection, for diagnosis: the real mechanism and the real databases, and a client of our own.

What the databases answer is told to the administrator, never to a client.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import md5, new, pbkdf2_hmac
from os import urandom
from typing import Any

import attrs
from twisted.cred.error import LoginFailed, UnauthorizedLogin, UnhandledCredentials
from zope.interface import implementer

from popserv.auth.chain import DirectoryChain
from popserv.auth.credentials import ApopDigest, Password
from popserv.auth.names import InvalidName, prepare_password
from popserv.auth.trail import Trail
from popserv.errors import LoginBarred, PopError, StoreBroken
from popserv.interfaces import IChannel, IConversation
from popserv.maildrop.location import location_of
from popserv.service import access, names, rules
from popserv.service.schema import Config

Respond = Callable[[bytes], bytes]
"""What the client says to a challenge."""


class CannotRehearse(Exception):
    """This mechanism needs more than a name and a secret."""


BINDING = bytes(32)
"""What both ends of a connection that is none are bound to."""


@implementer(IChannel)
class Pretended:
    """TLS without a client certificate."""

    tls = "TLSv1.3"
    certificate: bytes | None = None
    names: tuple[str, ...] = ()
    binds = True

    def binding(self, kind: str) -> bytes | None:
        return BINDING if kind == "tls-exporter" else None


@implementer(IConversation)
class Rehearsal:
    """A conversation with a client that answers at once."""

    channel: IChannel = Pretended()
    offered: tuple[bytes, ...] = ()

    def __init__(self, hostname: str, initial: bytes | None, respond: Respond) -> None:
        self.hostname = hostname
        self.initial = initial
        self._respond = respond

    async def challenge(self, octets: bytes) -> bytes:
        return self._respond(octets)

    async def first(self) -> bytes:
        return self._respond(b"") if self.initial is None else self.initial


@attrs.frozen
class Outcome:
    """What became of it."""

    trail: Trail
    account: str = ""
    """The account that would be logged in, "" for none."""
    location: str = ""
    """Where its mail is."""
    refusal: str = ""
    """Why nobody would be logged in, "" if somebody would be."""


async def rehearse(config: Config, context: access.BuildContext, name: bytes, secret: bytes, mechanism: str) -> Outcome:
    """Log in as `name` by `mechanism` ("user", "apop" or that of a SASL mechanism) as far as to the maildrop.

    Raises `CannotRehearse`, `ValueError` for an unknown mechanism, and `popserv.service.config.ConfigErrors`.
    """
    trail = Trail()
    found = access.accounts(config, context)
    chain = access.chain(config, found)
    try:
        credentials = await _credentials(config, mechanism, name, secret)
        prepared = attrs.evolve(credentials.prepared(config.auth.case), trail=trail)
        avatar_id = await chain.requestAvatarId(prepared)
    except (LoginFailed, InvalidName, PopError) as error:
        refusal = _reason(error, trail)
        if isinstance(error, LoginFailed):
            await _note_silent(found, prepared.username, trail, context)
        return Outcome(trail, refusal=refusal)
    if not isinstance(avatar_id, bytes):
        return Outcome(trail, account="anonymous")
    account = await found.directory_after_login().account(avatar_id)
    if account is None:
        return Outcome(trail, refusal="no database says where the mail of this account is")
    try:
        rules.policy(config).check(account, mechanism)
        return Outcome(trail, account.name, location_of(account, config.maildrop.location))
    except LoginBarred as barred:
        return Outcome(trail, account.name, refusal=barred.reason)
    except StoreBroken as broken:
        return Outcome(trail, account.name, refusal=broken.text)


async def _note_silent(found: access.Accounts, name: bytes, trail: Trail, context: access.BuildContext) -> None:
    """Add to the trail those databases that know the account and were not asked, as they cannot check the mechanism."""
    asked = {label for label, _answer in trail.answers}
    for checker, label in zip(found.checkers, found.labels, strict=True):
        directory = access.directory_of(checker, context)
        if label not in asked and directory is not None:
            known = await DirectoryChain([directory], found.naming.forms).account(name)
            if known is not None:
                trail.answers.append((label, "knows this account, and cannot check this mechanism"))


def _reason(error: Exception, trail: Trail) -> str:
    if trail.reason == "authorization":
        return "this account may not act as another one"
    if isinstance(error, UnhandledCredentials):
        return "no database can check this mechanism"
    if isinstance(error, LoginFailed):
        return (
            "no database that takes this mechanism knows this account"
            if trail.reason == "unknown-account"
            else "wrong secret, or barred"
        )
    return str(error)


async def _credentials(config: Config, mechanism: str, name: bytes, secret: bytes) -> Any:
    if mechanism == "user":
        return Password(name, secret)
    if mechanism == "apop":
        timestamp = b"<%b@%b>" % (urandom(8).hex().encode("ascii"), config.server.hostname.encode("ascii"))
        return ApopDigest(name, timestamp, md5(timestamp + secret, usedforsecurity=False).hexdigest().encode("ascii"))
    plugin = names.look_up("sasl", mechanism)
    initial, respond = client(mechanism, name, secret)
    return await plugin.authenticate(Rehearsal(config.server.hostname, initial, respond))


def client(mechanism: str, name: bytes, secret: bytes) -> tuple[bytes | None, Respond]:
    """The initial response, and what answers challenges, of a client that knows a secret. Raises `CannotRehearse`."""
    if mechanism == "plain":
        return b"\0" + name + b"\0" + secret, lambda _challenge: b""
    if mechanism == "login":
        answers = iter((name, secret))
        return None, lambda _challenge: next(answers)
    if mechanism == "cram-md5":
        return None, lambda challenge: name + b" " + hmac.digest(secret, challenge, "md5").hex().encode("ascii")
    if mechanism == "oauthbearer":
        return b"n,a=" + _saslname(name) + b",\1auth=Bearer " + secret + b"\1\1", lambda _challenge: b"\1"
    if mechanism == "xoauth2":
        return b"user=" + name + b"\1auth=Bearer " + secret + b"\1\1", lambda _challenge: b""
    if mechanism.startswith("scram-"):
        hash_name = mechanism.removeprefix("scram-").removesuffix("-plus").replace("-", "")
        bound = {"header": b"p=tls-exporter,,", "binding": BINDING} if mechanism.endswith("-plus") else {}
        scram = ScramClient(hash_name, name, secret, **bound)
        return scram.first(), scram.respond
    raise CannotRehearse(f"{mechanism} needs more than a name and a secret")


def _saslname(name: bytes) -> bytes:
    return name.replace(b"=", b"=3D").replace(b",", b"=2C")


class ScramClient:
    """The client's side of SCRAM (RFC 5802 section 3)."""

    def __init__(
        self, hash_name: str, name: bytes, secret: bytes, *, header: bytes = b"n,,", binding: bytes = b""
    ) -> None:
        """`header` is the GS2 header, `binding` the channel-binding data that belongs to it."""
        self._hash = hash_name
        self._header = header
        self._binding = binding
        self._secret = prepare_password(secret)
        self._bare = b"n=" + _saslname(name) + b",r=" + b64encode(urandom(18))
        self._signature = b""

    def first(self) -> bytes:
        return self._header + self._bare

    def respond(self, challenge: bytes) -> bytes:
        """The final message; then, to a server that has proved itself, nothing more. Raises `UnauthorizedLogin`."""
        if not self._signature:
            return self._final(challenge)
        if challenge != b"v=" + b64encode(self._signature):
            raise UnauthorizedLogin("the server's own proof is wrong")
        return b""

    def _final(self, challenge: bytes) -> bytes:
        fields = dict(field.split(b"=", 1) for field in challenge.split(b","))
        salted = pbkdf2_hmac(self._hash, self._secret, b64decode(fields[b"s"]), int(fields[b"i"]))
        key = hmac.digest(salted, b"Client Key", self._hash)
        without_proof = b"c=" + b64encode(self._header + self._binding) + b",r=" + fields[b"r"]
        message = b",".join((self._bare, challenge, without_proof))
        signature = hmac.digest(new(self._hash, key).digest(), message, self._hash)
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", self._hash), message, self._hash)
        proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
        return without_proof + b",p=" + b64encode(proof)
