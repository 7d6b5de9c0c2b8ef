"""Mail of other servers taken into a Maildir: each message once, with its unique-id, time, flags and octets."""

from __future__ import annotations

import errno
import os
from unittest import skipIf

import attrs

from popserv.errors import MaildropInUse, StoreBroken, StoreUnavailable
from popserv.maildrop.foreign_maildir import ForeignMaildir
from popserv.maildrop.foreign_mbox import ForeignMbox
from popserv.maildrop.uidmap import MAP_NAME
from popserv.pools import InlinePool
from popserv.stores.mbox import MboxStore

from .maildirs import FRED, MaildirTestCase, make_maildir

FROM = b"From joe@example.org Mon Jan  1 00:00:00 2024\n"
NEW_YEAR = 1_704_067_200


def nothing(_done, _total):
    pass


class ImportTestCase(MaildirTestCase):
    def take(self, source, dry_run=False, store=None):
        try:
            work = (store or self.store).take_in(FRED, source, dry_run=dry_run, progress=nothing)
            return self.successResultOf(work)
        finally:
            source.close()

    def seen(self):
        """Octets and mtimes by unique-id."""
        maildrop = self.open(self.make_store())
        found = {maildrop.uidl(index): self.read(maildrop, index) for index in range(maildrop.count)}
        self.assertEqual(len(found), maildrop.count)
        self.close(maildrop)
        return found

    def times(self):
        return sorted((path.name, path.stat().st_mtime) for part in ("new", "cur") for path in self.files(part))

    def files(self, part):
        return (self.maildir / part).iterdir()


