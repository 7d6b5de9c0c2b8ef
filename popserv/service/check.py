"""What is wrong with a configuration on this host, for this user; nothing is changed by looking."""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from errno import EADDRINUSE
from itertools import islice
from pathlib import Path
from stat import S_ISSOCK
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from popserv.auth.account import Account
from popserv.interfaces import IAccountListing, IInspects
from popserv.maildrop.location import expand
from popserv.pools import InlinePool
from popserv.service import access, certificate, names, rules, views
from popserv.service.access import BuildContext
from popserv.service.certificate import CertificateTrouble
from popserv.service.client_authorities import read_authorities, read_revocations
from popserv.service.config import ConfigErrors
from popserv.service.endpoints import Endpoint, parse
from popserv.service.listening import dual_stack_socket
from popserv.service.schema import Config
from popserv.service.tls import make_context

NOBODY = "popserv-check"
"""An account that is asked for to see whether asking works."""

MOST_USERS = 1000
"""Users of this host whose homes are looked at."""

SMTP_PORT = 25

SOCKET_PATH_OCTETS = 107

EXPIRY = timedelta(days=14)
"""A certificate that ends sooner is worth a warning."""


@attrs.frozen
class Problem:
    """Something wrong with what `key` says."""

    key: str
    message: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{'warning: ' if self.warning else ''}{self.key}: {self.message}"


def problems(config: Config) -> list[Problem]:
    """Everything that is wrong; `config` has been loaded, so its syntax is right."""
    context = BuildContext.offline(config, InlinePool())
    return [
        *_certificates(config),
        *_client_certificates(config),
        *_accounts(config, context),
        *_aliases(config, context),
        *_maildrop(config, context),
        *_endpoints(config),
    ]


def _certificates(config: Config) -> Iterator[Problem]:
    several = not isinstance(config.tls.certificate, str)
    pairs = []
    for index, files in enumerate(config.tls.pairs):
        key = f"tls.certificate[{index}]" if several else "tls.certificate"
        try:
            pair = certificate.read(config.path(files.certificate), config.path(files.key))
        except CertificateTrouble as trouble:
            yield Problem(key, str(trouble))
            continue
        pairs.append(pair)
        yield from _validity(key, pair)
        try:
            make_context(pair)
        except CertificateTrouble as trouble:
            yield Problem(key, str(trouble))
        if config.path(files.key).stat().st_mode & 0o004:
            yield Problem(key, f"{files.key}: everybody can read the private key", warning=True)
    hostname = config.server.hostname
    if pairs and not any(pair.covers(hostname) for pair in pairs):
        yield Problem("tls.certificate", f"does not cover server.hostname, {hostname}", warning=True)


def _client_certificates(config: Config) -> Iterator[Problem]:
    tls = config.tls
    mapped = any(text.partition(":")[0] == "certificate" for text in config.auth.checkers)
    if mapped and not tls.client_ca:
        yield Problem("tls.client_ca", "is not set, so no client has a certificate for certificate:", warning=True)
    if tls.client_ca and not tls.pairs:
        yield Problem("tls.client_ca", "has no effect without tls.certificate", warning=True)
    if tls.client_crl and not tls.client_ca:
        yield Problem("tls.client_crl", "has no effect without tls.client_ca", warning=True)
    if not tls.client_ca:
        return
    try:
        found = read_authorities(config.path(tls.client_ca))
    except CertificateTrouble as trouble:
        yield Problem("tls.client_ca", str(trouble))
        return
    for authority in found.certificates:
        yield from _ends("tls.client_ca", authority.not_valid_after_utc)
    try:
        lists = read_revocations(config.path(tls.client_crl)) if tls.client_crl else ()
    except CertificateTrouble as trouble:
        yield Problem("tls.client_crl", str(trouble))
        return
    for revocation in lists:
        if revocation.next_update_utc is not None:
            yield from _ends("tls.client_crl", revocation.next_update_utc)


def _ends(key: str, end: datetime) -> Iterator[Problem]:
    if datetime.now(UTC) > end:
        yield Problem(key, f"expired on {end:%Y-%m-%d}, so client certificates are refused")


