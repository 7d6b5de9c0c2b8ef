"""What is put together: who is offered what, and that it can be reloaded and stopped without a process of its own."""

from __future__ import annotations

import poplib
import resource
import tomllib
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from popserv.auth.account import Account
from popserv.auth.account_database import Database
from popserv.auth.credentials import Password
from popserv.auth.passwords import hash_password
from popserv.interfaces import IBuildContext, IDelivery, IMaildropStore
from popserv.limits import Limits
from popserv.net.channel import CLEAR
from popserv.net.listener import Listener
from popserv.net.offer import offer
from popserv.pools import InlinePool
from popserv.service.access import BuildContext, accounts, open_store, store
from popserv.service.compose import Composer, build
from popserv.service.config import ConfigErrors, from_table
from popserv.service.descriptors import PER_CONNECTION, RESERVED, fit
from popserv.service.rules import policy
from popserv.service.schema import Config
from popserv.testing.talk import TalkChannel

OFF = '[[listen]]\nendpoint = "tcp:0:interface=127.0.0.1"\ntls = "off"\n'


def configure(base: Path, text: str = "", listen: str = OFF) -> Config:
    return from_table(tomllib.loads(f"{text}\n{listen}"), base)


def result_of(deferred: Deferred[Any]) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results[0]


def listeners(config: Config, checkers: list[Any] | None = None) -> list[Listener]:
    composition = Composer(reactor, checkers).compose(config)
    return [getattr(offer.factory, "wrappedFactory", offer.factory).listener for offer in composition.offers]


