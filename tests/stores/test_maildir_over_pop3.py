"""A Maildir behind the whole protocol: listings at hand, messages that were retrieved, the answer to a lost one."""

from __future__ import annotations

import os
import time

from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from popserv import POP3Factory
from popserv.auth.realm import MaildropRealm
from popserv.maildrop.maildir_maildrop import MaildirMaildrop
from popserv.session.transaction import BLOCK
from popserv.testing.accounts import MemoryAccounts
from tests.stores.maildirs import MaildirTestCase

COUNT = BLOCK + 300


class TestOverPop3(MaildirTestCase):
    def setUp(self):
        super().setUp()
        self.clock = Clock()
        self.clock.advance(time.time() + 3600)
        for number in range(COUNT):
            self.put(f"{1700000000 + number}.a:2,", b"Subject: %d\n" % number)
        self.put("1800000000.new", b"Subject: new\n\nbody\n", part="new")
        self.store = self.make_store(seen=True)

    def log_in(self, store):
        accounts = MemoryAccounts({"fred": b"secret"})
        portal = Portal(MaildropRealm(accounts, store), [accounts])
        self.wire = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 1))
        self.turns = Clock()
        self.server = POP3Factory(portal, cleartext="always", reactor=self.turns).buildProtocol(None)
        self.server.makeConnection(self.wire)
        self.say(b"USER fred")
        self.assertTrue(self.say(b"PASS secret").startswith(b"+OK"))

    def say(self, line):
        self.wire.clear()
        self.server.dataReceived(line + b"\r\n")
        for _ in range(100):
            self.turns.advance(0)
            if self.wire.producer is not None:
                self.wire.producer.resumeProducing()
        return self.wire.value()

    def listings(self):
        return [self.say(word).split(b"\r\n")[1:-2] for word in (b"LIST", b"UIDL")]

    def test_P3_025_listings_are_the_same_at_hand_and_made(self):
        served = []
        listing = MaildirMaildrop.listing
        self.patch(MaildirMaildrop, "listing", lambda maildrop, word: served.append(word) or listing(maildrop, word))
        for store in (self.store, self.make_store()):
            self.log_in(store)
            ready = self.listings()
            self.assertEqual(served, ["LIST", "UIDL"])
            self.assertEqual([len(lines) for lines in ready], [COUNT + 1, COUNT + 1])
            for number in (1, 17, COUNT + 1):
                for word, lines in zip((b"LIST", b"UIDL"), ready, strict=True):
                    self.assertEqual(self.say(b"%b %d" % (word, number)), b"+OK %b\r\n" % lines[number - 1])
            self.say(b"DELE 17")
            self.assertEqual(self.listings(), [lines[:16] + lines[17:] for lines in ready])
            self.assertEqual(served, ["LIST", "UIDL"])
            self.say(b"RSET")
            self.assertEqual(self.listings(), ready)
            self.say(b"QUIT")
            served.clear()

    def test_retr_and_not_top_makes_a_message_seen_when_the_session_ends(self):
        self.log_in(self.store)
        self.assertTrue(self.say(b"TOP %d 10" % (COUNT + 1)).endswith(b"body\r\n.\r\n"))
        self.say(b"QUIT")
        self.assertIn("new/1800000000.new", self.names())
        self.log_in(self.store)
        self.assertTrue(self.say(b"RETR %d" % (COUNT + 1)).endswith(b"body\r\n.\r\n"))
        self.assertIn("new/1800000000.new", self.names())
        self.say(b"QUIT")
        self.assertIn("cur/1800000000.new:2,S", self.names())

    def test_P3_026_a_message_that_was_written_to_is_refused_before_ok(self):
        self.log_in(self.store)
        self.say(b"QUIT")
        with open(os.fsencode(self.maildir / "cur" / "1700000003.a:2,"), "ab") as file:
            file.write(b"more\n")
        self.log_in(self.make_store())
        self.assertTrue(self.say(b"RETR 4").startswith(b"-ERR [SYS/TEMP] "))
        self.assertEqual(self.say(b"RETR 5"), b"+OK 12 octets\r\nSubject: 4\r\n.\r\n")
        self.say(b"QUIT")
        self.log_in(self.make_store())
        self.assertEqual(self.say(b"RETR 4"), b"+OK 18 octets\r\nSubject: 3\r\nmore\r\n.\r\n")
