"""SASL exchanges over a connection: every mechanism that is here, line by line, from a client of ours."""

from __future__ import annotations

import tempfile
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv import POP3Factory
from popserv.accounts.passwd_file import PasswdFile
from popserv.auth.chain import CheckerChain
from popserv.auth.realm import MaildropRealm
from popserv.pools import InlinePool
from popserv.service.rehearsal import client
from popserv.stores.memory import MemoryStore
from popserv.testing import Wire

MECHANISMS = ("plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "scram-sha-512")


class Exchanges(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        users = Path(folder.name) / "users"
        users.write_text("fred:{PLAIN}secret\nann:{PLAIN}other\n")
        accounts = PasswdFile(users, InlinePool(), InlinePool(), secret=b"x" * 32)
        portal = Portal(MaildropRealm(accounts, MemoryStore({"fred": [b"one\r\n"]})), [CheckerChain([accounts])])
        self.clock = Clock()
        self.factory = POP3Factory(
            portal,
            cleartext="always",
            mechanisms=("default", "login", "cram-md5"),
            failure_delay=0,
            reactor=self.clock,
        )
        self.wire = Wire.to(self.factory)
        self.wire.say()

    def say(self, line: bytes) -> bytes:
        return self.wire.say(line + b"\r\n")

    def log_in(self, mechanism: str, name: bytes = b"fred", secret: bytes = b"secret", inline: bool = True) -> bytes:
        """The last reply."""
        initial, respond = client(mechanism, name, secret)
        line = b"AUTH " + mechanism.upper().encode()
        if initial is not None and inline:
            line += b" " + b64encode(initial)
        reply = self.say(line)
        if initial is not None and not inline:
            assert reply == b"+ \r\n", reply
            reply = self.say(b64encode(initial))
        while reply.startswith(b"+ "):
            reply = self.say(b64encode(respond(b64decode(reply[2:-2]))))
        return reply

    def test_each_logs_in_with_and_without_an_initial_response(self) -> None:
        for mechanism in MECHANISMS:
            for inline in (True, False):
                reply = self.log_in(mechanism, inline=inline)
                self.assertEqual(reply, b"+OK 1 messages (5 octets)\r\n", mechanism)
                self.assertTrue(self.say(b"QUIT").startswith(b"+OK"))
                self.wire = Wire.to(self.factory)
                self.wire.say()

    def test_wrong_secrets_and_unknown_names_are_the_same_and_the_session_goes_on(self) -> None:
        for mechanism in MECHANISMS:
            replies = {
                self.log_in(mechanism, secret=b"wrong"),
                self.log_in(mechanism, b"nobody"),
            }
            self.assertEqual(replies, {b"-ERR [AUTH] authentication failed\r\n"}, mechanism)
            self.assertTrue(self.say(b"CAPA").startswith(b"+OK"))
            self.wire = Wire.to(self.factory)
            self.wire.say()

    def test_SA_006_each_can_be_cancelled_at_each_step(self) -> None:
        for mechanism in MECHANISMS:
            self.assertTrue(self.say(b"AUTH " + mechanism.encode()).startswith(b"+ "))
            self.assertEqual(self.say(b"*"), b"-ERR authentication cancelled\r\n", mechanism)
        initial, _respond = client("scram-sha-256", b"fred", b"secret")
        self.assertTrue(self.say(b"AUTH SCRAM-SHA-256 " + b64encode(initial or b"")).startswith(b"+ "))
        self.assertEqual(self.say(b"*"), b"-ERR authentication cancelled\r\n")
        self.assertTrue(self.log_in("plain").startswith(b"+OK"))

    def test_what_is_pipelined_behind_an_exchange_is_done_after_it(self) -> None:
        initial, _respond = client("plain", b"fred", b"wrong")
        lines = b"AUTH PLAIN " + b64encode(initial or b"") + b"\r\nAUTH CRAM-MD5\r\n*\r\nCAPA\r\n"
        said = self.wire.say(lines)
        self.assertEqual(said.count(b"-ERR [AUTH]"), 1)
        self.assertEqual(said.count(b"-ERR authentication cancelled"), 1)
        self.assertTrue(said.endswith(b".\r\n"))

    def test_a_client_that_leaves_within_an_exchange_leaves_nothing_behind(self) -> None:
        initial, _respond = client("scram-sha-256", b"fred", b"secret")
        self.say(b"AUTH SCRAM-SHA-256 " + b64encode(initial or b""))
        self.wire.lose()
        self.wire = Wire.to(self.factory)
        self.wire.say()
        self.assertTrue(self.log_in("scram-sha-256").startswith(b"+OK"))

    def test_capa_tells_them_in_order(self) -> None:
        said: Any = self.say(b"CAPA")
        self.assertIn(b"\r\nSASL SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5\r\n", said)