class FromMaildirTests(ImportTestCase):
    OLD = {
        "cur/1600000001.M1P1.host:2,FSa": b"Subject: one\n\nbody\n",
        "cur/1600000002.M2P1.host,S=19:2,": b"Subject: two\r\n\r\n.\r\n",
        "new/1600000003.M3P1.host": b"",
    }

    def setUp(self):
        super().setUp()
        self.old = make_maildir(self.root / "old")
        for number, (path, octets) in enumerate(self.OLD.items()):
            (self.old / path).write_bytes(octets)
            os.utime(self.old / path, (1_600_000_000 + number, 1_600_000_000 + number))

    def source(self, told=None):
        return ForeignMaildir(os.fsencode(self.old), lambda _folder: told or {})

    def test_everything_is_kept(self):
        summary = self.take(self.source())
        self.assertEqual((summary.messages, summary.imported, summary.octets), (3, 3, 19 + 19))
        self.assertEqual((summary.failed, summary.changed_ids, summary.skipped), ([], [], []))
        self.assertEqual(
            self.seen(),
            {
                b"1600000001.M1P1.host": b"Subject: one\r\n\r\nbody\r\n",
                b"1600000002.M2P1.host,S=19": b"Subject: two\r\n\r\n.\r\n",
                b"1600000003.M3P1.host": b"",
            },
        )
        self.assertEqual(
            self.times(),
            [
                ("1600000001.M1P1.host:2,FS", 1_600_000_000),
                ("1600000002.M2P1.host,S=19:2,", 1_600_000_001),
                ("1600000003.M3P1.host", 1_600_000_002),
            ],
        )
        self.assertFalse((self.maildir / MAP_NAME).exists())
        self.assertEqual(sorted(self.OLD), sorted(str(path.relative_to(self.old)) for path in self.old.glob("[cn]*/*")))

    def test_the_second_time_nothing_comes(self):
        self.take(self.source())
        before = self.seen()
        summary = self.take(self.source(), store=self.make_store())
        self.assertEqual((summary.messages, summary.imported, summary.already), (3, 0, 3))
        self.assertEqual(self.seen(), before)

    def test_what_was_removed_since_does_not_come_back(self):
        self.take(self.source())
        maildrop = self.open()
        self.assertEqual(self.successResultOf(maildrop.commit({0, 2})), 0)
        self.close(maildrop)
        summary = self.take(self.source())
        self.assertEqual((summary.imported, summary.already), (0, 3))
        self.assertEqual(list(self.seen()), [b"1600000002.M2P1.host,S=19"])

    def test_new_mail_of_the_old_server_comes(self):
        self.take(self.source())
        (self.old / "new" / "1600000004.M4P1.host").write_bytes(b"Subject: late\n\n")
        summary = self.take(self.source())
        self.assertEqual((summary.imported, summary.already), (1, 3))

    def test_flags_that_were_set_meanwhile_make_no_new_message(self):
        self.take(self.source())
        for folder in (self.old, self.maildir):
            os.rename(folder / "new" / "1600000003.M3P1.host", folder / "cur" / "1600000003.M3P1.host:2,S")
        self.assertEqual(self.take(self.source()).already, 3)

    def test_ids_that_the_old_server_told_are_kept_and_told_again(self):
        told = {b"1600000001.M1P1.host": b"0000000a5f000001", b"1600000003.M3P1.host": b"0000000c5f000001"}
        self.assertEqual(self.take(self.source(told)).changed_ids, [])
        ids = [b"0000000a5f000001", b"1600000002.M2P1.host,S=19", b"0000000c5f000001"]
        self.assertEqual(list(self.seen()), ids)
        (self.maildir / "popserv.index").unlink()
        self.assertEqual(list(self.seen()), ids)

    def test_an_id_that_is_somebody_elses_here_is_changed_and_told(self):
        self.put("1500000001.M1P1.host", part="new")
        told = {b"1600000001.M1P1.host": b"1500000001.M1P1.host", b"1600000002.M2P1.host,S=19": b"no id"}
        summary = self.take(self.source(told))
        self.assertEqual(len(summary.changed_ids), 2)
        self.assertEqual((summary.imported, len(self.seen())), (3, 4))

    def test_an_id_of_a_message_that_is_gone_is_given_to_no_other(self):
        self.take(self.source({b"1600000001.M1P1.host": b"told"}))
        maildrop = self.open()
        self.successResultOf(maildrop.commit({0}))
        self.close(maildrop)
        (self.old / "new" / "1600000004.M4P1.host").write_bytes(b"Subject: late\n\n")
        summary = self.take(self.source({b"1600000004.M4P1.host": b"told"}))
        self.assertEqual((summary.imported, len(summary.changed_ids)), (1, 1))
        self.assertNotIn(b"told", self.seen())

    def test_files_that_share_a_name_all_come(self):
        (self.old / "new" / "1600000001.M1P1.host").write_bytes(b"Subject: its copy\n\n")
        self.assertEqual(self.take(self.source()).imported, 4)
        self.assertEqual(len(self.seen()), 4)
        self.assertEqual(self.take(self.source()).already, 4)

    def test_a_message_that_is_here_under_its_name_is_not_doubled(self):
        self.put("1600000001.M1P1.host:2,", b"Subject: one\n\nbody\n")
        self.put("1600000002.M2P1.host,S=19:2,", b"something else")
        summary = self.take(self.source())
        self.assertEqual((summary.imported, summary.already, len(summary.failed)), (1, 1, 1))
        self.assertEqual(len(self.seen()), 3)

    def test_what_is_no_message_is_told(self):
        os.symlink("/etc/passwd", self.old / "new" / "1.link")
        summary = self.take(self.source())
        self.assertEqual((summary.imported, len(summary.skipped)), (3, 1))

    def test_a_message_that_cannot_be_read_does_not_keep_the_others(self):
        source = self.source()
        messages = source.messages
        self.patch(source, "messages", lambda: [*messages(), *self.vanish()])
        summary = self.take(source)
        self.assertEqual((summary.imported, len(summary.failed)), (2, 1))
        self.assertEqual(os.listdir(self.maildir / "tmp"), [])

    def test_a_message_that_is_here_under_another_id_is_told(self):
        self.put("1600000001.M1P1.host:2,", b"Subject: one\n\nbody\n")
        summary = self.take(self.source({b"1600000001.M1P1.host": b"told"}))
        self.assertEqual((summary.imported, summary.already, len(summary.changed_ids)), (2, 1, 1))

    def test_where_there_are_no_hard_links_files_are_moved(self):
        def no_links(*_words, **_more):
            raise OSError(errno.EPERM, "no links here")

        self.patch(os, "link", no_links)
        self.assertEqual(self.take(self.source()).imported, 3)
        self.assertEqual(len(self.seen()), 3)

    def test_no_two_messages_get_one_name(self):
        source = self.source()
        messages = source.messages
        self.patch(source, "messages", lambda: [*messages(), attrs.evolve(messages()[0], key=b"another")])
        summary = self.take(source)
        self.assertEqual((summary.imported, len(summary.failed)), (3, 1))

    def vanish(self):
        (self.old / "new" / "1600000003.M3P1.host").unlink()
        return []

    def test_a_dry_run_changes_nothing(self):
        before = sorted(self.maildir.rglob("*"))
        summary = self.take(self.source(), dry_run=True)
        self.assertEqual((summary.messages, summary.imported, summary.octets), (3, 3, 38))
        self.assertEqual(sorted(self.maildir.rglob("*")), before)
        self.take(self.source())
        self.assertEqual(self.take(self.source(), dry_run=True).already, 3)

    def test_where_there_is_no_maildir_one_is_made(self):
        for part in ("new", "cur", "tmp"):
            (self.maildir / part).rmdir()
        self.maildir.rmdir()
        self.assertEqual(self.take(self.source(), dry_run=True).imported, 3)
        self.assertEqual(self.take(self.source()).imported, 3)

    @skipIf(os.geteuid() != 0, "only root can give files away")
    def test_what_root_makes_belongs_to_whoever_has_the_maildir(self):
        (self.maildir / "popserv.lock").unlink(missing_ok=True)
        for path in (self.maildir, *(self.maildir / part for part in ("new", "cur", "tmp"))):
            os.chown(path, 4711, 4712)
        self.take(self.source({b"1600000001.M1P1.host": b"told"}))
        made = {path.name: path.stat() for path in self.maildir.rglob("*") if path.is_file()}
        self.assertLess({"popserv.lock", "popserv.uidmap", "popserv.imported"}, made.keys())
        del made["popserv.index"]  # a cache; another user makes his own
        self.assertEqual({(found.st_uid, found.st_gid) for found in made.values()}, {(4711, 4712)})

    @skipIf(os.geteuid() != 0, "only root can give files away")
    def test_a_file_that_is_there_is_not_given_away(self):
        secret = self.root / "secret"
        secret.write_bytes(b"of somebody else\n")
        os.chown(self.maildir, 4711, 4712)
        os.link(secret, self.maildir / "popserv.imported")
        source = self.source()
        self.failureResultOf(self.store.take_in(FRED, source, dry_run=False, progress=nothing), StoreUnavailable)
        source.close()
        self.assertEqual((secret.stat().st_uid, secret.read_bytes()), (os.geteuid(), b"of somebody else\n"))

    def test_not_under_a_session_and_not_into_itself(self):
        maildrop = self.open()
        source = self.source()
        self.failureResultOf(self.store.take_in(FRED, source, dry_run=False, progress=nothing), MaildropInUse)
        source.close()
        self.close(maildrop)
        for dry_run in (False, True):
            itself = ForeignMaildir(os.fsencode(self.maildir))
            self.failureResultOf(self.store.take_in(FRED, itself, dry_run=dry_run, progress=nothing), StoreBroken)
            itself.close()


