"""A message on its way into an mbox: first a file of its own beside popserv's other ones, then at the end of the mbox.

The mbox is locked for the appending alone, however long the message takes to come in.
"""

from __future__ import annotations

import os
from contextlib import suppress
from secrets import token_hex

from popserv.errors import DeliveryError
from popserv.maildrop.directories import make_directory, sync_upwards
from popserv.maildrop.files import write_all, write_at
from popserv.maildrop.mbox_control import DRAFT_PREFIX, Place, open_control
from popserv.maildrop.mbox_journal import (
    HEAD_OCTETS,
    JOURNAL_NAME,
    Head,
    finish_journal,
    locked_mbox,
)
from popserv.maildrop.mbox_lines import Format, make_from_line, quoting
from popserv.maildrop.mbox_locks import Locked, MboxLocks
from popserv.maildrop.mbox_octets import CHUNK

_LEAD = b"\n\n"
_DRAFT = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_MBOX = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class MboxDraft:
    """See `popserv.maildrop.maildir_incoming.IsDraft`: takes octets with LF line ends."""

    def __init__(self, place: Place, form: Format, locks: MboxLocks) -> None:
        """Begin a message. Raises `OSError`, and `DeliveryError` for a format that is only read."""
        if form == "mboxcl2":
            raise DeliveryError("this maildrop takes no mail in")
        self._place = place
        self._locks = locks
        self._lines = quoting(form)
        self._begun = False
        self._last = b"\n"
        self._name = DRAFT_PREFIX + token_hex(8)
        self._control = open_control(place)
        self._file = -1
        try:
            self._file = os.open(self._name, _DRAFT, 0o600, dir_fd=self._control)
            if os.geteuid() == 0:
                owner = os.fstat(self._control)
                os.fchown(self._file, owner.st_uid, owner.st_gid)
            write_all(self._file, b"\n" * HEAD_OCTETS + _LEAD)
        except BaseException:
            self.discard()
            raise

    def write(self, octets: bytes) -> None:
        if octets:
            self._begin(octets)
            self._last = octets[-1:]
            write_all(self._file, self._lines.feed(octets))

    def publish(self) -> None:
        self._begin(b"")
        # Behind a CR a LF alone would be taken for the line end of both.
        end = {b"\n": b"", b"\r": b"\r\n"}.get(self._last, b"\n")
        write_all(self._file, self._lines.feed(end) + self._lines.finish() + b"\n")
        made = self._make_mbox()
        with locked_mbox(self._place, self._control, self._locks) as locked:
            if made:
                sync_upwards(os.path.dirname(self._place.mbox))
            self._append(locked)
            with suppress(OSError):
                finish_journal(self._control)
        self._close()

    def discard(self) -> None:
        if self._control >= 0:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._control)
            self._close()

    def _begin(self, octets: bytes) -> None:
        if not self._begun:
            self._begun = True
            write_all(self._file, make_from_line(octets, self._locks.now()))

    def _make_mbox(self) -> bool:
        """Whether there was no mbox, or none that any mail was ever put into."""
        with suppress(FileNotFoundError):
            return os.stat(self._place.mbox).st_size == 0
        folder = os.path.dirname(self._place.mbox)
        make_directory(folder)
        with suppress(FileExistsError):
            descriptor = os.open(self._place.mbox, _NEW_MBOX, 0o600)
            try:
                if os.geteuid() == 0:
                    owner = os.stat(folder)
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
            finally:
                os.close(descriptor)
        return True

    def _append(self, locked: Locked) -> None:
        """Put the draft at the end of the mbox, so that it is there for good, or not at all. Raises `OSError`."""
        status = os.fstat(locked.descriptor)
        lead = _lead(locked.descriptor, status.st_size)
        head = Head(status.st_dev, status.st_ino, status.st_size, HEAD_OCTETS + len(_LEAD) - len(lead))
        os.pwrite(self._file, head.octets(), 0)
        os.fsync(self._file)
        os.rename(self._name, JOURNAL_NAME, src_dir_fd=self._control, dst_dir_fd=self._control)
        try:
            os.fsync(self._control)
            self._copy(head, locked)
            os.fsync(locked.descriptor)
        except OSError:
            # Where this fails, too, the journal says what has to go before anything else is done.
            with suppress(OSError):
                os.ftruncate(locked.descriptor, status.st_size)
                os.fsync(locked.descriptor)
                finish_journal(self._control)
            raise

    def _copy(self, head: Head, locked: Locked) -> None:
        source, target = head.start, head.length
        while chunk := os.pread(self._file, CHUNK, source):
            write_at(locked.descriptor, chunk, target)
            source += len(chunk)
            target += len(chunk)
            locked.refresh()

    def _close(self) -> None:
        file, self._file = self._file, -1
        control, self._control = self._control, -1
        for descriptor in (file, control):
            if descriptor >= 0:
                os.close(descriptor)


def _lead(descriptor: int, size: int) -> bytes:
    """What the mbox lacks at its end for a From_ line to follow."""
    tail = os.pread(descriptor, 3, max(size - 3, 0))
    if not tail or tail.endswith((b"\n\n", b"\n\r\n")) or tail == b"\n":
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\n\n"
