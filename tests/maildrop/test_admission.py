"""Sessions that find a maildrop taken."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from popserv.errors import MaildropInUse, StoreBroken
from popserv.interfaces import IDelivery, IMaildropStore
from popserv.maildrop.admission import PATIENCE_SECONDS, PAUSE_SECONDS, Admission
from popserv.maildrop.visit import Visit
from popserv.stores.memory import MemoryStore
from popserv.testing.store_contract import StoreContract
from tests.stores.maildirs import FRED, MaildirTestCase

VISIT = Visit(FRED, "192.0.2.1", "0badcafe-7")
TAKEN = "maildrop is locked by another session"


@implementer(IDelivery)
class Delivering(Admission):
    """The contract is for one object that lets sessions in and takes mail in."""

    def __init__(self, store):
        super().__init__(store, reactor)
        self.begin = store.begin


class TestAdmissionKeepsTheContract(StoreContract, TestCase):
    def make_store(self):
        return Delivering(MemoryStore())


class TestWhatIsTold(MaildirTestCase):
    def refusal(self, tells):
        store = Admission(self.store, self.clock, tells=tells)
        maildrop = self.successResultOf(store.open(VISIT))
        error = self.failureResultOf(store.open(Visit(FRED, "198.51.100.9")), MaildropInUse).value
        self.close(maildrop)
        return error.code, error.text

    def test_RC_002_in_use_says_since_when_and_not_from_where(self):
        self.assertEqual(self.refusal("since"), ("IN-USE", f"{TAKEN} since 2023-11-14T22:13:20Z"))

    def test_or_from_where_or_nothing(self):
        self.assertEqual(self.refusal("from")[1], f"{TAKEN} since 2023-11-14T22:13:20Z from 192.0.2.1")
        self.assertEqual(self.refusal("nothing")[1], TAKEN)

    def test_a_lock_file_that_says_nothing_known_adds_nothing(self):
        store = Admission(self.store, self.clock)
        maildrop = self.successResultOf(store.open(VISIT))
        (self.maildir / "popserv.lock").write_bytes(b"\x1b[31mhello\n")
        self.assertEqual(self.failureResultOf(store.open(FRED), MaildropInUse).value.text, TAKEN)
        self.close(maildrop)


class TestAsking(MaildirTestCase):
    def setUp(self):
        super().setUp()
        self.asked = []
        self.leaves = lambda: None
        self.admission = Admission(self.store, self.clock, ask=self.ask, socket="/run/here")
        self.answer = True

    async def ask(self, holder, name):
        self.asked.append((holder.session, holder.socket, name))
        self.leaves()
        return self.answer

    def test_P3_017_whoever_leaves_makes_room_at_once(self):
        self.put("1.a")
        first = self.successResultOf(self.admission.open(VISIT))
        self.leaves = lambda: self.close(first)
        opening = self.admission.open(FRED)
        self.clock.advance(PAUSE_SECONDS)
        second = self.successResultOf(opening)
        self.assertEqual(second.count, 1)
        self.assertEqual(self.asked, [("0badcafe-7", "/run/here", "fred")])
        self.close(second)

    def test_who_is_busy_is_waited_for_and_asked_again_but_not_for_ever(self):
        first = self.successResultOf(self.admission.open(VISIT))
        opening = self.admission.open(FRED)
        for _ in range(int(PATIENCE_SECONDS / 0.1)):
            self.assertNoResult(opening)
            self.clock.advance(0.1)
        self.clock.advance(0.1)
        self.failureResultOf(opening, MaildropInUse)
        self.assertEqual(len(self.asked), int(PATIENCE_SECONDS / 0.1) + 1)
        self.close(first)

    def test_who_cannot_be_asked_keeps_the_maildrop(self):
        self.answer = False
        first = self.successResultOf(self.admission.open(VISIT))
        opening = self.admission.open(FRED)
        self.assertNoResult(opening)
        self.clock.advance(PAUSE_SECONDS)
        self.failureResultOf(opening, MaildropInUse)
        self.assertEqual(len(self.asked), 1)
        self.close(first)

    def test_a_lock_that_still_names_who_had_it_before_is_asked_for_again(self):
        first = self.successResultOf(self.admission.open(VISIT))
        lock_file = self.maildir / "popserv.lock"
        current = lock_file.read_bytes()
        lock_file.write_bytes(current.replace(b"0badcafe-7", b"0badcafe-1"))
        self.answer = False
        opening = self.admission.open(FRED)
        self.answer = True
        lock_file.write_bytes(current)
        self.leaves = lambda: self.close(first)
        self.clock.advance(PAUSE_SECONDS)
        self.clock.advance(PAUSE_SECONDS)
        self.close(self.successResultOf(opening))
        self.assertEqual([session for session, _, _ in self.asked], ["0badcafe-1", "0badcafe-7"])

    def test_a_lock_that_does_not_say_whose_it_is_yet_is_waited_for(self):
        first = self.successResultOf(self.admission.open(VISIT))
        (self.maildir / "popserv.lock").write_bytes(b"")
        opening = self.admission.open(FRED)
        self.close(first)
        self.clock.advance(PAUSE_SECONDS)
        self.close(self.successResultOf(opening))
        self.assertEqual(self.asked, [])

    def test_P3_018_an_opening_that_is_cancelled_while_it_waits_holds_no_lock(self):
        first = self.successResultOf(self.admission.open(VISIT))
        opening = self.admission.open(FRED)
        opening.cancel()
        self.failureResultOf(opening)
        self.close(first)
        self.clock.advance(PAUSE_SECONDS)
        self.close(self.open())


@implementer(IMaildropStore)
class OnlyOpens:
    def open(self, account, folder=b"INBOX"):
        return Deferred()


class TestReading(SynchronousTestCase):
    def test_a_store_that_cannot_be_read_beside_a_session_says_so(self):
        opening = Admission(OnlyOpens(), Clock()).open_read_only(FRED)
        self.failureResultOf(opening, StoreBroken)

    def test_one_that_can_is_read(self):
        opening = Admission(MemoryStore({"fred": [b"a\r\n"]}), Clock()).open_read_only(FRED)
        self.assertEqual(self.successResultOf(opening).count, 1)


class TestNetworkFileSystem(MaildirTestCase):
    def test_it_is_refused_unless_the_administrator_vouches_for_it_and_the_lock_says_the_host(self):
        refused = Admission(self.make_store(networked=lambda _: True), self.clock)
        self.failureResultOf(refused.open(FRED), StoreBroken)
        shared = Admission(self.make_store(networked=lambda _: True, shared=True), self.clock)
        maildrop = self.successResultOf(shared.open(FRED))
        host = Path("/proc/sys/kernel/hostname").read_text().strip()
        self.assertIn(f'"host": "{host}"', (self.maildir / "popserv.lock").read_text())
        self.close(maildrop)
