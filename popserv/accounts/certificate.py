"""Whose a TLS client certificate is: ``checkers = ["certificate:"]``, for EXTERNAL.

TLS has verified the certificate against ``[tls] client_ca``. Here it is mapped to account names, by explicit rules;
the accounts stand in another database, if there is any.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from zope.interface import implementer

from popserv.auth.certificate_map import CertificateMap, Key, fingerprint_key, read, subject_key
from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.client_certificate import UnreadableCertificate, contents, fingerprint
from popserv.auth.names import InvalidName, prepare
from popserv.interfaces import IAccounts, IBuildContext, ICapable, IChannel, IClientCertificate, INamesOnly, IRecognizes

Way = Literal["email", "upn", "dn", "fingerprint"]


@attrs.frozen
class Options:
    """The table ``[auth.certificate]``."""

    by: tuple[Way, ...] = ("email",)
    """What tells whose a certificate is: email (its mail addresses; each is an account), upn (user principal names, as
    Active Directory has them; the same), dn (dn_map), fingerprint (fingerprint_map). With several of them all accounts
    that any of them gives."""
    domains: tuple[str, ...] = ()
    """Domains whose local parts are account names; other addresses and principal names are account names as they
    are."""
    dn_map: str = ""
    """A file with an account and a subject on each line: fred CN=Fred,O=Example,C=DE."""
    fingerprint_map: str = ""
    """A file with an account and a SHA-256 fingerprint on each line: fred 3A:5F:… (or without colons)."""


@attrs.frozen
class AddressRule:
    """Accounts by mail address or principal name: all of it, or its local part in these domains, in lower case."""

    domains: frozenset[str]
    case: Literal["fold", "keep"]

    def names(self, addresses: Sequence[str]) -> frozenset[str]:
        """The prepared names that these stand for."""
        return frozenset(name for address in addresses if (name := self._name(address)))

    def _name(self, address: str) -> str:
        local, _, domain = address.partition("@")
        name = local if domain.lower() in self.domains else f"{local}@{domain.lower()}"
        try:
            return prepare(name.encode("utf-8"), self.case)
        except InvalidName:
            return ""


@implementer(ICredentialsChecker, ICapable, IRecognizes, INamesOnly)
class CertificateAccounts:
    """Names the account that a certificate belongs to. If there are several, the authorization identity picks one.

    Whether another authorization identity is permitted is for `popserv.auth.chain.CheckerChain` to say.
    """

    log = Logger()
    credentialInterfaces = (IClientCertificate,)

    def __init__(
        self,
        addresses: AddressRule | None = None,
        principals: AddressRule | None = None,
        subjects: CertificateMap | None = None,
        fingerprints: CertificateMap | None = None,
    ) -> None:
        """Each way that is used; None for one that is not."""
        self._addresses = addresses
        self._principals = principals
        self._subjects = subjects
        self._fingerprints = fingerprints

    def verifies(self, credential: Any) -> bool:  # noqa: ARG002
        return bool(self._addresses or self._principals or self._subjects or self._fingerprints)

    def recognizes(self, credential: Any, channel: IChannel) -> bool:  # noqa: ARG002
        certificate = channel.certificate
        if certificate is None:
            return False
        # What is on the disk now counts for the login: that one waits for it.
        for each in self._maps():
            each.look()
        return bool(self.accounts(certificate))

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return ensureDeferred(self._check(credentials))

    async def _check(self, credentials: Any) -> bytes:
        for each in self._maps():
            await each.look()
        names = {name.encode("utf-8") for name in self.accounts(credentials.certificate)}
        if not names:
            raise UnknownAccount("nobody has this certificate")
        authorization: bytes = getattr(credentials, "authorization", b"")
        if authorization in names:
            return authorization
        if len(names) > 1:
            raise CredentialsRefused("several accounts have this certificate, and none of them is asked for")
        return names.pop()

    def _maps(self) -> Sequence[CertificateMap]:
        return [each for each in (self._subjects, self._fingerprints) if each is not None]

    def accounts(self, certificate: bytes) -> frozenset[str]:
        """The accounts that have this certificate, as far as the files are in memory. Never raises."""
        try:
            found = contents(certificate)
        except UnreadableCertificate as error:
            self.log.warn("a client certificate cannot be read: {reason}", reason=str(error))
            return frozenset()
        names: frozenset[str] = frozenset()
        if not found.for_clients:
            return names
        if self._addresses is not None:
            names |= self._addresses.names(found.addresses)
        if self._principals is not None:
            names |= self._principals.names(found.principals)
        if self._subjects is not None:
            names |= self._subjects.names(found.subject)
        if self._fingerprints is not None:
            names |= self._fingerprints.names(fingerprint(certificate))
        return names


@implementer(IAccounts)
class CertificatePlugin:
    """See `popserv.interfaces.IAccounts`; there is no argument."""

    options = Options

    def check(self, argument: str, options: Options, context: IBuildContext) -> list[str]:  # noqa: ARG002
        return [
            *self._wrong(options),
            *self._wrong_file("dn_map", options.dn_map, subject_key, context),
            *self._wrong_file("fingerprint_map", options.fingerprint_map, fingerprint_key, context),
        ]

    def build(self, argument: str, options: Options, context: IBuildContext) -> CertificateAccounts:
        """Raises `ValueError` for an argument, and for options that do not go together."""
        if argument:
            raise ValueError("takes no argument; see [auth.certificate]")
        for wrong in self._wrong(options):
            raise ValueError(wrong)
        rule = AddressRule(frozenset(domain.lower() for domain in options.domains), context.case)
        return CertificateAccounts(
            rule if "email" in options.by else None,
            rule if "upn" in options.by else None,
            self._map(options.dn_map, subject_key, context),
            self._map(options.fingerprint_map, fingerprint_key, context),
        )

    def _map(self, file: str, key: Key, context: IBuildContext) -> CertificateMap | None:
        if not file:
            return None
        return CertificateMap(context.path(file), key, context.disk, context.reactor, context.case)

    def _wrong(self, options: Options) -> list[str]:
        """What does not go together: a way without its file, a file that is not used."""
        wrong = [] if options.by else ["by must not be empty"]
        for way, file in (("dn", options.dn_map), ("fingerprint", options.fingerprint_map)):
            if (way in options.by) != bool(file):
                wrong.append(f'{way}_map must be set if, and only if, "{way}" is in by')
        if options.domains and not {"email", "upn"} & set(options.by):
            wrong.append('domains are for "email" and "upn" in by')
        return wrong

    def _wrong_file(self, option: str, file: str, key: Key, context: IBuildContext) -> list[str]:
        if not file:
            return []
        path: Path = context.path(file)
        try:
            problems = read(path, key, context.case).problems
        except OSError as error:
            return [f"{option}: {path}: {error.strerror}"]
        return [f"{option}: {path}: {problem}" for problem in problems]


plugin = CertificatePlugin()
