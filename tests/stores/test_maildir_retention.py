"""What becomes of mail that sessions remove from a Maildir, and of mail that is kept no longer."""

from __future__ import annotations

import os

import attrs

from popserv.auth.account import Account
from popserv.errors import MaildropInUse, StoreBroken
from popserv.maildrop.hidden import HIDDEN_NAME
from popserv.maildrop.maildir_disposal import Tidied, Undeleted
from popserv.maildrop.maildir_trash import TRASH_NAME
from popserv.maildrop.retention import DAY_SECONDS, Retention
from popserv.maildrop.visit import Visit
from tests.stores.maildirs import FRED, MaildirTestCase

TRASH = Retention(delete="trash", trash_days=7)
HIDE = Retention(delete="hide")
NAMES = [f"{1_699_000_000 + number}.M1P1.host" for number in range(4)]


class RetentionTestCase(MaildirTestCase):
    retention = Retention()

    def setUp(self):
        super().setUp()
        for number, name in enumerate(NAMES):
            self.put(f"{name}:2,S", b"Subject: %d\n\n" % number)

    def visit(self, store=None, retention=None):
        return self.successResultOf((store or self.store).open(Visit(FRED, retention=retention or self.retention)))

    def ids_of(self, maildrop):
        found = [maildrop.uidl(index) for index in range(maildrop.count)]
        self.close(maildrop)
        return found

    def shown(self, store=None):
        return self.ids_of(self.visit(store or self.make_store()))

    def remove(self, *indices, store=None):
        maildrop = self.visit(store)
        self.assertEqual(self.successResultOf(maildrop.commit(set(indices))), 0)
        self.close(maildrop)

    def undelete(self, since=0.0, dry=False):
        return self.successResultOf(self.store.undelete(Visit(FRED, retention=self.retention), since, dry))

    def tidy(self, retention=None, dry=False):
        return self.successResultOf(self.store.tidy(Visit(FRED, retention=retention or self.retention), dry))


class TestTrash(RetentionTestCase):
    retention = TRASH

    def test_removed_messages_wait_in_the_trash_and_come_back_under_their_ids(self):
        before = self.shown()
        maildrop = self.visit()
        octets = [self.read(maildrop, index) for index in range(4)]
        self.close(maildrop)
        self.remove(1, 2)
        self.assertEqual(self.shown(), [before[0], before[3]])
        self.assertEqual(self.undelete(dry=True), Undeleted(2))
        self.assertEqual(self.shown(), [before[0], before[3]])
        self.assertEqual(self.undelete(), Undeleted(2))
        self.assertEqual(self.shown(), before)
        maildrop = self.visit()
        self.assertEqual([self.read(maildrop, index) for index in range(4)], octets)
        self.close(maildrop)
        self.assertEqual(os.listdir(self.maildir / TRASH_NAME), [])
        self.assertEqual(self.undelete(), Undeleted(0))

    def test_each_session_has_a_directory_and_since_goes_by_its_time(self):
        self.remove(0)
        self.remove(0)
        self.clock.advance(3600)
        self.remove(0)
        at = self.clock.seconds()
        self.assertEqual(len(os.listdir(self.maildir / TRASH_NAME)), 3)
        self.assertEqual(self.undelete(at - 60, dry=True), Undeleted(1))
        self.assertEqual(self.undelete(at - 3600), Undeleted(3))

    def test_twins_come_back_under_the_ids_of_the_durable_map(self):
        self.put(f"{NAMES[0]}:2,R", b"Subject: another\n\n")
        before = self.shown()
        self.assertEqual(len(set(before)), 5)
        self.remove(0, 1)
        self.assertEqual(self.undelete(), Undeleted(2))
        self.assertEqual(self.shown(), before)
        self.remove(0)
        self.assertEqual(self.undelete(), Undeleted(1))
        self.assertEqual(self.shown(), before)

    def test_one_whose_name_is_taken_stays_in_the_trash(self):
        self.remove(0)
        self.put(f"{NAMES[0]}:2,S", b"Subject: the same name\n\n")
        self.assertEqual(self.undelete(), Undeleted(0, 1))
        self.assertEqual((self.maildir / "cur" / f"{NAMES[0]}:2,S").read_bytes(), b"Subject: the same name\n\n")
        self.assertEqual(self.undelete(dry=True), Undeleted(1))

    def test_the_trash_is_emptied_after_its_days_whatever_the_policy_is_by_then(self):
        self.remove(0)
        self.clock.advance(7 * DAY_SECONDS)
        self.remove(0)
        self.assertEqual(self.tidy(), Tidied())
        self.clock.advance(1)
        self.assertEqual(self.tidy(dry=True), Tidied(0, 1))
        self.assertEqual(self.tidy(Retention(trash_days=7)), Tidied(0, 1))
        self.assertEqual(self.undelete(dry=True), Undeleted(1))

    def test_what_is_no_message_of_ours_in_the_trash_does_no_harm(self):
        self.remove(0)
        (self.maildir / TRASH_NAME / "notes").mkdir()
        (self.maildir / TRASH_NAME / "1x").write_text("")
        self.assertEqual(self.undelete(), Undeleted(1))

    def test_a_trash_that_is_a_link_is_not_used(self):
        elsewhere = self.root / "elsewhere"
        elsewhere.mkdir()
        (self.maildir / TRASH_NAME).symlink_to(elsewhere)
        maildrop = self.visit()
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 1)
        self.close(maildrop)
        self.assertEqual(os.listdir(elsewhere), [])
        self.assertEqual(len(self.shown()), 4)

    def test_a_message_that_was_renamed_meanwhile_is_found(self):
        maildrop = self.visit()
        (self.maildir / "cur" / f"{NAMES[0]}:2,S").rename(self.maildir / "cur" / f"{NAMES[0]}:2,FS")
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 0)
        self.close(maildrop)
        self.assertEqual(self.undelete(), Undeleted(1))
        self.assertTrue((self.maildir / "cur" / f"{NAMES[0]}:2,FS").exists())


