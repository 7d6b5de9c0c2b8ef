"""Messages of a Maildir under the unique-ids of another server."""

from __future__ import annotations

import os

from popserv.errors import MaildropInUse
from popserv.maildrop import maildir_take
from popserv.maildrop.told import Told
from tests.stores.maildirs import FRED, MaildirTestCase

NAMES = [f"{1_690_000_000 + number}.M1P1.host" for number in range(3)]


class TestAdoption(MaildirTestCase):
    def setUp(self):
        super().setUp()
        for number, name in enumerate(NAMES):
            self.put(f"{name}:2,S", b"Subject: %d\n\n" % number)

    def adopt(self, *told, dry=False):
        return self.successResultOf(self.make_store().adopt(FRED, told, dry))

    def test_P3_036_they_keep_them_whatever_happens_to_the_files(self):
        told = [Told(b"old%d" % number, name.encode()) for number, name in enumerate(NAMES)]
        self.assertEqual(self.adopt(*told).adopted, 3)
        self.assertEqual(self.ids(), [b"old0", b"old1", b"old2"])
        (self.maildir / "cur" / f"{NAMES[0]}:2,S").rename(self.maildir / "cur" / f"{NAMES[0]}:2,FS")
        self.put("1690000009.M1P1.host", part="new")
        self.assertEqual(self.ids(), [b"old0", b"old1", b"old2", b"1690000009.M1P1.host"])
        self.assertEqual(self.adopt(*told).unchanged, 3)
        # To other ids, and to what names give: a second server before this one.
        self.assertEqual(
            self.adopt(Told(b"newer", NAMES[1].encode()), Told(NAMES[2].encode(), NAMES[2].encode())).adopted, 2
        )
        self.assertEqual(self.ids()[:3], [b"old0", b"newer", NAMES[2].encode()])

    def test_ids_of_removed_messages_are_not_used_again(self):
        self.adopt(Told(b"old0", NAMES[0].encode()))
        maildrop = self.open()
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 0)
        self.close(maildrop)
        self.assertEqual(self.adopt(Told(b"old0", NAMES[0].encode())).unmatched, [Told(b"old0", NAMES[0].encode())])
        self.assertEqual(self.ids(), [name.encode() for name in NAMES[1:]])

    def test_new_mail_costs_no_reading_of_what_is_known_of_the_others(self):
        self.adopt(*(Told(b"old%d" % number, name.encode()) for number, name in enumerate(NAMES)))
        self.ids()
        looked = []
        self.patch(maildir_take, "_identified", lambda *_arguments: looked.append(1))
        self.put("1690000009.M1P1.host", part="new")
        self.assertEqual(self.ids(), [b"old0", b"old1", b"old2", b"1690000009.M1P1.host"])
        self.assertEqual(looked, [])

    def test_a_new_file_under_a_name_of_the_map_is_another_message(self):
        self.adopt(Told(b"old0", NAMES[0].encode()))
        self.ids()
        self.put(f"{NAMES[0]}:2,R", b"Subject: another\n\n")
        found = self.ids()
        self.assertEqual(len(set(found)), 4)
        self.assertIn(b"old0", found)

    def test_a_session_keeps_them_from_changing_under_it(self):
        maildrop = self.open()
        self.failureResultOf(self.make_store().adopt(FRED, [Told(b"x", NAMES[0].encode())]), MaildropInUse)
        self.close(maildrop)

    def test_a_session_says_how_many_ids_have_changed_since_the_last_one(self):
        for store in (self.make_store(), self.make_store()):
            maildrop = self.open(store)
            self.assertEqual(maildrop.drift, 0)
            self.close(maildrop)
        self.adopt(Told(b"old0", NAMES[0].encode()), Told(b"old1", NAMES[1].encode()))
        maildrop = self.open(self.make_store())
        self.assertEqual(maildrop.drift, 2)
        self.close(maildrop)
        maildrop = self.open(self.make_store())
        self.assertEqual(maildrop.drift, 0)
        self.close(maildrop)
        os.unlink(self.maildir / "popserv.uidmap")
        maildrop = self.open(self.make_store())
        self.assertEqual(maildrop.drift, 2)
        self.close(maildrop)
