"""Mail in memory, "memory:": for tests, for trying things out, and as the model for a store of your own.

This is all that a store has to do. What it keeps is gone with the process, so nothing here blocks and every Deferred
has fired already; a store that has to wait returns one that fires later, and must then also let go of the lock when the
Deferred of `open` is cancelled. Give your store to `popserv.testing.store_contract.StoreContract` before anybody
else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from itertools import count

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from popserv.errors import MaildropInUse, StoreUnavailable
from popserv.interfaces import (
    IAccount,
    IBuildContext,
    IDelivery,
    IIncoming,
    IMaildrop,
    IMaildropStore,
    IMessage,
    IMessageReader,
    IReadOnlyMaildrop,
    IReadOnlyStore,
    IStores,
)
from popserv.maildrop.read_only import ReadOnlyMaildrop
from popserv.wire.octets import measure, to_crlf


@attrs.define(eq=False)
class Mailbox:
    """What the store keeps of one folder: stored octets by unique-id, oldest first."""

    messages: dict[bytes, bytes] = attrs.Factory(dict)
    locked: bool = False


@implementer(IMaildropStore, IReadOnlyStore, IDelivery)
class MemoryStore:
    """Any account has a maildrop, empty at first."""

    def __init__(self, messages: Mapping[str, Sequence[bytes]] | None = None) -> None:
        """`messages` are stored octets by account name."""
        self._mailboxes: dict[tuple[str, bytes], Mailbox] = {}
        self._numbers = count(1)
        for name, stored in (messages or {}).items():
            for octets in stored:
                self.add(self._mailbox(name, b"INBOX"), octets)

    def open(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IMaildrop]:
        mailbox = self._mailbox(account.name, folder)
        if mailbox.locked:
            return fail(MaildropInUse())
        mailbox.locked = True
        return succeed(MemoryMaildrop(mailbox))

    def open_read_only(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IReadOnlyMaildrop]:
        # Of a copy, whose lock is nobody else's.
        copy = Mailbox(dict(self._mailbox(account.name, folder).messages))
        return succeed(ReadOnlyMaildrop(MemoryMaildrop(copy)))

    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        return succeed(MemoryIncoming(self, self._mailbox(account.name, folder)))

    def add(self, mailbox: Mailbox, octets: bytes) -> None:
        """Store a message under a unique-id that nothing in this store has had before."""
        mailbox.messages[b"%d" % next(self._numbers)] = octets

    def _mailbox(self, name: str, folder: bytes) -> Mailbox:
        return self._mailboxes.setdefault((name, folder), Mailbox())


@implementer(IMaildrop)
class MemoryMaildrop:
    """The snapshot is a copy: what arrives later is not in it, and what others remove stays readable."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._unique_ids = list(mailbox.messages)
        self._messages = [MemoryMessage.of(stored) for stored in mailbox.messages.values()]
        self._open = True
        self.count = len(self._messages)
        self.octets = [message.octets for message in self._messages]
        self.total = sum(self.octets)

    def uidl(self, index: int) -> bytes:
        return self._unique_ids[index]

    def message(self, index: int) -> IMessage:
        return self._messages[index]

    def commit(self, deleted: Set[int]) -> Deferred[int]:
        if not self._open:  # without the lock nothing may be removed
            return fail(StoreUnavailable())
        for index in deleted:
            self._mailbox.messages.pop(self._unique_ids[index], None)
        return succeed(0)

    def close(self) -> Deferred[None]:
        if self._open:  # a second time, the lock may be another session's
            self._open = False
            self._mailbox.locked = False
        return succeed(None)


@implementer(IMessage)
@attrs.frozen
class MemoryMessage:
    """One message. Sizes and readers speak of the CRLF form, which is not always what was stored."""

    _stored: bytes
    octets: int
    crlf: bool
    needs_stuffing: bool

    @classmethod
    def of(cls, stored: bytes) -> MemoryMessage:
        """The description of a message stored with whatever line ends."""
        return cls(stored, *measure(stored))

    def open(self) -> IMessageReader:
        return MemoryReader(to_crlf(self._stored))


@implementer(IMessageReader)
class MemoryReader:
    """Everything is at hand, so the two reads give the same."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._position = 0

    def read_nowait(self, octets: int) -> bytes:
        start = self._position
        self._position += octets
        return self._octets[start : self._position]

    def read(self, octets: int) -> Deferred[bytes]:
        return succeed(self.read_nowait(octets))

    def close(self) -> None:
        self._octets = b""


@implementer(IIncoming)
class MemoryIncoming:
    """Collects the octets; only `commit` shows them to anybody."""

    def __init__(self, store: MemoryStore, mailbox: Mailbox) -> None:
        self._store = store
        self._mailbox = mailbox
        self._chunks: list[bytes] = []

    def write(self, octets: bytes) -> Deferred[None]:
        self._chunks.append(octets)
        return succeed(None)

    def commit(self) -> Deferred[None]:
        self._store.add(self._mailbox, b"".join(self._chunks))
        return succeed(None)

    def abort(self) -> Deferred[None]:
        self._chunks.clear()
        return succeed(None)


@attrs.frozen
class Options:
    """The table `[maildrop.memory]`: there is nothing to choose."""


@implementer(IStores)
class Memory:
    """The plug-in; see `popserv.interfaces.IStores`."""

    options = Options

    def check(self, place: str, context: IBuildContext) -> list[str]:  # noqa: ARG002
        return ['lock = "takeover" is not for mail in memory'] if context.lock == "takeover" else []

    def build(self, place: str, options: Options, context: IBuildContext) -> MemoryStore:  # noqa: ARG002
        return MemoryStore()


plugin = Memory()