class TestHidden(RetentionTestCase):
    retention = HIDE

    def test_hidden_messages_stay_for_other_readers_and_keep_their_numbers_out_of_the_way(self):
        before = self.shown()
        self.remove(1, 2)
        self.assertEqual(len(os.listdir(self.maildir / "cur")), 4)
        self.assertEqual(self.shown(), [before[0], before[3]])
        maildrop = self.visit()
        self.assertEqual((maildrop.count, list(maildrop.octets)), (2, [14, 14]))
        self.assertEqual(self.read(maildrop, 1), b"Subject: 3\r\n\r\n")
        self.assertEqual(self.successResultOf(maildrop.commit({1})), 0)
        self.close(maildrop)
        self.assertEqual(self.shown(), before[:1])
        self.assertEqual(self.undelete(), Undeleted(3))
        self.assertEqual(self.shown(), before)

    def test_they_stay_hidden_whatever_the_policy_is_by_then(self):
        self.remove(0)
        for retention in (Retention(), TRASH):
            self.assertEqual(len(self.ids_of(self.visit(retention=retention))), 3)
        self.assertEqual(self.successResultOf(self.store.open(FRED)).count, 3)

    def test_administrators_and_quotas_see_them_and_visitors_do_not(self):
        self.remove(0)
        self.assertEqual(self.successResultOf(self.store.open_read_only(FRED)).count, 4)
        self.assertEqual(self.successResultOf(self.store.open_read_only(Visit(FRED))).count, 3)

    def test_a_new_message_is_shown(self):
        self.remove(0, 1, 2, 3)
        self.put("1699999999.M1P1.host", part="new")
        self.assertEqual(self.shown(), [b"1699999999.M1P1.host"])

    def test_those_that_others_have_removed_are_forgotten_at_night(self):
        self.remove(0, 1)
        (self.maildir / "cur" / f"{NAMES[0]}:2,S").unlink()
        self.assertEqual(self.tidy(), Tidied())
        self.assertEqual((self.maildir / HIDDEN_NAME).read_bytes().split()[1::2], [NAMES[1].encode()])

    def test_a_line_without_its_end_counts_for_nothing_and_makes_room(self):
        self.remove(0)
        with (self.maildir / HIDDEN_NAME).open("ab") as file:
            file.write(b"1700000000 " + NAMES[1].encode()[:-1])
        self.assertEqual(len(self.shown()), 3)
        self.remove(0)
        self.assertEqual(self.shown(), [name.encode() for name in NAMES[2:]])

    def test_what_cannot_be_hidden_is_still_there(self):
        (self.maildir / HIDDEN_NAME).symlink_to(self.root / "elsewhere")
        self.failureResultOf(self.store.open(Visit(FRED, retention=HIDE)), StoreBroken)
        (self.maildir / HIDDEN_NAME).unlink()
        maildrop = self.visit()
        (self.maildir / HIDDEN_NAME).mkdir()
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 1)
        self.close(maildrop)
        (self.maildir / HIDDEN_NAME).rmdir()
        self.assertEqual(len(self.shown()), 4)


