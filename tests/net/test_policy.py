"""What is offered on which connection, and what is told about it."""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from popserv.net.addresses import cleartext_policy, group_of, host_of
from popserv.protocols.pop3 import ListenerFactory, POP3Factory, plugin
from popserv.testing import Wire, memory_portal
from tests.net.support import GREETING, LOGIN, SERVER, StoreOf, make_listener, talk


def stamped() -> tuple[ListenerFactory, Clock]:
    clock = Clock()
    return ListenerFactory(make_listener(clock, apop=True)), clock


class Offers(SynchronousTestCase):
    def test_TLS_007_passwords_in_the_clear_can_be_refused(self) -> None:
        said = talk(cleartext=cleartext_policy("never"))[0].say(
            b"CAPA\r\n" + LOGIN + b"AUTH PLAIN AGZyZWQAc2VjcmV0\r\n"
        )
        self.assertNotIn(b"\r\nUSER\r\n", said)
        self.assertNotIn(b"SASL", said)
        self.assertEqual(said.count(b"-ERR "), 3)

    def test_TLS_008_in_the_clear_there_is_no_login_at_all(self) -> None:
        wire = talk(cleartext=cleartext_policy("never"), tls_mode="starttls", tls=SERVER)[0]
        said = wire.say(LOGIN + b"AUTH PLAIN\r\nAPOP fred " + b"0" * 32 + b"\r\nAUTH\r\nSTAT\r\n")
        self.assertEqual(said.count(b"\r\n-ERR "), 5)
        self.assertTrue(said.endswith(b"+OK mechanisms follow\r\n.\r\n-ERR not in the AUTHORIZATION state\r\n"))

    def test_TLS_028_good_and_bad_passwords_are_refused_alike_and_not_checked(self) -> None:
        def said(password: bytes) -> bytes:
            wire, _clock, listener = talk(cleartext=cleartext_policy("never"), store=StoreOf(AssertionError()))
            answer = wire.say(b"USER fred\r\nPASS " + password + b"\r\n")
            self.assertEqual(listener.observer.named("refused"), [])  # type: ignore[attr-defined]
            return answer

        self.assertEqual(said(b"secret"), said(b"wrong"))
        self.assertNotIn(b"[AUTH]", said(b"wrong"))

    def test_TLS_001_a_server_with_stls_has_capa_and_TLS_003_announces_it(self) -> None:
        wire = talk(tls_mode="starttls", tls=SERVER)[0]
        self.assertIn(b"\r\nSTLS\r\n", wire.say(b"CAPA\r\n"))
        wire.say(LOGIN)
        self.assertNotIn(b"STLS", wire.say(b"CAPA\r\n"))
        self.assertEqual(wire.say(b"STLS\r\n"), b"-ERR not in the TRANSACTION state\r\n")

    def test_TLS_025_no_stls_without_a_certificate(self) -> None:
        wire = talk(tls_mode="starttls", tls=None)[0]
        self.assertNotIn(b"STLS", wire.say(b"CAPA\r\n"))
        self.assertEqual(wire.say(b"STLS\r\n"), b"-ERR TLS is not available here\r\n")

    def test_TLS_026_implicit_tls_is_offered_and_the_clear_is_off_by_default(self) -> None:
        self.assertIn("implicit", plugin.tls_modes)
        wire = Wire.to(POP3Factory(memory_portal({"fred": b"secret"}), reactor=Clock()))
        self.assertEqual(wire.say(LOGIN).count(b"-ERR"), 2)

    def test_SA_017_acting_as_somebody_else_is_refused(self) -> None:
        for identity, fine in ((b"", True), (b"fred", True), (b"Fred", True), (b"ann", False)):
            said = talk()[0].say(b"AUTH PLAIN " + b64encode(identity + b"\0fred\0secret") + b"\r\n")
            self.assertEqual(b"+OK 3 messages" in said, fine)
            self.assertEqual(b"-ERR [AUTH]" in said, not fine)


class Timestamps(SynchronousTestCase):
    def test_P3_050_the_timestamp_is_a_message_id_and_unlike_any_other(self) -> None:
        factory, _clock = stamped()
        stamps = [Wire.to(factory).say().split()[-1] for _ in range(50)]
        self.assertEqual(len(set(stamps)), 50)
        for stamp in stamps:
            self.assertRegex(stamp, rb"^<[A-Za-z0-9.]+@[A-Za-z0-9.-]+>$")

    def test_P3_051_the_timestamp_is_random(self) -> None:
        factory, _clock = stamped()
        first, second = (Wire.to(factory).say().split()[-1][1:].split(b".")[0] for _ in range(2))
        self.assertNotEqual(first, second)
        self.assertGreaterEqual(len(first), 32)

    def test_apop_logs_in_with_the_timestamp_of_this_connection(self) -> None:
        factory, _clock = stamped()
        first, second = Wire.to(factory), Wire.to(factory)
        stamp = first.say().split()[-1]
        digest = md5(stamp + b"secret").hexdigest().encode()
        self.assertIn(b"-ERR [AUTH]", second.say(b"APOP fred " + digest + b"\r\n"))
        self.assertIn(b"+OK 3 messages", first.say(b"APOP fred " + digest + b"\r\n"))


