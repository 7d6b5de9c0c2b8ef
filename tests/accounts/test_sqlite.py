"""The embedded account database: the administrator's side, logins, and what happens when the file is bad."""

from __future__ import annotations

import resource
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from popserv import plugins
from popserv.accounts.sqlite import SqliteAccounts
from popserv.auth import account_database as sqlite
from popserv.auth.account_database import (
    AccountExists,
    AccountsError,
    Database,
    DatabaseBusy,
    DatabaseUnusable,
    NoSuchAccount,
)
from popserv.auth.chain import CheckerChain, CredentialsRefused, UnknownAccount
from popserv.auth.credentials import Password
from popserv.auth.names import InvalidName
from popserv.auth.scram_keys import ScramKeys
from popserv.errors import Busy, SystemBroken, SystemTrouble
from popserv.interfaces import IAccounts
from popserv.pools import BoundedPool, InlinePool
from tests.accounts.context import Context, CountingPool, new_path, sqlite_file


class DatabaseTests(SynchronousTestCase):
    def setUp(self):
        self.path = new_path(self)
        self.database = Database(self.path)

    def rows(self, query):
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()

    def test_SC_017_add_keeps_an_argon2_hash_and_scram_keys_and_no_password(self):
        self.database.add("fred", b"pencil")
        verifiers = dict(self.rows("SELECT scheme, value FROM verifiers"))
        self.assertEqual(set(verifiers), {"ARGON2ID", "SCRAM-SHA-256"})
        self.assertTrue(verifiers["ARGON2ID"].startswith("$argon2id$v=19$m=65536,t=3,p=4$"))
        self.assertTrue(ScramKeys.from_text(verifiers["SCRAM-SHA-256"]).verify(b"pencil"))
        self.assertNotIn(b"pencil", self.path.read_bytes())

    def test_the_file_is_for_its_owner_alone(self):
        self.database.create()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_create_keeps_what_is_there(self):
        self.database.add("fred", b"pencil")
        self.path.chmod(0o640)
        self.database.create()
        self.assertEqual([record.name for record in self.database.list()], ["fred"])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)

    def test_what_was_added_is_listed_in_order_and_got(self):
        self.database.add("fred", b"pencil", location="maildir:/srv/fred", home="/home/fred")
        self.database.add("ann", b"pencil")
        self.assertEqual([record.name for record in self.database.list()], ["ann", "fred"])
        fred = self.database.get("fred")
        self.assertEqual((fred.location, fred.home, fred.enabled), ("maildir:/srv/fred", "/home/fred", True))
        self.assertRegex(fred.created, r"\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z")

    def test_a_name_is_added_once(self):
        self.database.add("fred", b"pencil")
        before = self.rows("SELECT * FROM verifiers")
        self.assertRaises(AccountExists, self.database.add, "fred", b"other")
        self.assertEqual(self.rows("SELECT * FROM verifiers"), before)

    def test_calls_for_unknown_names_say_so(self):
        self.database.create()
        for call in (self.database.get, self.database.remove, self.database.change):
            self.assertRaises(NoSuchAccount, call, "nobody")
        self.assertRaises(NoSuchAccount, self.database.passwd, "nobody", b"pencil")
        self.assertIsNone(self.database.find("nobody"))

    def test_passwd_replaces_every_verifier(self):
        self.database.add("fred", b"pencil")
        before = {value for (value,) in self.rows("SELECT value FROM verifiers")}
        self.database.passwd("fred", b"other")
        after = dict(self.rows("SELECT scheme, value FROM verifiers"))
        self.assertEqual(set(after), {"ARGON2ID", "SCRAM-SHA-256"})
        self.assertFalse(before & set(after.values()))
        self.assertTrue(ScramKeys.from_text(after["SCRAM-SHA-256"]).verify(b"other"))

    def test_remove_takes_the_verifiers_along(self):
        self.database.add("fred", b"pencil")
        self.database.remove("fred")
        self.assertEqual(self.rows("SELECT * FROM verifiers"), [])

    def test_names_that_are_not_prepared_and_passwords_that_cannot_be_are_refused(self):
        for name in ("", "a/b", ".a", "a\0", "\u00adx", "\u2168"):
            self.assertRaises(InvalidName, self.database.add, name, b"pencil")
        for password in (b"", b"\xff", b"\0"):
            self.assertRaises(InvalidName, self.database.add, "fred", password)
        self.assertFalse(self.path.exists())

    def test_looking_does_not_make_a_file(self):
        for call in (self.database.list, lambda: self.database.find("fred"), lambda: self.database.remove("fred")):
            self.assertRaises(DatabaseUnusable, call)
        self.assertFalse(self.path.exists())

    def test_a_path_with_characters_of_a_uri_is_a_path(self):
        odd = self.path.with_name("a?mode=memory#%41 b")
        Database(odd).create()
        self.assertTrue(odd.is_file())
        self.assertEqual(Database(odd).list(), [])

    def test_a_directory_that_is_missing_is_named(self):
        database = Database(self.path / "sub" / "accounts.db")
        with self.assertRaises(DatabaseUnusable) as caught:
            database.create()
        self.assertIn(str(database.path), str(caught.exception))

    def test_a_newer_schema_is_refused_and_left_alone(self):
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA user_version = 99")
            connection.commit()
        before = self.path.read_bytes()
        with self.assertRaises(DatabaseUnusable) as caught:
            self.database.add("fred", b"pencil")
        self.assertIn("99", str(caught.exception))
        self.assertEqual(self.path.read_bytes(), before)

    def test_an_older_schema_is_brought_up_and_keeps_its_accounts(self):
        self.database.add("fred", b"pencil")
        newer = (*sqlite.MIGRATIONS, ("ALTER TABLE accounts ADD COLUMN note TEXT",))
        self.patch(sqlite, "MIGRATIONS", newer)
        self.assertEqual(self.database.get("fred").name, "fred")
        self.assertEqual(self.rows("SELECT note FROM accounts"), [(None,)])
        self.assertEqual(self.rows("PRAGMA user_version"), [(len(newer),)])

    def test_a_migration_that_fails_changes_nothing(self):
        self.database.add("fred", b"pencil")
        broken = (*sqlite.MIGRATIONS, ("ALTER TABLE accounts ADD COLUMN note TEXT", "NONSENSE"))
        self.patch(sqlite, "MIGRATIONS", broken)
        self.assertRaises(DatabaseUnusable, self.database.list)
        self.assertEqual(self.rows("PRAGMA user_version"), [(len(broken) - 1,)])
        self.assertNotIn("note", [row[1] for row in self.rows("PRAGMA table_info (accounts)")])

    def test_several_processes_make_one_file_together(self):
        code = (
            "import sys; from pathlib import Path; from popserv.auth.account_database import Database;"
            "Database(Path(sys.argv[1])).create()"
        )
        makers = [subprocess.Popen([sys.executable, "-c", code, str(self.path)]) for _ in range(3)]
        self.assertEqual([maker.wait(30) for maker in makers], [0, 0, 0])
        self.assertEqual(self.database.list(), [])

    def test_a_locked_file_is_busy_for_writers(self):
        self.patch(sqlite, "LOCK_SECONDS", 0.05)
        self.database.add("fred", b"pencil")
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            self.assertRaises(DatabaseBusy, self.database.change, "fred", enabled=False)
            self.assertEqual(self.database.get("fred").enabled, True)

    def test_every_error_is_an_accounts_error(self):
        for error in (AccountExists, NoSuchAccount, DatabaseUnusable, DatabaseBusy):
            self.assertTrue(issubclass(error, AccountsError))


