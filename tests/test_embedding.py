"""popserv inside somebody else's application: foreign realms, mailboxes, checkers and reactors, used as they are."""

from __future__ import annotations

import poplib
import subprocess
import sys
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.mail.interfaces import IMailboxPOP3
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from popserv import POP3Factory
from popserv.testing import Wire, memory_portal
from tests.net.support import SERVER, SecureWire

ROOT = Path(__file__).parent.parent
LOGIN = b"USER fred\r\nPASS secret\r\n"
MESSAGES = [b"Subject: one\r\n\r\n.body\r\n", b"Subject: two\r\n\r\nlonger body\r\n", b"three\r\n"]
DIALOGUE = LOGIN + (
    b"STAT\r\nLIST\r\nLIST 2\r\nUIDL\r\nUIDL 3\r\nRETR 1\r\nTOP 2 0\r\nDELE 1\r\nRSET\r\nDELE 2\r\nRETR 2\r\nQUIT\r\n"
)


@implementer(IMailboxPOP3)
class Mailbox:
    """A foreign mailbox. What it answers with Deferreds waits in `waiting` until the test lets go of it."""

    def __init__(self, later: bool) -> None:
        self.messages: list[bytes | None] = list(MESSAGES)
        self.marked: list[int] = []
        self.waiting: list[tuple[Deferred[Any], Any]] = []
        self._later = later

    def _answer(self, result: Any) -> Any:
        if not self._later:
            return result
        deferred: Deferred[Any] = Deferred()
        self.waiting.append((deferred, result))
        return deferred

    def let_go(self) -> None:
        while self.waiting:
            deferred, result = self.waiting.pop(0)
            deferred.callback(result)

    def listMessages(self, index: int | None = None) -> Any:
        sizes = [len(message or b"") for message in self.messages]
        return self._answer(sizes if index is None else sizes[index])

    def getMessage(self, index: int) -> Any:
        return self._answer(BytesIO(self.messages[index] or b""))

    def getUidl(self, index: int) -> bytes:
        return b"id-%d" % index

    def deleteMessage(self, index: int) -> Any:
        self.marked.append(index)
        return self._answer(None)

    def undeleteMessages(self) -> None:
        raise AssertionError("RSET is the session's own business")

    def sync(self) -> Any:
        for index in self.marked:
            self.messages[index] = None
        return self._answer(None)


@implementer(IRealm)
class Realm:
    """A foreign realm that knows nothing of popserv."""

    def __init__(self, mailbox: Any) -> None:
        self.mailbox = mailbox
        self.users: list[Any] = []
        self.logouts = 0

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        assert IMailboxPOP3 in interfaces
        self.users.append(avatarId)
        return IMailboxPOP3, self.mailbox, self.logout

    def logout(self) -> None:
        self.logouts += 1


def checker() -> InMemoryUsernamePasswordDatabaseDontUse:
    return InMemoryUsernamePasswordDatabaseDontUse(fred=b"secret")


def embedded(realm: Any, *checkers: Any, **more: Any) -> Wire:
    portal = Portal(realm, checkers or [checker()])
    return Wire.to(POP3Factory(portal, cleartext="always", failure_delay=0, reactor=Clock(), **more))


