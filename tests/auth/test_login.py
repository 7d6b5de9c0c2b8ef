"""The login: a portal with everything that stands around it, and our realm."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import ICredentials, IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.mail.interfaces import IMailboxPOP3
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer

from popserv.auth.credentials import Password
from popserv.auth.login import LoginService, Peer
from popserv.auth.realm import MaildropRealm
from popserv.auth.throttle import Throttle
from popserv.errors import LoginRefused, MaildropInUse, NoSuchAccount, StoreBroken, SystemBroken, SystemTrouble
from popserv.interfaces import IMaildrop
from popserv.maildrop.adapters import MaildropMailbox
from popserv.stores.memory import MemoryStore
from popserv.testing import MemoryAccounts, RecordingObserver, memory_portal

PEER = Peer("192.0.2.1", "s-1", mechanism="USER")


@implementer(ICredentialsChecker)
@attrs.define
class Checker:
    """Gives one answer, and remembers what it was asked."""

    answer: Any
    credentialInterfaces: Any = (IUsernamePassword,)
    asked: list[Any] = attrs.Factory(list)

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append(credentials)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def service(checker: Any, **more: Any) -> LoginService:
    realm = MaildropRealm(MemoryAccounts({"fred": b"secret"}), MemoryStore())
    return LoginService(Portal(realm, [checker]), clock=more.pop("clock", Clock()), **more)


class Logins(SynchronousTestCase):
    def test_good_credentials_open_the_maildrop(self) -> None:
        portal = memory_portal({"fred": b"secret"}, {"fred": [b"one\n"]})
        login = LoginService(portal, clock=Clock())
        logged_in = self.successResultOf(login.login(Password(b"Fred", b"secret"), PEER))
        self.assertEqual((logged_in.name, logged_in.maildrop.count), ("fred", 1))
        self.failureResultOf(login.login(Password(b"fred", b"secret"), PEER), MaildropInUse)
        self.successResultOf(Deferred.fromCoroutine(logged_in.leave()))
        self.successResultOf(login.login(Password(b"fred", b"secret"), PEER))

    def test_names_are_prepared_before_anybody_sees_them(self) -> None:
        for case, seen in (("fold", b"fred"), ("keep", b"Fred")):
            checker = Checker(succeed(b"fred"))
            self.successResultOf(service(checker, case=case).login(Password(b"Fred\xc2\xad", b"secret"), PEER))
            self.assertEqual((checker.asked[0].username, checker.asked[0].address), (seen, "192.0.2.1"))

    def test_RC_008_every_refusal_is_the_same(self) -> None:
        good = Password(b"fred", b"secret")
        for checker, credentials in (
            (Checker(UnauthorizedLogin("said too much")), good),
            (Checker(fail(UnauthorizedLogin())), good),
            (Checker(fail(LoginFailed())), good),
            (Checker(fail(UnhandledCredentials())), good),
            (Checker(succeed(b"fred")), Password(b"fr\0ed", b"secret")),
            (Checker(succeed(b"fred")), Password(b"\xff", b"secret")),
            (Checker(succeed(b"fred")), Password(b"fred", b"secret", authorization=b"ann")),
        ):
            error = self.failureResultOf(service(checker).login(credentials, PEER), LoginRefused).value
            self.assertEqual((error.text, error.code), (LoginRefused.default, "AUTH"))

    def test_SEC_003_a_refusal_is_late_by_the_clock_and_tells_nothing_by_its_time(self) -> None:
        clock = Clock()
        for work in (0.0, 0.5, 1.5):
            answer: Deferred[bytes] = Deferred()
            login = service(Checker(answer), clock=clock, throttle=Throttle(clock, 2.0))
            outcome = login.login(Password(b"fred", b"wrong"), PEER)
            clock.advance(work)
            answer.errback(UnauthorizedLogin())
            clock.advance(1.99 - work)
            self.assertNoResult(outcome)
            clock.advance(0.02)
            self.failureResultOf(outcome, LoginRefused)

    def test_a_success_forgets_the_failures_of_the_name(self) -> None:
        clock = Clock()
        throttle = Throttle(clock, 2.0)
        self.assertEqual([throttle.record_failure("", "fred") for _ in range(2)], [2.0, 4.0])
        login = service(Checker(succeed(b"fred")), clock=clock, throttle=throttle)
        self.successResultOf(login.login(Password(b"fred", b"x"), Peer("", "s-1")))
        self.assertEqual(throttle.record_failure("", "fred"), 2.0)

    def test_trouble_of_a_checker_is_not_a_refusal(self) -> None:
        for answer in (ValueError("defect"), fail(ValueError("defect"))):
            error = self.failureResultOf(service(Checker(answer)).login(Password(b"fred", b"x"), PEER), SystemTrouble)
            self.assertNotIn("defect", error.value.text)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_refusals_are_told_with_the_name_and_without_the_secret(self) -> None:
        observer = RecordingObserver()
        login = service(Checker(UnauthorizedLogin()), observer=observer)
        self.failureResultOf(login.login(Password(b"Fred", b"hunter2"), PEER), LoginRefused)
        facts = {"session": "s-1", "peer": "192.0.2.1", "user": "fred", "mech": "USER", "tls": ""}
        self.assertEqual(observer.named("refused"), [facts | {"checker": "", "reason": "credentials"}])

    def test_an_avatar_of_another_kind_is_logged_out(self) -> None:
        class Realm:
            logouts = 0

            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return interfaces[0], object(), self.logout

            def logout(self) -> None:
                self.logouts += 1

        realm: Any = Realm()
        portal = Portal(realm, [Checker(succeed(b"fred"))])
        self.failureResultOf(LoginService(portal, clock=Clock()).login(Password(b"fred", b"x"), PEER), SystemBroken)
        self.assertEqual(realm.logouts, 1)


class ISpecialPassword(IUsernamePassword):
    """What a checker may want and our credentials do not provide."""


class IUnrelated(Interface):
    pass


class Offers(SynchronousTestCase):
    def test_what_a_checker_takes_can_be_verified(self) -> None:
        for taken, expected in (
            (IUsernamePassword, True),
            (ICredentials, True),
            (ISpecialPassword, False),
            (IUnrelated, False),
            (IUsernameHashedPassword, False),
        ):
            login = service(Checker(succeed(b"fred"), credentialInterfaces=(taken,)))
            self.assertEqual(login.verifies(IUsernamePassword), expected, taken)
            outcome = login.login(Password(b"fred", b"x"), PEER)
            if expected:
                self.successResultOf(outcome)
            else:
                self.failureResultOf(outcome, LoginRefused)


class Realms(SynchronousTestCase):
    def setUp(self) -> None:
        self.realm = MaildropRealm(MemoryAccounts({"fred": b"secret"}), MemoryStore({"fred": [b"one\n"]}))

    def test_it_gives_what_is_asked_for_and_ours_first(self) -> None:
        for asked, given in (
            ((IMailboxPOP3, IMaildrop), IMaildrop),
            ((IMaildrop,), IMaildrop),
            ((IMailboxPOP3,), IMailboxPOP3),
        ):
            interface, avatar, logout = self.successResultOf(self.realm.requestAvatar(b"fred", None, *asked))
            self.assertIs(interface, given)
            self.assertTrue(given.providedBy(avatar))
            self.assertEqual(isinstance(avatar, MaildropMailbox), given is IMailboxPOP3)
            self.successResultOf(logout())

    def test_it_gives_nothing_else(self) -> None:
        self.failureResultOf(self.realm.requestAvatar(b"fred", None, IUnrelated), NotImplementedError)

    def test_there_is_no_maildrop_for_nobody_or_for_strangers(self) -> None:
        self.failureResultOf(self.realm.requestAvatar((), None, IMaildrop), StoreBroken)
        self.failureResultOf(self.realm.requestAvatar(b"nobody", None, IMaildrop), NoSuchAccount)

    def test_who_is_vouched_for_and_has_no_account_is_refused_like_anybody(self) -> None:
        observer = RecordingObserver()
        checker = InMemoryUsernamePasswordDatabaseDontUse(nobody=b"secret")
        service = LoginService(Portal(self.realm, [checker]), clock=Clock(), observer=observer)
        refusal = self.failureResultOf(service.login(Password(b"nobody", b"secret"), Peer("192.0.2.1", "id"))).value
        self.assertEqual((refusal.code, refusal.text), (LoginRefused.code, LoginRefused.default))
        self.assertEqual(observer.named("refused")[0]["reason"], "unknown-account")

    def test_a_login_that_fails_for_another_reason_has_a_line_of_its_own(self) -> None:
        class Broken:
            def open(self, account: Any, folder: bytes = b"INBOX") -> Any:
                return fail(MaildropInUse())

        observer = RecordingObserver()
        accounts = MemoryAccounts({"fred": b"secret"})
        portal = Portal(MaildropRealm(accounts, Broken()), [accounts])
        service = LoginService(portal, clock=Clock(), observer=observer)
        self.failureResultOf(service.login(Password(b"fred", b"secret"), Peer("192.0.2.1", "id")), MaildropInUse)
        (facts,) = observer.named("failed")
        self.assertEqual((facts["reason"], facts["user"], facts["peer"]), ("in-use", "fred", "192.0.2.1"))
        self.assertEqual(observer.named("refused"), [])