class CheckerTests(SynchronousTestCase):
    right, wrong = Password(b"fred", b"pencil"), Password(b"fred", b"wrong")

    def setUp(self):
        self.path = new_path(self)
        self.path.write_bytes(sqlite_file({"fred": b"pencil"}))
        self.database = Database(self.path)
        self.disk, self.hashing = CountingPool(), CountingPool()
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.checker = SqliteAccounts(self.database, self.disk, self.hashing, self.clock)

    def refused(self, credentials):
        return type(self.failureResultOf(self.checker.requestAvatarId(credentials)).value)

    def test_the_plugin_builds_it_of_a_relative_path(self):
        plugin = plugins.find("accounts", "sqlite")
        self.assertTrue(verifyObject(IAccounts, plugin))
        checker = plugin.build(self.path.name, plugin.options(), Context(self.path.parent))
        self.assertTrue(verifyObject(ICredentialsChecker, checker))
        self.assertEqual(self.successResultOf(checker.requestAvatarId(self.right)), b"fred")

    def test_another_process_s_changes_count_at_the_next_login(self):
        self.assertEqual(self.successResultOf(self.checker.requestAvatarId(self.right)), b"fred")
        self.database.passwd("fred", b"other")
        self.assertIs(self.refused(self.right), CredentialsRefused)
        self.database.remove("fred")
        self.assertIs(self.refused(self.right), UnknownAccount)
        self.database.add("fred", b"pencil")
        self.assertEqual(self.successResultOf(self.checker.requestAvatarId(self.right)), b"fred")

    def test_the_directory_knows_location_and_home(self):
        self.database.add("ann", b"pencil", location="maildir:/srv/ann", home="/home/ann")
        account = self.successResultOf(self.checker.account(b"ann"))
        self.assertEqual((account.name, account.location, account.home), ("ann", "maildir:/srv/ann", "/home/ann"))

    def test_SEC_003_a_disabled_account_is_refused_after_the_same_work_and_keeps_its_mail(self):
        self.database.change("fred", enabled=False)
        for credentials in (self.right, self.wrong):
            self.hashing.calls = 0
            self.assertIs(self.refused(credentials), CredentialsRefused)
            self.assertEqual(self.hashing.calls, 1)
        self.assertEqual(self.successResultOf(self.checker.account(b"fred")).name, "fred")

    def test_SEC_003_an_account_without_a_password_is_refused_after_the_same_work(self):
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("DELETE FROM verifiers")
            connection.commit()
        self.assertIs(self.refused(self.right), CredentialsRefused)
        self.assertEqual(self.hashing.calls, 1)

    def test_SEC_003_an_unknown_name_costs_one_hash_in_the_chain(self):
        self.failureResultOf(CheckerChain([self.checker]).requestAvatarId(Password(b"nobody", b"pencil")))
        self.assertEqual(self.hashing.calls, 1)

    def test_an_account_with_scram_keys_only_can_send_its_password(self):
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("DELETE FROM verifiers WHERE scheme = 'ARGON2ID'")
            connection.commit()
        self.assertEqual(self.successResultOf(self.checker.requestAvatarId(self.right)), b"fred")
        self.assertIs(self.refused(self.wrong), CredentialsRefused)

    def test_a_verifier_nobody_can_check_is_refused_and_logged_without_the_secret(self):
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("UPDATE verifiers SET value = '$argon2id$v=19$m=67108864,t=1,p=1$c2VjcmV0$c2VjcmV0'")
            connection.commit()
        with capturedLogs() as logged:
            self.assertIs(self.refused(self.right), CredentialsRefused)
        self.assertEqual([event["account"] for event in logged], ["fred"])
        self.assertNotIn("c2VjcmV0", repr(logged))

    def assert_fails(self, error):
        for answer in (self.checker.requestAvatarId(self.right), self.checker.account(b"fred")):
            failure = self.failureResultOf(answer)
            self.assertIs(type(failure.value), error)
            self.assertNotIn(str(self.path), failure.value.text)

    def test_a_missing_file_is_broken(self):
        self.path.unlink()
        self.assert_fails(SystemBroken)

    def test_a_damaged_file_is_broken(self):
        octets = self.path.read_bytes()
        self.path.write_bytes(b"not a database " * 1000)
        self.assert_fails(SystemBroken)
        self.path.write_bytes(octets[:4096] + b"\xff" * (len(octets) - 4096))
        self.assert_fails(SystemBroken)

    def test_a_locked_file_is_temporary(self):
        self.patch(sqlite, "LOCK_SECONDS", 0.05)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            self.assert_fails(SystemTrouble)

    def test_a_login_writes_nothing_so_it_works_on_a_full_disk(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            result = self.checker.requestAvatarId(self.right)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assertEqual(self.successResultOf(result), b"fred")
        self.assertEqual([path.name for path in self.path.parent.glob(f"{self.path.name}?*")], [])


class ThreadTests(TestCase):
    async def test_a_full_hashing_queue_passes_through_and_the_rest_is_answered(self):
        database = Database(new_path(self))
        database.path.write_bytes(sqlite_file({"fred": b"pencil"}))
        hashing = BoundedPool(reactor, "hashing", threads=1, queue=0)
        self.addCleanup(hashing.stop)
        checker = SqliteAccounts(database, InlinePool(), hashing, Clock())
        first = checker.requestAvatarId(Password(b"fred", b"pencil"))
        error = self.failureResultOf(checker.requestAvatarId(Password(b"fred", b"pencil"))).value
        self.assertIs(type(error), Busy)
        self.assertIsInstance(error, SystemTrouble)
        self.assertEqual(await first, b"fred")
