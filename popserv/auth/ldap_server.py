"""An LDAP directory, with python-ldap (extra ``popserv[ldap]``): find an entry, bind as it. Everything here blocks."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
import ldap
import ldap.dn
import ldap.filter

from popserv.auth.names import NAME_OCTETS
from popserv.auth.passwd_lines import NotUnderstood
from popserv.auth.passwords import PASSWORD_OCTETS
from popserv.auth.remote import Connections, Misconfigured, Unavailable, first_line

SCOPES: Mapping[str, int] = {"base": ldap.SCOPE_BASE, "one": ldap.SCOPE_ONELEVEL, "sub": ldap.SCOPE_SUBTREE}

SCHEMES = ("ldap", "ldaps", "ldapi")

LDAPS_PORT = 636

LEAST_SECONDS = 0.1

SEVERAL = "several entries fit its name"

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

_REFUSALS = (
    ldap.INVALID_CREDENTIALS,
    ldap.INAPPROPRIATE_AUTH,
    ldap.NO_SUCH_OBJECT,
    ldap.INSUFFICIENT_ACCESS,
    ldap.UNWILLING_TO_PERFORM,
    ldap.CONSTRAINT_VIOLATION,
    ldap.INVALID_DN_SYNTAX,
)
"""What servers answer to a wrong password, and to a right one of an account that is locked or has expired."""

_FAULTS = (
    ldap.INVALID_CREDENTIALS,
    ldap.INAPPROPRIATE_AUTH,
    ldap.INSUFFICIENT_ACCESS,
    ldap.UNWILLING_TO_PERFORM,
    ldap.CONFIDENTIALITY_REQUIRED,
    ldap.STRONG_AUTH_REQUIRED,
    ldap.NO_SUCH_OBJECT,
    ldap.INVALID_DN_SYNTAX,
    ldap.FILTER_ERROR,
    ldap.PARAM_ERROR,
    ldap.UNDEFINED_TYPE,
)
"""What servers answer when we ask for what they do not have or do not let us see."""


@attrs.frozen
class Found:
    """An entry."""

    dn: str
    values: Mapping[str, Sequence[bytes]]
    """By the name of the attribute, in lower case."""


@attrs.frozen
class Access:
    """How to get to the directory."""

    uris: tuple[str, ...]
    """Asked in order until one answers."""
    starttls: bool
    """For ``ldap:``; ``ldaps:`` begins with TLS, and ``ldapi:`` needs none."""
    ca_file: Path | None
    """Who vouches for the servers; None = the authorities that the host trusts."""
    bind_dn: str
    """Who searches; "" = anybody."""
    password_file: Path | None
    seconds: float
    """What each server gets to take a connection."""


@attrs.frozen
class Search:
    """What to search for. Placeholders are ``{user}``, ``{local}`` and ``{domain}``."""

    base: str
    scope: Literal["base", "one", "sub"]
    filter: str
    dn: str
    """The name of the entry itself; "" = the filter finds it below `base`."""
    attributes: tuple[str, ...]

    def target(self, name: str) -> tuple[str, int, str]:
        """Base, scope and filter for this account, every placeholder escaped as its place needs it."""
        filled = fill(self.filter, name, ldap.filter.escape_filter_chars)
        if self.dn:
            return fill(self.dn, name, ldap.dn.escape_dn_chars), ldap.SCOPE_BASE, filled
        return self.base, SCOPES[self.scope], filled


def fill(template: str, name: str, escape: Callable[[str], str]) -> str:
    """`template` with its placeholders filled in. Raises `ValueError` for an unknown one, or half of one."""
    if set("{}") & set(_PLACEHOLDER.sub("", template)):
        raise ValueError(f"{template!a}: a brace has no partner; one that means itself is written \\7b or \\7d")
    local, at, domain = name.rpartition("@")
    values = {"user": name, "local": local if at else domain, "domain": domain if at else ""}

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ValueError(f"unknown placeholder {match[0]}; known: {{user}}, {{local}}, {{domain}}")
        return escape(values[match[1]])

    return _PLACEHOLDER.sub(value, template)


class Directory:
    """Finds entries as the service and binds as them, each over connections of its own.

    Methods take the time by `monotonic` when they have to be done, and raise `Unavailable` and `Misconfigured`.
    """

    def __init__(self, access: Access, search: Search) -> None:
        """Raises `ValueError` for servers and templates that cannot be."""
        if not access.uris:
            raise ValueError("it needs a server: ldaps://HOST")
        for uri in access.uris:
            if uri.partition("://")[0].lower() not in SCHEMES:
                raise ValueError(f"{uri!a} is no address of a server; known: ldaps://HOST, ldap://HOST, ldapi://PATH")
        search.target("")
        self._search = search
        connect = Connector(access)
        self._searching = Connections[Any](connect, _close)
        # What a bind has made somebody else's connection must never search again.
        self._binding = Connections[Any](connect, _close)

    def find(self, deadline: float, name: str) -> Found | None:
        """The entry of this prepared name, or None. Raises `NotUnderstood`, too, when there are several."""
        if not 0 < len(name.encode("utf-8")) <= NAME_OCTETS:
            return None
        return self._searching.use(deadline, lambda connection: self._find(connection, deadline, name))

    def binds(self, deadline: float, dn: str, passwords: Sequence[bytes]) -> bool:
        """Whether one of these is the password of the entry."""
        return self._binding.use(
            deadline, lambda connection: any(_bind(connection, deadline, dn, password) for password in passwords)
        )

    def _find(self, connection: Any, deadline: float, name: str) -> Found | None:
        base, scope, wanted = self._search.target(name)
        seconds = _left(deadline)
        try:
            message = connection.search_ext(
                base, scope, wanted, list(self._search.attributes), timeout=seconds, sizelimit=2
            )
            answers = connection.result(message, all=1, timeout=seconds)[1]
        except ldap.SIZELIMIT_EXCEEDED:
            raise NotUnderstood(SEVERAL) from None
        except ldap.NO_SUCH_OBJECT:
            if self._search.dn:
                return None
            raise Misconfigured(f"there is no {base!a}, or it is not shown to us") from None
        except ldap.LDAPError as error:
            raise _trouble(error) from None
        # Referrals to other servers have no name.
        found = [Found(dn, {key.lower(): values for key, values in entry.items()}) for dn, entry in answers if dn]
        if len(found) > 1:
            raise NotUnderstood(SEVERAL)
        return found[0] if found else None


class Connector:
    """Makes connections, beginning with the server that answered last."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._first = 0

    def __call__(self, deadline: float) -> Any:
        """A connection, bound as the service. Raises `Unavailable` when no server answers, or `Misconfigured`."""
        uris = self._access.uris
        reasons = []
        for index in (*range(self._first, len(uris)), *range(self._first)):
            try:
                connection = _open(self._access, uris[index], deadline)
            except Unavailable as error:
                reasons.append(f"{uris[index]}: {error}")
                continue
            self._first = index
            return connection
        raise Unavailable("; ".join(reasons))


