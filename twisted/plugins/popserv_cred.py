"""popserv's account databases for every ``--auth`` of Twisted: ``sqlite:FILE``, ``passwd-file:FILE``."""

from typing import Any

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(ICheckerFactory, IPlugin)
class AccountsFactory:
    """One kind of account database; nothing of popserv is imported before a checker is wanted."""

    argStringFormat = "FILE"

    def __init__(self, name: str, credentialInterfaces: tuple[Any, ...], authHelp: str) -> None:
        self.authType = name
        self.credentialInterfaces = credentialInterfaces
        self.authHelp = authHelp

    def generateChecker(self, argument: str) -> Any:
        from popserv.tap import checker

        return checker(self.authType, argument)


sqlite = AccountsFactory("sqlite", (IUsernamePassword,), "The accounts that `popserv user add` makes.")
passwd_file = AccountsFactory(
    "passwd-file", (IUsernamePassword, IUsernameHashedPassword), "A password file in Dovecot's format."
)