class ForeignRealms(SynchronousTestCase):
    def converse(self, later: bool) -> tuple[bytes, Realm]:
        mailbox = Mailbox(later)
        realm = Realm(mailbox)
        wire = embedded(realm)
        said = wire.say(DIALOGUE)
        while mailbox.waiting:
            mailbox.let_go()
            said += wire.say()
        self.assertTrue(wire.over)
        wire.lose()
        return said, realm

    def test_a_whole_session_is_the_same_whether_answers_come_at_once_or_later(self) -> None:
        said, realm = self.converse(later=False)
        self.assertEqual(self.converse(later=True)[0], said)
        self.assertIn(b"+OK 23 octets\r\nSubject: one\r\n\r\n..body\r\n.\r\n", said)
        self.assertIn(b"1 id-0\r\n2 id-1\r\n3 id-2\r\n.\r\n", said)
        self.assertTrue(said.endswith(b"-ERR message is marked as deleted\r\n+OK bye, 1 messages removed\r\n"))
        self.assertEqual((realm.users, realm.logouts), ([b"fred"], 1))
        self.assertEqual(realm.mailbox.messages, [MESSAGES[0], None, MESSAGES[2]])

    def test_without_quit_nothing_is_deleted_and_the_realm_hears_of_the_end(self) -> None:
        for later in (False, True):
            mailbox = Mailbox(later)
            realm = Realm(mailbox)
            wire = embedded(realm)
            wire.say(LOGIN + b"DELE 1\r\n")
            mailbox.let_go()
            wire.lose()
            self.assertEqual((mailbox.marked, realm.logouts), ([], 1))

    def test_who_leaves_while_the_mailbox_is_listed_is_logged_out(self) -> None:
        mailbox = Mailbox(later=True)
        realm = Realm(mailbox)
        wire = embedded(realm)
        wire.say(LOGIN)
        wire.lose()
        self.assertEqual(realm.logouts, 0)
        mailbox.let_go()
        self.assertEqual(realm.logouts, 1)

    def test_a_mailbox_that_cannot_be_listed_is_told_and_logged_out(self) -> None:
        class Broken(Mailbox):
            def listMessages(self, index: int | None = None) -> Any:
                raise OSError("no such place")

        realm = Realm(Broken(later=False))
        wire = embedded(realm)
        said = wire.say(LOGIN)
        self.assertTrue(said.endswith(b"-ERR [SYS/TEMP] maildrop is not available, try again later\r\n"))
        self.assertEqual(realm.logouts, 1)
        self.assertFalse(wire.over)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class ForeignCheckers(SynchronousTestCase):
    def test_a_checker_in_memory_takes_every_way_in(self) -> None:
        for login in (LOGIN, b"AUTH PLAIN AGZyZWQAc2VjcmV0\r\n", b"AUTH PLAIN\r\nAGZyZWQAc2VjcmV0\r\n"):
            wire = embedded(Realm(Mailbox(later=False)))
            self.assertTrue(wire.say(login).endswith(b"+OK 3 messages (59 octets)\r\n"))
        wire = embedded(Realm(Mailbox(later=False)), apop=True)
        stamp = wire.say().split()[-1]
        digest = md5(stamp + b"secret").hexdigest().encode()
        self.assertIn(b"+OK 3 messages", wire.say(b"APOP fred " + digest + b"\r\n"))

    def test_names_are_kept_as_they_are_by_default(self) -> None:
        wire = embedded(Realm(Mailbox(later=False)), InMemoryUsernamePasswordDatabaseDontUse(Fred=b"secret"))
        self.assertIn(b"-ERR [AUTH]", wire.say(LOGIN))
        self.assertIn(b"+OK 3 messages", wire.say(b"USER Fred\r\nPASS secret\r\n"))

    def test_SEC_006_guessing_is_slow_without_asking_for_it(self) -> None:
        clock = Clock()
        wire = Wire.to(POP3Factory(Portal(Realm(Mailbox(later=False)), [checker()]), cleartext="always", reactor=clock))
        wire.say()
        for seconds in (2, 4):
            self.assertEqual(wire.say(b"USER fred\r\nPASS wrong\r\n"), b"+OK send PASS\r\n")
            clock.advance(seconds - 0.1)
            self.assertEqual(wire.say(), b"")
            clock.advance(0.2)
            self.assertEqual(wire.say(), b"-ERR [AUTH] authentication failed\r\n")

    def test_a_future_that_asyncio_cancelled_is_trouble_of_ours(self) -> None:
        class Cancelled(Mailbox):
            def sync(self) -> Any:
                return fail(CancelledError())

        class CancelledChecker:
            credentialInterfaces = (IUsernamePassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                return fail(CancelledError())

        said = embedded(Realm(Cancelled(later=False))).say(LOGIN + b"QUIT\r\n")
        self.assertTrue(said.endswith(b"-ERR [SYS/TEMP] some deleted messages not removed\r\n"), said)
        refusing = implementer(ICredentialsChecker)(CancelledChecker)()
        said = embedded(Realm(Mailbox(later=False)), refusing).say(LOGIN)
        self.assertIn(b"\r\n-ERR [SYS/TEMP] ", said)
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 2)

    def test_a_password_file_of_twisted(self) -> None:
        with NamedTemporaryFile("w", suffix=".passwd") as file:
            file.write("ann:other\nfred:secret\n")
            file.flush()
            wire = embedded(Realm(Mailbox(later=False)), FilePasswordDB(file.name))
            self.assertIn(b"-ERR [AUTH]", wire.say(b"USER fred\r\nPASS other\r\n"))
            self.assertIn(b"-ERR [AUTH]", wire.say(b"USER nobody\r\nPASS other\r\n"))
            self.assertIn(b"+OK 3 messages", wire.say(LOGIN))

    def test_what_no_checker_can_verify_is_not_offered(self) -> None:
        with NamedTemporaryFile("w", suffix=".passwd") as file:
            # A file of hashes can check a password, and no digest.
            database = FilePasswordDB(file.name, hash=lambda _name, password, _stored: password)
            wire = embedded(Realm(Mailbox(later=False)), database, apop=True)
            self.assertNotIn(b"<", wire.say())
            self.assertIn(b"\r\nUSER\r\nSASL PLAIN\r\n", wire.say(b"CAPA\r\n"))
            self.assertIn(b"-ERR ", wire.say(b"APOP fred " + b"0" * 32 + b"\r\n"))

    def test_a_portal_without_checkers_offers_no_login(self) -> None:
        wire = Wire.to(POP3Factory(Portal(Realm(None)), cleartext="always", reactor=Clock()))
        said = wire.say(b"CAPA\r\n" + LOGIN)
        self.assertNotIn(b"\r\nUSER\r\n", said)
        self.assertNotIn(b"SASL", said)
        self.assertEqual(said.count(b"-ERR "), 2)


