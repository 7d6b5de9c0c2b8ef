"""What every account database has to hold to, as tests: mix `BackendContract` into a trial `TestCase`."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from zope.interface.verify import verifyObject

from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.credentials import CramDigest, Password
from popserv.auth.scram import INTERFACES
from popserv.auth.scram_keys import HashName
from popserv.auth.scram_mechanism import Scram
from popserv.interfaces import IAccount, IAccountDirectory, ICapable, IDummyCheck
from popserv.service.rehearsal import ScramClient
from popserv.testing.talk import Talk

CHEAP_SECONDS = 0.005
"""A database whose checks take less has nothing to hide by `IDummyCheck`."""


class BackendContract:
    """For a `twisted.trial.unittest.TestCase`::

        class MyAccountsTests(BackendContract, TestCase):
            def backend(self, accounts):
                return MyAccounts(...)

    The database checks passwords (`IUsernamePassword`), maybe other credentials, and may be a directory, too. One that
    leaves its work to threads needs pools that really answer, which `popserv.pools.InlinePool` does.
    """

    accounts: ClassVar[Mapping[str, bytes]] = {"fred": b"correct horse", "j\u00fcrgen@example.org": "pÄss".encode()}
    """What the database under test has to hold: passwords by prepared name."""

    strange: ClassVar[tuple[bytes, ...]] = (
        b"",
        b"\0",
        b"fred\0",
        b"correct horse\0",
        b"\xff\xfe\x80",
        b"%s%n{user}",
        b"' OR 1=1 --",
        b"fred\r\nuser: x",
        b"x" * 100_000,
    )
    """Names and passwords that no account has."""

    def backend(self, accounts: Mapping[str, bytes]) -> Any:
        """A new checker that knows exactly these accounts."""
        raise NotImplementedError

    async def test_right_password_gives_the_name(self) -> None:
        checker = self.backend(self.accounts)
        for name, password in self.accounts.items():
            assert await checker.requestAvatarId(Password(name.encode(), password)) == name.encode()

    async def test_credentials_of_another_class_will_do(self) -> None:
        checker = self.backend(self.accounts)
        assert await checker.requestAvatarId(UsernamePassword(b"fred", b"correct horse")) == b"fred"
        assert await self._refusal(checker, UsernamePassword(b"fred", b"correct hors")) is CredentialsRefused

    async def test_wrong_password_is_refused_and_nobody_else_is_asked(self) -> None:
        checker = self.backend(self.accounts)
        for wrong in (b"correct hors", b"Correct horse", "pÄss".encode()):
            assert await self._refusal(checker, Password(b"fred", wrong)) is CredentialsRefused

    async def test_unknown_name_is_left_to_the_next_database(self) -> None:
        checker = self.backend(self.accounts)
        for name in (b"fre", b"fredd", b"FRED", b"fred@example.org"):
            assert await self._refusal(checker, Password(name, b"correct horse")) is UnknownAccount

    async def test_strange_names_are_unknown(self) -> None:
        checker = self.backend(self.accounts)
        for name in self.strange:
            assert await self._refusal(checker, Password(name, b"correct horse")) is UnknownAccount

    async def test_strange_passwords_are_wrong(self) -> None:
        checker = self.backend(self.accounts)
        for password in self.strange:
            assert await self._refusal(checker, Password(b"fred", password)) is CredentialsRefused

    async def test_an_empty_database_knows_nobody(self) -> None:
        assert await self._refusal(self.backend({}), Password(b"fred", b"correct horse")) is UnknownAccount

    async def test_checker_keeps_to_its_interface(self) -> None:
        checker = self.backend(self.accounts)
        assert verifyObject(ICredentialsChecker, checker)
        assert checker.credentialInterfaces

    async def test_directory_knows_its_accounts_and_no_others(self) -> None:
        directory = self.backend(self.accounts)
        if not IAccountDirectory.providedBy(directory):
            return
        assert verifyObject(IAccountDirectory, directory)
        for name in self.accounts:
            account = await directory.account(name.encode())
            assert account is not None
            assert verifyObject(IAccount, account)
            assert account.name == name
        for unknown in (b"fre", *self.strange):
            assert await directory.account(unknown) is None

    async def test_unknown_name_costs_what_a_wrong_password_costs(self) -> None:
        checker = self.backend(self.accounts)
        credentials = Password(b"fred", b"wrong")
        await self._refusal(checker, credentials)
        wrong = min([await self._seconds(lambda: self._refusal(checker, credentials)) for _ in range(2)])
        if not IDummyCheck.providedBy(checker):
            assert wrong < CHEAP_SECONDS
            return
        assert verifyObject(IDummyCheck, checker)
        unknown = Password(b"nobody", b"wrong")
        dummy = min([await self._seconds(lambda: checker.check_nothing(unknown)) for _ in range(2)])
        assert max(dummy, wrong) < CHEAP_SECONDS or wrong / 3 < dummy < wrong * 3

    async def test_a_digest_will_do_where_digests_are_taken(self) -> None:
        checker = self.backend(self.accounts)
        if not _takes(checker, IUsernameHashedPassword):
            return
        for name, password in self.accounts.items():
            assert await checker.requestAvatarId(_cram(name.encode(), password)) == name.encode()
        assert await self._refusal(checker, _cram(b"fred", b"correct hors")) is CredentialsRefused
        assert await self._refusal(checker, _cram(b"fredd", b"correct horse")) is UnknownAccount

    async def test_scram_will_do_where_it_is_taken(self) -> None:
        checker = self.backend(self.accounts)
        for hash_name, interface in INTERFACES.items():
            if not _takes(checker, interface):
                continue
            for name, password in self.accounts.items():
                exchange, talk = await _scram(hash_name, name.encode(), password)
                assert await checker.requestAvatarId(exchange) == name.encode()
                assert [octets[:2] for octets in talk.challenges] == [b"r=", b"v="]
            exchange, wrong = await _scram(hash_name, b"fred", b"correct hors")
            assert await self._refusal(checker, exchange) is CredentialsRefused
            # An unknown name is left to the next database with the exchange still to be held ...
            exchange, unknown = await _scram(hash_name, b"nora", b"correct hors")
            assert await self._refusal(checker, exchange) is UnknownAccount
            assert unknown.challenges == []
            # ... and when no database knows it, then it is held as with a wrong password, alike each time.
            assert IDummyCheck.providedBy(checker)
            await checker.check_nothing(exchange)
            exchange, again = await _scram(hash_name, b"nora", b"correct hors")
            await checker.check_nothing(exchange)
            assert _shape(unknown) == _shape(wrong)
            assert _salt(unknown) == _salt(again) != _salt(wrong)

    async def _refusal(self, checker: Any, credentials: Any) -> type[BaseException]:
        """The class that the checker refuses these credentials with."""
        try:
            await checker.requestAvatarId(credentials)
        except UnauthorizedLogin as error:
            return type(error)
        raise AssertionError("these credentials were accepted")

    async def _seconds(self, work: Callable[[], Awaitable[object]]) -> float:
        """Processor time of all threads, so that a busy machine does not matter."""
        begun = time.process_time()
        await work()
        return time.process_time() - begun


def _takes(checker: Any, credential: Any) -> bool:
    takes = any(credential.isOrExtends(taken) for taken in checker.credentialInterfaces)
    return takes and (not ICapable.providedBy(checker) or checker.verifies(credential))


def _cram(name: bytes, password: bytes) -> CramDigest:
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    return CramDigest(name, challenge, hmac.digest(password, challenge, "md5").hex().encode("ascii"))


async def _scram(hash_name: HashName, name: bytes, password: bytes) -> tuple[Any, Talk]:
    """An exchange that has begun, and the conversation in which a client goes on with it."""
    client = ScramClient(hash_name, name, password)
    talk = Talk(client.first(), client.respond)
    return await Scram(hash_name).authenticate(talk), talk


def _shape(talk: Talk) -> list[tuple[int, bytes]]:
    """What two exchanges have in common if nobody can tell them apart: lengths and iteration counts."""
    return [(len(octets), octets.rpartition(b",i=")[2]) for octets in talk.challenges]


def _salt(talk: Talk) -> bytes:
    return talk.challenges[0].split(b",")[1]
