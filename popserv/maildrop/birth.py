"""When a file was made: ``statx`` (Linux 4.11), which Python has no function for."""

from __future__ import annotations

import ctypes
import struct
import sys

_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_BTIME = 0x800
_STATX_OCTETS = 256
_MASK = struct.Struct("=I")
_BTIME = struct.Struct("=qI")
_BTIME_OFFSET = 80

_statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None) if sys.platform == "linux" else None
if _statx is not None:
    _statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)


def born(folder: int, name: bytes) -> int | None:
    """Nanoseconds since 1970 at which the inode of `name` in the open directory `folder` was made.

    Unlike other times nobody can set it. None where it is not known: the file is gone, or the file system keeps none.
    """
    if _statx is None:
        return None
    buffer = ctypes.create_string_buffer(_STATX_OCTETS)
    if _statx(folder, name, _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, buffer) != 0:
        return None
    if not _MASK.unpack_from(buffer)[0] & _STATX_BTIME:
        return None
    seconds, nanoseconds = _BTIME.unpack_from(buffer, _BTIME_OFFSET)
    return int(seconds * 1_000_000_000 + nanoseconds)