def _validity(key: str, pair: certificate.KeyPair) -> Iterator[Problem]:
    now = datetime.now(UTC)
    begin, end = pair.certificate.not_valid_before_utc, pair.certificate.not_valid_after_utc
    if now > end:
        yield Problem(key, f"expired on {end:%Y-%m-%d}")
    elif now < begin:
        yield Problem(key, f"is not valid before {begin:%Y-%m-%d %H:%M} UTC")
    elif now + EXPIRY > end:
        yield Problem(key, f"expires on {end:%Y-%m-%d}", warning=True)


def _accounts(config: Config, context: BuildContext) -> Iterator[Problem]:
    for index, text in enumerate(config.auth.checkers):
        key = f"auth.checkers[{index}]"
        name = text.partition(":")[0]
        try:
            wrong = access.check_checker(text, config, context)
            checker = access.build_checker(text, config, context)
        except Exception as error:
            yield Problem(key, f"{name}: {error}")
            continue
        yield from (Problem(key, f"{text}: {message}") for message in wrong)
        directory = access.directory_of(checker, context)
        if config.maildrop.retains and directory is not None and not IAccountListing.providedBy(directory):
            message = f"{name}: cannot list its accounts, so the nightly expiry does not reach them"
            yield Problem(key, message, warning=True)
        if directory is not None and not wrong:
            reason = _reason(directory.account(NOBODY.encode("ascii")))
            if reason:
                yield Problem(key, f"{text}: {reason}")


def _aliases(config: Config, context: BuildContext) -> Iterator[Problem]:
    try:
        aliases = rules.naming(config).aliases
        known = access.accounts(config, context).directory()
    except ConfigErrors as errors:
        # What is wrong with account databases has been told under their own key.
        yield from (Problem(key, message) for key, message in errors.errors if key == "auth.aliases")
        return
    for alias, name in sorted(aliases.items()):
        found: list[Any] = []
        known.account(name.encode("utf-8")).addBoth(found.append)
        if found == [None]:
            message = f"{alias!a} stands for {name!a}, which is no account"
            yield Problem("auth.aliases", message, warning=True)


def _reason(work: Deferred[Any]) -> str:
    """Why it failed; "" if it did not. With an `InlinePool` it has fired already."""
    failures: list[Failure] = []
    work.addErrback(failures.append)
    if not failures:
        return ""
    # What a client would be told hides the reason, on purpose.
    error = failures[0].value
    return str(getattr(error, "__cause__", None) or getattr(error, "__context__", None) or error)


def _maildrop(config: Config, context: BuildContext) -> Iterator[Problem]:
    try:
        store = access.store(config, context)
    except ConfigErrors as errors:
        yield from (Problem(key, message) for key, message in errors.errors)
        return
    for needs in (access.delivery, access.check_retention, views.check):
        try:
            needs(config, store)
        except ConfigErrors as errors:
            yield from (Problem(key, message) for key, message in errors.errors)
    yield from _shared_places(config.maildrop.location)
    # A maildrop that is not there reads as empty; only what stands in the way of looking is wrong.
    location = config.maildrop.location
    yield from (Problem("maildrop.location", message) for message in _inspected(config, context))
    looked = store.open(Account(NOBODY)).addCallback(lambda maildrop: maildrop.close())
    reason = _reason(looked)
    if reason and "{home}" not in location:
        yield Problem("maildrop.location", f"{location}: {reason}")
    if "{home}" in location:
        yield from _homes(config, context)
    elif not reason:
        yield from _root_of_mail(config, context)


def _shared_places(location: str) -> Iterator[Problem]:
    """Places that are one for everybody, or look as if they were written for another server."""
    if not any(f"{{{name}}}" in location for name in ("user", "local", "home")):
        message = f"{location}: has neither {{user}} nor {{local}} nor {{home}}, so all accounts have the same mail"
        yield Problem("maildrop.location", message, warning=True)
    if variable := re.search("%[undh]", location):
        message = f"{location}: {variable[0]} is no variable here, {{user}} is"
        yield Problem("maildrop.location", message, warning=True)


