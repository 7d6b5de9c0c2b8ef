"""The PAM account database over the real library and real modules: who is let in, and what is trouble."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from statistics import median

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from popserv.accounts.pam import NOBODY_UID, Options, PamAccounts, Users, plugin
from popserv.auth.chain import CheckerChain, CredentialsRefused, UnknownAccount
from popserv.auth.credentials import Password
from popserv.auth.pam_library import PamService
from popserv.auth.remote import Remote
from popserv.errors import SystemTrouble
from popserv.interfaces import IAccounts
from popserv.pools import InlinePool
from popserv.testing.backend_contract import BackendContract
from tests.accounts.context import Context
from tests.peers.pam.stack import needs, user, write_passwords, write_service

SECRET = b"correct horse"
PERMIT = "auth required pam_permit.so", "account required pam_permit.so"


class PamCase(TestCase):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        needs("libpam.so.0")
        self.directory = tmp_path

    def made(self, *users, service="popserv", lowest_uid=1000):
        known = {entry.pw_name: entry for entry in users}
        remote = Remote("pam", InlinePool(), 10.0)
        return PamAccounts(PamService(service, str(self.directory)), Users(lowest_uid, known.__getitem__), remote)

    async def outcome(self, checker, name=b"fred", password=SECRET):
        try:
            return await checker.requestAvatarId(Password(name, password))
        except Exception as error:
            return type(error)


class ContractTests(BackendContract, PamCase):
    def backend(self, accounts):
        write_passwords(self.directory, accounts)
        return self.made(*map(user, accounts))


class AccountTests(PamCase):
    def service(self, *lines):
        write_service(self.directory, "popserv", *lines)

    async def test_only_users_with_a_number_high_enough_have_accounts(self):
        self.service(*PERMIT)
        checker = self.made(
            user("root", 0), user("daemon", 999), user("fred", 1000), user("nobody", NOBODY_UID), user("low", 500)
        )
        for name in (b"root", b"daemon", b"low", b"nobody", b"joe"):
            assert await self.outcome(checker, name) is UnknownAccount
            assert await checker.account(name) is None
        assert await self.outcome(checker) == b"fred"
        assert await self.outcome(self.made(user("low", 500), lowest_uid=500), b"low") == b"low"

    async def test_a_name_is_that_of_the_entry_to_the_letter(self):
        self.service(*PERMIT)
        checker = self.made(user("fred"))
        checker._users = Users(1000, lambda _name: user("fred"))
        assert await self.outcome(checker, b"fred") == b"fred"
        for name in (b"FRED", b"fred@example.org", "ﬀred".encode()):
            assert await self.outcome(checker, name) is UnknownAccount

    async def test_names_that_are_none_are_not_asked_for(self):
        asked = []
        checker = self.made()
        checker._users = Users(1000, lambda name: asked.append(name) or user(name))
        for name in (b"", b"\0", b"a\0b", b"../x", b"a/b", b"a:b", b"a\\b", b"-x", b".x", b"a\nb", b"\x1b[m", b"\xff"):
            assert await self.outcome(checker, name) is UnknownAccount, name
        assert asked == []

    async def test_the_home_is_that_of_the_entry(self):
        checker = self.made(user("fred", home="/srv/fred"), user("joe", home="relative"))
        assert (await checker.account(b"fred")).home == "/srv/fred"
        assert (await checker.account(b"joe")).home == ""

    async def test_expired_and_locked_accounts_are_refused(self):
        # What pam_unix says of an account or a password that has expired, and what others say.
        for answer in (
            "acct_expired",
            "new_authtok_reqd",
            "perm_denied",
            "auth_err",
            "user_unknown",
            "authtok_expired",
        ):
            self.service("auth required pam_permit.so", f"account required pam_debug.so acct={answer}")
            assert await self.outcome(self.made(user("fred"))) is CredentialsRefused, answer

    async def test_a_wrong_password_ends_it_and_an_unknown_user_does_not(self):
        for answer in ("auth_err", "maxtries", "perm_denied", "acct_expired"):
            self.service(f"auth required pam_debug.so auth={answer}", "account required pam_permit.so")
            assert await self.outcome(self.made(user("fred"))) is CredentialsRefused, answer
        self.service("auth required pam_debug.so auth=user_unknown", "account required pam_permit.so")
        assert await self.outcome(self.made(user("fred"))) is UnknownAccount

    async def test_what_does_not_work_is_trouble_of_ours(self):
        answers = ("authinfo_unavail", "system_err", "service_err", "abort", "cred_insufficient", "conv_err", "buf_err")
        for answer in answers:
            self.service(f"auth required pam_debug.so auth={answer}", "account required pam_permit.so")
            assert await self.outcome(self.made(user("fred"))) is SystemTrouble, answer
            self.service("auth required pam_permit.so", f"account required pam_debug.so acct={answer}")
            assert await self.outcome(self.made(user("fred"))) is SystemTrouble, answer

    async def test_missing_modules_and_services_are_trouble_until_they_are_there(self):
        checker = self.made(user("fred"))
        assert await self.outcome(checker) is SystemTrouble
        self.service("auth required pam_nonsuch.so")
        assert await self.outcome(checker) is SystemTrouble
        self.service(*PERMIT)
        assert await self.outcome(checker) == b"fred"

    async def test_trouble_is_logged_once_and_its_end(self):
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        checker = self.made(user("fred"))
        for _ in range(3):
            await self.outcome(checker)
        self.service(*PERMIT)
        for _ in range(2):
            await self.outcome(checker)
        formats = [event["log_format"] for event in events if event.get("name") == "pam"]
        assert formats == ["{name}: cannot be asked: {reason}", "{name}: answers again"]
        assert SECRET.decode() not in repr(events)

    async def test_an_account_without_a_password_is_open_to_nobody(self):
        write_passwords(self.directory, {"fred": b""})
        assert await self.outcome(self.made(user("fred")), password=b"") is CredentialsRefused

    async def test_a_password_that_would_be_cut_is_refused(self):
        write_passwords(self.directory, {"fred": b"x" * 511})
        checker = self.made(user("fred"))
        assert await self.outcome(checker, password=b"x" * 511) == b"fred"
        assert await self.outcome(checker, password=b"x" * 512) is CredentialsRefused

    async def test_a_password_is_asked_about_as_it_was_typed_and_once(self):
        typed = "pa\N{COMBINING DIAERESIS}ss".encode()
        write_passwords(self.directory, {"fred": typed})
        checker = self.made(user("fred"))
        assert await checker.requestAvatarId(Password(b"fred", typed).prepared("fold")) == b"fred"

    async def test_pam_is_told_where_the_client_is(self):
        needs("security/pam_access.so")
        (self.directory / "access").write_text("+:ALL:192.0.2.0/24\n-:ALL:ALL\n")
        self.service(
            "auth required pam_permit.so", f"account required pam_access.so accessfile={self.directory}/access"
        )
        # pam_access asks the host for the user, too, and root is what every host has.
        checker = self.made(user("root"))
        near, far = (Password(b"root", SECRET, address=f"{net}.7") for net in ("192.0.2", "198.51.100"))
        assert await checker.requestAvatarId(near) == b"root"
        with pytest.raises(CredentialsRefused):
            await checker.requestAvatarId(far)

    async def test_a_delay_that_a_module_asks_for_is_left_out(self):
        needs("security/pam_faildelay.so")
        self.service(
            "auth optional pam_faildelay.so delay=3000000",
            "auth required pam_debug.so auth=auth_err",
            "account required pam_permit.so",
        )
        begun = time.monotonic()
        assert await self.outcome(self.made(user("fred"))) is CredentialsRefused
        assert time.monotonic() - begun < 2

    async def test_SEC_003_an_unknown_name_takes_as_long_as_a_wrong_password(self):
        write_passwords(self.directory, {"fred": SECRET}, rounds=50_000)
        chain = CheckerChain([self.made(user("fred"))])

        async def took(name: bytes, password: bytes) -> float:
            begun = time.monotonic()
            assert await self.outcome(chain, name, password) not in (b"fred", SystemTrouble)
            return time.monotonic() - begun

        for _ in range(9):
            await took(b"fred", b"wrong")
        times = {
            case: median([await took(*case) for _ in range(9)])
            for case in ((b"fred", b"wrong"), (b"joe", b"wrong"), (b"fred", b"\0"), (b"joe", b"\0"), (b"a/b", b"x"))
        }
        assert max(times.values()) < 2 * min(times.values()), times

    async def test_threads_do_not_mix_their_passwords_up(self):
        accounts = {f"user{number}": b"password %d" % number for number in range(4)}
        write_passwords(self.directory, accounts)
        service = PamService("popserv", str(self.directory))
        answers = []

        def ask(name: str, password: bytes) -> None:
            for _ in range(20):
                right = service.ask(name.encode(), password, "") == "accepted"
                wrong = service.ask(name.encode(), password + b"x", "") == "refused"
                answers.append(right and wrong)

        threads = [threading.Thread(target=ask, args=account) for account in accounts.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [True] * 80


class PluginTests(PamCase):
    def options(self):
        return Options(directory=".")

    def test_it_keeps_to_its_interface(self):
        assert verifyObject(IAccounts, plugin)

    def test_the_service_is_popserv_unless_it_is_named(self):
        context = Context(self.directory)
        assert plugin.build("", Options(), context)._service.name == "popserv"
        assert plugin.build("mail", Options(), context)._service.name == "mail"
        for name in ("../x", "a b", "Mail", ".", "a\0b"):
            with pytest.raises(ValueError, match="a service of PAM"):
                plugin.build(name, Options(), context)
            assert len(plugin.check(name, Options(), context)) == 1

    def test_check_sees_whether_the_service_is_there(self):
        context = Context(self.directory)
        assert plugin.check("", self.options(), context) != []
        write_service(self.directory, "popserv", *PERMIT)
        assert plugin.check("", self.options(), context) == []
        write_service(self.directory, "popserv", PERMIT[0])
        assert plugin.check("", self.options(), context) == [
            "popserv: has no account line, so PAM takes what it has for other services"
        ]

    async def test_what_hangs_is_not_waited_for(self):
        clock, held = Clock(), HeldPool()
        context = Context(self.directory, disk=held, reactor=clock)
        asked = plugin.build("", Options(answer_seconds=3), context).account(b"root")
        clock.advance(2.9)
        self.assertNoResult(asked)
        clock.advance(0.2)
        with pytest.raises(SystemTrouble):
            await asked
        held.answer(None)


class HeldPool:
    """Answers when it is told to."""

    def run(self, function, *arguments):
        self.waiting = Deferred()
        return self.waiting

    def answer(self, result):
        self.waiting.callback(result)
