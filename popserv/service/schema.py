"""The configuration, one record for each table: types, defaults, bounds, and what a key means, beside each other.

The file that `popserv config describe` prints and docs/configuration.md are made of what stands here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from socket import gethostname
from typing import Any, Literal

import attrs

from popserv.limits import Limits
from popserv.net.addresses import cleartext_policy
from popserv.service import endpoints, names
from popserv.service.names import LATER

Validator = Callable[[Any, Any, Any], None]

_LIMITS = Limits()


def _valid(check: Callable[[str], Any]) -> Validator:
    """For a key whose value `check` takes, or raises `ValueError`."""
    return lambda _record, _field, value: check(value) and None


def _least(least: float, reason: str = "") -> Validator:
    def check(_record: Any, _field: Any, value: Any) -> None:
        if value < least:
            raise ValueError(f"must be at least {least:g}{reason}")

    return check


def _only(allowed: Any, message: str) -> Validator:
    """For a key that parses, and of whose values this version can do one."""

    def check(_record: Any, _field: Any, value: Any) -> None:
        if value != allowed:
            raise ValueError(message)

    return check


def _time(_record: Any, _field: Any, value: str) -> None:
    if not re.fullmatch("(?:[01][0-9]|2[0-3]):[0-5][0-9]", value, re.ASCII):
        raise ValueError('must be a time of the day such as "03:30"')


def _hostname(_record: Any, _field: Any, value: str) -> None:
    if not value or len(value) > 255 or not all("!" <= character <= "~" for character in value):
        raise ValueError("must be a host name: printable ASCII without spaces, at most 255")


def _not_empty(_record: Any, _field: Any, value: Sequence[Any]) -> None:
    if not value:
        raise ValueError("must not be empty")


def _named(_record: Any, _field: Any, value: str) -> None:
    if not value:
        raise ValueError("must name a file")


def _cleartext(_record: Any, _field: Any, value: Any) -> None:
    if value is not None:
        cleartext_policy(value)


Cleartext = Literal["never", "loopback", "always"] | tuple[str, ...]


@attrs.frozen
class Server:
    """The service as a whole."""

    hostname: str = attrs.field(factory=gethostname, validator=_hostname, metadata={"sample": "mail.example.org"})
    """This server's name: in the greeting, in the timestamp of APOP and towards LMTP. Default: the host's name."""
    workers: int = attrs.field(default=1, validator=_only(1, f"must be 1: more processes: {LATER}"))
    """Processes that serve connections. This version has one."""
    runtime: str = attrs.field(default="", metadata={"sample": "/run/popserv"})
    """A folder for sockets of the service's own, made 0700 if it is missing; processes that serve the same maildrops
    ask each other there (maildrop.lock = "takeover"). Default: $RUNTIME_DIRECTORY, which systemd sets, or else a
    temporary one."""


@attrs.frozen
class Listen:
    """A place to listen at. Without any `[[listen]]`: pop3 at tcp6:110 with STLS, and at tcp6:995 with implicit TLS."""

    endpoint: str = attrs.field(validator=_valid(endpoints.parse), metadata={"sample": "tcp6:110"})
    """Where: tcp6:PORT (IPv6 and IPv4; IPv4 alone where the host has no IPv6), tcp:PORT (IPv4), either with
    :interface=ADDRESS; unix:PATH, with :mode=660; systemd:INET6:index=0 or :name=NAME. Port 0 is any free one."""
    protocol: str = attrs.field(default="pop3", validator=_valid(names.check_protocol))
    """What is spoken: pop3, or lmtp for mail that comes in (on a unix socket or on loopback only)."""
    tls: Literal["starttls", "implicit", "off"] | None = attrs.field(default=None, metadata={"sample": "starttls"})
    """starttls: TLS when the client asks for it (STLS); implicit: from the first octet; off. Default: starttls for
    pop3, off for lmtp."""
    proxy: tuple[str, ...] = attrs.field(default=(), validator=_only((), f"must be empty: PROXY headers: {LATER}"))
    """Networks whose peers have to send a PROXY header. This version knows none."""
    cleartext: Cleartext | None = attrs.field(default=None, validator=_cleartext, metadata={"sample": "never"})
    """Goes before auth.cleartext on this listener."""


DEFAULT_LISTEN = (Listen("tcp6:110", tls="starttls"), Listen("tcp6:995", tls="implicit"))


@attrs.frozen
class CertificateFiles:
    """A certificate with its chain, and its key: PEM files."""

    certificate: str = attrs.field(validator=_named)
    """The certificate, followed by the intermediate ones."""
    key: str = attrs.field(validator=_named)
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
        default=("sqlite:accounts.db",), validator=_not_empty, metadata={"each": names.check_accounts}
    )
    """Account databases, NAME:ARGUMENT, asked in order: sqlite:FILE (see `popserv user`), passwd-file:FILE (Dovecot's
    format), or any plug-in of Twisted's strcred, such as file:FILE. A table [auth.NAME] holds options of its own."""
    mechanisms: tuple[str, ...] = attrs.field(
        default=("default",), validator=_not_empty, metadata={"each": names.check_mechanism}
    )
    """Ways to log in. "default" is user (USER and PASS), plain, scram-* and what else is safe. By name:
    scram-sha-512-plus, scram-sha-256-plus and scram-sha-1-plus, which bind to the TLS channel, and the legacy ones,
    login, cram-md5 and apop. A way is offered if it stands here, and some checker can verify it, and cleartext permits
    it."""
    cleartext: Cleartext = attrs.field(default="never", validator=_cleartext)
    """Where a password may cross an unencrypted connection: "never", "loopback", "always", or networks such as
    ["10.0.0.0/8"]."""
    failure_delay: float = attrs.field(default=2.0, validator=_least(0))
    """Seconds until a refused login is answered; doubles up to 15, by address and by account. 0 is off."""
    max_failures: int = attrs.field(default=_LIMITS.login_failures, validator=_least(1))
    """Refused logins on one connection."""
    remember_seconds: float = attrs.field(default=300.0, validator=_least(0))
    """For so long a password that was right is not hashed again, unless the account changes; 0 is not at all."""
    case: Literal["fold", "keep"] = "fold"
    """Account names are prepared (SASLprep) and then folded to lower case, or kept."""
    default_domain: str = attrs.field(default="", validator=_valid(names.check_domain))
    """What names without a domain get, at login and for delivery: with "example.org", fred is fred@example.org."""
    aliases: str = ""
    """A file of other names for accounts, "alias: account" on each line. They are good for logins and for delivery, as
    are names with +detail, and addresses in server.hostname and lmtp.domains for their local parts."""
    options: Mapping[str, Any] = attrs.field(factory=dict, metadata={"tables": "accounts"})


