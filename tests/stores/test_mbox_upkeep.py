"""Looking through an mbox and mending it."""

from __future__ import annotations

from popserv.errors import MaildropInUse
from popserv.maildrop.uidmap import MAP_NAME

from .mboxes import FRED, FROM, MboxTestCase


def nothing(_done, _total):
    pass


class MboxUpkeepTests(MboxTestCase):
    def setUp(self):
        super().setUp()
        self.put(b"Subject: one\n\nbody\n", b"Subject: two\n\n>From me\n", b"Subject: one\n\nbody\n")
        self.before = self.contents()

    def look(self, lock=True, mend=False):
        return self.successResultOf(self.store.check(FRED, lock=lock, mend=mend, progress=nothing))

    def found(self, **how):
        return [(finding.kind, finding.state) for finding in self.look(**how).findings]

    def mends(self, *kinds):
        self.assertEqual(self.found(), [(kind, "found") for kind in kinds])
        self.assertEqual(self.found(mend=True), [(kind, "mended") for kind in kinds])
        self.assertEqual(self.found(), [])
        self.assertEqual(self.contents(self.make_store()), self.before)

    def test_a_good_mbox_has_no_findings(self):
        report = self.look()
        self.assertEqual((report.messages, report.octets), (3, sum(len(octets) for _, octets in self.before)))
        self.assertEqual(report.findings, [])

    def test_no_mbox_is_an_empty_one(self):
        self.mbox.unlink()
        self.assertEqual((self.look().messages, self.successResultOf(self.store.reindex(FRED))), (0, (0, 0)))

    def test_looking_beside_a_session(self):
        maildrop = self.open()
        self.failureResultOf(self.store.check(FRED, lock=True, mend=False, progress=nothing), MaildropInUse)
        self.assertEqual((self.found(lock=False), len(self.look(lock=False).unknown)), ([], 1))
        self.close(maildrop)

    def test_a_damaged_index(self):
        index = self.control / "popserv.index"
        index.write_bytes(index.read_bytes()[:-1] + b"?")
        self.mends("index")

    def test_a_damaged_map_keeps_its_good_part(self):
        path = self.control / MAP_NAME
        path.write_bytes(b"?\n" + path.read_bytes())
        self.mends("uidmap")

    def test_a_delivery_that_was_broken_off_is_undone(self):
        size = self.mbox.stat().st_size
        status = self.mbox.stat()
        head = b"popserv append %d %d %d 128" % (status.st_dev, status.st_ino, size)
        (self.control / "popserv.journal").write_bytes(head.ljust(127) + b"\n" + FROM + b"Subject: half\n\nnot all\n\n")
        with self.mbox.open("ab") as file:
            file.write(FROM + b"Subject: ha")
        self.assertIn(("leftover", "found"), self.found())
        self.assertIn(("leftover", "mended"), self.found(mend=True))
        self.assertEqual(self.mbox.stat().st_size, size)
        self.assertEqual((self.found(), self.contents()), ([], self.before))

    def test_what_no_from_line_stands_before_is_told(self):
        self.mbox.write_bytes(b"no mail\n\n" + self.mbox.read_bytes())
        self.assertEqual(self.found(mend=True), [("entry", "found")])

    def test_reindex(self):
        (self.control / "popserv.index").write_bytes(b"damaged")
        messages, octets = self.successResultOf(self.store.reindex(FRED))
        self.assertEqual((messages, octets), (3, sum(len(octets) for _, octets in self.before)))
        self.assertEqual((self.found(), self.contents()), ([], self.before))