class Transports(SynchronousTestCase):
    def test_passwords_in_the_clear_are_refused_unless_asked_for(self) -> None:
        portal = memory_portal({"fred": b"secret"})
        self.assertEqual(Wire.to(POP3Factory(portal, reactor=Clock())).say(LOGIN).count(b"-ERR"), 2)
        loopback = POP3Factory(portal, cleartext="loopback", reactor=Clock())
        self.assertIn(b"+OK 0 messages", Wire.to(loopback, "127.0.0.1").say(LOGIN))
        self.assertEqual(Wire.to(loopback, "192.0.2.1").say(LOGIN).count(b"-ERR"), 2)

    def test_with_tls_stls_is_offered(self) -> None:
        wire = Wire.to(POP3Factory(memory_portal({"fred": b"secret"}), tls=SERVER, reactor=Clock()))
        self.assertIn(b"STLS\r\n", wire.say(b"CAPA\r\n"))
        wire.say(b"STLS\r\n")
        secure = SecureWire(wire)
        secure.shake_hands()
        self.assertIn(b"+OK 0 messages", secure.say(LOGIN))

    def test_behind_an_endpoint_with_tls_of_its_own_passwords_are_taken(self) -> None:
        clock = Clock()
        factory = POP3Factory(memory_portal({"fred": b"secret"}), reactor=clock)
        # What Twisted's ssl: endpoint puts around a factory.
        wire = Wire.to(TLSMemoryBIOFactory(SERVER, False, factory, clock))
        secure = SecureWire(wire)
        secure.shake_hands()
        said = secure.say() + secure.say(LOGIN + b"CAPA\r\n")
        clock.advance(0)
        clock.advance(0)
        said += secure.say()
        self.assertTrue(said.startswith(b"+OK localhost POP3 server ready\r\n"))
        self.assertIn(b"+OK 0 messages", said)
        self.assertNotIn(b"STLS", said)

    def test_an_extension_can_be_added(self) -> None:
        factory = POP3Factory(
            memory_portal({"fred": b"secret"}), cleartext="always", extensions=("last",), reactor=Clock()
        )
        self.assertTrue(Wire.to(factory).say(LOGIN + b"LAST\r\n").endswith(b"+OK 0\r\n"))


