"""The passwd-file as an account database: logins, APOP, bars, and reading it again."""

from __future__ import annotations

import os
from hashlib import md5
from pathlib import Path

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from popserv import plugins
from popserv.accounts.passwd_file import PasswdFile
from popserv.auth.chain import CheckerChain, CredentialsRefused, UnknownAccount
from popserv.auth.credentials import ApopDigest, Password
from popserv.auth.passwords import UnknownScheme, hash_password
from popserv.errors import Busy, SystemBroken, SystemTrouble
from popserv.interfaces import IAccounts
from popserv.pools import BoundedPool, InlinePool
from tests.accounts.context import Context, CountingPool, new_path

TIMESTAMP = b"<1896.697170952@dbc.mtview.ca.us>"
DOVEADM = Path(__file__).parent / "doveadm_pw.txt"


def apop(name, secret):
    return ApopDigest(name, TIMESTAMP, md5(TIMESTAMP + secret).hexdigest().encode())


class Case(SynchronousTestCase):
    def setUp(self):
        self.path = new_path(self)
        self.hashing = CountingPool()
        self.checker = PasswdFile(self.path, InlinePool(), self.hashing)

    def write(self, text):
        """Replace the file, as an editor does."""
        other = self.path.with_suffix(".new")
        other.write_text(text, "utf-8")
        other.rename(self.path)

    def accepted(self, credentials):
        return self.successResultOf(self.checker.requestAvatarId(credentials))

    def refused(self, credentials):
        return type(self.failureResultOf(self.checker.requestAvatarId(credentials)).value)


class LoginTests(Case):
    def test_every_line_that_dovecot_made_lets_its_password_in(self):
        lines = [line for line in DOVEADM.read_text("utf-8").splitlines() if not line.startswith("#")]
        self.write("".join(f"user{number}:{line}\n" for number, line in enumerate(lines)))
        for number in range(len(lines)):
            name = f"user{number}".encode()
            self.assertEqual(self.accepted(Password(name, "Grüße, pencil".encode())), name)

    def test_crypt_is_the_default_scheme(self):
        self.write("fred:$5$LiYzCvK764K.s13i$6fapo/Swqpq2HKICti2fhnB8/Kce6GeJd78JGSfABw8\n")
        self.assertEqual(self.accepted(Password(b"fred", "Grüße, pencil".encode())), b"fred")

    def test_a_locked_password_field_fits_nothing_and_is_logged(self):
        self.write("fred:*\nann:\nbob:!$6$x$y\n")
        for name in (b"fred", b"ann", b"bob"):
            with capturedLogs() as logged:
                self.assertIs(self.refused(Password(name, b"*")), CredentialsRefused)
            self.assertEqual([event["account"] for event in logged], [name.decode()])
            self.assertIs(self.refused(Password(name, b"")), CredentialsRefused)

    def test_the_typed_password_is_tried_after_the_prepared_one(self):
        typed = "\u2168".encode()
        self.write(f"old:{{PLAIN}}{typed.decode()}\nnew:{hash_password(typed, 'SSHA512')}\n")
        for name in (b"old", b"new"):
            self.assertEqual(self.accepted(Password(name, typed).prepared("fold")), name)
            self.assertIs(self.refused(Password(name, b"IY").prepared("fold")), CredentialsRefused)
        self.assertIs(self.refused(Password(b"old", b"IX").prepared("fold")), CredentialsRefused)

    def test_P3_052_apop_works_for_plain_secrets(self):
        self.write("mrose:{PLAIN}tanstaaf\nfred:{PLAIN.b64}cGVuY2ls\n")
        self.assertEqual(self.accepted(apop(b"mrose", b"tanstaaf")), b"mrose")
        self.assertEqual(self.accepted(apop(b"fred", b"pencil")), b"fred")
        self.assertIs(self.refused(apop(b"mrose", b"pencil")), CredentialsRefused)
        self.assertIs(self.refused(apop(b"nobody", b"pencil")), UnknownAccount)

    def test_apop_fails_for_whatever_is_no_secret(self):
        self.write(f"fred:{hash_password(b'pencil', 'SSHA512')}\nann:{{PLAIN}}\nbob:{{FOO}}x\n")
        for name in (b"fred", b"ann", b"bob"):
            for secret in (b"pencil", b"", b"x"):
                self.assertIs(self.refused(apop(name, secret)), CredentialsRefused)

    def test_apop_of_an_unknown_name_gets_through_the_chain(self):
        self.write("fred:{PLAIN}pencil\n")
        self.failureResultOf(CheckerChain([self.checker]).requestAvatarId(apop(b"nobody", b"x")))

    def test_allow_nets_needs_the_address(self):
        self.write("fred:{PLAIN}pencil::::::allow_nets=192.0.2.0/24\n")
        fred = Password(b"fred", b"pencil", address="192.0.2.1")
        self.assertEqual(self.accepted(fred), b"fred")
        for credentials in (
            Password(b"fred", b"pencil", address="198.51.100.1"),
            Password(b"fred", b"pencil"),
            UsernamePassword(b"fred", b"pencil"),
            apop(b"fred", b"pencil"),
        ):
            self.assertIs(self.refused(credentials), CredentialsRefused)

    def test_SEC_003_barred_accounts_are_refused_after_the_same_work(self):
        self.write("fred:{PLAIN}pencil::::::nologin\nann:{PLAIN}pencil::::::proxy=y\nbob:{ROT13}cranpvy\n")
        for name in (b"fred", b"ann", b"bob"):
            self.hashing.calls = 0
            self.assertIs(self.refused(Password(name, b"pencil")), CredentialsRefused)
            self.assertEqual(self.hashing.calls, 1)

    def test_mail_of_a_barred_account_comes_in_and_of_one_not_understood_waits(self):
        self.write("fred:x::::/home/fred::nologin userdb_mail=maildir:~/m\nann:x::::::userdb_mail=foo\n")
        fred = self.successResultOf(self.checker.account(b"fred"))
        self.assertEqual((fred.location, fred.home), ("maildir:/home/fred/m", "/home/fred"))
        self.failureResultOf(self.checker.account(b"ann"), SystemTrouble)
        self.assertIsNone(self.successResultOf(self.checker.account(b"nobody")))


