"""The accepting side of Kerberos V5 by GSSAPI (RFC 4121), in threads. Needs the package gssapi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import gssapi
from gssapi.raw import GSSError
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from popserv.errors import LoginRefused, SystemTrouble
from popserv.pools import Pool

KRB5 = gssapi.OID.from_int_seq("1.2.840.113554.1.2.2")

T = TypeVar("T")


class NoCredential(Exception):
    """The keytab gives no acceptor credential."""


class Acceptor:
    """Has the keys of this service, and begins exchanges. What blocks happens in `pool`."""

    log = Logger()

    def __init__(self, keytab: str, service: str, hosts: frozenset[str], pool: Pool) -> None:
        """`keytab` is a path. A ticket has to be for ``service/host`` with one of `hosts`, in lower case."""
        self._keytab = keytab
        self._service = service
        self._hosts = hosts
        self._pool = pool

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
        """A security context to feed tokens to. Blocks. Raises `SystemTrouble`, which is logged."""
        try:
            return gssapi.SecurityContext(creds=self.credential(), usage="accept")
        except NoCredential as error:
            self.log.error("kerberos: no acceptor credential: {reason}", reason=str(error))
            raise SystemTrouble() from None

    def run(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """In a thread. What GSSAPI does not like is `LoginRefused`; the log has the reason."""
        return self._pool.run(self._guarded, function, *arguments)

    def _guarded(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return function(*arguments)
        except GSSError as error:
            self.log.info("kerberos: refused: {reason}", reason=ascii(error.gen_message()))
            raise LoginRefused() from None

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
