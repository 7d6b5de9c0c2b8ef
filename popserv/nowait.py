"""Ask the kernel for what it has at hand, and nothing that a disk would have to be waited for.

Reading is ``preadv2`` with RWF_NOWAIT. Opening is ``openat2`` with RESOLVE_CACHED (Linux 5.12), which Python has no
function for. Where either is missing nothing is ever "at hand", and the caller does it in a thread.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_LINUX = sys.platform == "linux"
_OPENAT2 = 437  # the same on every architecture that Linux has had system call numbers for since 5.6
_AT_FDCWD = -100
_RESOLVE_CACHED = 0x20
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HOW = struct.pack("=QQQ", _OPEN_FLAGS, 0, _RESOLVE_CACHED)

_NETWORK = frozenset(
    {
        0x00006969,  # NFS
        0x0000517B,  # SMB
        0xFF534D42,  # CIFS
        0xFE534D42,  # SMB2
        0x65735546,  # FUSE, behind which there may be anything: sshfs, GlusterFS, S3, virtiofs
        0x00C36400,  # Ceph
        0x01021997,  # 9P
        0x5346414F,  # AFS
        0x6B414653,  # kAFS
        0x73757245,  # Coda
        0x0BD00BD0,  # Lustre
        0x01161970,  # GFS2
        0x7461636F,  # OCFS2
    }
)

_libc = ctypes.CDLL(None, use_errno=True)
if _LINUX:
    _libc.syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
    _libc.syscall.restype = ctypes.c_long


class NotAtHand(Exception):
    """What is wanted may have to be waited for."""


def open_cached(path: bytes) -> int | None:
    """A descriptor to read this file, no symbolic link; None if that would block or for whatever other reason."""
    if not _LINUX:
        return None
    descriptor: int = _libc.syscall(_OPENAT2, _AT_FDCWD, path, _HOW, len(_HOW))
    return descriptor if descriptor >= 0 else None


def read_cached(descriptor: int, octets: int, position: int) -> bytes | None:
    """Up to `octets` octets at `position`; None if that would block. `octets` is not 0; the end of a file is None."""
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    buffer = bytearray(octets)
    try:
        count = os.preadv(descriptor, [buffer], position, os.RWF_NOWAIT)
    except OSError:
        # EAGAIN: not in the page cache. EOPNOTSUPP: this file system cannot promise. The rest shows up again in a
        # thread, where it is handled.
        return None
    return bytes(buffer[:count] if count < octets else buffer) or None


def on_network(descriptor: int) -> bool:
    """Whether this file lies on a file system that other hosts may use, too, or that may be one.

    Only Linux is known well enough to tell; elsewhere every file system counts as local.
    """
    if not _LINUX:
        return False
    buffer = ctypes.create_string_buffer(512)
    if _libc.fstatfs(descriptor, buffer) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    kind: int = ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
    return kind in _NETWORK
