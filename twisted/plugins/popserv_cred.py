"""popserv's account databases for every ``--auth`` of Twisted, those that an argument is enough for."""

from typing import Any

from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from twisted.python.reflect import namedAny
from zope.interface import implementer


@implementer(ICheckerFactory, IPlugin)
class AccountsFactory:
    """One kind of account database; nothing of popserv is imported before a checker is wanted."""

    def __init__(self, name: str, interfaces: tuple[str, ...], authHelp: str, argument: str = "FILE") -> None:
        self.authType = name
        self.argStringFormat = argument
        self._interfaces = interfaces
        self.authHelp = authHelp

    @property
    def credentialInterfaces(self) -> tuple[Any, ...]:
        return tuple(namedAny(name) for name in self._interfaces)  # type: ignore[no-untyped-call]

    def generateChecker(self, argument: str) -> Any:
        from popserv.tap import checker

        return checker(self.authType, argument)


_PASSWORD = "twisted.cred.credentials.IUsernamePassword"  # noqa: S105 - the name of an interface
_HASHED = "twisted.cred.credentials.IUsernameHashedPassword"
_SCRAM = tuple(f"popserv.interfaces.IScramSha{size}" for size in (1, 256, 512))

sqlite = AccountsFactory("sqlite", (_PASSWORD, _SCRAM[1]), "The accounts that `popserv user add` makes.")
passwd_file = AccountsFactory("passwd-file", (_PASSWORD, _HASHED, *_SCRAM), "A password file in Dovecot's format.")
postgres = AccountsFactory(
    "postgres", (_PASSWORD, _HASHED, *_SCRAM), "A PostgreSQL database, asked with popserv's own query.", "CONNINFO"
)
pam = AccountsFactory("pam", (_PASSWORD,), "The accounts of this host, with passwords that PAM checks.", "SERVICE")
