"""EXTERNAL over STLS and implicit TLS, with an embedder's own context and portal."""

from __future__ import annotations

import ssl
from base64 import b64encode
from tempfile import TemporaryDirectory
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from popserv import POP3Factory
from popserv.accounts.certificate import AddressRule, CertificateAccounts
from popserv.auth.chain import CheckerChain, UnknownAccount
from popserv.auth.client_certificate import contents
from popserv.auth.realm import MaildropRealm
from popserv.interfaces import IClientCertificate
from popserv.net.tls import implicit
from popserv.sasl.external import plugin as external
from popserv.sasl.plain import plugin as plain
from popserv.stores.memory import MemoryStore
from popserv.testing import MemoryAccounts, RecordingObserver, Wire
from tests.client_certificates import CA, FOREIGN, Issued, issue
from tests.net.support import SecureWire

SERVER = PrivateCertificate.loadPEM(CA.issue_cert("localhost").private_key_and_cert_chain_pem.bytes())
OPTIONS = SERVER.options(Certificate.loadPEM(CA.cert_pem.bytes()))
OPTIONS.requireCertificate = False
FRED = issue("fred@example.org")
REFUSED = b"-ERR [AUTH] authentication failed\r\n"


def client(issued: Issued | None, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    context.maximum_version = most
    if issued is not None:
        with TemporaryDirectory() as directory:
            file = f"{directory}/client.pem"
            with open(file, "wb") as pem:
                pem.write(issued.certificate + issued.key)
            context.load_cert_chain(file)
    return context


@implementer(ICredentialsChecker)
class Own:
    """An application's own idea of certificates."""

    credentialInterfaces = (IClientCertificate,)

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        known = contents(credentials.certificate).addresses == ("fred@example.org",)
        return succeed(b"fred") if known else fail(UnknownAccount("nobody of ours"))


class Embedded(SynchronousTestCase):
    def setUp(self) -> None:
        self.observer = RecordingObserver()
        self.clock = Clock()

    def factory(self, *checkers: Any) -> POP3Factory:
        realm = MaildropRealm(MemoryAccounts({"fred": b"secret", "sales": b""}), MemoryStore({"fred": [b"one\n"]}))
        return POP3Factory(
            Portal(realm, checkers),
            tls=OPTIONS,
            mechanisms=(external, plain),
            failure_delay=0,
            observer=self.observer,
            reactor=self.clock,
        )

    def stls(self, issued: Issued | None, *checkers: Any, **more: Any) -> SecureWire:
        wire = Wire.to(self.factory(*checkers))
        wire.say(b"STLS\r\n")
        secure = SecureWire(wire, client(issued, **more))
        secure.shake_hands()
        return secure

    def test_EXT_004_a_certificate_logs_in_without_a_password(self) -> None:
        for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            secure = self.stls(FRED, Own(), most=most)
            self.assertIn(b"\r\nSASL EXTERNAL\r\n", secure.say(b"CAPA\r\n"))
            # Nothing but the outcome follows the response: there is no additional data.
            self.assertEqual(secure.say(b"AUTH EXTERNAL =\r\n"), b"+OK 1 messages (5 octets)\r\n")
            self.assertEqual(secure.say(b"QUIT\r\n"), b"+OK bye\r\n")

    def test_EXT_001_with_and_without_an_initial_response(self) -> None:
        secure = self.stls(FRED, Own())
        self.assertEqual(secure.say(b"AUTH EXTERNAL\r\n"), b"+ \r\n")
        self.assertEqual(secure.say(b"*\r\n"), b"-ERR authentication cancelled\r\n")
        self.assertEqual(secure.say(b"AUTH EXTERNAL AAAA\r\n")[:5], b"-ERR ")
        self.assertEqual(secure.say(b"AUTH EXTERNAL\r\n"), b"+ \r\n")
        self.assertEqual(secure.say(b"\r\n"), b"+OK 1 messages (5 octets)\r\n")

    def test_TLS_005_a_certificate_alone_is_no_login(self) -> None:
        secure = self.stls(FRED, Own())
        self.assertEqual(secure.say(b"STAT\r\n"), b"-ERR not in the AUTHORIZATION state\r\n")

    def test_TLS_021_after_implicit_tls_the_state_is_authorization(self) -> None:
        wire = Wire.to(implicit(self.factory(Own()), OPTIONS, self.clock))
        secure = SecureWire(wire, client(FRED))
        secure.shake_hands()
        self.assertIn(b"+OK localhost POP3 server ready", secure.say())
        self.assertEqual(secure.say(b"STAT\r\n"), b"-ERR not in the AUTHORIZATION state\r\n")
        self.assertEqual(secure.say(b"AUTH EXTERNAL =\r\n"), b"+OK 1 messages (5 octets)\r\n")

    def test_EXT_003_not_announced_without_a_certificate_or_a_checker(self) -> None:
        for secure in (self.stls(None, Own()), self.stls(FRED, MemoryAccounts({"fred": b"secret"}))):
            self.assertNotIn(b"EXTERNAL", secure.say(b"CAPA\r\n"))
            self.assertEqual(
                secure.say(b"AUTH EXTERNAL =\r\n"), b"-ERR this mechanism is not available on this connection\r\n"
            )

    def test_EXT_003_announced_only_to_whom_the_certificate_belongs_to(self) -> None:
        ours = CertificateAccounts(AddressRule(frozenset({"example.org"}), "fold"))
        for checker in (ours, CheckerChain([ours])):
            self.assertIn(b"EXTERNAL", self.stls(FRED, checker).say(b"CAPA\r\n"))
            self.assertNotIn(b"EXTERNAL", self.stls(issue(), checker).say(b"CAPA\r\n"))

    def test_EXT_002_an_identity_that_the_certificate_does_not_give_is_refused(self) -> None:
        ours = CertificateAccounts(AddressRule(frozenset({"example.org"}), "fold"))
        both = issue("fred@example.org", "sales@example.org")
        secure = self.stls(both, CheckerChain([ours]))
        self.assertEqual(secure.say(b"AUTH EXTERNAL =\r\n"), REFUSED)
        self.assertEqual(secure.say(b"AUTH EXTERNAL " + b64encode(b"ann") + b"\r\n"), REFUSED)
        self.assertEqual(
            secure.say(b"AUTH EXTERNAL " + b64encode(b"sales") + b"\r\n"), b"+OK 0 messages (0 octets)\r\n"
        )
        self.assertEqual([facts["user"] for facts in self.observer.named("refused")], ["", ""])
        self.assertEqual(self.observer.named("login")[0]["user"], "sales")

    def test_EXT_002_without_a_chain_there_is_nobody_to_permit_an_identity(self) -> None:
        secure = self.stls(FRED, Own())
        self.assertEqual(secure.say(b"AUTH EXTERNAL " + b64encode(b"sales") + b"\r\n"), REFUSED)

    def test_a_certificate_that_does_not_verify_ends_the_connection_and_is_logged(self) -> None:
        wire = Wire.to(self.factory(Own()))
        wire.say(b"STLS\r\n")
        secure = SecureWire(wire, client(issue("fred@example.org", ca=FOREIGN)))
        with self.assertRaises(ssl.SSLError) as alert:
            secure.shake_hands()
            secure.say(b"CAPA\r\n")
        self.assertIn("UNKNOWN_CA", str(alert.exception))
        wire.transport.protocol.connectionLost(None)
        self.assertEqual(self.observer.named("closed")[0]["why"], "client certificate refused")
