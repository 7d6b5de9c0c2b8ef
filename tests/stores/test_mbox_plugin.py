"""The mbox store as configuration sees it."""

from __future__ import annotations

import os
import subprocess
import sys

from zope.interface.verify import verifyObject

from popserv.auth.account import Account
from popserv.errors import StoreBroken
from popserv.interfaces import IDelivery, IInspects, IMaildropStore, IStores
from popserv.plugins import find
from popserv.stores.mbox import Options
from tests.stores.mboxes import FRED, MboxTestCase
from tests.stores.test_maildir_plugin import Context

LOOK = """
import os, sys
from popserv.maildrop.mbox_inspect import missing

os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(*missing(sys.argv[1], sys.argv[2], True, True), sep="\\n")
"""


class TestPlugin(MboxTestCase):
    def test_the_scheme_finds_it(self):
        plugin = find("stores", "mbox")
        verifyObject(IStores, plugin)
        verifyObject(IInspects, plugin)
        self.assertEqual(plugin.options().locks, ("fcntl", "dotlock"))

    def test_what_it_builds_serves_and_delivers_below_the_configuration_file(self):
        store = find("stores", "mbox").build("{user}", Options(), Context(self.root))
        verifyObject(IMaildropStore, store)
        verifyObject(IDelivery, store)
        self.deliver(store=store)
        self.assertEqual(len(self.contents(store)), 1)

    def test_an_account_may_live_elsewhere(self):
        self.put(b"Subject: a\n")
        maildrop = self.successResultOf(self.store.open(Account("ann", f"mbox:{self.mbox}")))
        self.assertEqual(maildrop.count, 1)
        self.close(maildrop)
        for location in ("nonsense", "mbox:relative"):
            self.failureResultOf(self.store.open(Account("ann", location)), StoreBroken)
        self.failureResultOf(self.store.open(FRED, b"Drafts"), StoreBroken)

    def test_check_names_what_is_wrong(self):
        plugin = find("stores", "mbox")
        self.assertEqual(plugin.check("/var/mail/{user}", Context(self.root)), [])
        self.assertEqual(len(plugin.check("/var/mail/{usr}", Context(self.root))), 1)
        self.assertEqual(plugin.check("/var/mail/{user}", Context(self.root, lock="takeover")), [])
        for options in (Options(locks=("fcntl",)), Options(control="/srv/{usr}")):
            self.assertRaises(ValueError, plugin.build, "{user}", options, Context(self.root))
        plugin.build("{user}", Options(locks=("fcntl",), rewrite="in-place"), Context(self.root))

    def test_what_the_service_may_not_do_is_told(self):
        self.assertEqual(find("stores", "mbox").inspect("{user}", Options(), Context(self.root)), [])
        self.assertEqual(find("stores", "mbox").inspect("{home}/mbox", Options(), Context(self.root)), [])
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")

        def look(place, control=""):
            done = subprocess.run(
                [sys.executable, "-c", LOOK, place, control], capture_output=True, text=True, timeout=20
            )
            self.assertEqual(done.stderr, "")
            return done.stdout.splitlines()

        self.root.chmod(0o755)
        told = look(f"{self.root}/{{user}}", f"{self.root}/control/{{user}}")
        self.assertEqual(len(told), 2, told)
        self.assertIn("rewrite", told[0])
        self.assertIn("dotlock", told[1])
        self.assertIn("set control", look(f"{self.root}/{{user}}")[2])
        self.root.chmod(0o777)
        self.put(b"Subject: a\n")
        [told] = look(f"{self.root}/{{user}}")
        self.assertIn("root alone", told)

    def test_an_mbox_whose_folder_is_not_writable_is_refused_or_served_without_a_dotlock(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        self.put(b"Subject: a\n", b"Subject: b\n")
        self.mbox.chmod(0o666)
        self.root.chmod(0o755)
        control = self.root / "control"
        control.mkdir()
        control.chmod(0o777)
        for locks, expected in ((("fcntl", "dotlock"), "StoreBroken"), (("fcntl",), "2 0 1")):
            arguments = [sys.executable, "-c", SERVE, str(self.root), *locks]
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
            self.assertEqual(done.stdout.strip(), expected, done.stderr)


SERVE = """
import os, sys
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from popserv.auth.account import Account
from popserv.pools import InlinePool
from popserv.stores.mbox import MboxStore, Options

os.setgroups([]); os.setgid(65534); os.setuid(65534)
root, *locks = sys.argv[1:]
options = Options(control=root + "/control/{user}", locks=tuple(locks), rewrite="in-place")
store = MboxStore(root + "/{user}", InlinePool(), Clock(), options=options)

def opened():
    results = []
    store.open(Account("fred")).addBoth(results.append)
    if isinstance(results[0], Failure):
        sys.exit(print(results[0].type.__name__))
    return results[0]

first = opened()
left = first.commit({0}).result
first.close()
print(first.count, left, opened().count)
"""
