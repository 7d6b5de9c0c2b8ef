"""Accounts in a text file in Dovecot's passwd-file format: ``checkers = ["passwd-file:users"]``.

The file is read again when it has changed. What stands in it and is not understood is never ignored: a line that
cannot be read is reported and skipped, an account with a setting that is not supported cannot be used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from zope.interface import implementer

from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.passwd_lines import Entry, Users, parse
from popserv.auth.passwords import UnusableHash, canonical_scheme, complaint, plain_secret
from popserv.auth.scram import INTERFACES
from popserv.auth.scram_keys import HashName
from popserv.auth.scram_source import ScramSource
from popserv.auth.success_cache import SuccessCache
from popserv.auth.verifier import PasswordVerifier
from popserv.errors import SystemBroken, SystemTrouble
from popserv.interfaces import (
    IAccount,
    IAccountDirectory,
    IAccountListing,
    IAccounts,
    IBuildContext,
    ICapable,
    IDummyCheck,
    IScramCredentials,
)
from popserv.nowait import on_network, open_cached
from popserv.pools import Pool


class BrokenFile(Exception):
    """The file holds lines, and none of them is an account."""


@attrs.frozen
class Reading:
    """The file as it was read once."""

    users: Users
    signature: tuple[int, ...]
    """What tells that the file is still the same: device, inode, octets, and time of change in nanoseconds."""
    local: bool = False
    """It does not lie on the network: the kernel knows without waiting whether it is still the same."""

    def holds(self, path: Path) -> bool:
        """Whether the kernel says at once that the file is still the same. Does not block."""
        descriptor = open_cached(os.fsencode(path)) if self.local else None
        if descriptor is None:
            return False
        try:
            return _signature(os.fstat(descriptor)) == self.signature
        finally:
            os.close(descriptor)


def _signature(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read(path: Path, known: Reading | None, case: Literal["fold", "keep"]) -> Reading:
    """What the file holds: `known` itself if it has not changed. Blocks. Raises `OSError` and `BrokenFile`."""
    with path.open("rb") as file:
        signature = _signature(os.fstat(file.fileno()))
        if known is not None and known.signature == signature:
            return known
        users = parse(file.read(), case)
        local = not on_network(file.fileno())
    if users.problems and not users.entries:
        raise BrokenFile("no line of it can be read")
    return Reading(users, signature, local)


@implementer(ICredentialsChecker, IAccountDirectory, IAccountListing, IDummyCheck, ICapable)
class PasswdFile:
    """Checker and directory over one file.

    Fails with `SystemBroken` when the file cannot be read and never could be, and with `SystemTrouble` when asked where
    the mail of an account is whose settings are not understood. Both are logged.
    """

    log = Logger()
    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword, *INTERFACES.values())

    def __init__(
        self,
        path: Path,
        disk: Pool,
        hashing: Pool,
        default_scheme: str = "CRYPT",
        case: Literal["fold", "keep"] = "fold",
        successes: SuccessCache | None = None,
        secret: bytes = b"",
    ) -> None:
        """`default_scheme` is that of passwords without a prefix, `case` how the names in the file are prepared;
        `secret` makes salts. Reads the file, if it can."""
        self._path = path
        self._disk = disk
        self._default_scheme = default_scheme
        self._case = case
        self._verifier = PasswordVerifier(hashing, default_scheme, successes)
        self._scram = ScramSource(hashing, secret, default_scheme)
        self._typical: Mapping[HashName, str] = {}
        self._plain = False
        self._reading: Reading | None = None
        self._complaint = ""
        with suppress(OSError, BrokenFile):
            # What is offered to the first client depends on it.
            self._take(read(path, None, case))

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return ensureDeferred(self._check(credentials))

    def check_nothing(self, credentials: Any) -> Deferred[None]:
        return ensureDeferred(self._check_nothing(credentials))

    def names(self) -> Deferred[Sequence[bytes]]:
        return ensureDeferred(self._names())

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        return ensureDeferred(self._account(avatar_id))

    def verifies(self, credential: Any) -> bool:
        for hash_name, interface in INTERFACES.items():
            if credential.isOrExtends(interface):
                return hash_name in self._typical
        return self._plain or not credential.isOrExtends(IUsernameHashedPassword)

    async def _check(self, credentials: Any) -> bytes:
        name: bytes = credentials.username
        entry = await self._entry(name)
        if entry is None:
            raise UnknownAccount("no account of this name")
        if IScramCredentials.providedBy(credentials):
            return await self._prove(entry, credentials)
        # The secret is checked even if the account may not be used, so that it takes the same time.
        fits = await self._fits(entry, credentials)
        if not (fits and entry.admits(getattr(credentials, "address", ""))):
            raise CredentialsRefused("wrong password, or not from here, or barred")
        return name

    async def _prove(self, entry: Entry, credentials: Any) -> bytes:
        """Hold the SCRAM exchange: the name. Raises `CredentialsRefused`."""
        name: bytes = credentials.username
        keys = await self._scram.keys(name, entry.stored, credentials.hash_name)
        if keys is None:
            await self._check_nothing(credentials)
        elif not entry.admits(credentials.address):
            await credentials.prove_nothing(keys.salt, keys.iterations)
        elif await credentials.prove(keys):
            return name
        raise CredentialsRefused("wrong proof, or not from here, or barred")

    async def _fits(self, entry: Entry, credentials: Any) -> bool:
        if IUsernamePassword.providedBy(credentials):
            usable = entry.admits(getattr(credentials, "address", ""))
            return await self._verifier.check(entry.name, entry.stored, credentials, usable)
        secret = self._secret(entry.stored)
        # Something is digested in every case, so that it takes the same time.
        return bool(credentials.checkPassword(secret or b"nothing")) and secret is not None

    async def _check_nothing(self, credentials: Any) -> None:
        if IScramCredentials.providedBy(credentials):
            typical = self._typical.get(credentials.hash_name, "")
            keys = await self._scram.nobodys(credentials.username, typical, credentials.hash_name)
            await credentials.prove_nothing(keys.salt, keys.iterations)
        elif IUsernamePassword.providedBy(credentials):
            await self._verifier.check_dummy(credentials)
        else:
            credentials.checkPassword(b"nothing")

    async def _account(self, avatar_id: bytes) -> IAccount | None:
        entry = await self._entry(avatar_id)
        if entry is not None and entry.account is None:
            self.log.error("settings of an account are not understood: account={account}", account=entry.name)
            raise SystemTrouble()
        return entry.account if entry is not None else None

    async def _names(self) -> Sequence[bytes]:
        return [name.encode("utf-8") for name in (await self._users()).entries]

    async def _entry(self, name: bytes) -> Entry | None:
        entries = (await self._users()).entries
        try:
            return entries.get(name.decode("utf-8"))
        except UnicodeDecodeError:
            return None

    async def _users(self) -> Users:
        """What the file says now, or what it said last when it cannot be read."""
        if self._reading is not None and self._reading.holds(self._path):
            return self._reading.users
        try:
            reading = await self._disk.run(read, self._path, self._reading, self._case)
        except (OSError, BrokenFile) as error:
            self._complain(str(error))
            if self._reading is None:
                raise SystemBroken() from None
            return self._reading.users
        self._complaint = ""
        if reading is not self._reading:
            self._take(reading)
        return reading.users

    def _take(self, reading: Reading) -> None:
        self._reading = reading
        users = reading.users
        self._verifier.stand_in(users.typical())
        typical = {name: users.typical(partial(self._can, name)) for name in INTERFACES}
        self._typical = {name: stored for name, stored in typical.items() if stored is not None}
        self._plain = users.typical(lambda stored: self._secret(stored) is not None) is not None
        for problem in reading.users.problems:
            self.log.warn("passwd-file: {path}: {problem}", path=str(self._path), problem=problem)

    def _can(self, hash_name: HashName, stored: str) -> bool:
        return self._scram.can(stored, hash_name)

    def _secret(self, stored: str) -> bytes | None:
        """The password itself, if it can be had of this stored value."""
        try:
            return plain_secret(stored, self._default_scheme)
        except UnusableHash:
            return None

    def _complain(self, reason: str) -> None:
        """Log, once for as long as the reason is the same."""
        if reason != self._complaint:
            self._complaint = reason
            self.log.error("passwd-file cannot be read: {path}: {reason}", path=str(self._path), reason=reason)


@attrs.frozen
class Options:
    """The table ``[auth.passwd-file]``."""

    default_scheme: str = "crypt"
    """The scheme of passwords without a ``{SCHEME}`` prefix."""


@implementer(IAccounts)
class PasswdFilePlugin:
    """See `popserv.interfaces.IAccounts`; the argument is the path of the file."""

    options = Options

    def check(self, argument: str, options: Options, context: IBuildContext) -> list[str]:
        try:
            users = read(context.path(argument), None, context.case).users
        except OSError as error:
            return [f"{error.strerror}"]
        except BrokenFile as error:
            return [str(error)]
        stored = ((entry.name, complaint(entry.stored, options.default_scheme)) for entry in users.entries.values())
        return [*users.problems, *(f"account {name!a}: its password: {why}" for name, why in stored if why)]

    def build(self, argument: str, options: Options, context: IBuildContext) -> PasswdFile:
        """Raises `popserv.auth.passwords.UnknownScheme`, a `ValueError`, for a default scheme that is none."""
        scheme = canonical_scheme(options.default_scheme)
        return PasswdFile(
            context.path(argument),
            context.disk,
            context.hashing,
            scheme,
            context.case,
            context.successes,
            context.secret,
        )


plugin = PasswdFilePlugin()
