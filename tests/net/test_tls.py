"""STLS and implicit TLS with a real client in memory, and the clock in the test's hand."""

from __future__ import annotations

import ssl
from typing import Any

import trustme
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from popserv.net.addresses import cleartext_policy
from popserv.net.tls import implicit
from popserv.protocols.pop3 import ListenerFactory
from popserv.testing import Wire, let_pass
from tests.net.support import GREETING, LOGIN, SERVER, SecureWire, make_listener, talk

NEVER = cleartext_policy("never")


def upgraded(before: bytes = b"", **more: Any) -> tuple[SecureWire, Wire, bytes]:
    """A connection behind STLS, and what was said in the clear."""
    wire = talk(tls_mode="starttls", tls=SERVER, **more)[0]
    said = wire.say(before + b"STLS\r\n")
    secure = SecureWire(wire)
    secure.shake_hands()
    return secure, wire, said


class Stls(SynchronousTestCase):
    def test_TLS_002_stls_takes_no_argument_and_tls_begins_behind_its_reply(self) -> None:
        wire = talk(tls_mode="starttls", tls=SERVER)[0]
        self.assertEqual(wire.say(b"STLS now\r\n"), GREETING + b"-ERR this command takes no argument\r\n")
        self.assertEqual(wire.say(b"STLS\r\n"), b"+OK begin TLS\r\n")
        secure = SecureWire(wire)
        secure.shake_hands()
        self.assertEqual(secure.say(b"NOOP\r\n"), b"-ERR not in the AUTHORIZATION state\r\n")

    def test_TLS_003_stls_is_announced_only_while_it_is_permitted(self) -> None:
        secure, _wire, said = upgraded(b"CAPA\r\n")
        self.assertIn(b"\r\nSTLS\r\n", said)
        self.assertNotIn(b"STLS", secure.say(b"CAPA\r\n"))

    def test_TLS_004_stls_is_refused_when_tls_is_active(self) -> None:
        secure, _wire, _said = upgraded()
        self.assertEqual(secure.say(b"STLS\r\n"), b"-ERR TLS is active already\r\n")

    def test_TLS_005_after_stls_the_state_is_authorization_still(self) -> None:
        secure, _wire, _said = upgraded()
        self.assertEqual(secure.say(), b"", "and there is no second greeting")
        self.assertEqual(secure.say(b"STAT\r\n"), b"-ERR not in the AUTHORIZATION state\r\n")
        self.assertIn(b"+OK 3 messages", secure.say(LOGIN))

    def test_TLS_006_after_stls_the_capabilities_are_computed_afresh(self) -> None:
        secure, _wire, said = upgraded(b"CAPA\r\n", cleartext=NEVER)
        self.assertNotIn(b"\r\nUSER\r\n", said)
        inside = secure.say(b"CAPA\r\n")
        self.assertIn(b"\r\nUSER\r\n", inside)
        self.assertIn(b"\r\nSASL PLAIN\r\n", inside)

    def test_TLS_010_octets_behind_stls_end_the_connection_and_are_never_executed(self) -> None:
        for behind in (LOGIN, b"U", b"\n", b"\r\n", b"STLS\r\n", b"\x16\x03\x01\x02\x00\x01"):
            wire, _clock, listener = talk(tls_mode="starttls", tls=SERVER)
            self.assertEqual(wire.say(b"STLS\r\n" + behind), GREETING + b"-ERR data after STLS\r\n")
            self.assertTrue(wire.over)
            self.assertEqual(wire.say(LOGIN), b"")
            wire.lose()
            self.assertEqual(listener.observer.named("closed")[0]["tls"], "")  # type: ignore[attr-defined]

    def test_SEC_001_what_came_in_the_clear_is_not_answered_inside_tls(self) -> None:
        wire = talk(tls_mode="starttls", tls=SERVER)[0]
        wire.server.dataReceived(b"ST")
        wire.server.dataReceived(b"LS\r")
        wire.server.dataReceived(b"\nUSER fred\r\nPASS secret\r\nSTAT\r\n")
        self.assertEqual(wire.say(), GREETING + b"-ERR data after STLS\r\n")
        with self.assertRaises((ssl.SSLError, AssertionError)):
            SecureWire(wire).shake_hands()

    def test_SEC_001_between_ok_and_client_hello_everything_goes_to_openssl(self) -> None:
        wire = talk(tls_mode="starttls", tls=SERVER)[0]
        wire.say(b"STLS\r\n")
        wire.transport.protocol.dataReceived(b"USER fred\r\nPASS secret\r\nSTAT\r\n")
        said = wire.say()
        self.assertNotIn(b"+OK", said)
        self.assertNotIn(b"-ERR", said)
        self.assertTrue(wire.over)

    def test_TLS_011_what_was_said_in_the_clear_is_forgotten_but_not_what_counts_against_it(self) -> None:
        secure, wire, _said = upgraded(b"USER fred\r\nPASS wrong\r\nUSER fred\r\nPASS wrong\r\nUSER fred\r\n")
        self.assertEqual(secure.say(b"PASS secret\r\n"), b"-ERR PASS must follow a successful USER\r\n")
        self.assertIn(b"-ERR [AUTH]", secure.say(b"USER fred\r\nPASS wrong\r\n"))
        self.assertTrue(secure.ended, "three refused logins are enough")
        self.assertEqual(wire.say(), b"")

    def test_TLS_015_stls_drops_a_pending_user(self) -> None:
        secure, _wire, said = upgraded(b"USER fred\r\n")
        self.assertTrue(said.endswith(b"+OK send PASS\r\n+OK begin TLS\r\n"))
        self.assertEqual(secure.say(b"PASS secret\r\n"), b"-ERR PASS must follow a successful USER\r\n")

    def test_P3_056_after_stls_the_timestamp_is_void(self) -> None:
        from hashlib import md5

        secure, _wire, said = upgraded(apop=True)
        stamp = said.split(b"\r\n")[0].split()[-1]
        self.assertTrue(stamp.startswith(b"<"))
        digest = md5(stamp + b"secret").hexdigest().encode()
        self.assertEqual(
            secure.say(b"APOP fred " + digest + b"\r\n"), b"-ERR APOP is not available on this connection\r\n"
        )

    def test_TLS_012_a_failed_handshake_ends_and_nothing_is_said_in_the_clear(self) -> None:
        wire, _clock, listener = talk(tls_mode="starttls", tls=SERVER)
        wire.say(b"STLS\r\n")
        wire.transport.protocol.dataReceived(b"\x16\x03\x01\x00\x05hello")
        self.assertTrue(wire.over)
        said = wire.say()
        self.assertEqual((said[:1], len(said)), (b"\x15", 7), "a TLS alert and nothing else")
        wire.transport.protocol.connectionLost(None)
        self.assertEqual(listener.observer.named("closed")[0]["why"], "no TLS handshake")  # type: ignore[attr-defined]

    def test_TLS_013_replies_in_front_of_stls_leave_in_the_clear_and_none_behind(self) -> None:
        before = b"CAPA\r\n" * 200  # more than a turn
        wire, clock, _listener = talk(tls_mode="starttls", tls=SERVER)
        said = wire.say(before + b"STLS\r\n")
        while wire.transport.producerState == "paused":
            clock.advance(0)
            said += wire.say()
        self.assertEqual(said.count(b"+OK capability"), 200)
        self.assertTrue(said.endswith(b"+OK begin TLS\r\n"))
        secure = SecureWire(wire)
        secure.shake_hands()
        self.assertTrue(secure.say(LOGIN + b"QUIT\r\n").endswith(b"+OK bye\r\n"))

    def test_a_peer_that_read_nothing_before_stls_is_served_behind_it(self) -> None:
        wire = talk(tls_mode="starttls", tls=SERVER)[0]
        write = wire.transport.write

        def full(octets: bytes) -> None:
            write(octets)
            wire.server.pauseProducing()

        wire.transport.write = full
        wire.say(b"STLS\r\n")
        wire.transport.write = write
        secure = SecureWire(wire)
        secure.shake_hands()
        self.assertIn(b"+OK 3 messages", secure.say(LOGIN))


