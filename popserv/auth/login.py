"""The way in: `Portal.login` and everything that stands around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs
from twisted.cred.error import LoginFailed, Unauthorized
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import implementer

from popserv.auth.chain import can_check
from popserv.auth.names import InvalidName
from popserv.auth.pace import Pace, Paced
from popserv.auth.trail import Trail
from popserv.errors import (
    DEFECTS,
    LoginBarred,
    LoginRefused,
    LoginTooSoon,
    MaildropInUse,
    NoSuchAccount,
    PopError,
    StoreUnavailable,
    SystemBroken,
    SystemTrouble,
    TooManySessions,
)
from popserv.interfaces import IAuthorizes, IChannel, ILogin, IMaildrop, ISessionObserver


@attrs.frozen
class Peer:
    """Who asks: handed to the portal as the mind."""

    address: str
    """Numeric, "" for a unix socket."""
    session: str
    """The id that stands in every log line of this connection."""
    tls: str = ""
    """The TLS version, "" in the clear."""
    mechanism: str = ""
    """USER, APOP, or the SASL mechanism."""
    name: bytes = attrs.field(default=b"", repr=False)
    """Whose maildrop is asked for, as the client wrote it; b"" = the secret tells."""


@attrs.frozen
class LoggedIn:
    """A session that may begin."""

    maildrop: IMaildrop
    name: str
    """For logs: what the account is called."""
    logout: Callable[[], Any] = attrs.field(repr=False)

    async def leave(self) -> None:
        """Close the maildrop, and log out whether that worked or not. To be called once."""
        try:
            await self.maildrop.close()
        finally:
            await maybeDeferred(self.logout)


def _why(error: PopError) -> str:
    """A word for the log; "" for refusals, which have words of their own, and for what the client has broken off."""
    if isinstance(error, TooManySessions):
        return "sessions"
    words = {LoginTooSoon.code: "login-delay", MaildropInUse.code: "in-use", SystemTrouble.code: "trouble"}
    return {**words, SystemBroken.code: "broken"}.get(error.code, "")


class FailureDelay(Protocol):
    """What `LoginService` needs of a throttle."""

    def record_failure(self, address: str, name: str) -> float: ...

    def record_success(self, address: str, name: str) -> None: ...


@implementer(ILogin)
class LoginService:
    """Prepares the name, asks the portal, slows guessers down, and turns every failure into a `PopError`.

    All refusals are the same to the client: unknown name, wrong secret, barred account (RFC 3206 section 5).
    """

    log = Logger()

    def __init__(
        self,
        portal: Portal,
        *,
        clock: IReactorTime,
        case: Literal["fold", "keep"] = "fold",
        throttle: FailureDelay | None = None,
        observer: ISessionObserver | None = None,
        canonical: Callable[[bytes], bytes] = bytes,
        adapt: Callable[[Any], Deferred[IMaildrop]] | None = None,
    ) -> None:
        """`canonical` gives the name that failures are counted by, however it was written; `adapt` makes an `IMaildrop`
        of a foreign `IMailboxPOP3`."""
        self._portal = portal
        self._case = case
        self._throttle = throttle
        self._pace = Pace(clock)
        self._observer = observer
        self._canonical = canonical
        self._adapt = adapt

    def verifies(self, credential: Any, channel: IChannel | None = None) -> bool:
        # As the portal looks for a checker: credentials of this kind have to provide what it takes.
        for taken, checker in self._portal.checkers.items():
            if credential.isOrExtends(taken):
                return can_check(checker, credential, channel)
        return False

    def login(self, credentials: Any, peer: Peer, trail: Trail | None = None) -> Deferred[LoggedIn]:
        """See `popserv.interfaces.ILogin`; what happens inside is noted in `trail`."""
        return ensureDeferred(self._login(credentials, peer, trail))

    async def _login(self, credentials: Any, peer: Peer, trail: Trail | None) -> LoggedIn:
        trail = Trail() if trail is None else trail
        self._pace.begin(trail)
        try:
            return await self._let_in(credentials, peer, trail)
        except PopError as error:
            if reason := _why(error):
                name = credentials.username.decode("utf-8", "replace")
                self._report("failed", peer, name, trail, reason=reason)
            raise

    async def _let_in(self, credentials: Any, peer: Peer, trail: Trail) -> LoggedIn:
        name = credentials.username.decode("utf-8", "replace")
        try:
            prepared = self._prepare(credentials, peer, trail)
            name = prepared.username.decode("utf-8")
            asked_for = credentials.authorization or credentials.username
            result = await self._ask_portal(prepared, attrs.evolve(peer, name=asked_for))
        except LoginRefused as refusal:
            if isinstance(refusal, LoginBarred):
                trail.reason = "policy"
            elif isinstance(refusal, NoSuchAccount):
                trail.reason = "unknown-account"
            await self._refused(peer, name, trail)
            raise
        if self._throttle is not None:
            self._throttle.record_success(peer.address, self._counted(name))
        logged_in = await self._open(result, name, peer)
        trail.succeeded()
        said = {key: value for key, value in (("trace", trail.trace), ("by", trail.master)) if value}
        self._report("login", peer, logged_in.name, trail, **said)
        return logged_in

    def _counted(self, name: str) -> str:
        return self._canonical(name.encode("utf-8")).decode("utf-8")

    def _prepare(self, credentials: Any, peer: Peer, trail: Trail) -> Any:
        try:
            prepared = credentials.prepared(self._case)
        except InvalidName:
            trail.reason = "invalid-name"
            raise LoginRefused() from None
        # RFC 4422 section 3.4.1: acting as somebody else needs a permission, and a checker that asks for it.
        if prepared.authorization not in (b"", prepared.username) and not self._authorizes(prepared):
            trail.reason = "authorization"
            raise LoginRefused()
        trail.trace = getattr(prepared, "trace", "")
        trail.mechanism = peer.mechanism
        conversation = getattr(prepared, "conversation", None)
        paced = {} if conversation is None else {"conversation": Paced(conversation, self._pace, trail)}
        return attrs.evolve(prepared, address=peer.address, trail=trail, **paced)

    def _authorizes(self, credentials: Any) -> bool:
        return any(
            IAuthorizes.providedBy(checker)
            for taken, checker in self._portal.checkers.items()
            if taken.providedBy(credentials)
        )

    async def _ask_portal(self, credentials: Any, peer: Peer) -> tuple[Any, Any, Any]:
        try:
            result: tuple[Any, Any, Any] = await self._portal.login(credentials, peer, IMailboxPOP3, IMaildrop)
        except (LoginFailed, Unauthorized):
            raise LoginRefused() from None
        except PopError:
            raise
        except DEFECTS:
            self.log.failure("login failed: session={session}", session=peer.session)
            raise SystemTrouble() from None
        return result

    async def _open(self, result: tuple[Any, Any, Any], name: str, peer: Peer) -> LoggedIn:
        _interface, avatar, logout = result
        try:
            return LoggedIn(await self._maildrop(avatar), getattr(logout, "account", name), logout)
        except PopError:
            await maybeDeferred(logout)
            raise
        except DEFECTS:
            self.log.failure("maildrop cannot be opened: session={session}", session=peer.session)
            await maybeDeferred(logout)
            raise StoreUnavailable() from None

    async def _maildrop(self, avatar: Any) -> IMaildrop:
        if IMaildrop.providedBy(avatar):
            maildrop: IMaildrop = avatar
            return maildrop
        if self._adapt is None or not IMailboxPOP3.providedBy(avatar):
            raise SystemBroken("this realm has no maildrop for POP3")
        return await self._adapt(avatar)

    def _report(self, event: str, peer: Peer, name: str, trail: Trail, **more: str) -> None:
        if self._observer is not None:
            self._observer.event(
                event,
                session=peer.session,
                peer=peer.address,
                user=name,
                mech=peer.mechanism,
                tls=peer.tls,
                checker=trail.checker,
                **more,
            )

    async def _refused(self, peer: Peer, name: str, trail: Trail) -> None:
        """Answer late, and by the clock from receipt, so that how long the check took does not show."""
        self._report("refused", peer, name, trail, reason=trail.reason or "credentials")
        throttle = self._throttle
        delay = 0.0 if throttle is None else throttle.record_failure(peer.address, self._counted(name))
        await self._pace.hold("refusal", trail, delay)
