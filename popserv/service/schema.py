"""The configuration, one record for each table: types, defaults, bounds, and what a key means, beside each other.

The file that `popserv config describe` prints and docs/configuration.md are made of what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from socket import gethostname
from typing import Any, Literal

import attrs

from popserv.limits import Limits
from popserv.service import endpoints, names
from popserv.service import key_checks as checks
from popserv.service.names import LATER
from popserv.service.schema_mail import Lmtp, Maildrop, Quota

_LIMITS = Limits()


Cleartext = Literal["never", "loopback", "always"] | tuple[str, ...]


@attrs.frozen
class Server:
    """The service as a whole."""

    hostname: str = attrs.field(factory=gethostname, validator=checks.hostname, metadata={"sample": "mail.example.org"})
    """This server's name: in the greeting, in the timestamp of APOP and towards LMTP. Default: the host's name."""
    workers: int = attrs.field(default=1, validator=checks.only(1, f"must be 1: more processes: {LATER}"))
    """Processes that serve connections. This version has one."""
    runtime: str = attrs.field(default="", metadata={"sample": "/run/popserv"})
    """A folder for sockets of the service's own, made 0700 if it is missing; processes that serve the same maildrops
    ask each other there (maildrop.lock = "takeover"). Default: $RUNTIME_DIRECTORY, which systemd sets, or else a
    temporary one."""


@attrs.frozen
class Listen:
    """A place to listen at. Without any `[[listen]]`: pop3 at tcp6:110 with STLS, and at tcp6:995 with implicit TLS."""

    endpoint: str = attrs.field(validator=checks.valid(endpoints.parse), metadata={"sample": "tcp6:110"})
    """Where: tcp6:PORT (IPv6 and IPv4; IPv4 alone where the host has no IPv6), tcp:PORT (IPv4), either with
    :interface=ADDRESS; unix:PATH, with :mode=660; systemd:INET6:index=0 or :name=NAME. Port 0 is any free one."""
    protocol: str = attrs.field(default="pop3", validator=checks.valid(names.check_protocol))
    """What is spoken: pop3, or lmtp for mail that comes in (on a unix socket or on loopback only)."""
    tls: Literal["starttls", "implicit", "off"] | None = attrs.field(default=None, metadata={"sample": "starttls"})
    """starttls: TLS when the client asks for it (STLS); implicit: from the first octet; off. Default: starttls for
    pop3, off for lmtp."""
    proxy: tuple[str, ...] = attrs.field(
        default=(), validator=checks.only((), f"must be empty: PROXY headers: {LATER}")
    )
    """Networks whose peers have to send a PROXY header. This version knows none."""
    cleartext: Cleartext | None = attrs.field(default=None, validator=checks.cleartext, metadata={"sample": "never"})
    """Goes before auth.cleartext on this listener."""


DEFAULT_LISTEN = (Listen("tcp6:110", tls="starttls"), Listen("tcp6:995", tls="implicit"))


@attrs.frozen
class CertificateFiles:
    """A certificate with its chain, and its key: PEM files."""

    certificate: str = attrs.field(validator=checks.named)
    """The certificate, followed by the intermediate ones."""
    key: str = attrs.field(validator=checks.named)
    """The private key, without a passphrase."""


@attrs.frozen
class Tls:
    """TLS 1.2 and 1.3, for STLS and for implicit TLS. Renewed files are picked up without a restart."""

    certificate: str | tuple[CertificateFiles, ...] = attrs.field(default="", metadata={"sample": "fullchain.pem"})
    """A PEM file: the certificate and the intermediate ones. Or several, chosen by the name that the client asks for,
    the first one for any other: [{certificate = "a.pem", key = "a.key"}, {certificate = "b.pem", key = "b.key"}]."""
    key: str = attrs.field(default="", metadata={"sample": "key.pem"})
    """The private key of the certificate, PEM without a passphrase."""
    client_ca: str = attrs.field(default="", metadata={"sample": "client-ca.pem"})
    """Authorities, PEM, whose client certificates may log in (EXTERNAL) as the checker certificate: says. Only these
    count, no others of this host. Clients are asked for a certificate, and need not have one."""
    client_crl: str = attrs.field(default="", metadata={"sample": "client-crl.pem"})
    """Revocation lists, PEM, one for each authority in a client's chain; a client whose chain none covers, or an
    expired one, is refused. Read again when it changes."""

    @property
    def pairs(self) -> tuple[CertificateFiles, ...]:
        """All certificates; none if TLS is not set up."""
        if not isinstance(self.certificate, str):
            return self.certificate
        return (CertificateFiles(self.certificate, self.key),) if self.certificate and self.key else ()


@attrs.frozen
class Auth:
    """Who may log in, and how."""

    checkers: tuple[str, ...] = attrs.field(
        default=("sqlite:accounts.db",), validator=checks.not_empty, metadata={"each": names.check_accounts}
    )
    """Account databases, NAME:ARGUMENT, asked in order: sqlite:FILE (see `popserv user`), passwd-file:FILE (Dovecot's
    format), or any plug-in of Twisted's strcred, such as file:FILE. A table [auth.NAME] holds options of its own."""
    mechanisms: tuple[str, ...] = attrs.field(
        default=("default",), validator=checks.not_empty, metadata={"each": names.check_mechanism}
    )
    """Ways to log in. "default" is user (USER and PASS), plain, scram-* and what else is safe. By name:
    scram-sha-512-plus, scram-sha-256-plus and scram-sha-1-plus, which bind to the TLS channel, and the legacy ones,
    login, cram-md5 and apop. A way is offered if it stands here, and some checker can verify it, and cleartext permits
    it."""
    cleartext: Cleartext = attrs.field(default="never", validator=checks.cleartext)
    """Where a password may cross an unencrypted connection: "never", "loopback", "always", or networks such as
    ["10.0.0.0/8"]."""
    failure_delay: float = attrs.field(default=2.0, validator=checks.least(0))
    """Seconds until a refused login is answered; doubles up to 15, by address and by account. 0 is off."""
    max_failures: int = attrs.field(default=_LIMITS.login_failures, validator=checks.least(1))
    """Refused logins on one connection."""
    remember_seconds: float = attrs.field(default=300.0, validator=checks.least(0))
    """For so long a password that was right is not hashed again, unless the account changes; 0 is not at all."""
    case: Literal["fold", "keep"] = "fold"
    """Account names are prepared (SASLprep) and then folded to lower case, or kept."""
    default_domain: str = attrs.field(default="", validator=checks.valid(names.check_domain))
    """What names without a domain get, at login and for delivery: with "example.org", fred is fred@example.org."""
    aliases: str = ""
    """A file of other names for accounts, "alias: account" on each line. They are good for logins and for delivery, as
    are names with +detail, and addresses in server.hostname and lmtp.domains for their local parts."""
    options: Mapping[str, Any] = attrs.field(factory=dict, metadata={"tables": "accounts"})


