"""What is done at night, and by hand: expiry, the trash, undelete."""

from __future__ import annotations

import json
import os
import poplib
import time
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv.auth.account import Account
from popserv.by_account import ByAccount, Covering
from popserv.errors import StoreBroken
from popserv.interfaces import IAccount
from popserv.maildrop.maildir_disposal import Tidied
from popserv.maildrop.retention import DAY_SECONDS, KEPT, Retention
from popserv.maildrop.visit import Visit
from popserv.service.config import ConfigErrors, from_table
from popserv.service.upkeep import ATTEMPTS, PAUSE_SECONDS, Nightly, Upkeep, until

from ..cli.running import POPSERV, popserv, server
from ..stores.maildirs import MaildirTestCase

CONFIGURATION = """\
[server]
hostname = "localhost"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
tls = "off"
[auth]
checkers = ["passwd-file:users"]
cleartext = "loopback"
[maildrop]
location = "maildir:mail/{user}"
expire_days = 90
retention_rules = [
    {accounts = ["fred"], delete = "trash", trash_days = 7},
    {accounts = ["anne"], delete = "hide", expire_days = 30},
]
"""


class Listing:
    def __init__(self, *names: str) -> None:
        self._names = [name.encode() for name in names]

    def names(self) -> Deferred[list[bytes]]:
        return succeed(self._names)

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        name = avatar_id.decode()
        return succeed(Account(name) if name != "gone" else None)


