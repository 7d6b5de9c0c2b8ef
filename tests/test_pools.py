"""Bounded pools: what blocks is done elsewhere, and too much of it is refused."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.trial.unittest import TestCase

from popserv.errors import Busy
from popserv.pools import BoundedPool, InlinePool
from popserv.service import names


class Pools(TestCase):
    @inlineCallbacks
    def test_SEC_019_beyond_its_queue_a_pool_refuses_work(self):  # type: ignore[no-untyped-def]
        pool = BoundedPool(reactor, "test", threads=1, queue=2)
        self.addCleanup(pool.stop)
        gate = threading.Event()
        accepted: list[Any] = [pool.run(gate.wait, 10) for _ in range(3)]
        yield self.assertFailure(pool.run(gate.wait, 10), Busy)
        gate.set()
        yield gatherResults(accepted)
        self.assertEqual((yield pool.run(threading.get_ident)) == threading.get_ident(), False)

    @inlineCallbacks
    def test_an_inline_pool_works_at_once(self):  # type: ignore[no-untyped-def]
        self.assertEqual((yield InlinePool().run(threading.get_ident)), threading.get_ident())
        yield self.assertFailure(InlinePool().run(int, "x"), ValueError)

    def test_SEC_005_weak_ways_to_log_in_are_off_unless_named(self) -> None:
        offered = names.mechanisms(("default",))
        self.assertEqual(set(offered) & {"apop", "cram-md5", "login", "anonymous"}, set())
        self.assertIn("apop", names.mechanisms(("default", "apop")))


def test_a_thread_that_does_not_come_back_keeps_no_process_from_ending(tmp_path: Path) -> None:
    program = """if True:
        import os, sys
        from twisted.internet import reactor
        from popserv.pools import BoundedPool
        pool = BoundedPool(reactor, "stuck", 1, 1)
        stuck, _ = os.pipe()
        def begin():
            pool.run(os.read, stuck, 1)
            reactor.callLater(0.2, reactor.stop)
        reactor.addSystemEventTrigger("after", "shutdown", pool.stop, 0.3)
        reactor.callWhenRunning(begin)
        reactor.run()
        print("ended")
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"ended\n")
