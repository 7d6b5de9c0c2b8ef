"""Anonymous access to one maildrop, to read only: ``checkers = ["public:ACCOUNT"]``.

ANONYMOUS has to be named in ``[auth] mechanisms`` besides. The account itself stands in another database, if there is
any, and is an ordinary one: who has its password may delete there, and mail comes in.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.cred.checkers import ANONYMOUS, ICredentialsChecker
from twisted.cred.credentials import IAnonymous
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from popserv.auth.names import InvalidName, prepare
from popserv.interfaces import IAccounts, IBuildContext, IPublicMaildrop


@implementer(ICredentialsChecker, IPublicMaildrop)
class PublicMaildrop:
    """Lets everybody in as nobody; see `popserv.interfaces.IPublicMaildrop`."""

    credentialInterfaces = (IAnonymous,)

    def __init__(self, account: str) -> None:
        """`account` is a prepared name."""
        self.account = account

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:  # noqa: ARG002
        return succeed(ANONYMOUS)


@attrs.frozen
class Options:
    """``[auth.public]`` has no keys."""


@implementer(IAccounts)
class PublicPlugin:
    """See `popserv.interfaces.IAccounts`; the argument is the name of an account."""

    options = Options

    def check(self, argument: str, options: Options, context: IBuildContext) -> list[str]:  # noqa: ARG002
        try:
            prepare(argument.encode("utf-8"), context.case)
        except InvalidName as error:
            return [f"no account can have this name: {error}"]
        return []

    def build(self, argument: str, options: Options, context: IBuildContext) -> PublicMaildrop:  # noqa: ARG002
        """Raises `popserv.auth.names.InvalidName`, a `ValueError`, for what can be no account."""
        return PublicMaildrop(prepare(argument.encode("utf-8"), context.case))


plugin = PublicPlugin()
