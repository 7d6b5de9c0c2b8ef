"""Work in threads comes to its end."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from popserv.maildrop.shield import shielded


class TestShielded(SynchronousTestCase):
    def setUp(self):
        self.work = Deferred()
        self.abandoned = []
        self.outer = shielded(self.work, self.abandoned.append)

    def test_results_pass_through(self):
        self.work.callback(7)
        self.assertEqual(self.successResultOf(self.outer), 7)
        self.assertEqual(self.abandoned, [])

    def test_failures_pass_through(self):
        self.work.errback(ValueError())
        self.failureResultOf(self.outer, ValueError)

    def test_a_result_nobody_waits_for_is_handed_to_abandoned(self):
        self.outer.cancel()
        self.failureResultOf(self.outer, CancelledError)
        self.work.callback(7)
        self.assertEqual(self.abandoned, [7])

    def test_a_failure_nobody_waits_for_is_swallowed(self):
        self.outer.cancel()
        self.failureResultOf(self.outer, CancelledError)
        self.work.errback(ValueError())
        self.assertEqual(self.abandoned, [])
        self.assertEqual(self.flushLoggedErrors(), [])
