"""Application passwords: what each opens, and what it does not."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

import argon2
import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv.accounts.sqlite import SqliteAccounts
from popserv.auth import passwords as password_module
from popserv.auth.account_database import Database, NoSuchAccount
from popserv.auth.app_passwords import AppPasswords, LabelTaken, NoSuchLabel
from popserv.auth.chain import CredentialsRefused
from popserv.auth.credentials import Password
from popserv.pools import InlinePool
from tests.accounts.context import CountingPool, new_path, sqlite_file

NOW = 1_800_000_000


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        path = new_path(self)
        path.write_bytes(sqlite_file({"fred": b"pencil", "ann": b"paper"}))
        self.database = Database(path)
        self.passwords = AppPasswords(self.database)
        self.clock = Clock()
        self.clock.advance(NOW)
        self.hashing = CountingPool()
        self.checker = SqliteAccounts(self.database, InlinePool(), self.hashing, self.clock)

    def opens(self, password: str | bytes, name: bytes = b"fred", address: str = "192.0.2.1") -> bool:
        octets = password if isinstance(password, bytes) else password.encode("ascii")
        outcome = self.checker.requestAvatarId(Password(name, octets, address=address))
        if isinstance(outcome.result, bytes):
            self.assertEqual(self.successResultOf(outcome), name)
            return True
        self.failureResultOf(outcome, CredentialsRefused)
        return False


class Opening(Case):
    def test_it_opens_its_account_beside_the_main_password_and_no_other(self) -> None:
        made = self.passwords.add("fred", "phone")
        self.assertTrue(self.opens(made))
        self.assertTrue(self.opens(b"pencil"))
        self.assertFalse(self.opens(made, b"ann"))
        self.assertFalse(self.opens(made[:-1] + ("2" if made[-1] != "2" else "3")))

    def test_it_costs_no_slow_hash(self) -> None:
        made = self.passwords.add("fred", "phone")
        self.assertTrue(self.opens(made))
        self.assertEqual(self.hashing.calls, 0)

    def test_people_copy_it_as_they_like(self) -> None:
        made = self.passwords.add("fred", "phone")
        for typed in (made.upper(), made.replace("-", ""), made.replace("-", " "), f" {made} "):
            self.assertTrue(self.opens(typed))

    def test_several_each_by_its_label(self) -> None:
        made = {label: self.passwords.add("fred", label) for label in ("phone", "scanner")}
        self.assertEqual(len(set(made.values())), 2)
        with self.assertRaises(LabelTaken):
            self.passwords.add("fred", "phone")
        self.passwords.remove("fred", "phone")
        self.assertEqual([self.opens(made["phone"]), self.opens(made["scanner"])], [False, True])
        with self.assertRaises(NoSuchLabel):
            self.passwords.remove("fred", "phone")
        for call in (self.passwords.list, lambda name: self.passwords.add(name, "x")):
            with self.assertRaises(NoSuchAccount):
                call("joe")

    def test_it_ends_when_it_expires(self) -> None:
        made = self.passwords.add("fred", "phone", expires=NOW + 10)
        self.clock.advance(9)
        self.assertTrue(self.opens(made))
        self.clock.advance(1)
        self.assertFalse(self.opens(made))

    def test_it_is_good_from_its_networks_only(self) -> None:
        made = self.passwords.add("fred", "scanner", networks=[ip_network("192.0.2.0/28"), ip_network("2001:db8::/32")])
        for address in ("192.0.2.15", "::ffff:192.0.2.1", "2001:db8::7"):
            self.assertTrue(self.opens(made, address=address), address)
        for address in ("192.0.2.16", "2001:db9::1", "", "nonsense"):
            self.assertFalse(self.opens(made, address=address), address)
        self.assertTrue(self.opens(b"pencil", address="198.51.100.1"))

    def test_it_is_good_for_its_protocols_only(self) -> None:
        made = self.passwords.add("fred", "other", protocols=["imap"])
        self.assertFalse(self.opens(made))

    def test_it_does_not_open_a_disabled_account(self) -> None:
        made = self.passwords.add("fred", "phone")
        self.database.change("fred", enabled=False)
        self.assertFalse(self.opens(made))

    def test_the_main_password_can_be_barred(self) -> None:
        made = self.passwords.add("fred", "phone")
        self.database.change("fred", main_password=False)
        self.hashing.calls = 0
        self.assertFalse(self.opens(b"pencil"))
        self.assertEqual(self.hashing.calls, 1)
        self.assertTrue(self.opens(made))
        self.database.change("fred", main_password=True)
        self.assertTrue(self.opens(b"pencil"))

    def test_they_go_with_the_account_and_outlive_a_new_main_password(self) -> None:
        made = self.passwords.add("fred", "phone")
        self.database.passwd("fred", b"another")
        self.assertTrue(self.opens(made))
        self.database.remove("fred")
        self.database.add("fred", b"pencil")
        self.assertFalse(self.opens(made))


class Keeping(Case):
    def test_what_is_kept_is_no_password(self) -> None:
        made = self.passwords.add("fred", "phone")
        self.assertTrue(re.fullmatch("(?:[a-z2-9]{4}-){4}[a-z2-9]{4}", made))
        (kept,) = self.passwords.list("fred")
        for form in (made, made.replace("-", "")):
            self.assertNotIn(form.encode(), self.database.path.read_bytes())
        self.assertNotIn(kept.stored, repr(kept))

    def test_last_use_is_kept_by_the_hour_and_by_the_address(self) -> None:
        made = self.passwords.add("fred", "phone")
        self.assertEqual(self.used(), ("", ""))
        self.opens(made)
        self.assertEqual(self.used(), ("2027-01-15 08:00:00", "192.0.2.1"))
        self.clock.advance(1800)
        self.opens(made)
        self.assertEqual(self.used(), ("2027-01-15 08:00:00", "192.0.2.1"))
        self.opens(made, address="192.0.2.2")
        self.assertEqual(self.used(), ("2027-01-15 08:30:00", "192.0.2.2"))
        self.clock.advance(3601)
        self.opens(made, address="192.0.2.2")
        self.assertEqual(self.used(), ("2027-01-15 09:30:01", "192.0.2.2"))

    def used(self) -> tuple[str, str]:
        (kept,) = self.passwords.list("fred")
        return kept.last_used, kept.last_address

    def test_a_login_does_not_need_the_note_of_it(self) -> None:
        made = self.passwords.add("fred", "phone")

        def touch(*_arguments: Any) -> None:
            raise OSError("the disk is full")

        self.patch(AppPasswords, "touch", touch)
        self.assertTrue(self.opens(made))


class Upgrading(Case):
    WEAK = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1)

    def weaken(self) -> str:
        stored = self.WEAK.hash("pencil")
        with self.database.transaction("write") as connection:
            connection.execute(
                "UPDATE verifiers SET value = ? WHERE account = 'fred' AND scheme = 'ARGON2ID'", (stored,)
            )
        return stored

    def kept(self) -> str:
        return self.database.verifiers("fred")["ARGON2ID"]

    def test_a_weak_hash_is_made_anew_at_a_login_and_only_then(self) -> None:
        weak = self.weaken()
        self.assertFalse(self.opens(b"wrong"))
        self.assertEqual(self.kept(), "{ARGON2ID}" + weak)
        self.assertTrue(self.opens(b"pencil"))
        strong = self.kept()
        self.assertFalse(password_module.is_outdated(strong))
        self.assertTrue(self.opens(b"pencil"))
        self.assertEqual(self.kept(), strong)

    def test_a_password_that_is_changed_meanwhile_stays_changed(self) -> None:
        weak = self.weaken()
        self.database.passwd("fred", b"another")
        self.database.replace_verifiers("fred", "{ARGON2ID}" + weak, b"pencil")
        self.assertEqual([self.opens(b"pencil"), self.opens(b"another")], [False, True])


class Changing(Case):
    def test_what_is_not_given_stays(self) -> None:
        before = self.database.get("fred")
        self.database.change("fred")
        self.assertEqual(self.database.get("fred"), before)
        self.database.change("fred", mechanisms={"plain", "apop"}, home="/home/fred")
        changed = attrs.evolve(before, mechanisms=frozenset({"plain", "apop"}), home="/home/fred")
        self.assertEqual(self.database.get("fred"), changed)
        self.database.change("fred", mechanisms=(), enabled=False, location="maildir:/x")
        now = self.database.get("fred")
        self.assertEqual((now.mechanisms, now.enabled, now.location), (frozenset(), False, "maildir:/x"))
        with self.assertRaises(NoSuchAccount):
            self.database.change("joe", enabled=True)

    def test_the_directory_tells_the_mechanisms(self) -> None:
        self.database.change("fred", mechanisms={"plain"})
        account = self.successResultOf(self.checker.account(b"fred"))
        assert account is not None
        self.assertEqual(account.mechanisms, frozenset({"plain"}))