class Told(SynchronousTestCase):
    def test_SEC_015_secrets_reach_no_event_and_no_log(self) -> None:
        logged: list[str] = []
        globalLogPublisher.addObserver(watch := lambda event: logged.append(eventAsText(event)))
        self.addCleanup(globalLogPublisher.removeObserver, watch)
        wire, _clock, listener = talk(store=StoreOf(ValueError("defect")))
        wire.say(b"USER fred\r\nPASS hunter2\r\nAUTH PLAIN AGZyZWQAaHVudGVyMw==\r\n" + LOGIN)
        wire.lose()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        told = repr(listener.observer.events) + "".join(logged)  # type: ignore[attr-defined]
        for secret in ("hunter2", "hunter3", "secret", "AGZyZWQ"):
            self.assertNotIn(secret, told)
        self.assertIn("'user': 'fred'", told)
        self.assertIn("defect", told)

    def test_SA_030_responses_reach_no_event(self) -> None:
        wire, _clock, listener = talk()
        wire.say(b"AUTH PLAIN\r\nAGZyZWQAaHVudGVyMw==\r\nAUTH PLAIN\r\nAGZyZWQAc2VjcmV0\r\nQUIT\r\n")
        wire.lose()
        told = repr(listener.observer.events)  # type: ignore[attr-defined]
        for secret in ("hunter3", "secret", "AGZyZWQ"):
            self.assertNotIn(secret, told)
        self.assertIn("'mech': 'PLAIN'", told)

    def test_the_session_line_tells_what_was_done(self) -> None:
        wire, _clock, listener = talk()
        wire.say(LOGIN + b"RETR 1\r\nTOP 3 0\r\nDELE 1\r\nQUIT\r\n")
        wire.lose()
        facts: dict[str, Any] = listener.observer.named("closed")[0]  # type: ignore[attr-defined]
        expected = {"user": "fred", "mech": "USER", "tls": "", "retr": (1, 28), "top": (1, 18), "dele": 1}
        expected |= {"why": "quit", "peer": "192.0.2.1"}
        self.assertEqual({key: facts[key] for key in expected}, expected)

    def test_a_name_stays_octets_until_it_is_escaped(self) -> None:
        wire, _clock, listener = talk()
        self.assertNotIn(b"\x9b", wire.say("USER \x9b31m{session}%s\r\nPASS x\r\n".encode()))
        refused = listener.observer.named("refused")[0]  # type: ignore[attr-defined]
        self.assertEqual(refused["user"], "\x9b31m{session}%s")


class Addresses(SynchronousTestCase):
    def test_hosts(self) -> None:
        self.assertEqual(host_of(IPv4Address("TCP", "192.0.2.1", 1)), "192.0.2.1")
        self.assertEqual(host_of(IPv6Address("TCP", "::ffff:192.0.2.1", 1)), "192.0.2.1")
        self.assertEqual(host_of(IPv6Address("TCP", "fe80::1%eth0", 1)), "fe80::1")
        self.assertEqual(host_of(UNIXAddress("/run/popserv")), "")

    def test_groups(self) -> None:
        self.assertEqual(group_of("192.0.2.1"), "192.0.2.1")
        self.assertEqual(group_of("2001:db8::1"), group_of("2001:db8::ffff"))
        self.assertNotEqual(group_of("2001:db8::1"), group_of("2001:db8:0:1::1"))

    def test_where_passwords_may_travel_in_the_clear(self) -> None:
        def tcp(host: str) -> IPv4Address | IPv6Address:
            return IPv6Address("TCP", host, 1) if ":" in host else IPv4Address("TCP", host, 1)

        hosts = ("127.0.0.1", "::1", "::ffff:127.0.0.2", "192.0.2.1", "2001:db8::1")
        loopback = [cleartext_policy("loopback")(tcp(host)) for host in hosts]
        self.assertEqual(loopback, [True, True, True, False, False])
        self.assertTrue(cleartext_policy("loopback")(UNIXAddress("/run/popserv")))
        within = cleartext_policy(["192.0.2.0/24", "2001:db8::/32"])
        self.assertEqual([within(tcp(host)) for host in hosts], [False, False, False, True, True])
        self.assertFalse(within(UNIXAddress("/run/popserv")))
        for value, answer in (("always", True), ("never", False)):
            self.assertEqual({cleartext_policy(value)(tcp(host)) for host in hosts}, {answer})  # type: ignore[arg-type]
        for wrong in ("sometimes", ["192.0.2.1/24"], ["here"]):
            self.assertRaises(ValueError, cleartext_policy, wrong)

    def test_a_network_of_peers_may_log_in_in_the_clear(self) -> None:
        factory = ListenerFactory(make_listener(Clock(), cleartext=cleartext_policy(["192.0.2.0/24"])))
        self.assertIn(b"+OK 3 messages", Wire.to(factory, "192.0.2.9").say(LOGIN))
        self.assertEqual(
            Wire.to(factory, "198.51.100.1").say(b"USER fred\r\n")[: len(GREETING) + 5], GREETING + b"-ERR "
        )
