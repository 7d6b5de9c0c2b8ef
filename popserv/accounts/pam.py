"""Accounts of this host, with passwords that PAM checks: ``checkers = ["pam:popserv"]``.

Who there is, and where a home directory is, the host's user database says (getpwnam); whether the password is right and
the account may be used, PAM (its auth and account services). No session is opened.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable
from statistics import median
from time import monotonic, sleep
from typing import Any

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, ensureDeferred
from zope.interface import implementer

from popserv.auth import pam_stack
from popserv.auth.account import Account
from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.pam_library import PASSWORD_OCTETS, Answer, PamService
from popserv.auth.remote import Impatient, Remote, Unavailable
from popserv.auth.verifier import passwords_of
from popserv.interfaces import IAccount, IAccountDirectory, IAccounts, IBuildContext, IDummyCheck

SERVICE = "popserv"
QUEUE = 64
NOBODY_UID = 65534
FIRST_SECONDS = 0.05
"""What PAM is taken to need before it has been asked about anybody."""
LAST_TIMES = 9

_SERVICE = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_NEVER_IN_A_NAME = frozenset("/:\\")


@attrs.frozen
class Options:
    """The table ``[auth.pam]``."""

    lowest_uid: int = attrs.field(default=1000, validator=attrs.validators.ge(1))
    """Users with a lower number have no account, so neither root nor the users of services can log in."""
    directory: str = ""
    """Where the service's file is; where the host has them, /etc/pam.d, when it is empty."""
    threads: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    """Passwords that PAM checks together."""
    answer_seconds: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    """What a login may take; beyond it the login fails with -ERR [SYS/TEMP]."""


@attrs.frozen
class Users:
    """The users of this host that have accounts. Blocks, as long as the host's user database does."""

    lowest_uid: int
    look_up: Callable[[str], pwd.struct_passwd] = pwd.getpwnam
    """Raises `KeyError`, also when it cannot tell."""

    def account(self, name: bytes) -> Account | None:
        """The one with exactly this name."""
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            return None
        if not text or not text.isprintable() or text.startswith(("-", ".")) or _NEVER_IN_A_NAME & set(text):
            return None
        try:
            entry = self.look_up(text)
        except KeyError:
            return None
        # A database that does not mind the case would give one maildrop several names.
        if entry.pw_name != text or entry.pw_uid < self.lowest_uid or entry.pw_uid == NOBODY_UID:
            return None
        return Account(text, home=entry.pw_dir if entry.pw_dir.startswith("/") else "")


class Pace:
    """How long PAM takes over a user that there is, so that a name that nobody has can take as long.

    Asked about that name, pam_unix would be done at once, and others would count a failure against it.
    """

    def __init__(self) -> None:
        self._last: tuple[float, ...] = (FIRST_SECONDS,)

    def note(self, seconds: float) -> None:
        self._last = (*self._last, seconds)[-LAST_TIMES:]

    def keep(self) -> None:
        """Blocks for as long as PAM usually does."""
        sleep(median(self._last))


@implementer(ICredentialsChecker, IAccountDirectory, IDummyCheck)
class PamAccounts:
    """Checker and directory. Fails with `SystemTrouble` when PAM cannot be asked or is too slow, which is logged."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, service: PamService, users: Users, remote: Remote) -> None:
        self._service = service
        self._users = users
        self._remote = remote
        self._pace = Pace()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return ensureDeferred(self._check(credentials))

    def check_nothing(self, credentials: Any) -> Deferred[None]:  # noqa: ARG002
        return ensureDeferred(self._remote.ask(lambda _deadline: self._pace.keep()))

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        return ensureDeferred(self._remote.ask(lambda _deadline: self._users.account(avatar_id)))

    async def _check(self, credentials: Any) -> bytes:
        name: bytes = credentials.username
        # As it was typed: nobody has prepared it when it was set. To try another form, too, would be two failures.
        password = passwords_of(credentials)[-1]
        answer = await self._remote.ask(self._ask, name, password, getattr(credentials, "address", ""))
        if answer == "unknown":
            raise UnknownAccount("no account of this name")
        if answer == "refused":
            raise CredentialsRefused("wrong password, or barred")
        return name

    def _ask(self, _deadline: float, name: bytes, password: bytes, address: str) -> Answer:
        if self._users.account(name) is None:
            return "unknown"
        if not password or b"\0" in password or len(password) > PASSWORD_OCTETS:
            self._pace.keep()
            return "refused"
        begun = monotonic()
        answer = self._service.ask(name, password, address)
        self._pace.note(monotonic() - begun)
        return answer


@implementer(IAccounts)
class PamPlugin:
    """See `popserv.interfaces.IAccounts`; the argument is the name of PAM's service, "popserv" when it is empty."""

    options = Options

    def check(self, argument: str, options: Options, context: IBuildContext) -> list[str]:
        try:
            service = _service(argument, options, context)
            service.begins()
        except (ValueError, Unavailable) as error:
            return [str(error)]
        directories = [context.path(options.directory)] if options.directory else pam_stack.HOST_DIRECTORIES
        return pam_stack.problems(service.name, directories)

    def build(self, argument: str, options: Options, context: IBuildContext) -> PamAccounts:
        """Raises `ValueError` for what cannot be the name of a service, and without Linux-PAM."""
        service = _service(argument, options, context)
        pool = context.pool(f"pam-{service.name}", options.threads, QUEUE)
        patient = Impatient(pool, context.reactor, options.answer_seconds)
        remote = Remote(f"pam:{service.name}", patient, options.answer_seconds)
        return PamAccounts(service, Users(options.lowest_uid), remote)


def _service(argument: str, options: Options, context: IBuildContext) -> PamService:
    """Raises `ValueError`."""
    name = argument or SERVICE
    if not _SERVICE.fullmatch(name):
        raise ValueError("a service of PAM has a name of lower-case letters, digits, and any of _.-")
    return PamService(name, str(context.path(options.directory)) if options.directory else "")


plugin = PamPlugin()
