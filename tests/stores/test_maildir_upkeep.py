"""Looking through a Maildir and mending it: what is found, what becomes of it, and that no mail goes."""

from __future__ import annotations

import os

from popserv.errors import MaildropInUse, StoreBroken
from popserv.maildrop.index import INDEX_NAME
from popserv.maildrop.uidmap import MAP_NAME
from popserv.maildrop.uidmap_check import DAMAGED_NAME

from .maildirs import FRED, MaildirTestCase

ONE, TWO = "1600000001.M1P1.host:2,S", "1600000002.M2P1.host:2,"
LATER = 1_000.0


def nothing(_done, _total):
    pass


class MaildirUpkeepTestCase(MaildirTestCase):
    def setUp(self):
        super().setUp()
        self.put(ONE, b"Subject: one\n\nbody\n")
        self.put(TWO, b"Subject: two\r\n\r\n.\r\n")
        for part in ("new", "cur"):
            os.utime(self.maildir / part, (1_600_000_100, 1_600_000_100))
        self.clock.advance(LATER)
        self.before = self.ids()

    def look(self, lock=True, mend=False, store=None):
        work = (store or self.store).check(FRED, lock=lock, mend=mend, progress=nothing)
        return self.successResultOf(work)

    def found(self, **how):
        return [(finding.kind, finding.state) for finding in self.look(**how).findings]

    def mends(self, *kinds):
        """What is found is mended, with no message lost, and not found again."""
        self.assertEqual(self.found(), [(kind, "found") for kind in kinds])
        names = self.names()
        self.assertEqual(self.found(mend=True), [(kind, "mended") for kind in kinds])
        self.assertEqual(self.found(), [])
        self.assertEqual(self.names(), names)

    def damage_index(self, old, new):
        """Write other octets into the index, under a sum that fits."""
        index = self.maildir / INDEX_NAME
        octets = index.read_bytes()
        self.assertEqual(octets.count(old), 1)
        index.write_bytes(octets.replace(old, new))


class CheckTests(MaildirUpkeepTestCase):
    def test_a_good_maildir_has_no_findings(self):
        report = self.look()
        self.assertEqual((report.messages, report.findings, report.unknown), (2, [], []))
        self.assertEqual(report.octets, 22 + 19)

    def test_no_maildir_is_an_empty_one(self):
        os.rename(self.maildir, self.root / "joe")
        self.assertEqual(self.look().messages, 0)

    def test_nothing_is_changed_by_looking(self):
        (self.maildir / "popserv.index.new").write_bytes(b"half")
        before = sorted((path, path.stat().st_mtime_ns) for path in self.maildir.rglob("*") if path.suffix != ".lock")
        self.assertEqual(self.found(), [("leftover", "found")])
        after = sorted((path, path.stat().st_mtime_ns) for path in self.maildir.rglob("*") if path.suffix != ".lock")
        self.assertEqual(after, before)

    def test_a_session_is_not_disturbed_and_may_be_looked_beside(self):
        maildrop = self.open()
        self.failureResultOf(self.store.check(FRED, lock=True, mend=False, progress=nothing), MaildropInUse)
        (self.maildir / "popserv.index.new").write_bytes(b"half")
        report = self.look(lock=False)
        self.assertEqual((report.messages, report.findings, len(report.unknown)), (2, [], 1))
        self.close(maildrop)

    def test_nothing_is_mended_where_sessions_take_no_lock(self):
        store = self.make_store(exclusive=False)
        self.failureResultOf(store.check(FRED, lock=True, mend=True, progress=nothing), StoreBroken)

    def test_what_is_no_message_is_named_and_left(self):
        os.mkfifo(self.maildir / "cur" / "1600000003.fifo")
        os.symlink("/etc/passwd", self.maildir / "new" / "1600000004.l\nnk")
        report = self.look(mend=True)
        self.assertEqual([finding.kind for finding in report.findings], ["entry", "entry"])
        self.assertIn(r"1600000004.l\nnk", report.findings[1].text)
        self.assertTrue((self.maildir / "cur" / "1600000003.fifo").exists())

    def test_a_lock_that_is_no_file_is_told_where_it_can_be(self):
        (self.maildir / "popserv.lock").unlink()
        os.mkfifo(self.maildir / "popserv.lock")
        self.assertEqual(self.found(lock=False), [("lock", "found")])

    def test_progress_ends_with_all(self):
        steps = []
        self.successResultOf(
            self.store.check(FRED, lock=True, mend=False, progress=lambda done, total: steps.append((done, total)))
        )
        self.assertEqual(steps, [(0, 2), (1, 2), (2, 2)])


