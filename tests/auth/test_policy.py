"""Who may log in how, and how often, once the credentials are good."""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv.auth.account import Account
from popserv.auth.chain import CheckerChain
from popserv.auth.credentials import Password
from popserv.auth.login import LoginService, Peer
from popserv.auth.policy import Gate, Ledger, Policy, Rule
from popserv.auth.realm import MaildropRealm
from popserv.auth.throttle import Throttle
from popserv.errors import LoginBarred, LoginRefused, LoginTooSoon, MaildropInUse, TooManySessions
from popserv.stores.memory import MemoryStore
from popserv.testing import MemoryAccounts, RecordingObserver

FRED, ANN = Account("fred"), Account("ann@example.org")


def barred(policy: Policy, account: Account, mechanism: str = "PLAIN") -> bool:
    try:
        policy.check(account, mechanism)
    except LoginBarred:
        return True
    return False


class Rules(SynchronousTestCase):
    def test_without_rules_everybody_may_do_everything(self) -> None:
        self.assertFalse(barred(Policy(), FRED))

    def test_pop3_is_off_for_accounts_and_domains(self) -> None:
        policy = Policy([Rule(("fred", "@example.org"), pop3=False)])
        self.assertEqual([barred(policy, each) for each in (FRED, ANN)], [True, True])
        others = ("joe", "fred@example.net", "ann@example.org.example", "@example.org@x", "xfred")
        self.assertEqual([name for name in others if barred(policy, Account(name))], [])

    def test_the_first_rule_that_covers_an_account_holds(self) -> None:
        policy = Policy([Rule(("fred",)), Rule(("*",), pop3=False)])
        self.assertEqual([barred(policy, each) for each in (FRED, ANN)], [False, True])

    def test_SEC_004_mechanisms_that_are_not_good_enough(self) -> None:
        policy = Policy([Rule(("@example.org",), mechanisms=frozenset({"scram-sha-256", "apop"}))])
        tried = ["USER", "APOP", "PLAIN", "SCRAM-SHA-256"]
        self.assertEqual([barred(policy, ANN, each) for each in tried], [True, False, True, False])
        self.assertEqual([barred(policy, FRED, each) for each in tried], [False] * 4)

    def test_P3_054_an_account_can_say_so_itself(self) -> None:
        careful = Account("joe", mechanisms=frozenset({"apop"}))
        self.assertEqual([barred(Policy(), careful, each) for each in ("USER", "APOP")], [True, False])

    def test_CR_004_whoever_proves_a_password_need_not_be_able_to_send_it(self) -> None:
        policy = Policy([Rule(("fred",), mechanisms=frozenset({"cram-md5", "apop"}))])
        tried = ["USER", "PLAIN", "LOGIN", "CRAM-MD5", "APOP"]
        self.assertEqual([barred(policy, FRED, each) for each in tried], [True, True, True, False, False])


class Books(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1e9)
        self.ledger = Ledger(self.clock, entries=3)

    def enter(self, policy: Policy, name: str = "fred") -> str:
        try:
            self.ledger.enter(name, policy)
        except (TooManySessions, LoginTooSoon) as error:
            return error.text
        return ""

    def test_EX_015_a_login_that_comes_too_soon_is_refused(self) -> None:
        policy = Policy(login_delay=60)
        self.assertEqual(self.enter(policy), "")
        self.clock.advance(59.5)
        self.assertIn("try again in 1 seconds", self.enter(policy))
        self.assertEqual(self.enter(policy, "ann"), "")
        self.clock.advance(0.5)
        self.assertEqual(self.enter(policy), "")
        self.assertEqual(LoginTooSoon.code, "LOGIN-DELAY")

    def test_EX_016_the_delay_counts_from_the_last_login_that_succeeded(self) -> None:
        policy = Policy(login_delay=60)
        self.enter(policy)
        self.ledger.leave("fred")
        self.clock.advance(30)
        self.enter(policy)
        self.clock.advance(29)
        self.assertNotEqual(self.enter(policy), "")
        self.clock.advance(1)
        self.assertEqual(self.enter(policy), "")

    def test_a_refused_login_does_not_make_the_wait_longer(self) -> None:
        policy = Policy(login_delay=60)
        self.enter(policy)
        for _ in range(5):
            self.clock.advance(10)
            self.assertNotEqual(self.enter(policy), "")
        self.clock.advance(10)
        self.assertEqual(self.enter(policy), "")

    def test_RC_003_only_whose_credentials_are_good_hears_of_the_delay(self) -> None:
        policy = Policy(login_delay=60)
        self.enter(policy)
        with self.assertRaises(LoginTooSoon) as caught:
            self.ledger.enter("fred", policy)
        self.assertEqual((caught.exception.code, caught.exception.clients_fault), ("LOGIN-DELAY", False))

    def test_a_burst_may_follow_at_once_and_fills_again(self) -> None:
        policy = Policy(login_delay=60, login_burst=3)
        self.assertEqual([bool(self.enter(policy)) for _ in range(4)], [False, False, False, True])
        self.clock.advance(120)
        self.assertEqual([bool(self.enter(policy)) for _ in range(3)], [False, False, True])
        self.clock.advance(1e6)
        self.assertEqual([bool(self.enter(policy)) for _ in range(4)], [False, False, False, True])

    def test_what_came_to_nothing_does_not_count(self) -> None:
        policy = Policy(login_delay=60, sessions_per_account=1)
        self.assertEqual(self.enter(policy), "")
        self.ledger.undo("fred", policy)
        self.assertEqual(self.enter(policy), "")

    def test_sessions_of_an_account_are_counted_and_the_limit_is_named(self) -> None:
        policy = Policy(sessions_per_account=2)
        self.assertEqual([self.enter(policy) for _ in range(2)], ["", ""])
        self.assertEqual(self.enter(policy), "too many sessions of this account, the limit is 2")
        self.assertEqual(self.enter(policy, "ann"), "")
        self.ledger.leave("fred")
        self.assertEqual(self.enter(policy), "")

    def test_a_session_that_is_taken_over_does_not_count_against_its_taker(self) -> None:
        policy = Policy(sessions_per_account=1, takeover=True)
        self.assertEqual([self.enter(policy) for _ in range(2)], ["", ""])
        self.assertEqual(self.enter(policy), "too many sessions of this account, the limit is 1")

    def test_memory_is_bounded(self) -> None:
        policy = Policy(login_delay=60)
        for number in range(10):
            self.enter(policy, f"user{number}")
        self.assertEqual((len(self.ledger._room), len(self.ledger._sessions)), (3, 10))
        for number in range(10):
            self.ledger.leave(f"user{number}")
        self.assertEqual(len(self.ledger._sessions), 0)