def python(program: str, *arguments: str) -> str:
    """What this program prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_making_a_factory_with_a_clock_installs_no_reactor() -> None:
    program = (
        "import sys; from twisted.internet.task import Clock; from popserv import POP3Factory\n"
        "from popserv.testing import Wire, memory_portal\n"
        "factory = POP3Factory(memory_portal({'fred': b'secret'}), cleartext='always', reactor=Clock())\n"
        "print(Wire.to(factory).say(b'USER fred\\r\\nPASS secret\\r\\n').count(b'+OK'))\n"
        "print('twisted.internet.reactor' in sys.modules)"
    )
    assert python(program).split() == ["3", "False"]


@contextmanager
def serving(program: str, *arguments: str) -> Iterator[int]:
    """The port of a server that prints it, in a process of its own."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@pytest.mark.parametrize("kind", ["asyncioreactor", "selectreactor", "pollreactor"])
def test_it_works_on_other_reactors(kind: str) -> None:
    program = (
        f"from twisted.internet import {kind} as kind; kind.install()\n"
        "import runpy; runpy.run_path('examples/embed.py', run_name='__main__')"
    )
    with serving(program, "0") as port:
        client = poplib.POP3("127.0.0.1", port, timeout=20)
        client.user("fred")
        client.pass_("secret")
        assert client.retr(1)[1] == [b"Subject: hello", b"", b"from the application"]
        client.quit()


OURS_UNDER_TWISTED = """
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.mail.pop3 import POP3
import popserv.maildrop.adapters
from popserv.testing import memory_portal

class Server(POP3):
    portal = memory_portal(
        {"fred": b"secret"}, {"fred": [b"Subject: one\\n\\n.dot\\nbody\\n", b"Subject: two\\r\\n\\r\\nlast"]}
    )

print(reactor.listenTCP(0, Factory.forProtocol(Server), interface="127.0.0.1").getHost().port, flush=True)
reactor.run()
"""


def test_our_maildrops_are_served_by_twisteds_pop3() -> None:
    def log_in() -> poplib.POP3:
        client = poplib.POP3("127.0.0.1", port, timeout=20)
        client.user("fred")
        client.pass_("secret")
        return client

    with serving(OURS_UNDER_TWISTED) as port:
        client = log_in()
        assert client.list()[1] == [b"1 28", b"2 22"]
        assert client.retr(1)[1] == [b"Subject: one", b"", b".dot", b"body"]
        assert client.retr(2)[1] == [b"Subject: two", b"", b"last"]
        client.dele(1)
        client.quit()
        client = log_in()
        assert client.list()[1] == [b"1 22"], "the first message is gone for good"
        client.quit()


TWISTEDS_MAILDIR = """
import sys
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.mail.interfaces import IMailboxPOP3
from twisted.mail.maildir import MaildirMailbox
from popserv import POP3Factory
from popserv.testing import Wire

class Realm:
    def requestAvatar(self, avatar_id, mind, *interfaces):
        return IMailboxPOP3, MaildirMailbox(sys.argv[1].encode()), lambda: None

portal = Portal(Realm(), [InMemoryUsernamePasswordDatabaseDontUse(fred=b"secret")])
factory = POP3Factory(portal, cleartext="always", reactor=Clock())
wire = Wire.to(factory)
print(wire.say(b"USER fred\\r\\nPASS secret\\r\\nLIST\\r\\nRETR 1\\r\\nRETR 2\\r\\nUIDL 2\\r\\nQUIT\\r\\n"))
"""


def test_twisteds_maildir_is_served(tmp_path: Path) -> None:
    for folder in ("cur", "new", "tmp", ".Trash/cur", ".Trash/new", ".Trash/tmp"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "new" / "1.a.host").write_bytes(b"Subject: one\n\n.dot\n")
    (tmp_path / "new" / "2.b.host").write_bytes(b"Subject: two\n\nb\xf6dy\n")
    said = eval(python(TWISTEDS_MAILDIR, str(tmp_path)))
    assert b"+OK 2 messages" in said
    assert b"Subject: one\r\n\r\n..dot\r\n.\r\n" in said
    assert b"Subject: two\r\n\r\nb\xf6dy\r\n.\r\n+OK 2 " in said
    assert said.endswith(b"+OK bye\r\n")
