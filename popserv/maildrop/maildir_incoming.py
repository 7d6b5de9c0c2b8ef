"""A message on its way into a Maildir: written in tmp, synced, then linked into new."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Never

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.errors import DeliveryError, MailSystemFull
from popserv.interfaces import IIncoming
from popserv.maildrop.line_feeds import LineFeeds
from popserv.maildrop.maildir_folder import open_maildir
from popserv.maildrop.shield import shielded
from popserv.pools import Pool

log = Logger()

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DRAFT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})


def make_maildir(path: bytes) -> None:
    """Make what is missing of the Maildir at `path`, absolute, and of the directories above it, 0700.

    What was made survives a power failure. Blocks; raises `OSError`.
    """
    for part in (b"tmp", b"new", b"cur"):
        _make_directory(os.path.join(path, part))


def _make_directory(path: bytes) -> None:
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_directory(parent)
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    for made in (path, parent):
        descriptor = os.open(made, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Draft:
    """The file in tmp. Everything here blocks and raises `OSError`, and `StoreBroken` at the beginning."""

    def __init__(self, maildir: bytes, name: bytes) -> None:
        """Begin a message that will be called `name`; makes the Maildir if there is none."""
        self._name = name
        self._file = -1
        with ExitStack() as opened:
            try:
                self._tmp, self._new = _open_parts(maildir, opened)
            except FileNotFoundError:
                make_maildir(maildir)
                self._tmp, self._new = _open_parts(maildir, opened)
            self._file = os.open(name, _DRAFT, 0o600, dir_fd=self._tmp)
            opened.callback(os.close, self._file)
            self._opened = opened.pop_all()

    def write(self, octets: bytes) -> None:
        while octets:
            octets = octets[os.write(self._file, octets) :]

    def publish(self) -> None:
        """Make it a message; when this returns it is one, across a power failure."""
        os.fsync(self._file)
        self._move()
        try:
            os.fsync(self._new)
        except OSError:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._new)
            raise
        self._close()

    def discard(self) -> None:
        """Leave nothing behind; does nothing to what has been published. Never raises."""
        if self._file >= 0:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._tmp)
            self._close()

    def _move(self) -> None:
        # A link fails where a rename would replace what is there.
        try:
            os.link(self._name, self._name, src_dir_fd=self._tmp, dst_dir_fd=self._new, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.rename(self._name, self._name, src_dir_fd=self._tmp, dst_dir_fd=self._new)
        else:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._tmp)

    def _close(self) -> None:
        self._file = -1
        self._opened.close()


def _open_parts(maildir: bytes, opened: ExitStack) -> tuple[int, int]:
    folder = open_maildir(maildir)
    try:
        descriptors = []
        for part in (b"tmp", b"new"):
            descriptors.append(os.open(part, _DIRECTORY, dir_fd=folder))
            opened.callback(os.close, descriptors[-1])
        tmp, new = descriptors
        return tmp, new
    finally:
        os.close(folder)


@implementer(IIncoming)
class MaildirIncoming:
    """See `popserv.interfaces.IIncoming`."""

    def __init__(self, draft: Draft, disk: Pool, line_feeds: bool) -> None:
        """`line_feeds` says that lines are stored with LF ends."""
        self._draft = draft
        self._disk = disk
        self._turn = DeferredLock()
        self._converter = LineFeeds() if line_feeds else None

    def write(self, octets: bytes) -> Deferred[None]:
        return self._run(self._draft.write, octets if self._converter is None else self._converter.feed(octets))

    def commit(self) -> Deferred[None]:
        return self._run(self._finish)

    def abort(self) -> Deferred[None]:
        work: Deferred[None] = self._turn.run(self._disk.run, self._draft.discard)
        # The pool may have no room; what this does to a disk is little.
        return shielded(work.addErrback(lambda _: self._draft.discard()))

    def _finish(self) -> None:
        if self._converter is not None:
            self._draft.write(self._converter.finish())
        self._draft.publish()

    def _run(self, function: Callable[..., None], *arguments: object) -> Deferred[None]:
        work: Deferred[None] = self._turn.run(self._disk.run, function, *arguments)
        return shielded(work.addErrback(delivery_failed))


def delivery_failed(failure: Failure) -> Never:
    """Raise, whatever went wrong, the `DeliveryError` that the sender is told."""
    error = failure.value
    if isinstance(error, DeliveryError):
        raise error
    log.error("a message could not be stored: {error!s}", error=error)
    full = isinstance(error, OSError) and error.errno in _FULL
    raise (MailSystemFull() if full else DeliveryError()) from error