@attrs.frozen
class PolicyRule:
    """What holds for some accounts; the first rule that covers an account is the one."""

    accounts: tuple[str, ...] = attrs.field(validator=checks.not_empty, metadata={"each": names.check_accounts_covered})
    """Account names, "@example.org" for all of a domain, "*" for all."""
    pop3: bool = True
    """Whether they may log in at all."""
    mechanisms: tuple[str, ...] = attrs.field(default=(), metadata={"each": names.check_mechanism})
    """The ways that are good enough; none given: all."""


@attrs.frozen
class Policy:
    """Who may log in how, and how often, once the credentials are good."""

    rules: tuple[PolicyRule, ...] = attrs.field(
        default=(), metadata={"sample": ({"accounts": ["@example.org"], "mechanisms": ["plain"]},)}
    )
    """For accounts and domains: accounts, pop3 = false to keep them out, mechanisms that are good enough. The first
    rule that covers an account holds: [{accounts = ["joe"], pop3 = false}, {accounts = ["*"], mechanisms = ["plain"]}].
    """
    masters: tuple[str, ...] = attrs.field(default=(), metadata={"each": names.check_account})
    """Accounts that may log in to the maildrop of any other, by its name as the authorization identity."""
    login_delay: int = attrs.field(default=0, validator=checks.least(0))
    """Seconds between two logins of one account, told by CAPA (RFC 2449 section 6.5); 0 is none."""
    login_burst: int = attrs.field(default=1, validator=checks.least(1))
    """Logins that may follow each other at once before login_delay holds."""
    sessions_per_account: int = attrs.field(default=20, validator=checks.least(0))
    """Sessions of one account at a time, where maildrop.lock permits more than one; 0 is any number."""