@attrs.frozen
class PolicyRule:
    """What holds for some accounts; the first rule that covers an account is the one."""

    accounts: tuple[str, ...] = attrs.field(validator=_not_empty, metadata={"each": names.check_accounts_covered})
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
    login_delay: int = attrs.field(default=0, validator=_least(0))
    """Seconds between two logins of one account, told by CAPA (RFC 2449 section 6.5); 0 is none."""
    login_burst: int = attrs.field(default=1, validator=_least(1))
    """Logins that may follow each other at once before login_delay holds."""
    sessions_per_account: int = attrs.field(default=20, validator=_least(0))
    """Sessions of one account at a time, where maildrop.lock permits more than one; 0 is any number."""


@attrs.frozen
class ViewRule:
    """What some accounts see of their maildrops; the first rule that covers an account is the one."""

    accounts: tuple[str, ...] = attrs.field(validator=_not_empty, metadata={"each": names.check_accounts_covered})
    """Account names, "@example.org" for all of a domain, "*" for all."""
    largest_octets: int = attrs.field(default=0, validator=_least(0))
    """As in [maildrop]."""
    since: str = attrs.field(default="", validator=_valid(names.check_since))
    """As in [maildrop]."""
    newest: int = attrs.field(default=0, validator=_least(0))
    """As in [maildrop]."""
    junk: str = ""
    """As in [maildrop]."""
    junk_mark: Literal["subject", "header", "none"] = "subject"
    """As in [maildrop]."""
    junk_text: str = ""
    """As in [maildrop]."""
    folders: tuple[str, ...] = ()
    """As in [maildrop]."""


