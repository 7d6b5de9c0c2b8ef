"""The one look-up of certificates, for port 995 and for STLS.

TLS 1.2 and 1.3 only (RFC 8314 section 4, RFC 8997), forward-secret AEAD ciphers (RFC 9325 section 4), no compression,
no renegotiation, no early data. Client certificates are asked for where authorities for them are given.

Sessions are resumed by tickets (RFC 8446 section 2.2, RFC 5077), which spares pollers most of the handshake. Nothing is
kept for them here; their keys live as long as a context, which is made anew every `ROTATE_SECONDS`. Where client
certificates are asked for there are none: what is revoked counts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import stat
from pathlib import Path
from typing import Any

import attrs
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from popserv.service.certificate import CertificateTrouble, KeyPair, read, wildcard
from popserv.service.client_authorities import ClientAuthorities, read_authorities
from popserv.steady import steady

ALPN = b"pop3"
"""The registered protocol identifier of POP3."""

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of TLS 1.3 are all forward-secret and AEAD."""

LOOK_SECONDS = 1.0
"""How often, at most, the files are looked at."""

ROTATE_SECONDS = 12 * 3600.0
"""How long a context serves, and with it the keys of the tickets that it gives."""

TICKET_SECONDS = 2 * 3600
"""How long a ticket is good."""

OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE

_SESSIONS_OF = b"popserv"


def make_context(pair: KeyPair, clients: ClientAuthorities | None = None) -> SSL.Context:
    """A context that presents `pair`, and asks for certificates of `clients` if there are any.

    Raises `CertificateTrouble` if OpenSSL does not want them.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(OPTIONS)
    context.set_cipher_list(CIPHERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # An idle connection has no use for its 34 kB of buffers.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_id(_SESSIONS_OF)
    context.set_timeout(TICKET_SECONDS)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_alpn_select_callback(_choose_protocol)
    try:
        context.use_certificate(pair.certificate)
        for intermediate in pair.chain:
            context.add_extra_chain_cert(intermediate)
        context.use_privatekey(pair.key)
        context.check_privatekey()
        if clients is not None:
            context.set_options(SSL.OP_NO_TICKET)
            clients.ask(context)
    except (SSL.Error, crypto.Error) as error:
        raise CertificateTrouble(f"OpenSSL refuses the certificate, its key, or client_ca: {error}") from None
    return context


def _choose_protocol(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
    if ALPN in offered:
        return ALPN
    # Whoever means another protocol must not end up here: the alert is fatal (RFC 7301 section 3.2).
    raise SSL.Error([("SSL routines", "ALPN", "the client does not want POP3")])


@attrs.frozen
class _State:
    """What tells one content of a file from another, without reading it."""

    inode: int
    octets: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> _State | None:
        try:
            found = stat(path)
        except OSError:
            return None
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


@attrs.frozen
class ClientFiles:
    """Where the authorities of client certificates are, and what they have revoked; every context has the same."""

    authorities: Path
    revocations: Path | None = None

    def paths(self) -> list[Path]:
        return [path for path in (self.authorities, self.revocations) if path is not None]

    def read(self) -> ClientAuthorities:
        """Raises `CertificateTrouble`."""
        return read_authorities(self.authorities, self.revocations)


class Certificate:
    """One pair of files and the context made of them. Raises `CertificateTrouble` when they cannot be used."""

    def __init__(
        self, certificate: Path, key: Path, now: Callable[[], float], clients: ClientFiles | None = None
    ) -> None:
        """`now` gives seconds since whenever."""
        self._pair = (certificate, key)
        self._now = now
        self._clients = clients
        self._states = self._look()
        self._made = now()
        self.names: list[str]
        self.context: SSL.Context
        self._read()

    def _look(self) -> list[_State | None]:
        clients = self._clients.paths() if self._clients is not None else []
        return [_State.of(path) for path in (*self._pair, *clients)]

    def _read(self) -> None:
        pair = read(*self._pair)
        self.context = make_context(pair, self._clients.read() if self._clients is not None else None)
        self.names = pair.names

    def renew(self) -> bool:
        """Read the files if they have changed, or if the context has served for long enough: whether that was so.

        Raises `CertificateTrouble`, and keeps the old; nothing is tried again before the next such time.
        """
        states = self._look()
        if states == self._states and self._now() - self._made < ROTATE_SECONDS:
            return False
        self._states, self._made = states, self._now()
        self._read()
        return True


@implementer(IOpenSSLServerConnectionCreator)
class CertificateLookup:
    """Presents the certificate for the name that the client asks for (RFC 6066 section 3); the first one otherwise.

    Files that have changed are read at the next handshake. While they are half written or do not fit together the old
    ones stay in use, which is logged once; connections keep the certificate they began with.
    """

    log = Logger()

    def __init__(
        self, files: Sequence[tuple[Path, Path]], clock: IReactorTime, clients: ClientFiles | None = None
    ) -> None:
        """`files` are certificate and key, at least one pair; `clients` make it ask for client certificates.

        Raises `CertificateTrouble`.
        """
        self._now = steady(clock)
        self._certificates = [Certificate(certificate, key, self._now, clients) for certificate, key in files]
        self._looked = self._now()
        self._index()

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:  # noqa: ARG002 - Twisted's signature
        self._renew()
        return SSL.Connection(self._certificates[0].context, None)

    def _index(self) -> None:
        by_name: dict[str, SSL.Context] = {}
        for certificate in self._certificates:
            for name in certificate.names:
                by_name.setdefault(name, certificate.context)
        self._by_name: Mapping[str, SSL.Context] = by_name
        self._certificates[0].context.set_tlsext_servername_callback(self._choose)

    def _choose(self, connection: SSL.Connection) -> None:
        # What a stranger calls us: anything may stand there, and nothing is done with it but the look-up.
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")
        context = self._by_name.get(name) or self._by_name.get(wildcard(name))
        if context is not None:
            connection.set_context(context)

    def _renew(self) -> None:
        now = self._now()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        renewed = False
        for certificate in self._certificates:
            try:
                renewed = certificate.renew() or renewed
            except CertificateTrouble as trouble:
                self.log.error("certificate not renewed, the old one stays in use: {trouble}", trouble=str(trouble))
        if renewed:
            self.log.info("certificates and keys read again")
            self._index()
