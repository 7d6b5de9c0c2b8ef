"""Taking messages of another server into a Maildir: each once, with its unique-id, its time and its flags.

A batch at a time: the messages are written into tmp and synced, their ids into the durable map, and where they will be
into the ledger; then they get their names. Whatever a process that is killed leaves behind, the ledger and tmp tell
the next one what was done, so it goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import closing, suppress
from itertools import islice
from typing import Self

import attrs

from popserv.errors import StoreBroken
from popserv.maildrop.foreign import ForeignMail, ForeignMessage, Summary
from popserv.maildrop.import_ledger import Ledger
from popserv.maildrop.maildir_folder import CUR, NEW, NO_LINKS, Folder, opened, unique_part
from popserv.maildrop.uidl import from_name, is_unique_id, made_up
from popserv.maildrop.uidmap import Mapping, UidMap

BATCH = 64

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DRAFT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Unreadable(Exception):
    """The source does not give a message."""


@attrs.frozen
class _Draft:
    """A message in tmp, synced."""

    message: ForeignMessage
    inode: int
    size: int

    @property
    def path(self) -> bytes:
        return path_of(self.message)


def path_of(message: ForeignMessage) -> bytes:
    """Where it will be: "new/NAME" or "cur/NAME:2,FLAGS"."""
    if message.seen or message.flags:
        return CUR + message.name + b":2," + message.flags
    return NEW + message.name


def import_into(
    folder: Folder, source: ForeignMail, taken: set[bytes], progress: Callable[[int, int], None]
) -> Summary:
    """Take in what `source` has; see `MaildirImport`. Raises `StoreBroken`, too, where that is the same Maildir."""
    summary = Summary()
    _check_other(folder, source)
    with MaildirImport(folder, taken) as work:
        work.run(source.messages(), summary, progress)
    summary.skipped += source.skipped
    return summary


def finish_import(folder: Folder) -> None:
    """Do what an import that was broken off has promised. To be called with the session lock; raises `OSError`."""
    MaildirImport(folder, set()).close()


def would_import(path: bytes, parent: bytes | None, source: ForeignMail) -> Summary:
    """What `import_into` the Maildir at `path` would do, as far as that can be told without reading messages.

    `parent` is the Maildir that it is a folder of.
    """
    summary = Summary()
    messages = source.messages()
    try:
        with opened(path, parent) as folder, closing(Ledger(folder.maildir, create=False)) as ledger:
            _check_other(folder, source)
            fresh = wanted(folder, ledger, messages, names_of(folder), summary)
    except FileNotFoundError:
        summary.messages, fresh = len(messages), list(messages)
    summary.imported = len(fresh)
    summary.octets = sum(message.size for message in fresh)
    summary.skipped += source.skipped
    return summary


def _check_other(folder: Folder, source: ForeignMail) -> None:
    if source.identity == folder.identity[0]:
        raise StoreBroken("a maildrop cannot be imported into itself")


class MaildirImport:
    """An import under way. To be used under the session lock; everything blocks, and raises `OSError`; close it."""

    def __init__(self, folder: Folder, taken: set[bytes]) -> None:
        """`folder` has all its directories; `taken` are the unique-ids of its messages, to which others are added."""
        self._folder = folder
        self._taken = taken
        self._names: dict[bytes, bytes] = {}
        self._ledger = Ledger(folder.maildir, create=True)
        self._uid_map: UidMap | None = None
        self._tmp = -1
        try:
            self._tmp = os.open("tmp", _DIRECTORY, dir_fd=folder.maildir)
            self._taken |= removed_ids(folder)
            self._recover()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        tmp, self._tmp = self._tmp, -1
        if tmp >= 0:
            os.close(tmp)
        if self._uid_map is not None:
            self._uid_map.close()
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, messages: Sequence[ForeignMessage], summary: Summary, progress: Callable[[int, int], None]) -> None:
        """Take in what is not here, and add to `summary` what was done."""
        done = 0
        fresh = wanted(self._folder, self._ledger, messages, self._names, summary, self._taken)
        for batch in batches(fresh, BATCH):
            self._take(batch, summary)
            done += len(batch)
            progress(len(messages) - len(fresh) + done, len(messages))

    def _recover(self) -> None:
        """Finish what was begun and broken off."""
        self._names = names_of(self._folder)
        drafts = set(map(os.fsencode, os.listdir(self._tmp)))
        missing = []
        for key, path in self._ledger.begun.items():
            name = unique_part(path)
            if name not in self._names and name not in drafts:
                missing.append(key)
            elif name not in self._names:
                self._link(path)
                self._names[name] = path
        if missing:
            self._ledger.forget(missing)
        if self._ledger.begun:
            self._settle()
        for name in drafts & set(map(unique_part, self._ledger.done.values())):
            self._discard(name)

    def _take(self, batch: Iterable[ForeignMessage], summary: Summary) -> None:
        drafts: list[_Draft] = []
        try:
            for message in batch:
                try:
                    drafts.append(self._write(message))
                except _Unreadable as error:
                    self._discard(message.name)
                    summary.failed.append((message.where, str(error)))
            if drafts:
                self._publish(drafts, summary)
        except BaseException:
            # What has been promised stays where it is: the next import finishes it.
            for draft in drafts:
                if draft.message.key not in self._ledger.begun:
                    self._discard(draft.message.name)
            raise

    def _write(self, message: ForeignMessage) -> _Draft:
        try:
            descriptor = os.open(message.name, _DRAFT, 0o600, dir_fd=self._tmp)
        except FileExistsError:
            # Of an import that was broken off before anything was promised.
            os.unlink(message.name, dir_fd=self._tmp)
            descriptor = os.open(message.name, _DRAFT, 0o600, dir_fd=self._tmp)
        try:
            if os.geteuid() == 0:
                owner = os.fstat(self._tmp)
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            for chunk in _reading(message):
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            os.utime(descriptor, ns=(message.mtime_ns, message.mtime_ns))
            os.fsync(descriptor)
            found = os.fstat(descriptor)
            return _Draft(message, found.st_ino, found.st_size)
        except OSError:
            self._discard(message.name)
            raise
        finally:
            os.close(descriptor)

    def _publish(self, drafts: list[_Draft], summary: Summary) -> None:
        # Before the ledger promises them, their names in tmp have to survive a power failure.
        os.fsync(self._tmp)
        mappings = [mapping for draft in drafts for mapping in self._mapping(draft, summary)]
        if mappings:
            if self._uid_map is None:
                self._uid_map = UidMap(self._folder.maildir, create=True)
            self._uid_map.add(mappings)
        self._ledger.begin({draft.message.key: draft.path for draft in drafts})
        for draft in drafts:
            self._link(draft.path)
        self._settle()
        for draft in drafts:
            self._discard(draft.message.name)
        summary.imported += len(drafts)
        summary.octets += sum(draft.size for draft in drafts)

    def _mapping(self, draft: _Draft, summary: Summary) -> Iterator[Mapping]:
        """What the durable map has to say of it, if its name does not say it."""
        message = draft.message
        wanted_id, natural = message.unique_id, from_name(message.name)
        unique_id = wanted_id if is_unique_id(wanted_id) and wanted_id not in self._taken else natural
        if unique_id in self._taken:
            unique_id = made_up()
        if wanted_id and unique_id != wanted_id:
            summary.changed_ids.append(message.where)
        self._taken.add(unique_id)
        if unique_id != natural:
            yield Mapping(unique_id, draft.inode, message.mtime_ns, draft.size, message.name)

    def _link(self, path: bytes) -> None:
        """Give a draft its name. One that stands there already is not replaced."""
        part = os.open(path[:3], _DIRECTORY, dir_fd=self._folder.maildir)
        try:
            name = unique_part(path)
            try:
                os.link(name, path[4:], src_dir_fd=self._tmp, dst_dir_fd=part, follow_symlinks=False)
            except OSError as error:
                if error.errno not in NO_LINKS or self._folder.stat(path) is not None:
                    raise
                os.rename(name, path[4:], src_dir_fd=self._tmp, dst_dir_fd=part)
        finally:
            os.close(part)

    def _settle(self) -> None:
        """What has been begun is there: make that last."""
        for part in (NEW, CUR):
            self._folder.sync(part)
        self._ledger.finish()

    def _discard(self, name: bytes) -> None:
        with suppress(OSError):
            os.unlink(name, dir_fd=self._tmp)


def _reading(message: ForeignMessage) -> Iterator[bytes]:
    """Its octets; what goes wrong with them is told apart from what goes wrong here."""
    try:
        yield from message.chunks()
    except OSError as error:
        raise _Unreadable(error.strerror or str(error)) from error


def wanted(
    folder: Folder,
    ledger: Ledger,
    messages: Iterable[ForeignMessage],
    names: dict[bytes, bytes],
    summary: Summary,
    taken: Set[bytes] | None = None,
) -> list[ForeignMessage]:
    """Those of `messages` that have to be taken in; of the others `summary` is told.

    `names` are the paths of those in `folder`, by name; these are added. `taken` are the unique-ids of those, None
    where they are not known.
    """
    fresh = []
    for message in messages:
        summary.messages += 1
        here = names.get(message.name)
        if message.key in ledger.done:
            summary.already += 1
        elif here is None:
            fresh.append(message)
            names[message.name] = path_of(message)
        elif (found := folder.stat(here)) is not None and found.st_size == message.size:
            summary.already += 1
            if taken is not None and message.unique_id and message.unique_id not in taken:
                summary.changed_ids.append(message.where)
        else:
            summary.failed.append((message.where, "another message here has its name"))
    return fresh


def names_of(folder: Folder) -> dict[bytes, bytes]:
    """The paths of all messages, by what never changes of them."""
    return {unique_part(path): path for path in folder.paths()}


def removed_ids(folder: Folder) -> frozenset[bytes]:
    """The unique-ids of messages that are known to be gone, which nothing else may get."""
    try:
        with closing(UidMap(folder.maildir, create=False)) as uid_map:
            return uid_map.removed
    except FileNotFoundError:
        return frozenset()


def batches(messages: Iterable[ForeignMessage], size: int) -> Iterator[list[ForeignMessage]]:
    """`messages` in lists of so many."""
    rest = iter(messages)
    while batch := list(islice(rest, size)):
        yield batch
