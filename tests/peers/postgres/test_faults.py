"""A PostgreSQL server that goes away, comes back, or falls silent; and many logins at once."""

from __future__ import annotations

import logging
from time import monotonic

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from popserv.auth.chain import CheckerChain, CredentialsRefused
from popserv.auth.credentials import Password
from popserv.errors import Busy, SystemTrouble
from popserv.pools import BoundedPool
from popserv.testing.accounts import MemoryAccounts
from tests.accounts.context import Context
from tests.peers.postgres.cases import PostgresCase

logging.getLogger("psycopg").setLevel(logging.CRITICAL)

SLEEPY = "SELECT name, password, pg_sleep(20)::text AS home FROM accounts WHERE name = %(user)s"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'popserv'"


class FaultTests(PostgresCase, TestCase):
    def setUp(self):
        self.add({"fred": ["{PLAIN}a"], "ann": ["{PLAIN}b"]})
        self.said = []
        globalLogPublisher.addObserver(self.said.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.said.append)

    def pooled(self, threads=4, queue=256, **options):
        disk = BoundedPool(reactor, "postgres", threads, queue)
        hashing = BoundedPool(reactor, "hashing", 2, 256)
        self.addCleanup(hashing.stop)
        self.addCleanup(disk.stop)
        return self.made(
            Context(self.folder, disk, hashing), **{"answer_seconds": 1.0, "connect_seconds": 2.0, **options}
        )

    def logged(self):
        return [event["reason"] for event in self.said if "cannot be asked" in event.get("log_format", "")]

    async def outcome(self, checker, name=b"fred", password=b"a"):
        try:
            return await checker.requestAvatarId(Password(name, password))
        except Exception as error:
            return type(error)

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
        # A line for each new reason: a connection that died, the refusal of others; not one for each question.
        assert 1 <= len(self.logged()) < 6
        await deferToThread(self.server.start)
        assert await self.outcome(checker) == b"fred"
        assert any("answers again" in event.get("log_format", "") for event in self.said)

    async def test_a_restart_between_two_logins_is_not_noticed(self):
        checker = self.pooled()
        names = await gatherResults([checker.requestAvatarId(Password(b"fred", b"a")) for _ in range(8)])
        assert set(names) == {b"fred"}
        await deferToThread(self.server.stop)
        await deferToThread(self.server.start)
        assert await self.outcome(checker) == b"fred"
        assert self.logged() == []

    async def test_a_server_that_falls_silent_is_trouble_in_time_and_only_here(self):
        checker = self.pooled(threads=2)
        assert await self.outcome(checker) == b"fred"
        others = CheckerChain([MemoryAccounts({"joe": b"j"}), checker])
        with self.server.frozen():
            begun = monotonic()
            stuck = gatherResults([checker.requestAvatarId(Password(b"fred", b"a")).addErrback(str) for _ in range(6)])
            assert await self.outcome(others, b"joe", b"j") == b"joe"
            assert monotonic() - begun < 0.5
            answers = await stuck
            # The first connection is the time limit of a query, new ones have two seconds.
            assert monotonic() - begun < 6
            assert all("SystemTrouble" in answer for answer in answers)
        assert await self.outcome(checker) == b"fred"

    async def test_more_logins_than_may_wait_are_refused(self):
        checker = self.pooled(threads=1, queue=2)
        with self.server.frozen():
            waiting = gatherResults([checker.account(b"fred").addErrback(lambda _failure: None) for _ in range(3)])
            assert await self.outcome(checker) is Busy
            await waiting

    async def test_a_query_that_takes_too_long_is_ended_by_the_server_too(self):
        checker = self.pooled(query=SLEEPY)
        begun = monotonic()
        assert await self.outcome(checker) is SystemTrouble
        assert monotonic() - begun < 3
        await deferLater(reactor, 0.3)
        active = f"{CONNECTIONS} AND state = 'active'"
        assert self.connection.execute(active).fetchone() == (0,)

    async def test_connections_that_the_server_has_ended_are_replaced(self):
        checker = self.pooled()
        for _ in range(3):
            assert await self.outcome(checker) == b"fred"
            self.connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'popserv'")
        assert await self.outcome(checker) == b"fred"
        assert self.logged() == []

    async def test_many_logins_at_once(self):
        checker = self.pooled(threads=4, answer_seconds=10.0)
        wanted = [(b"fred", b"a", b"fred"), (b"ann", b"b", b"ann"), (b"fred", b"b", CredentialsRefused)] * 80
        outcomes = await gatherResults(
            [
                checker.requestAvatarId(Password(name, password)).addErrback(lambda failure: failure.type)
                for name, password, _ in wanted
            ]
        )
        assert outcomes == [outcome for _, _, outcome in wanted]
        (connections,) = self.connection.execute(CONNECTIONS).fetchone()
        assert 1 <= connections <= 4

    async def test_connections_end_with_the_checker(self):
        checker = self.pooled()
        assert await self.outcome(checker) == b"fred"
        del checker
        for _ in range(50):
            if self.connection.execute(CONNECTIONS).fetchone() == (0,):
                return
            await deferLater(reactor, 0.05)
        raise AssertionError("a connection was left open")
