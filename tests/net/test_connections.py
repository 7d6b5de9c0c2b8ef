"""Real sockets and real TLS, where the kernel and OpenSSL matter."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import attrs
import trustme
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from popserv.limits import Limits
from popserv.net.tls import implicit
from popserv.protocols.pop3 import ListenerFactory
from popserv.stores.memory import MemoryStore
from tests.net.wire_support import LOGIN, MESSAGES, make_listener

CA = trustme.CA()
ISSUED = CA.issue_cert("localhost", "127.0.0.1")
SERVER = PrivateCertificate.loadPEM(ISSUED.private_key_and_cert_chain_pem.bytes()).options()
GREETING = b"+OK mail.example.org POP3 server ready\r\n"


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


def everything(client: socket.socket) -> bytes:
    """All that comes until the server closes; a reset is an error."""
    client.settimeout(20)
    received = b""
    while octets := client.recv(65536):
        received += octets
    return received


def until(client: socket.socket, end: bytes) -> bytes:
    client.settimeout(20)
    received = b""
    while not received.endswith(end):
        octets = client.recv(65536)
        assert octets, f"closed after {received!r}"
        received += octets
    return received


class Served(TestCase):
    """A listening server; the test's client runs in a thread."""

    messages: Any = MESSAGES
    limits = Limits()

    def setUp(self) -> None:
        self.store = MemoryStore({"fred": self.messages})
        self.listener = make_listener(reactor, store=self.store, limits=self.limits, tls_mode="starttls", tls=SERVER)
        self.events: Any = self.listener.observer
        self.port = self.listen(ListenerFactory(self.listener))

    def listen(self, factory: Any) -> int:
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.addCleanup(self._wait_for_the_end)
        number: int = port.getHost().port
        return number

    @inlineCallbacks
    def _wait_for_the_end(self):  # type: ignore[no-untyped-def]
        for _ in range(100):
            if not len(self.listener.registry):
                return
            yield deferToThread(time.sleep, 0.05)

    def listen_tls(self) -> int:
        listener = attrs.evolve(self.listener, tls_mode="implicit")
        return self.listen(implicit(ListenerFactory(listener), SERVER, reactor))

    def client(self, talk: Callable[[socket.socket], Any], port: int | None = None) -> Any:
        def run() -> Any:
            with socket.create_connection(("127.0.0.1", port or self.port), 20) as connection:
                return talk(connection)

        return deferToThread(run)