@implementer(IOpenSSLServerConnectionCreator)
class OldServer:
    """A server that would do TLS 1.1."""

    def __init__(self) -> None:
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._context.set_min_proto_version(SSL.TLS1_1_VERSION)
        self._context.set_max_proto_version(SSL.TLS1_1_VERSION)
        self._context.set_cipher_list(b"ALL:@SECLEVEL=0")
        issued = trustme.CA().issue_cert("localhost")
        issued.configure_cert(self._context)

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(self._context, None)


class Implicit(SynchronousTestCase):
    def connect(self, creator: Any = SERVER, **more: Any) -> tuple[Wire, Clock, Any]:
        clock = Clock()
        listener = make_listener(clock, tls_mode="implicit", tls=creator, cleartext=NEVER, **more)
        return Wire.to(implicit(ListenerFactory(listener), creator, clock)), clock, listener

    def test_TLS_020_the_greeting_comes_inside_tls(self) -> None:
        wire, _clock, _listener = self.connect()
        self.assertEqual(wire.say(), b"")
        secure = SecureWire(wire)
        secure.shake_hands()
        self.assertEqual(secure.say(), GREETING)
        self.assertEqual(secure.say(b"STLS\r\n"), b"-ERR TLS is active already\r\n")

    def test_TLS_021_after_the_greeting_nobody_is_logged_in(self) -> None:
        wire, _clock, _listener = self.connect()
        secure = SecureWire(wire)
        secure.shake_hands()
        self.assertEqual(secure.say(b"STAT\r\n"), GREETING + b"-ERR not in the AUTHORIZATION state\r\n")

    def test_SA_020_plain_over_tls(self) -> None:
        wire, _clock, _listener = self.connect()
        secure = SecureWire(wire)
        secure.shake_hands()
        self.assertIn(b"+OK 3 messages", secure.say(b"AUTH PLAIN AGZyZWQAc2VjcmV0\r\n"))

    def test_plain_text_at_the_tls_port_is_no_session(self) -> None:
        wire, _clock, _listener = self.connect()
        said = wire.say(LOGIN)
        self.assertNotIn(b"+OK", said)
        self.assertNotIn(b"-ERR", said)
        self.assertTrue(wire.over)

    def test_TLS_009_a_version_that_is_not_acceptable_ends_the_connection(self) -> None:
        wire, _clock, listener = self.connect(OldServer())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        secure = SecureWire(wire, context)
        try:
            secure.shake_hands()
        except ssl.SSLError:
            pass
        self.assertTrue(wire.transport.disconnected)
        wire.lose()
        self.assertEqual(listener.observer.named("closed")[0]["why"], "TLS version")

    def test_TLS_022_close_notify_comes_before_the_end_and_the_peers_is_not_waited_for(self) -> None:
        wire, clock, _listener = self.connect()
        secure = SecureWire(wire)
        secure.shake_hands()
        self.assertTrue(secure.say(LOGIN + b"QUIT\r\n").endswith(b"+OK bye\r\n"))
        self.assertTrue(secure.ended)
        let_pass(clock, 5)
        self.assertTrue(wire.over, "though the client has not answered it")

    def test_TLS_027_version_and_cipher_are_told(self) -> None:
        wire, _clock, listener = self.connect()
        secure = SecureWire(wire)
        secure.shake_hands()
        secure.say(LOGIN + b"QUIT\r\n")
        wire.lose()
        facts = listener.observer.named("closed")[0]
        self.assertEqual(facts["tls"], "TLSv1.3")
        self.assertTrue(facts["cipher"].startswith("TLS_"))