class ReadingTests(Case):
    fred, ann = Password(b"fred", b"pencil"), Password(b"ann", b"pencil")

    def test_a_change_counts_at_the_next_login(self):
        self.write("fred:{PLAIN}pencil\n")
        self.assertIs(self.refused(self.ann), UnknownAccount)
        self.write("ann:{PLAIN}pencil\n")
        self.assertIs(self.refused(self.fred), UnknownAccount)
        self.assertEqual(self.accepted(self.ann), b"ann")
        with self.path.open("a") as file:
            file.write("fred:{PLAIN}pencil\n")
        self.assertEqual(self.accepted(self.fred), b"fred")

    def test_a_change_of_the_same_length_in_place_counts(self):
        self.write("fred:{PLAIN}pencil\n")
        self.accepted(self.fred)
        with self.path.open("r+") as file:
            file.write("fred:{PLAIN}eraser\n")
        os.utime(self.path, ns=(1, 1))
        self.assertIs(self.refused(self.fred), CredentialsRefused)

    def test_an_unchanged_file_is_not_parsed_again(self):
        self.write("fred:{PLAIN}pencil\nnonsense\n")
        with capturedLogs() as logged:
            self.accepted(self.fred)
            self.accepted(self.fred)
        self.assertEqual([event["problem"] for event in logged], ["line 2: skipped: it has no password field"])

    def test_a_file_that_was_never_there_is_broken(self):
        self.assertIs(self.refused(self.fred), SystemBroken)
        self.failureResultOf(self.checker.account(b"fred"), SystemBroken)
        self.write("fred:{PLAIN}pencil\n")
        self.assertEqual(self.accepted(self.fred), b"fred")

    def test_a_file_that_goes_away_keeps_what_it_said_and_is_logged_once(self):
        self.write("fred:{PLAIN}pencil\n")
        self.accepted(self.fred)
        self.path.unlink()
        with capturedLogs() as logged:
            self.assertEqual(self.accepted(self.fred), b"fred")
            self.assertEqual(self.accepted(self.fred), b"fred")
        self.assertEqual([event["path"] for event in logged], [str(self.path)])

    def test_a_file_of_nonsense_keeps_what_it_said(self):
        self.write("fred:{PLAIN}pencil\n")
        self.accepted(self.fred)
        self.write("\x7fELF nonsense\nnonsense\n")
        with capturedLogs() as logged:
            self.assertEqual(self.accepted(self.fred), b"fred")
        self.assertEqual(len(logged), 1)

    def test_an_emptied_file_bars_everybody(self):
        self.write("fred:{PLAIN}pencil\n")
        self.accepted(self.fred)
        self.write("# nobody\n")
        self.assertIs(self.refused(self.fred), UnknownAccount)

    def test_a_full_queue_is_no_reason_to_use_what_is_old(self):
        self.write("fred:{PLAIN}pencil\n")
        disk = BoundedPool(Clock(), "disk", threads=0, queue=0)
        checker = PasswdFile(self.path, disk, InlinePool())
        self.assertEqual(self.successResultOf(checker.requestAvatarId(self.fred)), b"fred")
        self.write("fred:{PLAIN}another\n")
        self.failureResultOf(checker.requestAvatarId(self.fred), Busy)

    def test_an_unknown_name_costs_what_most_accounts_of_this_file_cost(self):
        costly = "$5$LiYzCvK764K.s13i$6fapo/Swqpq2HKICti2fhnB8/Kce6GeJd78JGSfABw8"
        self.write(f"a:{{PLAIN}}x\nb:{costly}\nc:{costly}\n")
        self.refused(self.fred)
        self.assertEqual(self.checker._verifier.dummy, costly)
        self.write("# nobody\n")
        self.refused(self.fred)
        self.assertTrue(self.checker._verifier.dummy.startswith("{ARGON2ID}"))


class PluginTests(Case):
    def test_the_plugin_builds_it_of_a_relative_path_and_options(self):
        plugin = plugins.find("accounts", "passwd-file")
        self.assertTrue(verifyObject(IAccounts, plugin))
        self.write("FRED:pencil\n")
        context = Context(self.path.parent)
        checker = plugin.build(self.path.name, plugin.options(default_scheme="plain"), context)
        self.assertTrue(verifyObject(ICredentialsChecker, checker))
        self.assertEqual(self.successResultOf(checker.requestAvatarId(Password(b"fred", b"pencil"))), b"fred")
        context = Context(self.path.parent, case="keep")
        kept = plugin.build(self.path.name, plugin.options(default_scheme="plain"), context)
        self.assertEqual(self.successResultOf(kept.requestAvatarId(Password(b"FRED", b"pencil"))), b"FRED")

    def test_a_default_scheme_that_is_none_is_refused_at_once(self):
        plugin = plugins.find("accounts", "passwd-file")
        self.assertEqual(plugin.options().default_scheme, "crypt")
        with self.assertRaises(UnknownScheme):
            plugin.build(self.path.name, plugin.options(default_scheme="rot13"), Context(self.path.parent))

    def test_no_plugin_takes_a_name_of_twisted_s_own(self):
        self.assertFalse({"memory", "file", "unix", "anonymous", "sshkey"} & set(plugins.names("accounts")))
