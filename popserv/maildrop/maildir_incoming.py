"""A message on its way into a Maildir: written in tmp, synced, then linked into new."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Never, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.errors import DeliveryError, MailSystemFull, StoreBroken
from popserv.interfaces import IIncoming
from popserv.maildrop.directories import Owner, make_directory, sync_directory, sync_upwards
from popserv.maildrop.files import write_new
from popserv.maildrop.line_feeds import LineFeeds
from popserv.maildrop.maildir_folder import NO_LINKS, open_maildir
from popserv.maildrop.shield import shielded
from popserv.pools import Pool

log = Logger()

_PARTS = (b"cur", b"new", b"tmp")
"""In the order in which they are made: where the last one is, there are all."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DRAFT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def make_maildir(path: bytes, owner: Owner | None = None) -> None:
    """Make what is missing of the Maildir at `path`, absolute, and of the directories above it, 0700.

    What is made by root belongs to the owner of the directory that it is made in; the Maildir to `owner` if there is
    one. Blocks; raises `OSError`.
    """
    make_directory(path, owner)
    for part in _PARTS:
        make_directory(os.path.join(path, part))


def make_lasting(path: bytes, parent: bytes | None = None, owner: Owner | None = None) -> None:
    """As `make_maildir`, and what was made survives a power failure. `parent` is the Maildir that it is a folder of.

    Raises `StoreBroken` and `OSError`.
    """
    if parent is not None:
        _make_parent(parent, owner)
    make_maildir(path, owner)
    if parent is not None:
        mark_folder(path)
    _sync_maildir(path)


def _sync_maildir(path: bytes) -> None:
    for part in _PARTS:
        sync_directory(os.path.join(path, part))
    sync_upwards(path)


class IsDraft(Protocol):
    """What `MaildirIncoming` writes to. Called from threads; raises `OSError` and `StoreBroken`."""

    def write(self, octets: bytes) -> None: ...

    def publish(self) -> None:
        """Make it a message; when this returns it is one, across a power failure."""

    def discard(self) -> None:
        """Leave nothing behind; does nothing to what has been published. Never raises."""


def mark_folder(path: bytes) -> None:
    """Say in the Maildir++ way that this Maildir is a folder of another. Blocks; raises `OSError`."""
    folder = open_maildir(path)
    try:
        with suppress(FileExistsError):
            write_new(folder, "maildirfolder", b"")
    finally:
        os.close(folder)


def _make_parent(path: bytes, owner: Owner | None) -> None:
    """Make sure that the Maildir at `path` is there, and one to deliver to. Raises `StoreBroken` and `OSError`."""
    try:
        os.close(open_maildir(path))
    except FileNotFoundError:
        make_maildir(path, owner)


class Draft:
    """The file in tmp. Everything here blocks and raises `OSError`, and `StoreBroken` at the beginning.

    One descriptor is all that it keeps open, since a transaction may have many of them.
    """

    def __init__(self, maildir: bytes, name: bytes, parent: bytes | None = None, owner: Owner | None = None) -> None:
        """Begin a message that will be called `name`; makes the Maildir if there is none, for `owner`.

        `parent` is the Maildir that this one is a folder of.
        """
        self._maildir = maildir
        self._parent = parent
        self._name = name
        self._file = -1
        try:
            self._begin()
        except FileNotFoundError:
            if parent is not None:
                _make_parent(parent, owner)
            make_maildir(maildir, owner)
            if parent is not None:
                mark_folder(maildir)
            self._begin()

    def _begin(self) -> None:
        with self._parts() as (tmp, _new):
            os.stat(b"../cur", dir_fd=tmp)
            self._file = os.open(self._name, _DRAFT, 0o600, dir_fd=tmp)
            if os.geteuid() == 0:
                # Whoever serves this Maildir has to be able to read it.
                owner = os.fstat(tmp)
                os.fchown(self._file, owner.st_uid, owner.st_gid)

    def write(self, octets: bytes) -> None:
        while octets:
            octets = octets[os.write(self._file, octets) :]

    def publish(self) -> None:
        """Make it a message; when this returns it is one, across a power failure."""
        os.fsync(self._file)
        with self._parts() as (tmp, new):
            if not os.path.samestat(os.stat(self._name, dir_fd=tmp, follow_symlinks=False), os.fstat(self._file)):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            if self._is_first():
                # A delivery before may have made the directories and not have come to syncing them.
                _sync_maildir(self._maildir)
            self._move(tmp, new)
            try:
                os.fsync(new)
            except OSError:
                with suppress(OSError):
                    os.unlink(self._name, dir_fd=new)
                raise
        self._close()

    def discard(self) -> None:
        """Leave nothing behind; does nothing to what has been published. Never raises."""
        if self._file >= 0:
            with suppress(OSError, StoreBroken), self._parts() as (tmp, _new):
                os.unlink(self._name, dir_fd=tmp)
            self._close()

    def _is_first(self) -> bool:
        for part in _PARTS[:2]:
            with os.scandir(os.path.join(self._maildir, part)) as entries:
                if next(entries, None) is not None:
                    return False
        return True

    def _move(self, tmp: int, new: int) -> None:
        # A link fails where a rename would replace what is there.
        try:
            os.link(self._name, self._name, src_dir_fd=tmp, dst_dir_fd=new, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            os.rename(self._name, self._name, src_dir_fd=tmp, dst_dir_fd=new)
        else:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=tmp)

    def _close(self) -> None:
        file, self._file = self._file, -1
        os.close(file)

    @contextmanager
    def _parts(self) -> Iterator[tuple[int, int]]:
        """Descriptors of tmp and new, for a while."""
        with ExitStack() as opened:
            folder = open_maildir(self._maildir, self._parent)
            opened.callback(os.close, folder)
            descriptors = []
            for part in (b"tmp", b"new"):
                descriptors.append(os.open(part, _DIRECTORY, dir_fd=folder))
                opened.callback(os.close, descriptors[-1])
            yield descriptors[0], descriptors[1]


@implementer(IIncoming)
class MaildirIncoming:
    """See `popserv.interfaces.IIncoming`."""

    def __init__(self, draft: IsDraft, disk: Pool, line_feeds: bool) -> None:
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
    """Raise, whatever went wrong, the `DeliveryError` that the sender is told; what is no error at all stays it."""
    error = failure.value
    if isinstance(error, DeliveryError):
        raise error
    if error is not None and not isinstance(error, Exception):
        # A signal may come in the middle of it all, and must end the whole.
        raise error
    log.error("a message could not be stored: {error!s}", error=error)
    full = isinstance(error, OSError) and error.errno in _FULL
    raise (MailSystemFull() if full else DeliveryError()) from error
