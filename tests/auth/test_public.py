"""Anonymous users: from the credentials to a maildrop that can be read only."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ANONYMOUS, AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from popserv.accounts.public import PublicMaildrop, plugin
from popserv.auth.anonymous import Anonymous
from popserv.auth.chain import CheckerChain
from popserv.auth.credentials import Password
from popserv.auth.login import LoggedIn, LoginService, Peer
from popserv.auth.policy import Gate, Ledger, Policy, Rule
from popserv.auth.realm import MaildropRealm
from popserv.auth.throttle import Throttle
from popserv.errors import LoginBarred, MaildropInUse, StoreBroken
from popserv.interfaces import IAccounts, IPublicMaildrop, IReadOnlyMaildrop
from popserv.service.events import SessionLog
from popserv.stores.memory import MemoryStore
from popserv.testing import MemoryAccounts, RecordingObserver
from tests.accounts.context import Context
from tests.net.support import StoreOf

PEER = Peer("192.0.2.1", "s-1", mechanism="ANONYMOUS")
FREE = Policy()


class Public(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.observer = RecordingObserver()
        self.accounts = MemoryAccounts({"notices": b"secret", "fred": b"other"})
        self.login = self.service(MemoryStore({"notices": [b"one\n", b"two\n"]}))

    def service(self, store: Any, policy: Policy = FREE, public: str = "notices") -> LoginService:
        gate = Gate(policy, Ledger(self.clock))
        realm = MaildropRealm(self.accounts, store, gate, public)
        chain = CheckerChain([self.accounts, PublicMaildrop("notices")])
        throttle = Throttle(self.clock, 2.0)
        return LoginService(Portal(realm, [chain]), clock=self.clock, throttle=throttle, observer=self.observer)

    def enter(self, login: LoginService | None = None, trace: str = "") -> LoggedIn:
        logged_in: LoggedIn = self.successResultOf((login or self.login).login(Anonymous(trace), PEER))
        return logged_in

    def test_interfaces(self) -> None:
        checker = plugin.build("Notices", plugin.options(), Context(None))  # type: ignore[arg-type]
        verifyObject(ICredentialsChecker, checker)
        verifyObject(IPublicMaildrop, checker)
        verifyObject(IAccounts, plugin)
        self.assertEqual(checker.account, "notices")
        self.assertEqual(self.successResultOf(checker.requestAvatarId(Anonymous())), ANONYMOUS)

    def test_an_account_that_nobody_can_have(self) -> None:
        for name in ("", "a/b", "\0"):
            with self.assertRaises(ValueError):
                plugin.build(name, plugin.options(), Context(None))  # type: ignore[arg-type]
            self.assertEqual(len(plugin.check(name, plugin.options(), Context(None))), 1)  # type: ignore[arg-type]

    def test_AN_002_the_public_maildrop_to_read_only(self) -> None:
        logged_in = self.enter()
        self.assertTrue(IReadOnlyMaildrop.providedBy(logged_in.maildrop))
        verifyObject(IReadOnlyMaildrop, logged_in.maildrop)
        self.assertEqual((logged_in.maildrop.count, logged_in.name), (2, "notices"))

    def test_AN_002_several_sessions_beside_the_owners(self) -> None:
        owner = self.successResultOf(self.login.login(Password(b"notices", b"secret"), PEER))
        self.assertFalse(hasattr(owner.maildrop, "read_only"))
        visitors = [self.enter() for _ in range(3)]
        self.successResultOf(owner.maildrop.commit({0}))
        self.successResultOf(Deferred.fromCoroutine(owner.leave()))
        self.assertEqual([visitor.maildrop.count for visitor in visitors], [2, 2, 2])
        again = self.successResultOf(self.login.login(Password(b"notices", b"secret"), PEER))
        for visitor in visitors:
            self.successResultOf(Deferred.fromCoroutine(visitor.leave()))
        # A visitor who leaves does not open the owner's lock.
        self.failureResultOf(self.login.login(Password(b"notices", b"secret"), PEER), MaildropInUse)
        self.assertEqual(again.maildrop.count, 1)

    def test_AN_002_visitors_take_no_place_of_the_owner_and_do_not_wait(self) -> None:
        policy = Policy(login_delay=600, sessions_per_account=1)
        login = self.service(MemoryStore(), policy)
        visitors = [self.enter(login) for _ in range(3)]
        self.successResultOf(login.login(Password(b"notices", b"secret"), PEER))
        for visitor in visitors:
            self.successResultOf(Deferred.fromCoroutine(visitor.leave()))

    def test_policy_can_be_against_it(self) -> None:
        for rule in (Rule(("notices",), pop3=False), Rule(("*",), mechanisms=frozenset({"plain"}))):
            login = self.service(MemoryStore(), Policy([rule]))
            work = login.login(Anonymous(), PEER)
            self.clock.advance(2.0)
            self.failureResultOf(work, LoginBarred)
        self.assertEqual({facts["user"] for facts in self.observer.named("refused")}, {""})

    def test_where_there_is_no_public_maildrop(self) -> None:
        self.failureResultOf(self.service(MemoryStore(), public="").login(Anonymous(), PEER), StoreBroken)
        self.failureResultOf(self.service(MemoryStore(), public="nobody").login(Anonymous(), PEER), StoreBroken)
        self.failureResultOf(self.service(StoreOf(None)).login(Anonymous(), PEER), StoreBroken)

    def test_AN_002_the_trace_is_logged_escaped(self) -> None:
        self.enter(trace="Müller user=root")
        (facts,) = self.observer.named("login")
        self.assertEqual((facts["user"], facts["trace"], facts["mech"]), ("notices", "Müller user=root", "ANONYMOUS"))
        logged: list[LogEvent] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        SessionLog().event("login", **facts)
        self.assertTrue(formatEvent(logged[0]).endswith(r" checker=PublicMaildrop trace=M\xfcller\x20user=root"))
        self.enter()
        self.assertNotIn("trace", self.observer.named("login")[1])

    def test_a_strcred_checker_of_twisteds_can_stand_there_too(self) -> None:
        realm = MaildropRealm(self.accounts, MemoryStore({"notices": [b"one\n"]}), public="notices")
        login = LoginService(Portal(realm, [AllowAnonymousAccess()]), clock=self.clock)
        self.assertEqual(self.enter(login).maildrop.count, 1)
