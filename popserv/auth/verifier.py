"""Checks passwords for account databases: off the reactor, and at the same price whether or not there is an account."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from popserv.auth.passwd_lines import kind_of
from popserv.auth.passwords import UnusableHash, dummy_hash, verify
from popserv.auth.success_cache import SuccessCache
from popserv.auth.trail import Trail
from popserv.pools import Pool


class PasswordVerifier:
    """Checks credentials with a `password` against stored values, in the hashing pool.

    Every check fails with `popserv.errors.Busy` when the pool's queue is full.
    """

    log = Logger()

    def __init__(self, hashing: Pool, default_scheme: str = "PLAIN", successes: SuccessCache | None = None) -> None:
        """`default_scheme` is that of stored values without a prefix; what `successes` knows is not checked again."""
        self._hashing = hashing
        self._default_scheme = default_scheme
        self._successes = successes
        self.dummy = dummy_hash()
        """The stored value whose check, for nothing, is what an unknown name costs."""

    def stand_in(self, stored: str | None) -> None:
        """Make `stored` the `dummy`, one of many alike, so that unknown names cost what known ones do; None = ours."""
        self.dummy = dummy_hash() if stored is None else stored

    def check(self, name: str, stored: str, credentials: Any, usable: bool = True) -> Deferred[bool]:
        """Whether the credentials of account `name` fit `stored`: a Deferred bool.

        A value that cannot be checked is logged and fits nothing. Where the account is not `usable`, what is known of
        earlier checks does not count: that it took no time would tell that the password is right.
        """
        candidates = passwords_of(credentials)
        _note(credentials, stored)
        if usable and self._successes is not None and self._successes.knows(stored, candidates[-1]):
            return succeed(True)
        checked = self._hashing.run(self._fits, stored, candidates).addCallback(self._judge, name)
        return checked.addCallback(self._remember, stored, candidates[-1], getattr(credentials, "trail", None))

    def check_dummy(self, credentials: Any) -> Deferred[None]:
        """Do the work of `check` for nothing: a Deferred None."""
        _note(credentials, self.dummy)
        return self._hashing.run(self._fits, self.dummy, passwords_of(credentials)).addCallback(lambda _verdict: None)

    def _fits(self, stored: str, candidates: tuple[bytes, ...]) -> bool | UnusableHash:
        try:
            return self._any(stored, candidates)
        except UnusableHash as error:
            with suppress(UnusableHash):
                self._any(self.dummy, candidates)
            return error

    def _any(self, stored: str, candidates: tuple[bytes, ...]) -> bool:
        return any(verify(stored, password, self._default_scheme) for password in candidates)

    def _remember(self, fits: bool, stored: str, typed: bytes, trail: Trail | None) -> bool:
        if fits and self._successes is not None:
            remember = partial(self._successes.remember, stored, typed)
            if trail is None:
                remember()
            else:
                # Not before the login has come to its end: whoever is barred for another reason is not told by time.
                trail.afterwards.append(remember)
        return fits

    def _judge(self, verdict: bool | UnusableHash, name: str) -> bool:
        if isinstance(verdict, UnusableHash):
            self.log.warn(
                "stored password cannot be checked: account={account} reason={reason}",
                account=name,
                reason=str(verdict),
            )
            return False
        return verdict


def _note(credentials: Any, stored: str) -> None:
    if (trail := getattr(credentials, "trail", None)) is not None:
        trail.work = kind_of(stored)


def passwords_of(credentials: Any) -> tuple[bytes, ...]:
    """The password, then the same as it was typed, for hashes that others made of unprepared ones."""
    password: bytes = credentials.password
    typed: bytes = getattr(credentials, "typed", b"")
    return (password, typed) if typed and typed != password else (password,)