class RepairTests(MaildirUpkeepTestCase):
    def test_an_index_that_is_damaged(self):
        self.damage_index(b"1 1600000001.M1P1.host\r\n", b"1 1600000009.M9P9.host\r\n")
        self.mends("index")
        self.assertEqual(self.ids(self.make_store()), self.before)

    def test_an_octet_count_of_the_index_that_is_not_what_is_sent(self):
        """A file that was written to and got its times back, which a session finds out only when it is sent."""
        path = self.maildir / "cur" / ONE
        times = path.stat().st_atime_ns, path.stat().st_mtime_ns
        path.write_bytes(b"Subject: one\n\nbo\ny\n")
        os.utime(path, ns=times)
        self.mends("octets")
        maildrop = self.open(self.make_store())
        self.assertEqual(len(self.read(maildrop)), maildrop.octets[0])
        self.close(maildrop)

    def test_a_message_that_was_written_to(self):
        (self.maildir / "cur" / ONE).write_bytes(b"Subject: one\n\nbody and more\n")
        self.mends("octets")

    def test_leftovers_and_old_deliveries(self):
        (self.maildir / "popserv.index.new").write_bytes(b"half")
        (self.maildir / "tmp" / "1.young").write_bytes(b"half")
        self.assertEqual(self.found(), [("leftover", "found")])
        self.clock.advance(os.stat(self.maildir / "tmp" / "1.young").st_ctime + 40 * 3600 - self.clock.seconds())
        self.mends("leftover", "leftover")
        self.assertEqual(list((self.maildir / "tmp").iterdir()), [])

    def test_permissions_and_directories(self):
        os.chmod(self.maildir / "cur", 0o777)
        os.chmod(self.maildir / INDEX_NAME, 0o666)
        (self.maildir / "tmp").rmdir()
        self.mends("permission", "permission", "permission")
        self.assertEqual((self.maildir / "cur").stat().st_mode & 0o777, 0o775)
        self.assertEqual((self.maildir / INDEX_NAME).stat().st_mode & 0o777, 0o644)
        self.assertTrue((self.maildir / "tmp").is_dir())


class UidMapTests(MaildirUpkeepTestCase):
    def setUp(self):
        super().setUp()
        self.put(ONE.replace(":2,S", ":2,"), b"Subject: another\n\nbody\n", part="new")
        self.ids()
        self.before = self.ids()
        self.map = self.maildir / MAP_NAME
        self.lines = self.map.read_bytes()

    def test_an_unread_line_goes_and_the_good_ones_stay(self):
        self.assertEqual(len(set(self.before)), 3)
        self.map.write_bytes(b"+ rubbish\n" + self.lines + b"+ id 1 2 3\n")
        self.mends("uidmap")
        self.assertEqual(self.map.read_bytes(), self.lines)
        self.assertEqual((self.maildir / DAMAGED_NAME).read_bytes(), b"+ rubbish\n" + self.lines + b"+ id 1 2 3\n")
        self.assertEqual(self.ids(self.make_store()), self.before)

    def test_each_damaged_map_is_kept(self):
        for number, name in enumerate([DAMAGED_NAME, f"{DAMAGED_NAME}.2"]):
            damage = b"damage %d\n" % number
            self.map.write_bytes(self.map.read_bytes() + damage)
            self.mends("uidmap")
            self.assertIn(damage, (self.maildir / name).read_bytes())

    def test_a_last_line_without_its_end(self):
        self.map.write_bytes(self.lines + b"+ half")
        self.mends("leftover")
        self.assertEqual(self.map.read_bytes(), self.lines)

    def test_an_id_that_the_map_gives_twice_is_for_people(self):
        line = self.lines.splitlines(keepends=True)[-1]
        stolen = b" ".join([*line.split()[:5], b"1600000002.M2P1.host"]) + b"\n"
        self.map.write_bytes(self.lines + stolen)
        self.assertIn(("uidmap", "found"), self.found(mend=True))

    def test_messages_without_ids_get_them(self):
        self.map.unlink()
        (self.maildir / INDEX_NAME).unlink()
        self.mends("id")
        self.assertEqual(len(set(self.ids(self.make_store()))), 3)


class ReindexTests(MaildirUpkeepTestCase):
    def test_an_index_is_made_anew(self):
        (self.maildir / INDEX_NAME).write_bytes(b"damaged")
        self.assertEqual(self.successResultOf(self.store.reindex(FRED)), (2, 22 + 19))
        self.assertGreater((self.maildir / INDEX_NAME).stat().st_size, 512)
        self.assertEqual((self.found(), self.ids()), ([], self.before))

    def test_not_under_a_session(self):
        maildrop = self.open()
        self.failureResultOf(self.store.reindex(FRED), MaildropInUse)
        self.close(maildrop)
