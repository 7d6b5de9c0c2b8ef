"""What a message is known by, whatever other programs write into its header.

Mail readers that share an mbox keep their flags in it: in headers of the messages, which they write anew with it. All
else of a message stays as it is, so a hash of the rest tells it from others.
"""

from __future__ import annotations

import re
from hashlib import sha256

from popserv.maildrop.mbox_split import HEADER_OCTETS, header_end

DIGEST_OCTETS = 32

CHANGING_HEADERS = re.compile(
    rb"(?mi)^(?:Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase|X-Mozilla-Status2?|X-Mozilla-Keys"
    rb"|Content-Length|Lines)[ \t]*:[^\n]*\n?(?:[ \t][^\n]*\n?)*"
)

_INTERNAL_FROM = re.compile(rb"From MAILER-DAEMON ")
_INTERNAL_SUBJECT = re.compile(
    rb"(?mi)^Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r?$",
)
_INTERNAL_NUMBERS = re.compile(rb"(?mi)^X-IMAP(?:base)?: [0-9]{10} [0-9]{10}\b")


class Digest:
    """SHA-256 of a message as it is stored, without those headers; a missing last line end counts as there."""

    __slots__ = ("_hash", "_header", "_last")

    def __init__(self) -> None:
        self._hash = sha256()
        self._header: bytes | None = b""
        self._last = b"\n"

    def feed(self, chunk: bytes) -> None:
        """The next octets."""
        self._last = chunk[-1:] or self._last
        if self._header is None:
            self._hash.update(chunk)
            return
        self._header += chunk
        if len(self._header) >= HEADER_OCTETS or header_end(self._header) >= 0:
            self._take_header()

    def finish(self) -> bytes:
        """`DIGEST_OCTETS` octets."""
        if self._header is not None:
            self._take_header()
        if self._last != b"\n":
            self._hash.update(b"\n")
        return self._hash.digest()

    def _take_header(self) -> None:
        octets, self._header = self._header or b"", None
        end = header_end(octets[:HEADER_OCTETS])
        end = min(len(octets), HEADER_OCTETS) if end < 0 else end
        self._hash.update(CHANGING_HEADERS.sub(b"", octets[:end]))
        self._hash.update(octets[end:])


def is_internal_data(from_line: bytes, start: bytes) -> bool:
    """Whether a message that begins with `start` is what c-client keeps in front of the mail of a folder.

    Only the first one of a file can be.
    """
    header = start[: max(header_end(start), 0)]
    return all((_INTERNAL_FROM.match(from_line), _INTERNAL_SUBJECT.search(header), _INTERNAL_NUMBERS.search(header)))