def _root_of_mail(config: Config, context: BuildContext) -> Iterator[Problem]:
    """Whether this user may make maildrops, and work in those that are there; of many, the first ones are looked at."""
    place = config.maildrop.location.partition(":")[2]
    fixed = context.path(place.partition("{")[0])
    root = fixed if place.partition("{")[0].endswith("/") else fixed.parent
    found = islice(root.iterdir(), MOST_USERS) if "{" in place and root.is_dir() and os.access(root, os.R_OK) else ()
    for path in (root, *found):
        if not _is_ours_to_change(path):
            yield Problem("maildrop.location", f"{path}: this user has no right to work there")
            return


def _homes(config: Config, context: BuildContext) -> Iterator[Problem]:
    """Whether this user may work in the homes of others: of the users of this host, as far as they have accounts."""
    try:
        directory = access.accounts(config, context).directory()
    except ConfigErrors:
        return
    place = config.maildrop.location.partition(":")[2]
    for user in islice(pwd.getpwall(), MOST_USERS):
        found: list[Any] = []
        failed: list[Any] = []
        directory.account(user.pw_name.encode()).addCallbacks(found.append, failed.append)
        if failed:
            return
        account = found[0]
        if account is None or account.location or account.home != user.pw_dir or not Path(account.home).is_dir():
            continue
        maildrop = Path(expand(place, account))
        if not _is_ours_to_change(maildrop):
            message = f"{maildrop}: this user has no right to work there, so {user.pw_name} cannot read mail"
            yield Problem("maildrop.location", message)
            return


def _is_ours_to_change(path: Path) -> bool:
    """Whether this user may make it, or work in it if it is there."""
    try:
        while not path.exists():
            path = path.parent
    except PermissionError:
        return False
    return os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)


def _inspected(config: Config, context: BuildContext) -> list[str]:
    name, _, place = config.maildrop.location.partition(":")
    plugin = names.look_up("stores", name)
    options = config.maildrop.options.get(name) or plugin.options()
    inspector = IInspects(plugin, None)
    return [] if inspector is None else inspector.inspect(place, options, context)


def _endpoints(config: Config) -> Iterator[Problem]:
    for index, listen in enumerate(config.listeners):
        key = f"listen[{index}].endpoint"
        endpoint = parse(listen.endpoint)
        if listen.protocol == "lmtp" and not endpoint.local:
            yield Problem(key, "anybody can deliver here: lmtp is for a unix socket or loopback")
        if listen.protocol == "lmtp" and endpoint.port == SMTP_PORT:
            yield Problem(key, f"port {SMTP_PORT} is for SMTP: lmtp must not be there (RFC 2033 section 5)")
        if endpoint.kind == "unix":
            yield from (Problem(key, message) for message in _unix(config.path(endpoint.path)))
        elif endpoint.kind != "systemd":
            yield from _bindable(key, listen.endpoint, endpoint)


def _bindable(key: str, text: str, endpoint: Endpoint) -> Iterator[Problem]:
    try:
        _bind(endpoint)
    except OSError as error:
        if error.errno == EADDRINUSE:
            yield Problem(key, f"{text}: address in use; by this service, if it is running", warning=True)
        else:
            yield Problem(key, f"{text}: {error.strerror}")


def _bind(endpoint: Endpoint) -> None:
    """Take the address for a moment. Raises `OSError`."""
    if endpoint.kind == "tcp6" and not endpoint.interface:
        dual = dual_stack_socket(endpoint.port, 1)
        if dual is not None:
            dual.close()
            return
    family = socket.AF_INET6 if endpoint.interface and endpoint.kind == "tcp6" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((endpoint.interface, endpoint.port))


def _unix(path: Path) -> Iterable[str]:
    if not path.parent.is_dir():
        yield f"{path.parent}: is no directory"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        yield f"{path.parent}: a socket cannot be made here"
    elif path.exists() and not S_ISSOCK(path.stat().st_mode):
        yield f"{path}: is there already, and is no socket"
    if len(os.fsencode(path)) > SOCKET_PATH_OCTETS:
        yield f"{path}: is longer than the {SOCKET_PATH_OCTETS} octets that the path of a socket may have"
