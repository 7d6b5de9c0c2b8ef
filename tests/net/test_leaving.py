"""Clients that leave at the worst moment: nothing is closed twice, nothing stays open, nobody stays logged in."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from popserv import plugins
from popserv.errors import ConnectionGone
from popserv.interfaces import IMaildrop, IScramSha256
from popserv.limits import Limits
from popserv.testing import Wire, let_pass
from tests.net.support import LOGIN, OneMessage, SlowReader, talk


@implementer(IRealm)
class Realm:
    """Gives one maildrop, now or later, and counts who logs out."""

    def __init__(self, maildrop: Any, waits: bool = False) -> None:
        self.maildrop = maildrop
        self.logouts = 0
        self.waiting: Deferred[Any] | None = Deferred() if waits else None

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any) -> Any:
        return self.waiting if self.waiting is not None else self.avatar()

    def avatar(self) -> tuple[Any, Any, Any]:
        return IMaildrop, self.maildrop, self.logout

    def logout(self) -> None:
        self.logouts += 1


@implementer(ICredentialsChecker)
class Checker:
    """Answers what the test says, when it says so."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, answer: Any = None) -> None:
        self._answer = succeed(b"fred") if answer is None else answer

    def requestAvatarId(self, credentials: Any) -> Any:
        return self._answer


@implementer(ICredentialsChecker)
class ConversingChecker:
    """Has something to do before it goes on with an exchange, and remembers how that ended."""

    credentialInterfaces = (IScramSha256,)

    def __init__(self, ready: Deferred[None]) -> None:
        self._ready = ready
        self.ended: Exception | None = None

    def requestAvatarId(self, credentials: Any) -> Any:
        return ensureDeferred(self._prove(credentials))

    async def _prove(self, credentials: Any) -> bytes:
        await self._ready
        try:
            await credentials.prove_nothing(b"salt", 4096)
        except Exception as error:
            self.ended = error
            raise
        raise UnauthorizedLogin()


def served(realm: Realm, answer: Any = None, **more: Any) -> tuple[Wire, Any]:
    portal = Portal(realm, [Checker(answer)])  # type: ignore[arg-type]
    wire, clock, _listener = talk(portal=portal, **more)
    wire.say()
    return wire, clock