@attrs.frozen
class RetentionRule:
    """How long mail of some accounts is kept; the first rule that covers an account is the one."""

    accounts: tuple[str, ...] = attrs.field(validator=_not_empty, metadata={"each": names.check_accounts_covered})
    """Account names, "@example.org" for all of a domain, "*" for all."""
    delete: Literal["remove", "trash", "hide"] = "remove"
    trash_days: int = attrs.field(default=30, validator=_least(1))
    expire_days: int = attrs.field(default=0, validator=_least(0))
    """0 is never."""


@attrs.frozen
class Maildrop:
    """Where mail is kept, and what sessions see of it."""

    location: str = attrs.field(default="maildir:/srv/mail/{user}", validator=_valid(names.check_location))
    """STORE:PLACE. For maildir the place is the Maildir itself, with cur, new and tmp in it; for mbox, the file. {user}
    is the account's name, {local} and {domain} its parts around the last @, {home} what the account database says. A
    table [maildrop.STORE] holds options of its own and makes that store available to accounts that have another
    location."""
    lock: Literal["exclusive", "takeover", "none"] = "exclusive"
    """exclusive: one session at a time, as RFC 1939 asks for; takeover: so, too, but a new one ends the one before,
    which removes nothing; none: several at once."""
    in_use: Literal["nothing", "since", "from"] = "since"
    """What a session that finds the maildrop taken is told of the one that has it: nothing, since when it has it, or
    also the address that it came from."""
    largest_octets: int = attrs.field(default=0, validator=_least(0))
    """Larger messages, as LIST counts them, are hidden, and stay where they are; 0 hides none."""
    since: str = attrs.field(default="", validator=_valid(names.check_since), metadata={"sample": "90d"})
    """Messages delivered before are hidden, and stay where they are: "90d" is ninety days before the login,
    "2026-01-31" the beginning of that day in UTC. Not for mbox."""
    newest: int = attrs.field(default=0, validator=_least(0))
    """So many of the messages that are left are shown, the last ones; the others are hidden, and stay where they are; 0
    hides none."""
    junk: str = attrs.field(default="", metadata={"sample": "Junk"})
    """A folder whose messages are shown behind those of INBOX, and may be removed like them. Not for mbox."""
    junk_mark: Literal["subject", "header", "none"] = "subject"
    """How messages of that folder are told from others: subject: junk_text in front of the subject; header: junk_text
    is a header field; none: they are sent as they are."""
    junk_text: str = attrs.field(default="", metadata={"sample": "[Junk]"})
    """Default: "[Junk]" for subject, "X-Junk: yes" for header."""
    folders: tuple[str, ...] = attrs.field(default=(), metadata={"sample": ["Junk", "Archive.2025"]})
    """Folders that may be logged in to: with "Junk", fred+junk opens the folder Junk of fred. "*" permits all. Any
    other +detail stands for nothing. Not for mbox."""
    view_rules: tuple[ViewRule, ...] = attrs.field(
        default=(), metadata={"sample": ({"accounts": ["@example.org"], "newest": 1000},)}
    )
    """For accounts and domains: accounts, and the keys from largest_octets to folders, which the rule replaces all at
    once. The first rule that covers an account holds: [{accounts = ["joe"], newest = 500}, {accounts = ["*"], since =
    "30d"}]."""
    delete: Literal["remove", "trash", "hide"] = "remove"
    """What QUIT does to marked messages: they are gone for good; they wait in a trash, from where `popserv undelete`
    brings them back; or they are hidden from POP3 and stay for other readers of the same maildrop."""
    trash_days: int = attrs.field(default=30, validator=_least(1))
    """How long the trash is kept."""
    expire_days: int = attrs.field(default=0, validator=_least(0))
    """Days from delivery until a message is removed by itself, read or not; 0 is never. Told by CAPA as EXPIRE (RFC
    2449 section 6.7)."""
    retention_rules: tuple[RetentionRule, ...] = attrs.field(
        default=(), metadata={"sample": ({"accounts": ["@example.org"], "delete": "trash", "trash_days": 7},)}
    )
    """For accounts and domains: accounts, delete, trash_days, expire_days. The first rule that covers an account holds;
    what it does not name is as the defaults are."""
    nightly: str = attrs.field(default="03:30", validator=_time)
    """When, by the local clock, expired mail is removed and the trash emptied."""
    options: Mapping[str, Any] = attrs.field(factory=dict, metadata={"tables": "stores"})

    @property
    def ways(self) -> frozenset[str]:
        """What is done with some mail besides removing it for good: trash, hide, expire."""
        rules: Sequence[Maildrop | RetentionRule] = (self, *self.retention_rules)
        expire = {"expire" for each in rules if each.expire_days}
        return frozenset({each.delete for each in rules} | expire) - {"remove"}

    @property
    def retains(self) -> bool:
        """Whether anything is to be done about mail after its removal, or without one."""
        return bool(self.ways)