class LastReplies(Served):
    @inlineCallbacks
    def test_the_reply_to_quit_arrives_though_garbage_follows(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> bytes:
            client.sendall(LOGIN + b"QUIT\r\n" + b"garbage\r\n" * 10_000)
            time.sleep(0.3)
            return everything(client)

        said = yield self.client(talk)
        self.assertTrue(said.endswith(b"+OK bye\r\n"), said[-100:])

    @inlineCallbacks
    def test_a_line_of_ten_megabytes_is_answered_before_the_end(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> bytes:
            try:
                client.sendall(b"x" * 10_000_000)
            except OSError:
                pass  # the server does not read all of it
            return until(client, b"-ERR line is too long\r\n")

        said = yield self.client(talk)
        self.assertEqual(said, GREETING + b"-ERR line is too long\r\n")

    @inlineCallbacks
    def test_a_refused_connection_is_told_why(self):  # type: ignore[no-untyped-def]
        self.listener.registry.limits = Limits(connections_per_address=0)

        def talk(client: socket.socket) -> bytes:
            client.sendall(LOGIN)
            time.sleep(0.2)
            return everything(client)

        said = yield self.client(talk)
        self.assertEqual(said, b"-ERR [SYS/TEMP] too many connections from your address, the limit is 0\r\n")

    @inlineCallbacks
    def test_a_client_that_closes_its_half_gets_every_reply(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> bytes:
            client.sendall(LOGIN + b"DELE 1\r\nQUIT\r\n")
            client.shutdown(socket.SHUT_WR)
            return everything(client)

        said = yield self.client(talk)
        self.assertTrue(said.endswith(b"+OK bye, 1 messages removed\r\n"))

    @inlineCallbacks
    def test_ten_thousand_commands_in_one_write(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> bytes:
            client.sendall(LOGIN + b"NOOP\r\nLIST 1\r\n" * 5_000 + b"QUIT\r\n")
            return everything(client)

        said = yield self.client(talk)
        self.assertEqual(said.count(b"+OK done\r\n+OK 1 28\r\n"), 5_000)

    @inlineCallbacks
    def test_P3_012_a_reset_connection_frees_the_maildrop(self):  # type: ignore[no-untyped-def]
        def reset(client: socket.socket) -> None:
            client.sendall(LOGIN + b"DELE 1\r\n")
            until(client, b"deleted\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def again(client: socket.socket) -> bytes:
            client.sendall(LOGIN + b"QUIT\r\n")
            return everything(client)

        yield self.client(reset)
        yield self._wait_for_the_end()
        said = yield self.client(again)
        self.assertIn(b"+OK 3 messages", said)


class SlowReaders(Served):
    messages = [b"x" * 70 + b"\n"] * 1 + [(b"y" * 70 + b"\n") * 30_000]

    @inlineCallbacks
    def test_SEC_010_a_large_message_arrives_whole_through_a_narrow_window(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> tuple[int, bool]:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.sendall(LOGIN + b"RETR 2\r\nQUIT\r\n")
            time.sleep(0.3)
            said = everything(client)
            return len(said), said.endswith(b"y\r\n.\r\n+OK bye\r\n")

        octets, whole = yield self.client(talk)
        self.assertTrue(whole)
        self.assertGreater(octets, 30_000 * 72)


class Tls(Served):
    def upgrade(self, client: socket.socket, before: bytes = b"") -> ssl.SSLSocket:
        until(client, b"\r\n")
        client.sendall(before + b"STLS\r\n")
        until(client, b"+OK begin TLS\r\n")
        return client_context().wrap_socket(client, server_hostname="localhost")

    @inlineCallbacks
    def test_TLS_002_stls_and_then_a_session(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> bytes:
            secure = self.upgrade(client)
            secure.sendall(b"CAPA\r\n" + LOGIN + b"RETR 1\r\nQUIT\r\n")
            return everything(secure)

        said = yield self.client(talk)
        self.assertTrue(said.startswith(b"+OK capability list follows\r\n"), "no second greeting")
        self.assertNotIn(b"STLS", said)
        self.assertTrue(said.endswith(b"..dot\r\n.\r\n+OK bye\r\n"))

    @inlineCallbacks
    def test_TLS_027_version_and_cipher_are_told(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> bytes:
            secure = self.upgrade(client)
            secure.sendall(LOGIN + b"QUIT\r\n")
            return everything(secure)

        yield self.client(talk)
        yield self._wait_for_the_end()
        facts = self.events.closed[0]
        self.assertEqual(facts["tls"], "TLSv1.3")
        self.assertTrue(facts["cipher"].startswith("TLS_"))

    @inlineCallbacks
    def test_SEC_001_commands_behind_stls_in_one_segment_are_never_executed(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> bytes:
            client.sendall(b"STLS\r\nUSER fred\r\nPASS secret\r\n")
            return everything(client)

        said = yield self.client(talk)
        self.assertEqual(said, GREETING + b"-ERR data after STLS\r\n")

    @inlineCallbacks
    def test_SEC_001_half_a_command_behind_stls_is_refused(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> bytes:
            client.sendall(b"STLS\r\nUS")
            return everything(client)

        said = yield self.client(talk)
        self.assertEqual(said, GREETING + b"-ERR data after STLS\r\n")

    @inlineCallbacks
    def test_SEC_001_commands_between_ok_and_client_hello_reach_openssl_only(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> bytes:
            until(client, b"\r\n")
            client.sendall(b"STLS\r\n")
            until(client, b"+OK begin TLS\r\n")
            client.sendall(b"USER fred\r\nPASS secret\r\nSTAT\r\n")
            try:
                return everything(client)
            except ConnectionResetError:
                return b""

        said = yield self.client(talk)
        self.assertNotIn(b"+OK", said)
        self.assertNotIn(b"-ERR", said)

    test_TLS_012_nothing_is_read_in_the_clear_behind_stls = (
        test_SEC_001_commands_between_ok_and_client_hello_reach_openssl_only
    )

    @inlineCallbacks
    def test_TLS_013_replies_in_front_of_stls_leave_in_the_clear(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> tuple[bytes, bytes]:
            client.sendall(b"NOOP\r\nAUTH\r\nUSER fred\r\nSTLS\r\n")
            clear = until(client, b"+OK begin TLS\r\n")
            secure = client_context().wrap_socket(client, server_hostname="localhost")
            secure.sendall(b"PASS secret\r\nQUIT\r\n")
            return clear, everything(secure)

        clear, said = yield self.client(talk)
        self.assertEqual(clear.count(b"\r\n"), 7)
        self.assertEqual(said, b"-ERR PASS must follow a successful USER\r\n+OK bye\r\n")

    @inlineCallbacks
    def test_TLS_020_implicit_tls_greets_inside_tls(self):  # type: ignore[no-untyped-def]
        port = self.listen_tls()

        def talk(client: socket.socket) -> bytes:
            secure = client_context().wrap_socket(client, server_hostname="localhost")
            secure.sendall(b"STLS\r\n" + LOGIN + b"QUIT\r\n")
            return everything(secure)

        said = yield self.client(talk, port)
        self.assertTrue(said.startswith(GREETING + b"-ERR TLS is active already\r\n"))
        self.assertTrue(said.endswith(b"+OK bye\r\n"))

    @inlineCallbacks
    def test_TLS_021_after_the_greeting_nobody_is_logged_in(self):  # type: ignore[no-untyped-def]
        port = self.listen_tls()

        def talk(client: socket.socket) -> bytes:
            secure = client_context().wrap_socket(client, server_hostname="localhost")
            secure.sendall(b"STAT\r\nQUIT\r\n")
            return everything(secure)

        said = yield self.client(talk, port)
        self.assertEqual(said, GREETING + b"-ERR not in the AUTHORIZATION state\r\n+OK bye\r\n")

    @inlineCallbacks
    def test_SA_020_plain_over_tls(self):  # type: ignore[no-untyped-def]
        port = self.listen_tls()

        def talk(client: socket.socket) -> bytes:
            secure = client_context().wrap_socket(client, server_hostname="localhost")
            secure.sendall(b"AUTH PLAIN AGZyZWQAc2VjcmV0\r\nQUIT\r\n")
            return everything(secure)

        said = yield self.client(talk, port)
        self.assertIn(b"+OK 3 messages", said)

    @inlineCallbacks
    def test_TLS_009_plain_text_at_the_tls_port_is_no_session(self):  # type: ignore[no-untyped-def]
        port = self.listen_tls()

        def talk(client: socket.socket) -> bytes:
            client.sendall(LOGIN)
            try:
                return everything(client)
            except ConnectionResetError:
                return b""

        said = yield self.client(talk, port)
        self.assertNotIn(b"+OK", said)

    @inlineCallbacks
    def test_TLS_022_close_notify_is_sent_and_the_peers_is_not_waited_for(self):  # type: ignore[no-untyped-def]
        port = self.listen_tls()

        def talk(client: socket.socket) -> tuple[bytes, float]:
            secure = client_context().wrap_socket(client, server_hostname="localhost", suppress_ragged_eofs=False)
            secure.sendall(LOGIN + b"QUIT\r\n")
            # Without close_notify this raises: the end would be a ragged one.
            said = everything(secure)
            started = time.monotonic()
            raw = socket.socket(fileno=secure.detach())
            raw.settimeout(20)
            with raw:
                while raw.recv(4096):
                    pass
            return said, time.monotonic() - started

        said, waited = yield self.client(talk, port)
        self.assertTrue(said.endswith(b"+OK bye\r\n"))
        self.assertLess(waited, 10)


class Handshakes(Served):
    limits = Limits(handshake_seconds=1)

    @inlineCallbacks
    def test_TLS_012_a_handshake_has_its_time(self):  # type: ignore[no-untyped-def]
        def talk(client: socket.socket) -> bytes:
            until(client, b"\r\n")
            client.sendall(b"STLS\r\n")
            until(client, b"+OK begin TLS\r\n")
            try:
                return everything(client)
            except ConnectionResetError:
                return b""

        said = yield self.client(talk)
        self.assertEqual(said, b"")

    @inlineCallbacks
    def test_a_silent_peer_at_the_tls_port_is_sent_away(self):  # type: ignore[no-untyped-def]
        port = self.listen_tls()

        def talk(client: socket.socket) -> bytes:
            try:
                return everything(client)
            except ConnectionResetError:
                return b""

        said = yield self.client(talk, port)
        self.assertEqual(said, b"")


class Files(Served):
    @inlineCallbacks
    def test_a_unix_socket_is_loopback(self):  # type: ignore[no-untyped-def]
        from popserv.net.addresses import cleartext_policy

        path = str(Path(mkdtemp()) / "pop3")
        listener = attrs.evolve(self.listener, cleartext=cleartext_policy("loopback"))
        port: Any = reactor.listenUNIX(path, ListenerFactory(listener))  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.sendall(LOGIN + b"QUIT\r\n")
                return everything(client)

        said = yield deferToThread(talk)
        self.assertTrue(said.endswith(b"+OK bye\r\n"))