class TestUpkeep(MaildirTestCase):
    def upkeep(self, *names, **more):
        listing = Listing(*names)
        return Upkeep([listing, listing], listing, more.pop("store", self.store), ByAccount(Retention(expire_days=1)))

    def old(self, name):
        folder = self.root / name
        for part in ("tmp", "new", "cur"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        path = folder / "new" / "1.old"
        path.write_bytes(b"Subject: old\n\n")
        os.utime(path, (1, 1))
        return path

    def test_everybody_is_served_once_and_trouble_of_one_is_not_that_of_others(self):
        paths = [self.old(name) for name in ("anne", "fred")]
        (self.root / "joe").write_text("no Maildir")
        work = ensureDeferred(self.upkeep("anne", "joe", "gone", "fred", "nobody").run(Deferred))
        self.successResultOf(work)
        self.assertFalse(any(path.exists() for path in paths))
        self.assertFalse((self.root / "nobody").exists())

    def test_a_maildrop_in_use_is_tried_again(self):
        anne, fred = self.old("anne"), self.old("fred")
        session = self.successResultOf(self.store.open(Account("fred")))
        pauses = []

        def pause():
            pauses.append(Deferred())
            return pauses[-1]

        work = ensureDeferred(self.upkeep("fred", "anne").run(pause))
        self.assertNoResult(work)
        self.assertEqual((anne.exists(), fred.exists()), (False, True))
        pauses[0].callback(None)
        self.assertTrue(fred.exists())
        self.close(session)
        pauses[1].callback(None)
        self.successResultOf(work)
        self.assertFalse(fred.exists())

    def test_one_that_is_always_in_use_is_given_up_for_this_night(self):
        path = self.old("fred")
        self.successResultOf(self.store.open(Account("fred")))
        pauses = []
        self.successResultOf(ensureDeferred(self.upkeep("fred").run(lambda: succeed(pauses.append(1)))))
        self.assertEqual(len(pauses), ATTEMPTS - 1)
        self.assertTrue(path.exists())

    def test_the_retention_of_an_account_holds_for_it(self):
        rule = Covering(lambda name: name == "fred", Retention())
        upkeep = attrs.evolve(self.upkeep(), retentions=ByAccount(Retention(expire_days=1), [rule]))
        for name, expected in (("fred", Tidied()), ("anne", Tidied(1))):
            self.old(name)
            self.assertEqual(self.successResultOf(ensureDeferred(upkeep.tidy(Account(name)))), expected)


class Slow:
    """A store whose work takes as long as somebody lets it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.work: list[Deferred[Tidied]] = []

    def tidy(self, account: IAccount, dry: bool = False) -> Deferred[Tidied]:
        assert isinstance(account, Visit)
        assert not dry
        self.asked.append(account.name)
        self.work.append(Deferred())
        return self.work[-1]


class TestNightly(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.store = Slow()
        listing = Listing("fred")
        upkeep = Upkeep([listing], listing, self.store, KEPT)
        self.nightly = Nightly(self.clock)
        self.nightly.serve(upkeep, "03:30")

    def test_once_a_day_at_a_time_of_the_local_clock(self) -> None:
        for night in range(1, 4):
            self.clock.advance(until((3, 30), self.clock.seconds()))
            self.assertEqual(time.localtime(self.clock.seconds())[3:5], (3, 30))
            self.assertEqual(len(self.store.asked), night)
            self.store.work[-1].callback(Tidied())

    def test_what_takes_longer_than_a_day_is_not_begun_twice(self) -> None:
        self.clock.advance(until((3, 30), self.clock.seconds()))
        self.clock.advance(DAY_SECONDS)
        self.assertEqual(len(self.store.asked), 1)
        self.store.work[0].errback(StoreBroken())
        self.clock.advance(DAY_SECONDS)
        self.assertEqual(len(self.store.asked), 2)

    def test_a_stop_breaks_it_off(self) -> None:
        self.clock.advance(until((3, 30), self.clock.seconds()))
        self.nightly.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertGreater(PAUSE_SECONDS, 0)

    def test_nothing_to_do_is_no_timer(self) -> None:
        self.nightly.serve(None, "03:30")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_next_time_is_in_the_future(self) -> None:
        now = self.clock.seconds()
        hour, minute = time.localtime(now)[3:5]
        self.assertTrue(DAY_SECONDS - 60 < until((hour, minute), now) <= DAY_SECONDS)
        self.assertTrue(0 < until(((hour + 1) % 24, minute), now) <= 3600)


def test_a_store_that_only_removes_is_refused_with_its_key(tmp_path: Path) -> None:
    config = CONFIGURATION.replace("maildir:", "mbox:")
    (tmp_path / "popserv.toml").write_text(config)
    (tmp_path / "users").write_text("fred:{PLAIN}secret\n")
    done = popserv("check", "--config", tmp_path / "popserv.toml")
    assert done.returncode == 1
    assert "maildrop.delete: mbox: this store cannot expire and hide and trash" in done.stderr + done.stdout


def test_a_trash_that_nobody_has_any_more_is_emptied_by_hand(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("fred:{PLAIN}secret\n")
    config = tmp_path / "popserv.toml"
    text = CONFIGURATION[: CONFIGURATION.index("expire_days")]
    config.write_text(text + 'delete = "trash"\n')
    assert popserv("deliver", "fred", "--config", config, given=b"Subject: 1\n\n").returncode == 0
    with server([*POPSERV, "run", "--config", config], tmp_path) as running:
        pop = poplib.POP3("127.0.0.1", running.port("pop3"), timeout=20)
        pop.user("fred")
        pop.pass_("secret")
        pop.dele(1)
        pop.quit()
    for session in (tmp_path / "mail/fred/popserv.trash").iterdir():
        session.rename(session.with_name("1." + session.name.partition(".")[2]))
    config.write_text(text)
    done = popserv("maildrop", "expire", "fred", "--config", config)
    assert (done.returncode, done.stdout) == (0, "fred: 0 expired, 1 out of the trash\n"), done.stderr


@pytest.mark.parametrize("time_of_day", ["24:00", "3:30", "03:60", "0330", "", "०३:३०"])
def test_a_time_of_the_day_is_one(time_of_day: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        from_table({"maildrop": {"nightly": time_of_day}}, Path(), serving=False)
    assert caught.value.errors[0][0] == "maildrop.nightly"


def test_EX_040_removed_mail_comes_back_and_capa_tells_the_policy_of_each_account(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("".join(f"{name}:{{PLAIN}}secret\n" for name in ("fred", "anne", "joe")))
    config = tmp_path / "popserv.toml"
    config.write_text(CONFIGURATION)
    for name in ("fred", "anne", "joe"):
        for number in (1, 2):
            given = b"Subject: %d\n\n" % number
            assert popserv("deliver", name, "--config", config, given=given).returncode == 0
    with server([*POPSERV, "run", "--config", config], tmp_path) as running:
        told, ids = {}, {}
        for name in ("fred", "anne", "joe"):
            pop = poplib.POP3("127.0.0.1", running.port("pop3"), timeout=20)
            assert pop.capa()["EXPIRE"] == ["30", "USER"]
            pop.user(name)
            pop.pass_("secret")
            told[name] = pop.capa()["EXPIRE"]
            ids[name] = pop.uidl()[1]
            pop.dele(1)
            pop.quit()
        assert told == {"fred": ["NEVER"], "anne": ["30"], "joe": ["90"]}

        def left(name: str) -> list[bytes]:
            pop = poplib.POP3("127.0.0.1", running.port("pop3"), timeout=20)
            pop.user(name)
            pop.pass_("secret")
            seen: list[bytes] = pop.uidl()[1]
            pop.quit()
            return seen

        assert [len(left(name)) for name in ids] == [1, 1, 1]
        for name, back in (("fred", 1), ("anne", 1), ("joe", 0)):
            done = popserv("undelete", name, "--since", "1h", "--json", "--config", config)
            assert (done.returncode, json.loads(done.stdout)) == (0, {"account": name, "back": back, "left": 0})
            assert left(name) == (ids[name] if back else [b"1 " + ids[name][1].split()[1]])
    for path in (tmp_path / "mail").glob("*/new/*"):
        os.utime(path, (time.time() - 31 * DAY_SECONDS,) * 2)
        # Nobody else changes times where they are known already.
        (path.parent.parent / "popserv.index").unlink(missing_ok=True)
    done = popserv("maildrop", "expire", "--all", "--dry-run", "--config", config)
    assert sorted(done.stdout.splitlines()) == [
        "anne: 2 expired, 0 out of the trash",
        "fred: 0 expired, 0 out of the trash",
        "joe: 0 expired, 0 out of the trash",
    ]
    done = popserv("maildrop", "expire", "anne", "--json", "--config", config)
    assert json.loads(done.stdout) == {"account": "anne", "expired": 2, "emptied": 0}
    assert not list((tmp_path / "mail" / "anne" / "new").iterdir())
    assert popserv("maildrop", "expire", "--config", config).returncode == 2
    assert popserv("undelete", "fred", "--since", "soon", "--config", config).returncode == 2