class OfferTests(SynchronousTestCase):
    """What stands in CAPA: named, and verifiable."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()

    def listener(self, text: str = "", checkers: list[Any] | None = None) -> Listener:
        (found,) = listeners(configure(self.base, text), checkers)
        return found

    def test_the_default(self) -> None:
        listener = self.listener()
        scram = [b"SCRAM-SHA-%d" % size for size in (512, 256, 1)]
        self.assertEqual(
            [mechanism.name for mechanism in listener.mechanisms],
            [*scram, b"EXTERNAL", b"GSSAPI", b"OAUTHBEARER", b"XOAUTH2", b"PLAIN"],
        )
        self.assertTrue(listener.user)
        self.assertFalse(listener.apop)

    def test_SC_001_the_stronger_one_comes_first(self) -> None:
        (self.base / "users").write_text("fred:{PLAIN}secret\n")
        made = offer(self.listener('auth.checkers = ["passwd-file:users"]'), IPv4Address("TCP", "127.0.0.1", 1), CLEAR)
        self.assertEqual([each.name for each in made.mechanisms], [b"SCRAM-SHA-512", b"SCRAM-SHA-256", b"SCRAM-SHA-1"])

    def test_SC_013_each_with_and_without_channel_binding(self) -> None:
        Database(self.base / "accounts.db").create()
        listener = self.listener('auth.mechanisms = ["scram-sha-256-plus", "default"]')
        clear, bound = TalkChannel(tls=""), TalkChannel(data={"tls-exporter": b"e" * 32})
        address = IPv4Address("TCP", "127.0.0.1", 1)
        self.assertEqual([each.name for each in offer(listener, address, clear).mechanisms], [b"SCRAM-SHA-256"])
        self.assertEqual(
            [each.name for each in offer(listener, address, bound).mechanisms],
            [b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256", b"PLAIN"],
        )

    def test_SEC_020_the_delay_that_is_told_is_the_one_that_is_kept(self) -> None:
        config = configure(self.base, "policy.login_delay = 60")
        (listener,) = listeners(config)
        made = offer(listener, IPv4Address("TCP", "127.0.0.1", 1), CLEAR)
        self.assertEqual((made.login_delay, policy(config).login_delay), (60, 60))

    def test_what_no_account_can_be_checked_by_is_not_offered(self) -> None:
        users = self.base / "users"
        named = 'auth.mechanisms = ["default", "cram-md5", "apop"]\nauth.checkers = ["passwd-file:users"]'
        keys = hash_password(b"secret", "SCRAM-SHA-256")
        offers = []
        for stored in ("{SHA512}" + "A" * 86 + "==", keys, "{PLAIN}secret"):
            users.write_text(f"fred:{stored}\n")
            made = offer(self.listener(named), IPv4Address("TCP", "127.0.0.1", 1), CLEAR)
            offers.append(([each.name for each in made.mechanisms], made.apop))
        self.assertEqual(offers[0], ([], False))
        self.assertEqual(offers[1], ([b"SCRAM-SHA-256"], False))
        scram = [b"SCRAM-SHA-512", b"SCRAM-SHA-256", b"SCRAM-SHA-1"]
        self.assertEqual(offers[2], ([*scram, b"CRAM-MD5"], True))

    def test_named_ones_only(self) -> None:
        listener = self.listener('auth.mechanisms = ["PLAIN"]')
        self.assertEqual(([each.name for each in listener.mechanisms], listener.user), ([b"PLAIN"], False))
        listener = self.listener('auth.mechanisms = ["user"]')
        self.assertEqual((listener.mechanisms, listener.user), ((), True))

    def offers_apop(self, text: str, checkers: list[Any] | None = None) -> bool:
        return offer(self.listener(text, checkers), IPv4Address("TCP", "127.0.0.1", 1), CLEAR).apop

    def test_apop_needs_a_checker_that_can_verify_it(self) -> None:
        (self.base / "users").write_text("fred:{PLAIN}secret\n")
        named = 'auth.mechanisms = ["default", "apop"]\n'
        self.assertFalse(self.offers_apop(named))
        self.assertTrue(self.offers_apop(named + 'auth.checkers = ["passwd-file:users"]'))
        self.assertFalse(self.offers_apop('auth.checkers = ["passwd-file:users"]'))

    def test_given_checkers_replace_those_of_the_configuration(self) -> None:
        text = 'auth.checkers = ["sqlite:missing.db"]\nauth.mechanisms = ["apop"]'
        self.assertTrue(self.offers_apop(text, [InMemoryUsernamePasswordDatabaseDontUse(fred=b"secret")]))


class CleartextTests(SynchronousTestCase):
    """Where a password may cross an unencrypted connection."""

    def allows(self, text: str, listen: str = OFF) -> list[bool]:
        (listener,) = listeners(configure(Path.cwd(), text, listen))
        return [
            listener.cleartext(address)
            for address in (
                IPv4Address("TCP", "127.0.0.1", 1),
                IPv6Address("TCP", "::1", 1),
                IPv6Address("TCP", "::ffff:127.0.0.1", 1),
                UNIXAddress(b"/x"),
                IPv4Address("TCP", "10.1.2.3", 1),
                IPv6Address("TCP", "::ffff:10.1.2.3", 1),
                IPv4Address("TCP", "192.0.2.1", 1),
            )
        ]

    def test_policies(self) -> None:
        self.assertEqual(self.allows(""), [False] * 7)
        self.assertEqual(self.allows('auth.cleartext = "always"'), [True] * 7)
        self.assertEqual(self.allows('auth.cleartext = "loopback"'), [True] * 4 + [False] * 3)
        self.assertEqual(self.allows('auth.cleartext = ["10.0.0.0/8"]'), [False] * 4 + [True] * 2 + [False])

    def test_a_listener_goes_before(self) -> None:
        text = 'auth.cleartext = "always"'
        self.assertEqual(self.allows(text, OFF + 'cleartext = "never"\n'), [False] * 7)
        self.assertEqual(self.allows("", OFF + 'cleartext = "loopback"\n'), [True] * 4 + [False] * 3)


class AccountsTests(SynchronousTestCase):
    """Who has an account, for sessions and for delivery."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        (self.base / "passwords").write_text("fred:secret\n")

    def context(self, config: Config) -> BuildContext:
        return BuildContext.offline(config, InlinePool())

    def test_the_context_plug_ins_get(self) -> None:
        context = self.context(configure(self.base, 'maildrop.lock = "none"'))
        self.assertTrue(verifyObject(IBuildContext, context))
        self.assertEqual((context.lock, context.path("x")), ("none", self.base / "x"))

    def test_a_password_file_of_twisted_says_who_has_an_account(self) -> None:
        config = configure(self.base, 'auth.checkers = ["file:passwords"]')
        made = accounts(config, self.context(config))
        self.assertIsInstance(made.checkers[0], FilePasswordDB)
        for directory in (made.directory(), made.directory_after_login()):
            self.assertEqual(result_of(directory.account(b"fred")), Account("fred"))
            self.assertIsNone(result_of(directory.account(b"nobody")))

    def test_mail_comes_in_only_for_accounts_that_are_known(self) -> None:
        config = configure(self.base)
        made = accounts(config, self.context(config), [InMemoryUsernamePasswordDatabaseDontUse(fred=b"secret")])
        self.assertEqual(result_of(made.directory_after_login().account(b"fred")), Account("fred"))
        self.assertIsNone(result_of(made.directory().account(b"fred")))

    def test_the_memory_of_twisted_knows_names_that_are_octets(self) -> None:
        config = configure(self.base, 'auth.checkers = ["memory:fred:secret"]')
        (checker,) = accounts(config, self.context(config)).checkers
        self.assertEqual(result_of(checker.requestAvatarId(Password(b"fred", b"secret"))), b"fred")
        (given,) = accounts(config, self.context(config), [checker]).checkers
        self.assertEqual(given.users, {b"fred": b"secret"})

    def test_errors_of_all_checkers_at_once(self) -> None:
        text = 'auth.checkers = ["passwd-file:a", "passwd-file:b"]\n[auth.passwd-file]\ndefault_scheme = "ROT13"'
        config = configure(self.base, text)
        with self.assertRaises(ConfigErrors) as raised:
            accounts(config, self.context(config))
        self.assertEqual([key for key, _message in raised.exception.errors], ["auth.checkers[0]", "auth.checkers[1]"])

    def test_a_place_that_is_wrong_is_an_error_of_its_key(self) -> None:
        config = configure(self.base, 'maildrop.location = "maildir:mail/{usr}"')
        with self.assertRaises(ConfigErrors) as raised:
            store(config, self.context(config))
        ((key, message),) = raised.exception.errors
        self.assertEqual(key, "maildrop.location")
        self.assertIn("{usr}", message)

    def test_a_missing_certificate_is_an_error_of_its_key(self) -> None:
        text = '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"'
        with self.assertRaises(ConfigErrors) as raised:
            listeners(configure(self.base, text))
        self.assertEqual(
            raised.exception.errors, (("tls.certificate", f"{self.base}/cert.pem: No such file or directory"),)
        )

    def test_a_store_for_delivery_without_a_server(self) -> None:
        Database(self.base / "accounts.db").add("fred", b"secret")
        opened = open_store(configure(self.base, 'maildrop.location = "maildir:mail/{user}"'), InlinePool())
        account = result_of(opened.directory.account(b"FRED+x"))
        incoming = result_of(opened.delivery.begin(account))
        result_of(incoming.write(b"Subject: x\r\n\r\n"))
        result_of(incoming.commit())
        (message,) = (self.base / "mail" / "fred" / "new").iterdir()
        self.assertEqual(message.read_bytes(), b"Subject: x\r\n\r\n")
        self.assertTrue(verifyObject(IDelivery, opened.delivery))
        self.assertTrue(verifyObject(IMaildropStore, opened.delivery))