@attrs.frozen
class Pop3:
    """The protocol itself."""

    extensions: tuple[str, ...] = attrs.field(default=(), metadata={"sample": ["last"], "each": names.check_extension})
    """Commands beyond the standard ones: "last" (RFC 1225)."""


@attrs.frozen
class QuotaRule:
    """What some accounts may keep; the first rule that covers an account is the one."""

    accounts: tuple[str, ...] = attrs.field(validator=_not_empty, metadata={"each": names.check_accounts_covered})
    """Account names, "@example.org" for all of a domain, "*" for all."""
    octets: int = attrs.field(default=0, validator=_least(0))
    """As LIST counts them; 0 is any number."""
    messages: int = attrs.field(default=0, validator=_least(0))
    """0 is any number."""


@attrs.frozen
class Quota:
    """What accounts may keep. Mail beyond it is refused at delivery; nothing is ever removed."""

    octets: int = attrs.field(default=0, validator=_least(0))
    """For accounts that no rule covers, as LIST counts them; 0 is any number."""
    messages: int = attrs.field(default=0, validator=_least(0))
    """For accounts that no rule covers; 0 is any number."""
    rules: tuple[QuotaRule, ...] = attrs.field(
        default=(), metadata={"sample": ({"accounts": ["@example.org"], "octets": 1073741824},)}
    )
    """For accounts and domains: accounts, octets, messages. The first rule that covers an account holds."""
    over: Literal["bounce", "defer"] = "bounce"
    """What a sender is told: 552 5.2.2, and the mail goes back; or 452 4.2.2, and it is tried again."""


@attrs.frozen
class Lmtp:
    """Mail that comes in."""

    domains: tuple[str, ...] = ()
    """Mail domains, besides server.hostname, whose local parts are account names, for delivery and logins alike."""
    message_octets: int = attrs.field(default=100 * 1024 * 1024, validator=_least(64 * 1024, " (RFC 5321)"))
    """The largest message that is taken in, in octets."""


@attrs.frozen
class LimitsTable:
    """What bounds a client. After a reload they hold for new connections."""

    connections: int = attrs.field(default=_LIMITS.connections, validator=_least(1))
    """Open connections in all; lowered, with a warning, to what the file descriptors allow."""
    connections_per_address: int = attrs.field(default=_LIMITS.connections_per_address, validator=_least(1))
    """Open connections of one address; of one /64 with IPv6."""
    login_seconds: float = attrs.field(default=_LIMITS.login_seconds, validator=_least(1))
    """The whole of the AUTHORIZATION state, whatever the client sends."""
    idle_seconds: float = attrs.field(default=_LIMITS.idle_seconds, validator=_least(600, " (RFC 1939 section 3)"))
    """The TRANSACTION state without a command."""
    handshake_seconds: float = attrs.field(default=_LIMITS.handshake_seconds, validator=_least(1))
    """A TLS handshake."""
    write_seconds: float = attrs.field(default=_LIMITS.write_seconds, validator=_least(1))
    """Sending without the client taking an octet."""
    drain_seconds: float = attrs.field(default=_LIMITS.drain_seconds, validator=_least(0))
    """What sessions get to finish after SIGTERM."""
    command_octets: int = attrs.field(default=_LIMITS.command_octets, validator=_least(255, " (RFC 2449 section 4)"))
    """A command line with its CRLF."""
    sasl_octets: int = attrs.field(default=_LIMITS.sasl_octets, validator=_least(1024))
    """One SASL response, decoded."""
    bad_commands: int = attrs.field(default=_LIMITS.bad_commands, validator=_least(1))
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
