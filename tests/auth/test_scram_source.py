"""Where SCRAM keys come from, and that those of nobody look like somebody's."""

from __future__ import annotations

from base64 import b64encode

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from popserv.auth.passwords import hash_password
from popserv.auth.scram_keys import ScramKeys, salt_for
from popserv.auth.scram_source import DERIVED_ITERATIONS, ScramSource
from popserv.pools import InlinePool


class CountingPool(InlinePool):
    def __init__(self) -> None:
        self.calls = 0

    def run(self, function, *arguments):
        self.calls += 1
        return super().run(function, *arguments)


class Sources(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = CountingPool()
        self.source = ScramSource(self.pool, b"s" * 32)

    def keys(self, stored: str, hash_name="sha256", name: bytes = b"fred"):
        return self.successResultOf(ensureDeferred(self.source.keys(name, stored, hash_name)))

    def nobodys(self, typical: str, hash_name="sha256", name: bytes = b"nora"):
        return self.successResultOf(ensureDeferred(self.source.nobodys(name, typical, hash_name)))

    def test_keys_are_read_where_they_are_stored(self) -> None:
        made = ScramKeys.make(b"pencil", "sha1", 4096)
        stored = f"{{SCRAM-SHA-1}}{made.to_text()}"
        self.assertEqual(self.keys(stored, "sha1"), made)
        self.assertIsNone(self.keys(stored, "sha256"))
        self.assertIsNone(self.keys(hash_password(b"pencil", "SSHA512")))
        self.assertIsNone(self.keys("{SCRAM-SHA-256}nonsense"))
        self.assertEqual(self.pool.calls, 0)

    def test_keys_of_a_plain_password_are_derived_once(self) -> None:
        for hash_name in ("sha1", "sha256", "sha512"):
            keys = self.keys("{PLAIN}pencil", hash_name)
            self.assertEqual((keys.iterations, keys.hash_name), (DERIVED_ITERATIONS, hash_name))
            self.assertTrue(keys.verify(b"pencil"))
            self.assertIs(self.keys("{PLAIN}pencil", hash_name), keys)
        self.assertEqual(self.pool.calls, 3)

    def test_a_changed_plain_password_counts_at_once(self) -> None:
        self.keys("{PLAIN}pencil")
        changed = self.keys("{PLAIN}paper")
        self.assertTrue(changed.verify(b"paper"))
        self.assertFalse(changed.verify(b"pencil"))

    def test_SC_005_a_plain_password_is_prepared_as_clients_do(self) -> None:
        # The examples of RFC 4013 section 3.
        for stored, sent in (("I\u00adX", b"IX"), ("\u00aa", b"a"), ("\u2168", b"IX")):
            self.assertTrue(self.keys(f"{{PLAIN}}{stored}").verify(sent))
        self.assertTrue(self.keys("{PLAIN}bell\x07").verify(b"bell\x07"))

    def test_SC_016_the_salt_of_nobody_is_as_long_as_others_and_shows_no_pattern(self) -> None:
        for octets in (1, 12, 16, 24, 64):
            typical = f"{{SCRAM-SHA-256}}{ScramKeys.make(b'pencil', 'sha256', 5000, b'x' * octets).to_text()}"
            keys = self.nobodys(typical)
            self.assertEqual((len(keys.salt), keys.iterations), (octets, 5000))
            self.assertEqual(self.nobodys(typical).salt, keys.salt)
            self.assertFalse(octets > 1 and keys.salt.endswith(b"\0"), keys.salt)

    def test_SC_016_where_passwords_are_plain_nobody_looks_and_costs_like_them(self) -> None:
        known, unknown = self.keys("{PLAIN}pencil"), self.nobodys("{PLAIN}pencil")
        self.assertEqual((len(known.salt), known.iterations), (len(unknown.salt), unknown.iterations))
        self.assertEqual(self.pool.calls, 2)
        self.assertFalse(unknown.verify(b"pencil"))
        self.assertEqual(salt_for(b"s" * 32, b"nora"), unknown.salt)

    def test_keys_without_salt_are_no_keys(self) -> None:
        _salt, rest = ScramKeys.make(b"pencil", "sha256", 4096, b"x").to_text().split(",", 2)[1:]
        with self.assertRaises(ValueError):
            ScramKeys.from_text(f"4096,{b64encode(b'').decode()},{rest}")