class LimitsTests(SynchronousTestCase):
    """As many connections as the open files allow."""

    def test_lowered_to_what_the_descriptors_allow(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (RESERVED + 10 + 100 * PER_CONNECTION, hard))
        self.assertEqual(fit(Limits(connections=101, deliveries=10)).connections, 100)
        fitting = Limits(connections=100, deliveries=10)
        self.assertEqual(fit(fitting), fitting)
        self.assertEqual(fit(Limits(connections=99, deliveries=10)).connections, 99)

    def test_messages_on_their_way_get_a_share_of_the_descriptors(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (RESERVED + 1000, hard))
        lowered = fit(Limits())
        self.assertEqual(lowered.deliveries, 200)
        self.assertLessEqual(RESERVED + lowered.deliveries + lowered.connections * PER_CONNECTION, RESERVED + 1000)


class ServiceTests(TestCase):
    """The service inside somebody's application."""

    async def test_it_serves_reloads_and_stops(self) -> None:
        base = Path(self.mktemp()).absolute()
        base.mkdir()
        text = 'server.hostname = "{}"\nmaildrop.location = "maildir:mail/{{user}}"\nauth.cleartext = "loopback"\n'
        names = iter(["second.test"])
        lines: list[str] = []
        service = build(
            configure(base, text.format("first.test")),
            reactor,
            load=lambda: configure(base, text.format(next(names))),
            checkers=[InMemoryUsernamePasswordDatabaseDontUse(fred=b"secret")],
            announce=lines.append,
        )
        self.assertTrue(verifyObject(IService, service))
        service.startService()
        self.addCleanup(service.stopService)
        await deferLater(reactor, 0)
        (line,) = lines
        port = int(line.rpartition(":")[2])
        self.assertEqual(line, f"popserv ready pop3=127.0.0.1:{port}")
        self.assertEqual(await deferToThread(self.log_in, port), b"+OK first.test POP3 server ready")
        service.reload()
        self.assertEqual(await deferToThread(self.log_in, port), b"+OK second.test POP3 server ready")
        service.reload()  # `load` fails: nothing changes
        self.assertEqual(len(self.flushLoggedErrors(StopIteration)), 1)
        self.assertEqual(await deferToThread(self.log_in, port), b"+OK second.test POP3 server ready")

    def log_in(self, port: int) -> bytes:
        client = poplib.POP3("127.0.0.1", port, timeout=20)
        client.user("fred")
        client.pass_("secret")
        self.assertEqual(client.stat(), (0, 0))
        client.quit()
        return client.getwelcome()
