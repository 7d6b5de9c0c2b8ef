"""Perform the effects of a session: the one place of this layer that knows logins and maildrops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from popserv.auth.credentials import ApopDigest, Password
from popserv.auth.login import LoggedIn, Peer
from popserv.errors import DEFECTS, ConnectionGone, PopError, SystemTrouble
from popserv.interfaces import IChannel, ILogin
from popserv.net.channel import CLEAR
from popserv.net.conversation import Conversation
from popserv.session.effects import ApopLogin, Commit, Converse, PasswordLogin, Respond
from popserv.session.session import Session


class Performer:
    """Logs in, converses and commits for one session, and sees to it that the maildrop is closed in every case.

    `reply` is called with the octets of each outcome, at once or later.
    """

    log = Logger()

    def __init__(
        self,
        session: Session,
        login: ILogin,
        peer: Callable[[str], Peer],
        reply: Callable[[bytes], None],
        hostname: str = "localhost",
    ) -> None:
        """`peer` makes the record for a mechanism's name; `hostname` is what mechanisms call this server."""
        self._session = session
        self._login = login
        self._peer = peer
        self._reply = reply
        self._hostname = hostname
        self.channel: IChannel = CLEAR
        """The connection as mechanisms see it; another one when TLS starts."""
        self._conversation: Conversation | None = None
        self._committing = False
        self._gone = False
        self.logged_in: LoggedIn | None = None
        self.mechanism = ""
        """The last one tried: USER, APOP or the SASL mechanism."""
        self.name = ""
        """The account, once logged in."""

    def perform(self, effect: PasswordLogin | ApopLogin | Converse | Respond | Commit) -> None:
        """Begin; the outcome reaches the session, and its reply `reply`."""
        if isinstance(effect, Respond):
            self._continue(effect)
        elif isinstance(effect, Commit):
            ensureDeferred(self._commit(effect))
        else:
            ensureDeferred(self._log_in(effect))

    def lost(self) -> None:
        """The connection is gone, or ends: end an exchange, close the maildrop. An UPDATE goes on. May be called twice.

        So does a login, and what it brings is left at once. A realm need not know how to be cancelled: the avatar that
        it makes nevertheless would never be logged out.
        """
        self._gone = True
        if self._conversation is not None:
            self._conversation.answer(ConnectionGone())
        logged_in = self.logged_in
        if logged_in is not None and not self._committing:
            self.logged_in = None
            ensureDeferred(self._leave(logged_in))

    def _continue(self, effect: Respond) -> None:
        if self._conversation is not None:
            self._conversation.answer(effect.response)

    async def _log_in(self, effect: PasswordLogin | ApopLogin | Converse) -> None:
        session = self._session
        try:
            outcome = await self._authenticate(effect)
        except ConnectionGone:
            return
        except PopError as error:
            self._finished(session.login_failed, error)
            return
        except DEFECTS:
            self._defect()
            self._finished(session.login_failed, SystemTrouble())
            return
        self.name = outcome.name
        if self._gone:
            await self._leave(outcome)
        else:
            self.logged_in = outcome
            self._finished(session.logged_in, outcome.maildrop)

    async def _authenticate(self, effect: PasswordLogin | ApopLogin | Converse) -> LoggedIn:
        credentials: Any
        try:
            if isinstance(effect, PasswordLogin):
                self.mechanism, credentials = "USER", Password(effect.name, effect.password)
            elif isinstance(effect, ApopLogin):
                self.mechanism, credentials = "APOP", ApopDigest(effect.name, effect.timestamp, effect.digest)
            else:
                credentials = await self._converse(effect)
            # Whoever checks the credentials may go on with the conversation: it ends when the login does.
            result: LoggedIn = await self._login.login(credentials, self._peer(self.mechanism))
            return result
        finally:
            self._conversation = None

    async def _converse(self, effect: Converse) -> Any:
        self.mechanism = effect.mechanism.name.decode("ascii")
        offered = tuple(each.name for each in self._session.offer.mechanisms)
        self._conversation = Conversation(effect.initial, self._challenge, self.channel, self._hostname, offered)
        return await effect.mechanism.authenticate(self._conversation)

    def _challenge(self, octets: bytes) -> None:
        conversation = self._conversation
        if not self._gone:
            self._reply(self._session.challenge(octets))
        if conversation is not None and (self._gone or self._session.ended):
            conversation.answer(ConnectionGone())

    async def _commit(self, effect: Commit) -> None:
        logged_in = self.logged_in
        assert logged_in is not None  # noqa: S101 - Commit follows a login
        session = self._session
        self._committing = True
        try:
            # RFC 1939 section 6: the lock is free before the client hears of it.
            left = await self._remove(logged_in, effect.deleted)
        except PopError as error:
            self._finished(session.failed, error)
        except DEFECTS:
            self._defect()
            self._finished(session.failed, SystemTrouble("some deleted messages not removed"))
        else:
            self._finished(session.committed, effect, left)

    async def _remove(self, logged_in: LoggedIn, deleted: frozenset[int]) -> int:
        try:
            # Also for nothing: a foreign mailbox may have something to `sync`.
            return await logged_in.maildrop.commit(deleted)
        finally:
            await self._leave(logged_in)
            self.logged_in = None

    async def _leave(self, logged_in: LoggedIn) -> None:
        try:
            await logged_in.leave()
        except DEFECTS:
            self._defect()

    def _finished(self, outcome: Callable[..., bytes], *arguments: Any) -> None:
        if not self._gone:
            self._reply(outcome(*arguments))

    def _defect(self) -> None:
        self.log.failure("session {session}: unexpected failure", session=self._peer(self.mechanism).session)
