"""The survey of an mbox on disk, so that a login reads what is new and nothing else: ``popserv.index``.

A cache, never the truth: it may be removed at any time, and one that is damaged or does not fit is made anew. The file
is a head, the columns, the digests, and a checksum over all of it.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from hashlib import blake2b

import attrs

from popserv.maildrop.files import write_all
from popserv.maildrop.mbox_digest import DIGEST_OCTETS
from popserv.maildrop.mbox_lines import Format
from popserv.maildrop.mbox_octets import Octets
from popserv.maildrop.mbox_survey import Stamp, Survey

INDEX_NAME = "popserv.index"

_NEW_NAME = "popserv.index.new"
_HEAD = struct.Struct("<16s8sQQqqqQ")
_MAGIC = b"popserv mbox 1 " + sys.byteorder[:1].encode("ascii")
_SUM_OCTETS = 32
_SETTLED_NS = 20_000_000
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def load(folder: int, form: Format) -> Survey | None:
    """What was known; None if nothing was, or nothing that can be used. Never raises."""
    try:
        descriptor = os.open(INDEX_NAME, _READ, dir_fd=folder)
        try:
            found = Octets(descriptor, os.fstat(descriptor).st_size)
            octets = memoryview(found.get(0, found.size))
        finally:
            os.close(descriptor)
    except OSError:
        return None
    if len(octets) < _HEAD.size + _SUM_OCTETS or _sum(octets[:-_SUM_OCTETS]) != octets[-_SUM_OCTETS:]:
        return None
    magic, stored_form, *stamp, count = _HEAD.unpack_from(octets)
    if magic != _MAGIC or stored_form.rstrip(b"\0") != form.encode("ascii"):
        return None
    survey = Survey(Stamp(*stamp))
    position = _HEAD.size
    for column in survey.columns:
        column.frombytes(octets[position : position + count * column.itemsize])
        position += count * column.itemsize
    survey.digests += octets[position : position + count * DIGEST_OCTETS]
    return survey


def save(folder: int, form: Format, survey: Survey, now: float) -> None:
    """Keep `survey`, made at `now` seconds since 1970. Never raises: where it cannot be kept, it is made again."""
    stamp = survey.stamp
    if now * 1e9 - max(stamp.mtime_ns, stamp.ctime_ns) < _SETTLED_NS:
        # The clock of files is a coarse one: something written right after this might not show in the times.
        stamp = attrs.evolve(stamp, mtime_ns=-1)
    head = _HEAD.pack(_MAGIC, form.encode("ascii"), *attrs.astuple(stamp), len(survey))
    octets = b"".join((head, *[column.tobytes() for column in survey.columns], survey.digests))
    with suppress(OSError):
        descriptor = os.open(_NEW_NAME, _WRITE, 0o600, dir_fd=folder)
        try:
            write_all(descriptor, octets + _sum(octets))
            os.rename(_NEW_NAME, INDEX_NAME, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(_NEW_NAME, dir_fd=folder)
        finally:
            os.close(descriptor)


def drop(control: bytes) -> None:
    """Let the next login read the whole mbox. Never raises."""
    with suppress(OSError):
        os.unlink(os.path.join(control, os.fsencode(INDEX_NAME)))


def _sum(octets: bytes | memoryview) -> bytes:
    return blake2b(octets, digest_size=_SUM_OCTETS).digest()
