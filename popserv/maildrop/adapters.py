"""Between `IMaildrop` and Twisted's `IMailboxPOP3`, both ways."""

from __future__ import annotations

import re
from collections.abc import Set
from hashlib import sha256
from io import BytesIO
from typing import IO, Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3
from twisted.python.components import registerAdapter
from zope.interface import implementer

from popserv.errors import DEFECTS, MessageVanished, StoreBroken, StoreUnavailable, SystemTrouble
from popserv.interfaces import IMaildrop, IMessage, IMessageReader
from popserv.maildrop.line_feeds import LineFeeds
from popserv.maildrop.shield import shielded
from popserv.wire.octets import Normaliser

log = Logger()

_UNIQUE_ID = re.compile(rb"[!-~]{1,70}")

_GONE = (IndexError, ValueError, KeyError)
"""What `IMailboxPOP3` raises for a message that is not there."""


async def _adapt(mailbox: Any) -> IMaildrop:
    sizes = await maybeDeferred(mailbox.listMessages)
    # 0 means deleted already: such a message is no part of the snapshot.
    indices = [index for index, octets in enumerate(sizes) if _valid_octets(octets)]
    return MailboxMaildrop(mailbox, indices, [sizes[index] for index in indices])


def _valid_octets(octets: Any) -> bool:
    """Whether there is a message. Raises `StoreBroken` for what is no number of octets."""
    if isinstance(octets, bool) or not isinstance(octets, int) or octets < 0:
        log.error("a mailbox reports {octets!r} as the size of a message", octets=octets)
        raise StoreBroken()
    return octets > 0


def maildrop_from_mailbox(mailbox: Any) -> Deferred[IMaildrop]:
    """An `IMaildrop` for anybody's `IMailboxPOP3`, whose methods may be synchronous or give Deferreds.

    Sizes are as the mailbox reports them; one that counts LF line ends as one octet makes LIST say so, too.
    """
    return ensureDeferred(_adapt(mailbox))


@implementer(IMaildrop)
class MailboxMaildrop:
    """A snapshot taken of an `IMailboxPOP3`."""

    def __init__(self, mailbox: Any, indices: list[int], octets: list[int]) -> None:
        self._mailbox = mailbox
        self._indices = indices
        self.octets = octets
        self.count = len(octets)
        self.total = sum(octets)

    def uidl(self, index: int) -> bytes:
        try:
            unique_id = self._mailbox.getUidl(self._indices[index])
        except _GONE:
            raise MessageVanished() from None
        octets: bytes = unique_id.encode("utf-8") if isinstance(unique_id, str) else unique_id
        # RFC 1939 section 7: 1 to 70 octets 0x21 to 0x7E; what others use otherwise still has to be the same each time.
        return octets if _UNIQUE_ID.fullmatch(octets) else sha256(octets).hexdigest().encode("ascii")

    def message(self, index: int) -> IMessage:
        return MailboxMessage(self._mailbox, self._indices[index], self.octets[index])

    def commit(self, deleted: Set[int]) -> Deferred[int]:
        return ensureDeferred(self._commit(deleted))

    async def _commit(self, deleted: Set[int]) -> int:
        left = 0
        for index in sorted(deleted):
            try:
                await maybeDeferred(self._mailbox.deleteMessage, self._indices[index])
            except _GONE:
                continue  # gone already, which is what was asked for
            except DEFECTS:
                log.failure("a mailbox could not mark a message as deleted")
                left += 1
        try:
            await maybeDeferred(self._mailbox.sync)
        except DEFECTS:
            log.failure("a mailbox could not remove its deleted messages")
            raise SystemTrouble("some deleted messages not removed") from None
        return left

    def close(self) -> Deferred[None]:
        # The lock, if there is one, belongs to the realm, which frees it at logout.
        return succeed(None)


@implementer(IMessage)
@attrs.frozen
class MailboxMessage:
    """One message of an `IMailboxPOP3`."""

    _mailbox: Any
    _index: int
    octets: int
    crlf: bool = False
    needs_stuffing: bool = True

    def open(self) -> MailboxReader:
        return MailboxReader(self._mailbox, self._index)


def _close(file: IO[bytes]) -> None:
    file.close()


@implementer(IMessageReader)
class MailboxReader:
    """Reads the file that `getMessage` gives, in CRLF form."""

    def __init__(self, mailbox: Any, index: int) -> None:
        self._mailbox = mailbox
        self._index = index
        self._file: Any = None
        self._normaliser = Normaliser()
        self._ended = False

    def read_nowait(self, octets: int) -> bytes | None:
        # Without a file, `getMessage` may still give a Deferred.
        return None if self._file is None else self._next(octets)

    def read(self, octets: int) -> Deferred[bytes]:
        return ensureDeferred(self._read(octets))

    async def _read(self, octets: int) -> bytes:
        if self._file is None:
            try:
                # What comes when nobody waits any more still has to be closed.
                opening = maybeDeferred(self._mailbox.getMessage, self._index)
                self._file = await shielded(opening, _close)
            except _GONE:
                raise MessageVanished() from None
        return self._next(octets)

    def _next(self, octets: int) -> bytes:
        if self._ended:
            return b""
        try:
            # Some open their files as text, Twisted's own Maildir among them; octets are below. The text file itself
            # is kept: when it goes, it closes what is below it.
            chunk = getattr(self._file, "buffer", self._file).read(octets)
        except OSError:
            raise StoreUnavailable() from None
        if chunk:
            return self._normaliser.feed(chunk)
        self._ended = True
        return self._normaliser.finish()

    def close(self) -> None:
        self._ended = True
        if self._file is not None:
            self._file.close()


@implementer(IMailboxPOP3)
class MaildropMailbox:
    """An `IMaildrop` for ``twisted.mail.pop3.POP3``. `sync` commits and is to be called once, as that protocol does.

    Messages are given with LF line ends, sizes for CRLF, as that protocol sends them.
    """

    def __init__(self, maildrop: IMaildrop) -> None:
        self._maildrop = maildrop
        self._deleted: set[int] = set()

    def listMessages(self, index: int | None = None) -> Any:
        if index is None:
            return [0 if at in self._deleted else octets for at, octets in enumerate(self._maildrop.octets)]
        return 0 if index in self._deleted else self._maildrop.octets[self._valid(index)]

    def getMessage(self, index: int) -> Deferred[IO[bytes]]:
        return ensureDeferred(self._whole(self._valid(index)))

    async def _whole(self, index: int) -> IO[bytes]:
        reader = self._maildrop.message(index).open()
        line_feeds = LineFeeds()  # that protocol makes CRLF of every LF
        chunks = []
        try:
            while chunk := await reader.read(1 << 16):
                chunks.append(line_feeds.feed(chunk))
        finally:
            reader.close()
        return BytesIO(b"".join([*chunks, line_feeds.finish()]))

    def getUidl(self, index: int) -> bytes:
        return self._maildrop.uidl(self._valid(index))

    def deleteMessage(self, index: int) -> None:
        self._deleted.add(self._valid(index))

    def undeleteMessages(self) -> None:
        self._deleted.clear()

    def sync(self) -> Deferred[int]:
        deleted, self._deleted = frozenset(self._deleted), set()
        return self._maildrop.commit(deleted) if deleted else succeed(0)

    def _valid(self, index: int) -> int:
        if not 0 <= index < self._maildrop.count:
            raise ValueError("no such message")
        return index


registerAdapter(MaildropMailbox, IMaildrop, IMailboxPOP3)  # type: ignore[no-untyped-call]
