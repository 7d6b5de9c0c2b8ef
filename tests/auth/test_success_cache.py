"""Passwords that were right a moment ago."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv.auth.credentials import Password
from popserv.auth.passwords import hash_password
from popserv.auth.success_cache import SuccessCache
from popserv.auth.trail import Trail
from popserv.auth.verifier import PasswordVerifier
from popserv.pools import InlinePool


class Counting(InlinePool):
    """Counts what is hashed."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        self.runs += 1
        return super().run(function, *arguments)


class Verifying(SynchronousTestCase):
    STORED = hash_password(b"secret", "SSHA512")

    def setUp(self) -> None:
        self.clock = Clock()
        self.pool = Counting()
        self.verifier = self.verifier_with(300)

    def test_an_account_that_may_not_be_used_takes_the_time_that_others_take(self) -> None:
        credentials = Password(b"fred", b"secret")
        for usable in (True, False, False):
            self.assertTrue(self.successResultOf(self.verifier.check("fred", self.STORED, credentials, usable)))
        self.assertEqual(self.pool.runs, 3)

    def test_nothing_is_remembered_of_a_login_that_comes_to_nothing(self) -> None:
        trail = Trail()
        credentials = Password(b"fred", b"secret", trail=trail)
        for _ in range(2):
            self.assertTrue(self.successResultOf(self.verifier.check("fred", self.STORED, credentials)))
        self.assertEqual(self.pool.runs, 2)
        trail.succeeded()
        self.assertTrue(self.successResultOf(self.verifier.check("fred", self.STORED, credentials)))
        self.assertEqual(self.pool.runs, 2)

    def verifier_with(self, seconds: float, entries: int = 10) -> PasswordVerifier:
        return PasswordVerifier(self.pool, successes=SuccessCache(self.clock, seconds, entries))

    def fits(self, password: bytes = b"secret", stored: str = STORED) -> bool:
        return self.successResultOf(self.verifier.check("fred", stored, Password(b"fred", password)))

    def test_a_right_password_is_hashed_once_in_a_while(self) -> None:
        self.assertEqual([self.fits() for _ in range(5)], [True] * 5)
        self.assertEqual(self.pool.runs, 1)
        self.clock.advance(299)
        self.fits()
        self.assertEqual(self.pool.runs, 1)
        self.clock.advance(1)
        self.assertTrue(self.fits())
        self.assertEqual(self.pool.runs, 2)

    def test_a_wrong_password_is_hashed_each_time_and_never_right(self) -> None:
        self.fits()
        self.assertEqual([self.fits(b"wrong") for _ in range(3)], [False] * 3)
        self.assertEqual(self.pool.runs, 4)

    def test_a_new_stored_value_takes_effect_at_once(self) -> None:
        self.fits()
        new = hash_password(b"other", "SSHA512")
        self.assertFalse(self.fits(stored=new))
        self.assertTrue(self.fits(b"other", new))

    def test_neither_part_can_lend_octets_to_the_other(self) -> None:
        cache = SuccessCache(self.clock, 300)
        cache.remember("{PLAIN}ab", b"c")
        self.assertTrue(cache.knows("{PLAIN}ab", b"c"))
        self.assertFalse(cache.knows("{PLAIN}a", b"bc"))

    def test_nothing_is_kept_that_tells_a_password(self) -> None:
        cache = SuccessCache(self.clock, 300)
        cache.remember(self.STORED, b"secret")
        (mac,) = cache._until
        self.assertEqual(len(mac), 16)
        other = SuccessCache(self.clock, 300)
        other.remember(self.STORED, b"secret")
        self.assertNotIn(mac, other._until)

    def test_the_latest_are_kept(self) -> None:
        cache = SuccessCache(self.clock, 300, entries=2)
        for password in (b"a", b"b", b"a", b"c"):
            cache.remember("x", password)
        self.assertEqual([cache.knows("x", each) for each in (b"a", b"b", b"c")], [True, False, True])

    def test_it_can_be_off(self) -> None:
        self.verifier = self.verifier_with(0)
        self.assertEqual([self.fits() for _ in range(3)], [True] * 3)
        self.assertEqual(self.pool.runs, 3)