@attrs.frozen
class Pop3:
    """The protocol itself."""

    extensions: tuple[str, ...] = attrs.field(default=(), metadata={"sample": ["last"], "each": names.check_extension})
    """Commands beyond the standard ones: "last" (RFC 1225)."""


@attrs.frozen
class LimitsTable:
    """What bounds a client. After a reload they hold for new connections."""

    connections: int = attrs.field(default=_LIMITS.connections, validator=checks.least(1))
    """Open connections in all; lowered, with a warning, to what the file descriptors allow."""
    connections_per_address: int = attrs.field(default=_LIMITS.connections_per_address, validator=checks.least(1))
    """Open connections of one address; of one /64 with IPv6."""
    login_seconds: float = attrs.field(default=_LIMITS.login_seconds, validator=checks.least(1))
    """The whole of the AUTHORIZATION state, whatever the client sends."""
    idle_seconds: float = attrs.field(
        default=_LIMITS.idle_seconds, validator=checks.least(600, " (RFC 1939 section 3)")
    )
    """The TRANSACTION state without a command."""
    handshake_seconds: float = attrs.field(default=_LIMITS.handshake_seconds, validator=checks.least(1))
    """A TLS handshake."""
    write_seconds: float = attrs.field(default=_LIMITS.write_seconds, validator=checks.least(1))
    """Sending without the client taking an octet."""
    drain_seconds: float = attrs.field(default=_LIMITS.drain_seconds, validator=checks.least(0))
    """What sessions get to finish after SIGTERM."""
    command_octets: int = attrs.field(
        default=_LIMITS.command_octets, validator=checks.least(255, " (RFC 2449 section 4)")
    )
    """A command line with its CRLF."""
    sasl_octets: int = attrs.field(default=_LIMITS.sasl_octets, validator=checks.least(1024))
    """One SASL response, decoded."""
    bad_commands: int = attrs.field(default=_LIMITS.bad_commands, validator=checks.least(1))
    """Commands that a client may get wrong on one connection."""


@attrs.frozen
class Config:
    """The whole file."""

    server: Server = attrs.field(factory=Server)
    listen: tuple[Listen, ...] = ()
    tls: Tls = attrs.field(factory=Tls)
    auth: Auth = attrs.field(factory=Auth)
    policy: Policy = attrs.field(factory=Policy)
    maildrop: Maildrop = attrs.field(factory=Maildrop)
    quota: Quota = attrs.field(factory=Quota)
    pop3: Pop3 = attrs.field(factory=Pop3)
    lmtp: Lmtp = attrs.field(factory=Lmtp)
    limits: LimitsTable = attrs.field(factory=LimitsTable)
    base: Path = attrs.field(factory=Path.cwd, metadata={"key": False})
    """What relative paths are relative to: the directory of the file."""

    @property
    def listeners(self) -> tuple[Listen, ...]:
        """`listen`, or the two default ones."""
        return self.listen or DEFAULT_LISTEN

    def path(self, relative: str) -> Path:
        """`relative` as an absolute path."""
        return (self.base / relative).absolute()

    def connection_limits(self) -> Limits:
        """The limits of every connection."""
        return attrs.evolve(_LIMITS, login_failures=self.auth.max_failures, **attrs.asdict(self.limits))