class FromMboxTests(ImportTestCase):
    def setUp(self):
        super().setUp()
        self.old = self.root / "mbox"
        self.messages = [b"Subject: one\nStatus: RO\nX-Status: A\n\n>From here\n", b"Subject: two\n\n.\n", b"\n"]
        self.write(self.messages)

    def write(self, messages):
        self.old.write_bytes(b"".join([FROM + message + b"\n" for message in messages]))

    def source(self):
        return ForeignMbox(os.fsencode(self.old), "mboxrd")

    def test_messages_come_unquoted_in_order_with_date_and_flags(self):
        summary = self.take(self.source())
        self.assertEqual((summary.messages, summary.imported, summary.failed), (3, 3, []))
        octets = [message.replace(b">From", b"From").replace(b"\n", b"\r\n") for message in self.messages]
        self.assertEqual(list(self.seen().values()), octets)
        self.assertEqual([name.partition(":2,")[2] for name, _ in self.times()], ["RS", "", ""])
        self.assertEqual(len(list(self.files("new"))), 2)
        self.assertEqual({time for _, time in self.times()}, {NEW_YEAR})

    def test_ids_are_those_under_which_popserv_serves_the_mbox(self):
        served = self.successResultOf(MboxStore(str(self.old), InlinePool(), self.clock).open(FRED))
        ids = [served.uidl(index) for index in range(served.count)]
        self.close(served)
        self.take(self.source())
        self.assertEqual(list(self.seen()), ids)

    def test_each_comes_once_though_the_mbox_has_changed(self):
        self.take(self.source())
        self.write([*self.messages[1:], b"Subject: new\n\n", b"Subject: new\n\n"])
        summary = self.take(self.source())
        self.assertEqual((summary.imported, summary.already), (2, 2))
        self.assertEqual(len(self.seen()), 5)

    def test_equal_messages_all_come(self):
        self.write([self.messages[0]] * 3)
        self.assertEqual(self.take(self.source()).imported, 3)
        self.assertEqual(len(self.seen()), 3)
        self.assertEqual(self.take(self.source()).already, 3)
