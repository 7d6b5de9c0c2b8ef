"""LDAP servers that go away, come back, or fall silent; and many logins at once."""

from __future__ import annotations

from time import monotonic

import pytest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from popserv.auth.chain import CheckerChain, CredentialsRefused
from popserv.auth.credentials import Password
from popserv.errors import Busy, SystemTrouble
from popserv.pools import BoundedPool
from popserv.testing.accounts import MemoryAccounts
from tests.accounts.context import Context
from tests.peers.ldap.cases import LdapCase
from tests.peers.ldap.server import running


class FaultTests(LdapCase, TestCase):
    def setUp(self):
        self.server.add_person("fred", "secret")
        self.server.add_person("ann", "other")
        self.said = []
        globalLogPublisher.addObserver(self.said.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.said.append)

    def pooled(self, threads=4, queue=256, **options):
        pool = BoundedPool(reactor, "ldap", threads, queue)
        self.addCleanup(pool.stop)
        options = {"answer_seconds": 2.0, "connect_seconds": 0.7, **options}
        return self.made(Context(self.folder, pool), **options)

    def logged(self):
        return [event["reason"] for event in self.said if "cannot be asked" in event.get("log_format", "")]

    async def test_RC_007_a_server_that_is_down_is_trouble_and_comes_back_without_a_restart(self):
        checker = self.pooled()
        assert await self.outcome(checker) == b"fred"
        await deferToThread(self.server.stop)
        begun = monotonic()
        for _ in range(3):
            assert await self.outcome(checker) is SystemTrouble
            with self.assertRaises(SystemTrouble):
                await checker.account(b"fred")
        assert monotonic() - begun < 1
        assert 1 <= len(self.logged()) <= 2
        await deferToThread(self.server.start)
        assert await self.outcome(checker) == b"fred"
        assert any("answers again" in event.get("log_format", "") for event in self.said)

    async def test_a_restart_between_two_logins_is_not_noticed(self):
        checker = self.pooled()
        names = await gatherResults([checker.requestAvatarId(Password(b"fred", b"secret")) for _ in range(8)])
        assert set(names) == {b"fred"}
        await deferToThread(self.server.stop)
        await deferToThread(self.server.start)
        assert await self.outcome(checker) == b"fred"
        assert self.logged() == []

    async def test_a_server_that_falls_silent_is_trouble_in_time_and_only_here(self):
        for uri in (self.server.ldap, self.server.ldaps):
            checker = self.pooled(threads=2, uri=uri, answer_seconds=1.0)
            assert await self.outcome(checker) == b"fred"
            others = CheckerChain([MemoryAccounts({"joe": b"j"}), checker])
            with self.server.frozen():
                begun = monotonic()
                logins = [checker.requestAvatarId(Password(b"fred", b"secret")).addErrback(str) for _ in range(6)]
                assert await self.outcome(others, b"joe", b"j") == b"joe"
                assert monotonic() - begun < 0.5
                answers = await gatherResults(logins)
                assert monotonic() - begun < 4
                assert all("SystemTrouble" in answer for answer in answers)
                assert await self.outcome(checker) is SystemTrouble
            assert await self.outcome(checker) == b"fred"

    async def test_more_logins_than_may_wait_are_refused(self):
        checker = self.pooled(threads=1, queue=2)
        with self.server.frozen():
            waiting = [checker.account(b"fred").addErrback(lambda _failure: None) for _ in range(3)]
            assert await self.outcome(checker) is Busy
            await gatherResults(waiting)

    async def test_many_logins_at_once(self):
        checker = self.pooled(threads=4, answer_seconds=10.0)
        wanted = [(b"fred", b"secret", b"fred"), (b"ann", b"other", b"ann"), (b"fred", b"x", CredentialsRefused)] * 60
        outcomes = await gatherResults(
            [
                checker.requestAvatarId(Password(name, password)).addErrback(lambda failure: failure.type)
                for name, password, _ in wanted
            ]
        )
        assert outcomes == [outcome for _, _, outcome in wanted]


class SecondServerTests(LdapCase, TestCase):
    @pytest.fixture(autouse=True)
    def _second(self, slapd, authority):
        with running(authority) as self.second:
            yield

    async def test_the_next_one_is_asked_while_the_first_is_down_or_silent(self):
        for server in (self.server, self.second):
            server.add_person("fred", "secret")
        uris = f"{self.server.ldaps} {self.second.ldaps}"
        checker = self.made(uri=uris, connect_seconds=0.5)
        with self.server.frozen():
            assert await self.outcome(checker) == b"fred"
            begun = monotonic()
            assert await self.outcome(checker) == b"fred"
            assert monotonic() - begun < 0.4
        self.second.stop()
        assert await self.outcome(checker) == b"fred"
        self.server.stop()
        assert await self.outcome(checker) is SystemTrouble
        self.second.start()
        assert await self.outcome(checker) == b"fred"
