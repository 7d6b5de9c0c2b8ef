"""Every account database here against the public contract."""

from __future__ import annotations

from functools import cache

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from popserv.accounts.passwd_file import PasswdFile
from popserv.accounts.sqlite import SqliteAccounts
from popserv.auth.account_database import Database
from popserv.auth.passwords import hash_password
from popserv.pools import InlinePool
from popserv.testing.accounts import MemoryAccounts
from popserv.testing.backend_contract import BackendContract
from tests.accounts.context import new_path, sqlite_file

hashed = cache(hash_password)


class MemoryAccountsTests(BackendContract, TestCase):
    def backend(self, accounts):
        return MemoryAccounts(accounts)


class PasswdFileTests(BackendContract, TestCase):
    scheme = "SSHA512"

    def backend(self, accounts):
        path = new_path(self)
        lines = [f"{name}:{hashed(password, self.scheme)}\n" for name, password in accounts.items()]
        path.write_text("".join(lines), "utf-8")
        return PasswdFile(path, InlinePool(), InlinePool())


class PasswdFileWithPlainSecretsTests(PasswdFileTests):
    scheme = "PLAIN"


class PasswdFileWithCostlyHashesTests(PasswdFileTests):
    scheme = "SHA256-CRYPT"


class PasswdFileWithScramKeysTests(PasswdFileTests):
    scheme = "SCRAM-SHA-256"


class SqliteAccountsTests(BackendContract, TestCase):
    def backend(self, accounts):
        path = new_path(self)
        path.write_bytes(sqlite_file(accounts))
        return SqliteAccounts(Database(path), InlinePool(), InlinePool(), Clock())
