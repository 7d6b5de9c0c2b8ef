"""Several databases behind one portal: who is asked, in which order, and what an unknown name costs."""

from __future__ import annotations

from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from popserv.auth.chain import CheckerChain, CredentialsRefused, DirectoryChain, UnknownAccount
from popserv.auth.credentials import ApopDigest, Password
from popserv.auth.naming import Naming
from popserv.errors import Busy
from popserv.interfaces import IAccountDirectory, IDummyCheck
from popserv.testing.accounts import MemoryAccounts

FRED = Password(b"fred", b"one")


@implementer(ICredentialsChecker)
class Broken:
    """A database that cannot be asked."""

    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials):
        return fail(Busy())


@implementer(ICredentialsChecker, IDummyCheck)
class Costly:
    """A database that knows nobody and remembers its dummy checks."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self):
        self.dummies = []

    def requestAvatarId(self, credentials):
        return fail(UnknownAccount())

    def check_nothing(self, credentials):
        self.dummies.append(credentials)
        return succeed(None)


class CheckerChainTests(SynchronousTestCase):
    def ask(self, credentials, *checkers):
        return CheckerChain(checkers).requestAvatarId(credentials)

    def refused(self, credentials, *checkers):
        return type(self.failureResultOf(self.ask(credentials, *checkers)).value)

    def test_the_first_that_knows_the_name_answers(self):
        chain = (MemoryAccounts({"ann": b"x"}), MemoryAccounts({"fred": b"one"}), MemoryAccounts({"fred": b"two"}))
        self.assertEqual(self.successResultOf(self.ask(FRED, *chain)), b"fred")

    def test_a_refusal_ends_it(self):
        chain = (MemoryAccounts({"fred": b"two"}), MemoryAccounts({"fred": b"one"}))
        self.assertIs(self.refused(FRED, *chain), CredentialsRefused)

    def test_a_plain_refusal_of_a_foreign_checker_goes_on(self):
        foreign = InMemoryUsernamePasswordDatabaseDontUse()
        foreign.addUser(b"fred", b"two")
        self.assertEqual(self.successResultOf(self.ask(FRED, foreign, MemoryAccounts({"fred": b"one"}))), b"fred")

    def test_a_foreign_checker_lets_ours_and_twisted_s_credentials_in(self):
        foreign = InMemoryUsernamePasswordDatabaseDontUse()
        foreign.addUser(b"fred", b"one")
        for credentials in (FRED, UsernamePassword(b"fred", b"one")):
            self.assertEqual(self.successResultOf(self.ask(credentials, foreign)), b"fred")

    def test_trouble_is_not_taken_for_an_unknown_name(self):
        self.assertIs(self.refused(FRED, Broken(), MemoryAccounts({"fred": b"one"})), Busy)

    def test_SEC_003_an_unknown_name_costs_one_dummy_check(self):
        first, second = Costly(), Costly()
        for _ in range(2):
            self.assertIs(self.refused(FRED, MemoryAccounts({}), first, second), UnauthorizedLogin)
        self.assertIn((first.dummies, second.dummies), [([FRED, FRED], []), ([], [FRED, FRED])])

    def test_SEC_003_strangers_look_like_accounts_of_any_database(self):
        first, second = Costly(), Costly()
        chain = CheckerChain([first, second], forms=Naming().forms, secret=b"x")
        for number in range(40):
            for name in (b"user%d" % number, b"user%d+detail" % number):
                self.failureResultOf(chain.requestAvatarId(Password(name, b"x")), UnauthorizedLogin)
        met = [[dummy.username for dummy in each.dummies] for each in (first, second)]
        # All that would be one account meets one database, under one name: neither salts nor times tell it apart.
        self.assertFalse(set(met[0]) & set(met[1]))
        self.assertTrue(all(names.count(name) == 2 and b"+" not in name for names in met for name in names))
        self.assertGreater(min(map(len, met)), 10)

    def test_a_known_name_costs_no_dummy_check(self):
        costly = Costly()
        self.successResultOf(self.ask(FRED, costly, MemoryAccounts({"fred": b"one"})))
        self.refused(FRED, costly, MemoryAccounts({"fred": b"two"}))
        self.assertEqual(costly.dummies, [])

    def test_only_checkers_that_take_the_credentials_are_asked(self):
        digest = ApopDigest(b"fred", b"<x@y>", b"0" * 32)
        self.assertIs(self.refused(digest, Broken()), UnhandledCredentials)
        self.assertIs(self.refused(digest, Broken(), MemoryAccounts({"fred": b"one"})), CredentialsRefused)

    def test_it_takes_what_any_of_them_takes_once(self):
        chain = CheckerChain([Broken(), MemoryAccounts({}), Costly()])
        self.assertEqual(chain.credentialInterfaces, [IUsernamePassword, IUsernameHashedPassword])
        self.assertTrue(verifyObject(ICredentialsChecker, chain))

    def test_cancelling_cancels_the_database(self):
        cancelled = []

        @implementer(ICredentialsChecker)
        class Slow:
            credentialInterfaces = (IUsernamePassword,)

            def requestAvatarId(self, credentials):
                return Deferred(cancelled.append)

        asked = self.ask(FRED, Slow())
        asked.cancel()
        self.failureResultOf(asked)
        self.assertEqual(len(cancelled), 1)


class DirectoryChainTests(SynchronousTestCase):
    def test_the_first_that_knows_answers(self):
        chain = DirectoryChain([MemoryAccounts({"ann": b"x"}), MemoryAccounts({"fred": b"x"})])
        self.assertTrue(verifyObject(IAccountDirectory, chain))
        self.assertEqual(self.successResultOf(chain.account(b"fred")).name, "fred")
        self.assertIsNone(self.successResultOf(chain.account(b"nobody")))
        self.assertIsNone(self.successResultOf(DirectoryChain([]).account(b"fred")))
