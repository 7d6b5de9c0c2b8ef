"""A session on literals: a maildrop of octets, and effects performed at once."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

import attrs
from twisted.cred.credentials import IUsernamePassword

from popserv.errors import LoginRefused, PopError
from popserv.limits import Limits
from popserv.net.conversation import Conversation
from popserv.sasl.plain import plugin as plain
from popserv.session.capabilities import Offer
from popserv.session.effects import (
    ApopLogin,
    Commit,
    Converse,
    PasswordLogin,
    Respond,
    SendListing,
    SendMessage,
    StartTLS,
)
from popserv.session.session import STANDARD, Dialect, Session
from popserv.wire.dotstuff import TopCutter, stuff
from popserv.wire.octets import to_crlf
from popserv.wire.replies import TERMINATOR

MESSAGES = (b"Subject: one\n\nbody\n.dot\n", b"", b"Subject: three\r\n\r\nlast line without an end")
OPEN = Offer(user=True, mechanisms=(plain,), stls=True)
CLOSED = Offer(user=False, stls=True)
TIMESTAMP = b"<1896.697170952@dbc.mtview.ca.us>"


class ServerFirst:
    """A mechanism that begins with a challenge and wants the word back."""

    name = b"X-ECHO"
    credential = IUsernamePassword
    plaintext = False
    client_first = False

    async def authenticate(self, conversation: Any) -> bytes:
        answer: bytes = b""
        while answer != b"word":
            answer = await conversation.challenge(b"say word")
        return answer


class Maildrop:
    """What `IMaildrop` promises, of octets in memory."""

    def __init__(self, messages: Sequence[bytes]) -> None:
        self.messages = [to_crlf(message) for message in messages]
        self.octets = [len(message) for message in self.messages]
        self.count = len(self.messages)
        self.total = sum(self.octets)

    def uidl(self, index: int) -> bytes:
        return b"uid-%d" % (index + 1)


@attrs.define
class Table:
    """A session, with everything it asks for done at once: `say` gives the octets a client would get."""

    session: Session
    maildrop: Maildrop
    password: bytes = b"secret"
    removed: frozenset[int] | None = None
    left: int = 0
    _conversation: Conversation | None = None
    _out: list[bytes] = attrs.Factory(list)

    def say(self, *lines: bytes) -> bytes:
        out = b""
        for line in lines:
            if self.session.ended:
                break
            reply = self.session.handle(line)
            out += reply if isinstance(reply, bytes) else self.perform(reply)
        return out

    def perform(self, effect: Any) -> bytes:
        if isinstance(effect, PasswordLogin):
            return self._login(effect.password == self.password)
        if isinstance(effect, ApopLogin):
            return self._login(effect.digest == b"c4c9334bac560ecc979e58001b3e22fb")
        if isinstance(effect, Converse):
            return self._converse(effect)
        if isinstance(effect, Respond):
            assert self._conversation is not None
            self._conversation.answer(effect.response)
            return self._take()
        if isinstance(effect, SendMessage):
            return self._send(effect)
        if isinstance(effect, SendListing):
            return b"".join(effect.blocks)
        if isinstance(effect, Commit):
            self.removed = effect.deleted
            return self.session.committed(effect, self.left)
        assert isinstance(effect, StartTLS)
        self.session.tls_started(attrs.evolve(self.session.offer, stls=False, user=True, mechanisms=(plain,)))
        return effect.reply

    def _login(self, good: bool) -> bytes:
        return self.session.logged_in(self.maildrop) if good else self.session.login_failed(LoginRefused())

    def _converse(self, effect: Converse) -> bytes:
        self._conversation = Conversation(
            effect.initial, lambda octets: self._out.append(self.session.challenge(octets))
        )
        self._run(effect.mechanism.authenticate(self._conversation))
        return self._take()

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        from twisted.internet.defer import ensureDeferred

        def good(credentials: Any) -> None:
            self._out.append(self._login(getattr(credentials, "password", self.password) == self.password))

        def bad(failure: Any) -> None:
            if not isinstance(failure.value, PopError):
                failure.raiseException()
            self._out.append(self.session.login_failed(failure.value))

        ensureDeferred(work).addCallbacks(good, bad)

    def _take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _send(self, effect: SendMessage) -> bytes:
        message = self.maildrop.messages[effect.index]
        if effect.lines is not None:
            cutter = TopCutter(effect.lines)
            message = cutter.feed(message) + cutter.finish()
        self.session.sent(effect, len(message))
        return effect.header + stuff(message) + TERMINATOR


def table(
    messages: Sequence[bytes] = MESSAGES,
    offer: Offer = OPEN,
    *,
    timestamp: bytes = b"",
    extensions: Sequence[str] = (),
    **limits: int,
) -> Table:
    """A new session in AUTHORIZATION."""
    dialect = Dialect.of(extensions) if extensions else STANDARD
    session = Session(offer, Limits(**limits), dialect=dialect)
    session.begin(offer, timestamp, tls=False)
    return Table(session, Maildrop(messages))


def logged_in(messages: Sequence[bytes] = MESSAGES, **more: Any) -> Table:
    """A new session in TRANSACTION."""
    new = table(messages, **more)
    assert new.say(b"USER fred", b"PASS secret").startswith(b"+OK send PASS\r\n+OK ")
    return new
