"""Several account databases in order, behind one portal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import product
from typing import Any

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from zope.interface import implementer

from popserv.auth.trail import Trail
from popserv.interfaces import (
    IAccount,
    IAccountDirectory,
    IAuthorizes,
    ICapable,
    IChannel,
    IDummyCheck,
    IRecognizes,
    IScramCredentials,
)

_BY_NAME = (IUsernamePassword, IUsernameHashedPassword, IScramCredentials)
"""Credentials that are somebody's because of the name in them."""


class UnknownAccount(UnauthorizedLogin):
    """This database does not know the name: ask the next."""


class CredentialsRefused(UnauthorizedLogin):
    """This database knows the name and the credentials are not good for it: ask nobody else."""


def nobody(_avatar_id: bytes, _authorization: bytes) -> bool:
    """Lets nobody act as somebody else."""
    return False


def itself(name: bytes) -> Sequence[bytes]:
    """For names that stand for nothing else."""
    return [name]


def can_check(checker: Any, credential: Any, channel: IChannel | None = None) -> bool:
    """Whether `checker` takes credentials of this interface now and, with a `channel`, those that come with that."""
    return (
        any(credential.isOrExtends(taken) for taken in checker.credentialInterfaces)
        and (not ICapable.providedBy(checker) or checker.verifies(credential))
        and (channel is None or not IRecognizes.providedBy(checker) or checker.recognizes(credential, channel))
    )


@implementer(ICredentialsChecker, IAuthorizes, ICapable, IRecognizes)
class CheckerChain:
    """Asks each checker that takes the credentials, in order.

    The next is asked on `UnknownAccount`, and on a plain `UnauthorizedLogin`, which is all that a third party's checker
    can say of a name it does not know. If nobody knew it, one of those that can spends the time that checking a wrong
    secret takes: always the same one for a name, and for all that stands for the same account, as if it were one of
    that checker's.
    """

    def __init__(
        self,
        checkers: Sequence[Any],
        may_act_as: Callable[[bytes, bytes], bool] = nobody,
        labels: Sequence[str] = (),
        forms: Callable[[bytes], Sequence[bytes]] = itself,
        directory: IAccountDirectory | None = None,
        secret: bytes = b"",
        vet: Callable[[bytes, Any], Awaitable[None]] | None = None,
    ) -> None:
        """`may_act_as` says of two prepared names whether the first may log in to the maildrop of the second. `labels`
        are what a `popserv.auth.trail.Trail` calls the checkers. `forms` gives the accounts that a prepared name may
        stand for, in order; see `popserv.auth.naming.Naming`. `directory` knows the account that a name stands for, for
        somebody who acts as another. By `secret`, which should outlive a restart, strangers are spread over the
        checkers. `vet` raises an error if whoever would act as another may not log in by these credentials himself."""
        self._directory = directory
        self._secret = secret
        self._vet = vet
        self._checkers = list(checkers)
        self._labels = list(labels) or [type(checker).__name__ for checker in checkers]
        self._may_act_as = may_act_as
        self._forms = forms
        self.credentialInterfaces = list(
            {interface: None for checker in checkers for interface in checker.credentialInterfaces}
        )

    def verifies(self, credential: Any) -> bool:
        return any(can_check(checker, credential) for checker in self._checkers)

    def recognizes(self, credential: Any, channel: IChannel) -> bool:
        return any(can_check(checker, credential, channel) for checker in self._checkers)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return ensureDeferred(self._identify(credentials))

    async def _identify(self, credentials: Any) -> bytes | tuple[()]:
        avatar_id = await self._ask(credentials)
        authorization: bytes = getattr(credentials, "authorization", b"")
        if authorization in (b"", avatar_id):
            return avatar_id
        if avatar_id in self._forms(authorization):
            return avatar_id
        if not (isinstance(avatar_id, bytes) and self._may_act_as(avatar_id, authorization)):
            if (trail := getattr(credentials, "trail", None)) is not None:
                trail.reason = "authorization"
            raise CredentialsRefused("may not act as somebody else")
        if self._vet is not None:
            await self._vet(avatar_id, credentials)
        if (trail := getattr(credentials, "trail", None)) is not None:
            trail.master = avatar_id.decode("utf-8", "replace")
        return await self._meant(authorization)

    async def _meant(self, authorization: bytes) -> bytes:
        """The account that there is of those that this may stand for, itself if there is none."""
        found = None if self._directory is None else await self._directory.account(authorization)
        return authorization if found is None else found.name.encode("utf-8")

    async def _ask(self, credentials: Any) -> bytes | tuple[()]:
        takers = [
            (checker, label)
            for checker, label in zip(self._checkers, self._labels, strict=True)
            if any(interface.providedBy(credentials) for interface in checker.credentialInterfaces)
        ]
        if not takers:
            raise UnhandledCredentials("no checker takes these credentials")
        asked = getattr(credentials, "trail", None) or Trail()
        named = self._named(credentials)
        for (checker, label), each in product(takers, named):
            try:
                avatar_id: bytes | tuple[()] = await maybeDeferred(checker.requestAvatarId, each)
            except CredentialsRefused:
                asked.asked(label, "refused")
                raise
            except UnknownAccount:
                asked.asked(label, "unknown")
                continue
            except UnauthorizedLogin:
                # A third party's: unknown, or refused.
                asked.asked(label, "refused")
                continue
            except Exception:
                asked.asked(label, "failed")
                raise
            asked.asked(label, "accepted")
            return avatar_id
        stranger = named[-1] if named else credentials
        dummies = [checker for checker, _label in takers if IDummyCheck.providedBy(checker)]
        if dummies:
            await dummies[self._lot(stranger) % len(dummies)].check_nothing(stranger)
        raise UnauthorizedLogin("no checker knows this name")

    def _lot(self, credentials: Any) -> int:
        """A number that a name always draws, and nobody can foretell."""
        name: bytes = getattr(credentials, "username", b"")
        return int.from_bytes(blake2b(name, key=self._secret[:64], digest_size=8).digest(), "big")

    def _named(self, credentials: Any) -> Sequence[Any]:
        """The credentials, once with each name that theirs may stand for."""
        if not (attrs.has(type(credentials)) and any(kind.providedBy(credentials) for kind in _BY_NAME)):
            return [credentials]
        try:
            names = self._forms(credentials.username)
        except ValueError:
            return []
        return [attrs.evolve(credentials, username=name) for name in names]


@implementer(IAccountDirectory)
class DirectoryChain:
    """Asks each directory in order; the first that knows the name, or what it stands for, answers.

    One is asked for all that a name may stand for before the next, as logins do: so mail for accounts of the first
    comes in while another is down.
    """

    def __init__(
        self, directories: Iterable[IAccountDirectory], forms: Callable[[bytes], Sequence[bytes]] = itself
    ) -> None:
        """`forms` gives the accounts that a name may stand for, in order."""
        self._directories = list(directories)
        self._forms = forms

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        return ensureDeferred(self._ask(avatar_id))

    async def _ask(self, avatar_id: bytes) -> IAccount | None:
        for directory, name in product(self._directories, self._forms(avatar_id)):
            found = await directory.account(name)
            if found is not None:
                return found
        return None