class Leaving(SynchronousTestCase):
    def assert_left(self, realm: Realm) -> None:
        self.assertEqual((realm.maildrop.closed, realm.logouts), (1, 1))

    def test_while_the_password_is_checked(self) -> None:
        answer: Deferred[bytes] = Deferred()
        realm = Realm(OneMessage())
        wire, _clock = served(realm, answer)
        wire.say(LOGIN)
        wire.lose()
        answer.callback(b"fred")
        self.assert_left(realm)

    def test_while_a_realm_that_cannot_be_cancelled_opens_the_maildrop(self) -> None:
        realm = Realm(OneMessage(), waits=True)
        wire, _clock = served(realm)
        wire.say(LOGIN)
        wire.lose()
        assert realm.waiting is not None
        realm.waiting.callback(realm.avatar())
        self.assert_left(realm)

    def test_while_the_maildrop_opens_and_that_fails(self) -> None:
        realm = Realm(OneMessage(), waits=True)
        wire, _clock = served(realm)
        wire.say(LOGIN)
        wire.lose()
        assert realm.waiting is not None
        realm.waiting.errback(OSError())
        self.assertEqual((realm.maildrop.closed, realm.logouts), (0, 0))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_while_a_refusal_is_delayed(self) -> None:
        answer: Deferred[bytes] = Deferred()
        wire, clock = served(Realm(OneMessage()), answer, delay=2.0)
        wire.say(LOGIN)
        answer.errback(UnauthorizedLogin())
        wire.lose()
        let_pass(clock, 5)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_in_a_sasl_exchange(self) -> None:
        realm = Realm(OneMessage())
        wire, clock = served(realm)
        self.assertEqual(wire.say(b"AUTH PLAIN\r\n"), b"+ \r\n")
        wire.lose()
        self.assertEqual(wire.say(), b"")
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual((realm.maildrop.closed, realm.logouts), (0, 0))

    def test_while_a_checker_goes_on_with_the_exchange(self) -> None:
        for before_the_challenge in (False, True):
            ready: Deferred[None] = Deferred()
            checker = ConversingChecker(ready)
            portal = Portal(Realm(OneMessage()), [checker])  # type: ignore[arg-type]
            wire, clock, _listener = talk(portal=portal, mechanisms=(plugins.find("sasl", "scram-sha-256"),))
            wire.say()
            self.assertEqual(wire.say(b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=fred,r=abc") + b"\r\n"), b"")
            if before_the_challenge:
                wire.lose()
                ready.callback(None)
            else:
                ready.callback(None)
                self.assertTrue(wire.say().startswith(b"+ "))
                wire.lose()
            self.assertEqual(wire.say(), b"")
            self.assertIsInstance(checker.ended, ConnectionGone)
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_between_commands(self) -> None:
        realm = Realm(OneMessage())
        wire, _clock = served(realm)
        wire.say(LOGIN + b"DELE 1\r\n")
        wire.lose()
        self.assert_left(realm)
        self.assertEqual(realm.maildrop.committed, [])

    def test_in_the_middle_of_a_message(self) -> None:
        reader = SlowReader([b"one\r\n", b"two\r\n"])
        realm = Realm(OneMessage(reader))
        wire, _clock = served(realm)
        wire.say(LOGIN + b"RETR 1\r\n")
        reader.go_on()
        wire.lose()
        self.assertEqual(reader.closed, 1)
        self.assert_left(realm)

    def test_in_the_middle_of_a_message_that_it_does_not_read(self) -> None:
        reader = SlowReader([b"one\r\n", b"two\r\n"])
        realm = Realm(OneMessage(reader))
        wire, _clock = served(realm)
        wire.say(LOGIN + b"RETR 1\r\n")
        wire.server.pauseProducing()
        reader.go_on()
        wire.lose()
        self.assertEqual(reader.closed, 1)
        self.assert_left(realm)

    def test_in_update_which_goes_on(self) -> None:
        pending: Deferred[int] = Deferred()
        realm = Realm(OneMessage(commit=pending))
        wire, _clock = served(realm)
        wire.say(LOGIN + b"DELE 1\r\nQUIT\r\n")
        wire.lose()
        self.assertEqual((realm.maildrop.committed, realm.maildrop.closed, realm.logouts), ([{0}], 0, 0))
        pending.callback(0)
        self.assert_left(realm)

    def test_after_quit(self) -> None:
        realm = Realm(OneMessage())
        wire, _clock = served(realm)
        wire.say(LOGIN + b"DELE 1\r\nQUIT\r\n")
        self.assert_left(realm)
        wire.lose()
        self.assert_left(realm)

    def test_after_a_failed_update(self) -> None:
        realm = Realm(OneMessage(commit=OSError()))
        wire, _clock = served(realm)
        wire.say(LOGIN + b"DELE 1\r\nQUIT\r\n")
        wire.lose()
        self.assert_left(realm)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_sent_away_while_its_maildrop_opens(self) -> None:
        realm = Realm(OneMessage(), waits=True)
        wire, _clock = served(realm)
        wire.say(LOGIN)
        wire.server.shed()
        assert realm.waiting is not None
        realm.waiting.callback(realm.avatar())
        self.assertEqual(wire.say(), b"-ERR [SYS/TEMP] server cannot keep this connection, try again later\r\n")
        wire.lose()
        self.assert_left(realm)

    def test_an_idle_session_that_is_logged_out(self) -> None:
        realm = Realm(OneMessage())
        wire, clock = served(realm, limits=Limits(idle_seconds=600))
        wire.say(LOGIN)
        let_pass(clock, 602)
        wire.lose()
        self.assert_left(realm)


class Closing(SynchronousTestCase):
    def test_half_closing_clients_get_all_their_replies(self) -> None:
        for moment in range(3):
            realm = Realm(OneMessage(), waits=True)
            wire, _clock = served(realm)
            if moment == 0:
                wire.close_sending()
                self.assertTrue(wire.over)
                continue
            commands = LOGIN + b"STAT\r\nDELE 1\r\n" + (b"QUIT\r\n" if moment == 1 else b"")
            wire.say(commands)
            wire.close_sending()
            self.assertFalse(wire.over)
            assert realm.waiting is not None
            realm.waiting.callback(realm.avatar())
            said = wire.say()
            self.assertTrue(wire.over)
            self.assertIn(b"+OK 1 1000\r\n", said)
            self.assertEqual(b"removed" in said, moment == 1)
            self.assertEqual(realm.maildrop.committed, [{0}] if moment == 1 else [])
            wire.lose()
            self.assertEqual((realm.maildrop.closed, realm.logouts), (1, 1))

    def test_who_logs_out_though_the_maildrop_cannot_be_closed(self) -> None:
        class Stuck(OneMessage):
            def close(self) -> Deferred[None]:
                super().close()
                return fail(OSError())

        realm = Realm(Stuck())
        wire, _clock = served(realm)
        self.assertTrue(wire.say(LOGIN + b"QUIT\r\n").endswith(b"+OK bye\r\n"))
        self.assertEqual((realm.maildrop.closed, realm.logouts), (1, 1))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_checker_that_gives_up_is_answered(self) -> None:
        wire, _clock = served(Realm(OneMessage()), fail(CancelledError()))
        self.assertTrue(wire.say(LOGIN).endswith(b"-ERR [SYS/TEMP] temporary system problem, try again later\r\n"))
        self.assertFalse(wire.over)
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_an_avatar_that_is_no_maildrop_is_logged_out(self) -> None:
        realm = Realm(object())
        wire, _clock = served(realm)
        self.assertTrue(wire.say(LOGIN).endswith(b"-ERR [SYS/PERM] this realm has no maildrop for POP3\r\n"))
        self.assertEqual(realm.logouts, 1)
