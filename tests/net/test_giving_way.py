"""A session whose maildrop another one takes over."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from popserv.protocols.pop3 import ListenerFactory
from popserv.stores.memory import MemoryMaildrop, MemoryStore
from popserv.testing import Wire

from .support import LOGIN, talk

SAID = b"-ERR [SYS/TEMP] another session has taken this maildrop over\r\n"


class TestGivingWay(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore({"fred": [b"a\r\n", b"b\r\n"]})
        self.wire, self.clock, self.listener = talk(store=self.store)

    def give_way(self, account: str = "fred", wire: Wire | None = None) -> None:
        self.listener.registry.give_way((wire or self.wire).server.session_id, account)

    def test_it_is_told_and_its_maildrop_is_free(self) -> None:
        self.wire.say(LOGIN + b"DELE 1\r\n")
        self.give_way()
        self.assertEqual(self.wire.say(), SAID)
        other = Wire.to(ListenerFactory(self.listener))
        self.assertIn(b"+OK 2 messages", other.say(LOGIN))
        self.assertEqual(self.wire.say(b"QUIT\r\n"), b"")
        self.assertEqual(other.say(b"STAT\r\n"), b"+OK 2 6\r\n")
        self.wire.lose()
        [closed] = self.listener.observer.named("closed")
        self.assertEqual((closed["why"], closed["dele"]), ("taken over", 0))

    def test_no_other_account_can_ask_for_it(self) -> None:
        self.wire.say(LOGIN)
        self.give_way("ann")
        self.assertEqual(self.wire.say(b"STAT\r\n"), b"+OK 2 6\r\n")

    def test_an_update_is_not_broken_off(self) -> None:
        updating: Deferred[int] = Deferred()
        self.patch(MemoryMaildrop, "commit", lambda _maildrop, _deleted: updating)
        self.wire.say(LOGIN + b"DELE 1\r\n")
        self.assertEqual(self.wire.say(b"QUIT\r\n"), b"")
        self.give_way()
        self.assertEqual(self.wire.say(), b"")
        updating.callback(0)
        self.assertEqual(self.wire.say(), b"+OK bye, 1 messages removed\r\n")

    def test_who_has_not_logged_in_or_is_leaving_is_left_alone(self) -> None:
        self.wire.say(b"USER fred\r\n")
        self.give_way("")
        self.give_way()
        self.assertIn(b"+OK 2 messages", self.wire.say(b"PASS secret\r\n"))
        self.wire.say(b"QUIT\r\n")
        self.give_way()
        self.assertEqual(self.wire.say(), b"")

    def test_an_unknown_session_is_nobody(self) -> None:
        self.wire.say(LOGIN)
        self.listener.registry.give_way("0badcafe-7", "fred")
        self.assertEqual(self.wire.say(b"NOOP\r\n"), b"+OK done\r\n")