class AtTheDoor(SynchronousTestCase):
    """The whole login, from credentials to the realm and back."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.seen = RecordingObserver()

    def service(self, policy: Policy, **more: Any) -> LoginService:
        accounts = MemoryAccounts({"fred": b"secret", "ann": b"other"})
        realm = MaildropRealm(accounts, MemoryStore(), Gate(policy, Ledger(self.clock)))
        chain = CheckerChain([accounts], lambda who, whom: (who, whom) == (b"fred", b"ann"), ["memory"])
        return LoginService(Portal(realm, [chain]), clock=self.clock, observer=self.seen, **more)

    def login(self, service: LoginService, mechanism: str = "PLAIN", authorization: bytes = b"") -> Any:
        peer = Peer("192.0.2.1", "s-1", "TLSv1.3", mechanism)
        return service.login(Password(b"fred", b"secret", authorization), peer)

    def test_SEC_003_barred_is_told_and_delayed_like_a_wrong_password(self) -> None:
        service = self.service(Policy([Rule(("*",), pop3=False)]), throttle=Throttle(self.clock, 2.0))
        outcome = self.login(service)
        self.assertNoResult(outcome)
        self.clock.advance(2)
        error = self.failureResultOf(outcome, LoginRefused).value
        self.assertEqual((error.text, error.code), (LoginRefused.default, "AUTH"))
        (refused,) = self.seen.named("refused")
        self.assertEqual((refused["reason"], refused["checker"]), ("policy", "memory"))

    def test_too_soon_is_not_delayed_and_no_guess(self) -> None:
        throttle = Throttle(self.clock, 2.0)
        service = self.service(Policy(login_delay=60), throttle=throttle)
        logged_in = self.successResultOf(self.login(service))
        self.failureResultOf(self.login(service), LoginTooSoon)
        self.assertEqual(throttle.delay_for("192.0.2.1", "fred"), 0)
        self.assertEqual(logged_in.name, "fred")

    def test_a_maildrop_in_use_costs_no_login(self) -> None:
        service = self.service(Policy(login_delay=60, login_burst=2, sessions_per_account=2))
        first = self.successResultOf(self.login(service))
        for _ in range(3):
            self.failureResultOf(self.login(service), MaildropInUse)
        self.successResultOf(self.leave(first))
        self.successResultOf(self.leave(self.successResultOf(self.login(service))))

    def leave(self, logged_in: Any) -> Any:
        from twisted.internet.defer import ensureDeferred

        return ensureDeferred(logged_in.leave())

    def test_SA_017_acting_as_somebody_else_needs_a_permission(self) -> None:
        service = self.service(Policy())
        logged_in = self.successResultOf(self.login(service, authorization=b"ann"))
        self.assertEqual(logged_in.name, "ann")
        self.failureResultOf(self.login(service, authorization=b"joe"), LoginRefused)
        self.assertEqual([event["reason"] for event in self.seen.named("refused")], ["authorization"])
        self.assertEqual([event["user"] for event in self.seen.named("login")], ["ann"])

    def test_who_was_let_in_by_whom_is_told(self) -> None:
        self.successResultOf(self.login(self.service(Policy())))
        self.assertEqual(
            self.seen.named("login"),
            [
                {
                    "session": "s-1",
                    "peer": "192.0.2.1",
                    "user": "fred",
                    "mech": "PLAIN",
                    "tls": "TLSv1.3",
                    "checker": "memory",
                }
            ],
        )
