"""The session of a maildrop that can be read only."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from popserv.auth.account import Account
from popserv.limits import Limits
from popserv.session.capabilities import Offer
from popserv.session.effects import Commit
from popserv.session.session import Session
from popserv.stores.memory import MemoryStore

READ_ONLY = b"-ERR this maildrop can be read only\r\n"


class ReadOnly(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = Session(Offer(user=True), Limits())
        store = MemoryStore({"notices": [b"one\n", b"two\n"]})
        self.said = self.session.logged_in(self.successResultOf(store.open_read_only(Account("notices"))))

    def say(self, line: bytes) -> Any:
        return self.session.handle(line)

    def test_AN_002_dele_is_refused_and_the_session_goes_on(self) -> None:
        self.assertEqual(self.said, b"+OK 2 messages (10 octets)\r\n")
        self.assertEqual(self.say(b"DELE 1"), READ_ONLY)
        self.assertEqual(self.say(b"STAT"), b"+OK 2 10\r\n")
        self.assertEqual(self.say(b"RSET"), b"+OK done\r\n")
        self.assertEqual(self.say(b"QUIT"), Commit(frozenset()), "nothing is to be removed")

    def test_AN_002_a_program_that_wants_to_delete_everything_is_not_thrown_out(self) -> None:
        for _ in range(3 * Limits().bad_commands):
            self.assertEqual(self.say(b"DELE 2"), READ_ONLY)
        self.assertFalse(self.session.ended)

    def test_dele_of_nothing_is_what_it_always_is(self) -> None:
        for line in (b"DELE", b"DELE 3", b"DELE x"):
            said = self.say(line)
            self.assertTrue(said.startswith(b"-ERR "))
            self.assertNotEqual(said, READ_ONLY)
