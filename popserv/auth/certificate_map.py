"""Files that say whose a certificate is: one account name a line, then what tells the certificate.

Blank lines and those that begin with ``#`` are skipped. A line that is not understood is reported, and gives nobody
anything. An account may have several lines, and a certificate several accounts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Literal

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from popserv.auth.names import InvalidName, prepare
from popserv.pools import Pool
from popserv.steady import steady

LOOK_SECONDS = 1.0
"""How often, at most, a file is looked at."""

_FINGERPRINT = re.compile(r"[0-9a-f]{64}|[0-9a-f]{2}(:[0-9a-f]{2}){31}")
_ATTRIBUTES = {"emailAddress": NameOID.EMAIL_ADDRESS, "E": NameOID.EMAIL_ADDRESS, "serialNumber": NameOID.SERIAL_NUMBER}
"""What ``openssl x509 -nameopt RFC2253`` writes and RFC 4514 has no name for."""


def fingerprint_key(text: str) -> str:
    """A SHA-256 fingerprint, plain or with colons, as `popserv.auth.client_certificate.fingerprint` has it.

    Raises `ValueError`.
    """
    if not _FINGERPRINT.fullmatch(text.lower()):
        raise ValueError("is no SHA-256 fingerprint: 64 hexadecimal digits, with or without colons")
    return text.lower().replace(":", "")


def subject_key(text: str) -> x509.Name:
    """A distinguished name in the form of RFC 4514 ("CN=Fred,O=Example,C=DE"). Raises `ValueError`."""
    try:
        return x509.Name.from_rfc4514_string(text, _ATTRIBUTES)
    except ValueError:
        raise ValueError("is no distinguished name such as CN=Fred,O=Example,C=DE") from None


Key = Callable[[str], Hashable]
"""From what stands in a line to what certificates are looked up by; raises `ValueError`."""


@attrs.frozen
class Reading:
    """A file as it was read once."""

    names: Mapping[Hashable, frozenset[str]]
    """Prepared account names by key."""
    problems: tuple[str, ...]
    """What is not understood, each with the number of its line."""
    signature: tuple[int, ...] = ()
    """What tells that the file is still the same: device, inode, octets, and time of change in nanoseconds."""


NOTHING = Reading({}, ())


def read(path: Path, key: Key, case: Literal["fold", "keep"], known: Reading = NOTHING) -> Reading:
    """What the file holds: `known` itself if it has not changed. Blocks. Raises `OSError`."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if known.signature == signature:
            return known
        return attrs.evolve(parse(file.read(), key, case), signature=signature)


def parse(octets: bytes, key: Key, case: Literal["fold", "keep"]) -> Reading:
    """The lines of a file."""
    names: dict[Hashable, frozenset[str]] = {}
    problems = []
    for number, line in enumerate(octets.split(b"\n"), 1):
        words = line.split(None, 1)
        if not words or words[0].startswith(b"#"):
            continue
        try:
            name, found = _entry(words, key, case)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
        else:
            names[found] = names.get(found, frozenset()) | {name}
    return Reading(names, tuple(problems))


def _entry(words: list[bytes], key: Key, case: Literal["fold", "keep"]) -> tuple[str, Hashable]:
    if len(words) != 2:
        raise ValueError("holds no account and what stands in its certificate")
    try:
        name = prepare(words[0], case, stored=True)
    except InvalidName as error:
        raise ValueError(f"no account can have this name: {error}") from None
    try:
        return name, key(words[1].decode("utf-8").strip())
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None


class CertificateMap:
    """One file, kept in memory and read again when it has changed; what it said last holds while it cannot be read."""

    log = Logger()

    def __init__(
        self, path: Path, key: Key, disk: Pool, clock: IReactorTime, case: Literal["fold", "keep"] = "fold"
    ) -> None:
        """Reads the file at once, blocking; that it cannot be read is logged, and nobody has a certificate then."""
        self._path = path
        self._key = key
        self._disk = disk
        self._now = steady(clock)
        self._case = case
        self._reading = NOTHING
        self._looked = self._now()
        self._complaint = ""
        try:
            self._take(read(path, key, case))
        except OSError as error:
            self._complain(str(error))

    def __bool__(self) -> bool:
        """Whether anybody stands in it."""
        return bool(self._reading.names)

    def names(self, key: Hashable) -> frozenset[str]:
        """The accounts that have this certificate, as the file was when it was last looked at."""
        return self._reading.names.get(key, frozenset())

    def look(self) -> Deferred[None]:
        """Read the file again if it has changed, once in `LOOK_SECONDS`: a Deferred None, which never fails."""
        now = self._now()
        if now - self._looked < LOOK_SECONDS:
            return succeed(None)
        self._looked = now
        work = self._disk.run(read, self._path, self._key, self._case, self._reading)
        return work.addCallbacks(self._take, self._not_read)

    def _take(self, reading: Reading) -> None:
        self._complaint = ""
        if reading is not self._reading:
            self._reading = reading
            for problem in reading.problems:
                self.log.warn("certificates: {path}: {problem}", path=str(self._path), problem=problem)

    def _not_read(self, failure: Failure) -> None:
        self._complain(str(failure.value))

    def _complain(self, reason: str) -> None:
        """Log, once for as long as the reason is the same."""
        if reason != self._complaint:
            self._complaint = reason
            self.log.error("certificates: {path} cannot be read: {reason}", path=str(self._path), reason=reason)
