"""What is fetched now and then: when, how often, and what is good while nothing comes."""

from __future__ import annotations

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from popserv.auth.kept import RENEW_SECONDS, Kept
from popserv.auth.remote import Misconfigured, Standing, Unavailable

SECONDS = 600.0


class KeptTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.fetched = 0
        self.outcome = "value"
        self.kept = Kept(self.fetch, self.clock, SECONDS, Standing("it"))
        self.said = []
        globalLogPublisher.addObserver(self.said.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.said.append)

    async def fetch(self):
        self.fetched += 1
        outcome = await self.outcome if isinstance(self.outcome, Deferred) else self.outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def get(self):
        return self.successResultOf(ensureDeferred(self.kept.get()))

    def newer(self):
        return self.successResultOf(ensureDeferred(self.kept.newer()))

    def logged(self):
        return [event["log_format"] for event in self.said if event.get("name") == "it"]

    def test_it_is_fetched_once_and_again_after_its_time(self):
        assert [self.get(), self.get()] == ["value", "value"]
        assert self.fetched == 1
        self.clock.advance(SECONDS)
        self.outcome = "next"
        assert self.get() == "next"
        assert self.fetched == 2

    def test_an_old_one_is_good_while_nothing_comes_and_is_logged_once(self):
        assert self.get() == "value"
        self.outcome = Unavailable("down")
        for _ in range(5):
            self.clock.advance(SECONDS)
            assert self.get() == "value"
        assert len(self.logged()) == 1
        self.outcome = "next"
        self.clock.advance(RENEW_SECONDS)
        assert self.get() == "next"
        assert len(self.logged()) == 2

    def test_what_is_down_is_not_asked_with_each_request(self):
        assert self.get() == "value"
        self.outcome = Unavailable("down")
        self.clock.advance(SECONDS)
        for _ in range(20):
            assert self.get() == "value"
            self.clock.advance(RENEW_SECONDS / 20)
        assert self.fetched == 2

    def test_without_any_each_request_asks_and_fails(self):
        for failure in (Unavailable("down"), Misconfigured("wrong")):
            self.outcome = failure
            assert self.failureResultOf(ensureDeferred(self.kept.get())).value is failure
        self.outcome = "value"
        assert self.get() == "value"

    def test_a_newer_one_is_fetched_every_ten_seconds_at_most(self):
        assert self.get() == "value"
        for _ in range(100):
            assert self.newer() == "value"
        assert self.fetched == 2
        self.clock.advance(RENEW_SECONDS)
        self.outcome = "next"
        assert self.newer() == "next"
        assert self.fetched == 3

    def test_a_newer_one_that_cannot_be_had_is_a_failure_and_not_an_old_one(self):
        assert self.get() == "value"
        self.outcome = Unavailable("down")
        for _ in range(2):
            self.failureResultOf(ensureDeferred(self.kept.newer()), Unavailable)
        assert self.fetched == 2
        assert self.get() == "value"

    def test_who_asks_meanwhile_waits_for_the_same_answer(self):
        self.outcome = Deferred()
        asked = [ensureDeferred(self.kept.get()), ensureDeferred(self.kept.newer()), ensureDeferred(self.kept.get())]
        for each in asked:
            self.assertNoResult(each)
        self.outcome.callback("value")
        assert [self.successResultOf(each) for each in asked] == ["value"] * 3
        assert self.fetched == 1

    def test_a_defect_lets_nobody_wait_for_ever(self):
        self.outcome = Deferred()
        first, second = ensureDeferred(self.kept.get()), ensureDeferred(self.kept.get())
        self.outcome.callback(ZeroDivisionError())
        self.failureResultOf(first, ZeroDivisionError)
        self.failureResultOf(second, Unavailable)
        self.outcome = "value"
        assert self.get() == "value"