def _open(access: Access, uri: str, deadline: float) -> Any:
    seconds = min(access.seconds, _left(deadline))
    password = first_line(access.password_file) if access.password_file is not None else ""
    if bool(access.bind_dn) != bool(password):
        # A name without a password would be let in as nobody (RFC 4513 section 5.1.2).
        raise Misconfigured("bind_dn and bind_password_file need each other")
    if uri.lower().startswith("ldaps:"):
        _shake_hands(uri, seconds)
    connection = ldap.initialize(uri)
    try:
        for option, value in _options(access, seconds):
            connection.set_option(option, value)
        if access.starttls and uri.lower().startswith("ldap:"):
            connection.start_tls_s()
        connection.simple_bind_s(access.bind_dn, password)
    except ldap.LDAPError as error:
        _close(connection)
        raise _trouble(error) from None
    return connection


def _shake_hands(uri: str, seconds: float) -> None:
    """Raises `Unavailable` unless this server speaks TLS now.

    libldap waits for an answer to the first message of TLS for as long as the server likes, whatever its time limits
    are. So that is tried before, by somebody who does not; who the server is, libldap checks.
    """
    parts = urlsplit(uri)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname or "localhost", parts.port or LDAPS_PORT), seconds) as plain,
            context.wrap_socket(plain),
        ):
            pass
    except OSError as error:
        raise Unavailable(error.strerror or str(error)) from None


def _options(access: Access, seconds: float) -> Sequence[tuple[int, Any]]:
    options = [
        (ldap.OPT_PROTOCOL_VERSION, 3),
        # A password is for the server that was asked, and for no other that it names.
        (ldap.OPT_REFERRALS, 0),
        (ldap.OPT_DEREF, ldap.DEREF_NEVER),
        (ldap.OPT_NETWORK_TIMEOUT, seconds),
        (ldap.OPT_TIMEOUT, seconds),
        # A server that is gone without a word is given up after two minutes.
        (ldap.OPT_X_KEEPALIVE_IDLE, 60),
        (ldap.OPT_X_KEEPALIVE_PROBES, 6),
        (ldap.OPT_X_KEEPALIVE_INTERVAL, 10),
        (ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND),
    ]
    if access.ca_file is not None:
        options.append((ldap.OPT_X_TLS_CACERTFILE, str(access.ca_file)))
    # What makes the other TLS options hold; so it stands last.
    return [*options, (ldap.OPT_X_TLS_NEWCTX, 0)]


def _bind(connection: Any, deadline: float, dn: str, password: bytes) -> bool:
    if not dn or not 0 < len(password) <= PASSWORD_OCTETS:
        # Without a password, or without a name, a bind succeeds and means nothing (RFC 4513 section 5.1.2).
        return False
    try:
        connection.result(connection.simple_bind(dn, password), timeout=_left(deadline))
    except _REFUSALS:
        return False
    except ldap.LDAPError as error:
        raise _trouble(error) from None
    return True


def _left(deadline: float) -> float:
    return max(LEAST_SECONDS, deadline - monotonic())


def _close(connection: Any) -> None:
    try:
        connection.unbind_ext()
    except ldap.LDAPError:
        pass


def _trouble(error: ldap.LDAPError) -> Exception:
    details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    reason = ": ".join(" ".join(str(details[key]).split()) for key in ("desc", "info") if details.get(key))
    if "unknown error code" in reason:
        # What the TLS library says, libldap does not pass on.
        reason += ": a certificate that ca_file does not vouch for, as a rule"
    kind = Misconfigured if isinstance(error, _FAULTS) else Unavailable
    return kind(reason or type(error).__name__)
