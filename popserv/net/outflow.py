"""Bodies on their way out: a message or a listing, chunk by chunk, as fast as the peer takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

from twisted.internet.defer import Deferred, ensureDeferred, succeed

from popserv.interfaces import IMessage, IMessageReader, IReadyListings
from popserv.wire.dotstuff import DotStuffer, TopCutter
from popserv.wire.replies import TERMINATOR


class Body(Protocol):
    """Something that yields wire octets."""

    octets: int
    """Of the message, before stuffing, that have left so far."""

    def next_nowait(self, most: int) -> bytes | None:
        """Wire octets if at hand, None if that would block, b"" at the end."""

    def next(self, most: int) -> Deferred[bytes]:
        """The same, never None."""

    def close(self) -> None:
        """Give back what is open."""


class MessageBody:
    """RETR or TOP of one message: stuffed, cut, and with its terminator."""

    __slots__ = ("_cutter", "_ended", "_reader", "_stuffer", "octets")

    def __init__(self, message: IMessage, lines: int | None) -> None:
        self._reader = message.open()
        self._stuffer = DotStuffer() if message.needs_stuffing else None
        self._cutter = TopCutter(lines) if lines is not None else None
        self._ended = False
        self.octets = 0

    def next_nowait(self, most: int) -> bytes | None:
        if self._ended:
            return b""
        chunk = self._reader.read_nowait(most)
        return None if chunk is None else self._to_wire(chunk)

    def next(self, most: int) -> Deferred[bytes]:
        if self._ended:
            return succeed(b"")
        return self._reader.read(most).addCallback(self._to_wire)

    def _to_wire(self, chunk: bytes) -> bytes:
        end = not chunk
        if self._cutter is not None:
            chunk = self._cutter.finish() if end else self._cutter.feed(chunk)
            end = end or self._cutter.done
        self.octets += len(chunk)
        if self._stuffer is not None:
            chunk = self._stuffer.feed(chunk)
        if not end:
            return chunk
        self._ended = True
        self.close()
        return chunk + TERMINATOR

    def close(self) -> None:
        self._reader.close()


class ListingBody:
    """A listing made block by block."""

    __slots__ = ("_blocks", "octets")

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self.octets = 0

    def next_nowait(self, _most: int) -> bytes:
        return next(self._blocks, b"")

    def next(self, most: int) -> Deferred[bytes]:
        return succeed(self.next_nowait(most))

    def close(self) -> None:
        self._blocks = iter(())


class ReadyListingBody:
    """A listing whose lines the maildrop has at hand."""

    __slots__ = ("_frame", "_reader", "octets")

    def __init__(self, blocks: Iterator[bytes], lines: IMessageReader) -> None:
        """Of `blocks` the first is sent before the lines, the terminator behind them, the rest not."""
        self._frame = [next(blocks), TERMINATOR]
        self._reader = lines
        self.octets = 0

    def next_nowait(self, most: int) -> bytes | None:
        chunk = b"" if len(self._frame) != 1 else self._reader.read_nowait(most)
        return None if chunk is None else self._framed(chunk)

    def next(self, most: int) -> Deferred[bytes]:
        if len(self._frame) != 1:
            return succeed(self._framed(b""))
        return self._reader.read(most).addCallback(self._framed)

    def _framed(self, chunk: bytes) -> bytes:
        return chunk or (self._frame.pop(0) if self._frame else b"")

    def close(self) -> None:
        self._reader.close()


def listing_body(blocks: Iterator[bytes], whole: Literal["LIST", "UIDL"] | None, maildrop: Any) -> Body:
    """The listing as `blocks` make it, or, if it is a `whole` one and the maildrop has it at hand, from there."""
    if whole is not None and IReadyListings.providedBy(maildrop):
        return ReadyListingBody(blocks, maildrop.listing(whole))
    return ListingBody(blocks)


class Outflow:
    """Sends one body at a time: what is at hand goes with the replies of the turn, the rest as the peer takes it."""

    __slots__ = ("_body", "_chunk", "_resumed", "_under_way", "_write", "paused")

    def __init__(self, write: Callable[[bytes], None], chunk_octets: int) -> None:
        self._write = write
        self._chunk = chunk_octets
        self._body: Body | None = None
        self._under_way: Deferred[None] | None = None
        self._resumed: Deferred[None] | None = None
        self.paused = False
        """Whether the peer is not reading."""

    def at_hand(self, body: Body, header: bytes, out: list[bytes], most: int) -> bool:
        """Put `header` and about `most` octets of what can be had without waiting into `out`: True if that was all.

        Puts nothing there if not even the first chunk is at hand. Raises what the reader raises; the body is closed
        then, and what `out` has is not to be sent.
        """
        self._body = body
        try:
            while most > 0:
                chunk = body.next_nowait(self._chunk)
                if chunk is None:
                    return False
                if header:
                    out.append(header)
                    header = b""
                if not chunk:
                    self._body = None
                    return True
                out.append(chunk)
                most -= len(chunk)
        except Exception:
            self._body = None
            body.close()
            raise
        return False

    def rest(self, header: bytes) -> Deferred[None]:
        """Send what `at_hand` has left, behind `header`: fires when all is written, fails as the reader does."""
        self._under_way = ensureDeferred(self._send_rest(header))
        return self._under_way

    async def _send_rest(self, header: bytes) -> None:
        body = self._body
        assert body is not None  # noqa: S101 - `at_hand` has set it
        try:
            while True:
                if self.paused:
                    # Before the next chunk is read: one waits in the transport already.
                    self._resumed = Deferred()
                    await self._resumed
                chunk = body.next_nowait(self._chunk)
                if chunk is None:
                    chunk = await body.next(self._chunk)
                if not chunk:
                    return
                self._write(header + chunk if header else chunk)
                header = b""
        finally:
            self._body = None
            self._under_way = None
            body.close()

    @property
    def busy(self) -> bool:
        """Whether a body is on its way."""
        return self._body is not None

    def resume(self) -> None:
        """The peer reads again."""
        self.paused = False
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stop(self) -> None:
        """The connection is gone."""
        if self._under_way is not None:
            self._under_way.cancel()
        if self._body is not None:
            self._body.close()
