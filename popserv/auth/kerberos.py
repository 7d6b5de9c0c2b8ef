"""The accepting side of Kerberos V5 by GSSAPI (RFC 4121), in threads. Needs the package gssapi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import gssapi
from gssapi.raw import GSSError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from popserv.errors import Busy, LoginRefused, SystemTrouble
from popserv.pools import Pool

LOOK_SECONDS = 10.0
"""How old what is known of the keytab may be before it is looked at again."""

KRB5 = gssapi.OID.from_int_seq("1.2.840.113554.1.2.2")

T = TypeVar("T")


class NoCredential(Exception):
    """The keytab gives no acceptor credential."""


class Acceptor:
    """Has the keys of this service, and begins exchanges. What blocks happens in `pool`."""

    log = Logger()

    def __init__(self, keytab: str, service: str, hosts: frozenset[str], pool: Pool, clock: IReactorTime) -> None:
        """`keytab` is a path. A ticket has to be for ``service/host`` with one of `hosts`, in lower case."""
        self._keytab = keytab
        self._service = service
        self._hosts = hosts
        self._pool = pool
        self._clock = clock
        self._looked = -LOOK_SECONDS
        self._wrong = ""

    def able(self) -> bool:
        """Whether there was a credential when that was last seen. Looks again, in a thread, every `LOOK_SECONDS`."""
        now = self._clock.seconds()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._pool.run(self.look).addCallbacks(self.note, lambda failure: failure.trap(Busy))
        return not self._wrong

    def look(self) -> str:
        """Why there is no credential; "" if there is one. Blocks."""
        try:
            self.credential()
        except NoCredential as error:
            return str(error)
        return ""

    def credential(self) -> Any:
        """For any name in the keytab, and for Kerberos V5 only (RFC 4752 section 3.2). Blocks.

        Raises `NoCredential`.
        """
        try:
            return gssapi.Credentials(usage="accept", mechs=[KRB5], store={"keytab": f"FILE:{self._keytab}"})
        except GSSError as error:
            raise NoCredential(f"{self._keytab}: {error.gen_message()}") from None

    def begin(self) -> Acceptance:
        """One exchange, to be given tokens."""
        return Acceptance(self)

    def start(self) -> Any:
        """A security context to feed tokens to. Blocks. Raises `NoCredential`."""
        return gssapi.SecurityContext(creds=self.credential(), usage="accept")

    def run(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """In a thread. What GSSAPI does not like is `LoginRefused`, no credential `SystemTrouble`; the log has why."""
        return self._pool.run(self._guarded, function, *arguments).addErrback(self._without)

    def _guarded(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return function(*arguments)
        except GSSError as error:
            self.log.info("kerberos: refused: {reason}", reason=ascii(error.gen_message()))
            raise LoginRefused() from None

    def _without(self, failure: Failure) -> NoReturn:
        failure.trap(NoCredential)  # type: ignore[no-untyped-call]
        self.note(str(failure.value))
        raise SystemTrouble() from failure.value

    def note(self, wrong: str) -> None:
        """What a look has shown. Told to the log when it changes, and not with each look."""
        if wrong != self._wrong:
            self._wrong = wrong
            if wrong:
                self.log.error("kerberos: GSSAPI is not offered: {reason}", reason=wrong)
            else:
                self.log.info("kerberos: GSSAPI is offered again")

    def is_for_us(self, target: str) -> bool:
        """Whether a principal is this service's on one of its hosts."""
        service, _, rest = target.partition("/")
        return service == self._service and rest.rpartition("@")[0].lower() in self._hosts


class Acceptance:
    """One security context. One call at a time. Every method may fail with `LoginRefused` or `SystemTrouble`."""

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self._context: Any = None
        self.principal = ""
        """Who the client has proved to be; "" before the context is complete."""

    def step(self, token: bytes) -> Deferred[bytes]:
        """Take a token of the client's; the result is ours, b"" for none."""
        return self._acceptor.run(self._step, token)

    def wrap(self, octets: bytes) -> Deferred[bytes]:
        """Protect the integrity of these octets."""
        return self._acceptor.run(lambda: bytes(self._context.wrap(octets, False).message))

    def unwrap(self, token: bytes) -> Deferred[bytes]:
        """What the client has wrapped."""
        return self._acceptor.run(lambda: bytes(self._context.unwrap(token).message))

    def _step(self, token: bytes) -> bytes:
        if self._context is None:
            self._context = self._acceptor.start()
        answer = self._context.step(token) or b""
        if self._context.complete:
            if self._context.mech != KRB5 or not self._acceptor.is_for_us(str(self._context.target_name)):
                raise LoginRefused()
            self.principal = str(self._context.initiator_name)
        return bytes(answer)