class TestExpiry(RetentionTestCase):
    retention = Retention(expire_days=30)

    def age(self, name, days):
        at = self.clock.seconds() - days * DAY_SECONDS
        os.utime(self.maildir / "cur" / f"{name}:2,S", (at, at))

    def test_EX_040_what_is_older_than_the_policy_goes_and_nothing_else(self):
        for name, days in zip(NAMES, (31, 30.001, 29.999, 0), strict=True):
            self.age(name, days)
        self.assertEqual(self.tidy(dry=True), Tidied(2))
        self.assertEqual(len(os.listdir(self.maildir / "cur")), 4)
        self.assertEqual(self.tidy(), Tidied(2))
        self.assertEqual(self.shown(), [name.encode() for name in NAMES[2:]])
        self.assertEqual(self.tidy(Retention()), Tidied())

    def test_EX_040_a_message_of_an_open_session_is_not_touched(self):
        self.age(NAMES[0], 31)
        maildrop = self.visit()
        self.failureResultOf(self.store.tidy(Visit(FRED, retention=self.retention)), MaildropInUse)
        self.failureResultOf(self.store.undelete(Visit(FRED), 0.0), MaildropInUse)
        self.assertEqual(len(os.listdir(self.maildir / "cur")), 4)
        self.close(maildrop)
        self.assertEqual(self.tidy(), Tidied(1))

    def test_hidden_messages_expire_too(self):
        self.age(NAMES[0], 31)
        maildrop = self.visit(retention=HIDE)
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 0)
        self.close(maildrop)
        self.assertEqual(self.tidy(), Tidied(1))
        self.assertEqual((self.maildir / HIDDEN_NAME).read_bytes(), b"")

    def test_where_there_is_no_maildir_there_is_nothing_to_do(self):
        nobody = Visit(Account("nobody"), retention=TRASH)
        self.assertEqual(self.successResultOf(self.store.tidy(nobody)), Tidied())
        self.assertEqual(self.successResultOf(self.store.undelete(nobody, 0.0)), Undeleted())
        self.assertFalse((self.root / "nobody").exists())

    def test_EX_040_a_session_says_how_long_mail_is_kept(self):
        for retention, expected in ((self.retention, "30"), (TRASH, "NEVER")):
            maildrop = self.visit(retention=retention)
            self.assertEqual(maildrop.expire, expected)
            self.close(maildrop)


class TestFolders(RetentionTestCase):
    """What sessions remove from other folders than INBOX."""

    retention = attrs.evolve(TRASH, expire_days=1)

    def setUp(self):
        super().setUp()
        for folder in (".Junk", ".Other"):
            (self.maildir / folder / "cur").mkdir(parents=True)
            path = self.maildir / folder / "cur" / "1699000000.junk"
            path.write_bytes(b"Subject: junk\n\n")
            os.utime(path, (self.clock.seconds() - 100 * DAY_SECONDS,) * 2)

    def remove_junk(self, retention=None):
        visit = Visit(FRED, retention=retention or self.retention)
        maildrop = self.successResultOf(self.store.open(visit, b".Junk"))
        self.assertEqual((maildrop.count, maildrop.expire), (1, "NEVER"))
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 0)
        self.close(maildrop)

    def junk(self):
        maildrop = self.successResultOf(self.store.open(FRED, b".Junk"))
        return self.ids_of(maildrop)

    def test_it_comes_back(self):
        for retention in (TRASH, HIDE):
            self.remove_junk(retention)
            self.remove(0)
            self.assertEqual(self.junk(), [])
            self.assertEqual(self.undelete(dry=True), Undeleted(2))
            self.assertEqual(self.undelete(), Undeleted(2))
            self.assertEqual((self.junk(), len(self.shown())), ([b"1699000000.junk"], 4))

    def test_the_trash_of_each_folder_is_emptied_and_mail_expires_in_inbox_only(self):
        self.remove_junk()
        self.clock.advance(8 * DAY_SECONDS)
        for name in self.names():
            os.utime(self.maildir / name, (self.clock.seconds() - 2 * DAY_SECONDS,) * 2)
        for dry in (True, False):
            self.assertEqual(self.tidy(dry=dry), Tidied(4, 1))
        self.assertEqual(self.tidy(), Tidied())
        self.assertEqual(list((self.maildir / ".Junk" / TRASH_NAME).iterdir()), [])
        self.assertEqual(len(list((self.maildir / ".Other" / "cur").iterdir())), 1)

    def test_a_folder_in_use_is_not_touched(self):
        self.remove_junk()
        maildrop = self.successResultOf(self.store.open(FRED, b".Junk"))
        self.failureResultOf(self.store.undelete(Visit(FRED, retention=TRASH), 0.0), MaildropInUse)
        self.close(maildrop)
        self.assertEqual(self.undelete(), Undeleted(1))
