"""As much of Linux-PAM as a login without a session needs, by ctypes.

The package python-pam cannot say to PAM where the client is, cannot switch its delay off, and tells nothing of what it
does not know from what it refuses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CDLL, CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_uint, c_void_p, cast, sizeof
from functools import cache
from typing import Any, Literal

from twisted.logger import Logger

from popserv.auth.remote import Unavailable

LIBRARY = "libpam.so.0"
PASSWORD_OCTETS = 511
"""PAM_MAX_RESP_SIZE less the NUL behind it: a longer password would be cut."""

Answer = Literal["accepted", "refused", "unknown"]

_SUCCESS, _BUFFER_ERROR, _CONVERSATION_ERROR = 0, 5, 19
_USER_UNKNOWN = 10
# The password is wrong, or an account or password has expired, or something forbids this login: PAM_PERM_DENIED,
# PAM_AUTH_ERR, PAM_MAXTRIES, PAM_NEW_AUTHTOK_REQD, PAM_ACCT_EXPIRED, PAM_CRED_EXPIRED, PAM_AUTHTOK_EXPIRED. What
# stands in none of these lists is trouble.
_REFUSED = frozenset({6, 7, 11, 12, 13, 16, 27})
_USER, _REMOTE_HOST, _FAIL_DELAY = 2, 4, 10
_ECHO_OFF, _ECHO_ON = 1, 2
_FLAGS = 0x8000 | 1
"""PAM_SILENT, and PAM_DISALLOW_NULL_AUTHTOK: an account without a password is open to nobody."""


class _Message(Structure):
    _fields_ = [("style", c_int), ("text", c_char_p)]


class _Response(Structure):
    _fields_ = [("text", c_void_p), ("code", c_int)]


_Converse = CFUNCTYPE(c_int, c_int, POINTER(POINTER(_Message)), POINTER(POINTER(_Response)), c_void_p)
_Delay = CFUNCTYPE(None, c_int, c_uint, c_void_p)


class _Conversation(Structure):
    _fields_ = [("converse", _Converse), ("data", c_void_p)]


# Instead of a sleep in our thread: whoever asks PAM has delays of its own.
_no_delay = _Delay(lambda _status, _microseconds, _data: None)


@cache
def _library() -> tuple[CDLL, CDLL]:
    """PAM and the C library, with the types of what is called. Raises `ValueError`."""
    if sys.platform != "linux":
        raise ValueError("PAM is here for Linux only")
    try:
        pam, c = CDLL(LIBRARY), CDLL(None)
        pam.pam_start_confdir.argtypes = [c_char_p, c_char_p, POINTER(_Conversation), c_char_p, POINTER(c_void_p)]
    except (OSError, AttributeError) as error:
        raise ValueError(f"it needs Linux-PAM 1.4 or later: {error}") from None
    for name in ("pam_authenticate", "pam_acct_mgmt", "pam_end"):
        getattr(pam, name).argtypes = [c_void_p, c_int]
    pam.pam_set_item.argtypes = [c_void_p, c_int, c_void_p]
    pam.pam_get_item.argtypes = [c_void_p, c_int, POINTER(c_void_p)]
    pam.pam_strerror.argtypes, pam.pam_strerror.restype = [c_void_p, c_int], c_char_p
    c.calloc.argtypes, c.calloc.restype = [c_size_t, c_size_t], c_void_p
    c.strdup.argtypes, c.strdup.restype = [c_char_p], c_void_p
    return pam, c


class PamService:
    """One file of PAM's configuration. Blocks; any thread may use it."""

    log = Logger()

    def __init__(self, name: str, directory: str = "") -> None:
        """`directory` is where the file is, "" = where the host has them. Raises `ValueError` without Linux-PAM."""
        self.name = name
        self._directory = directory.encode() or None
        self._pam, self._c = _library()

    def begins(self) -> None:
        """See whether PAM can do anything for this service. Raises `Unavailable`."""
        with self._transaction(b"", b"", ""):
            pass

    def ask(self, user: bytes, password: bytes, address: str) -> Answer:
        """Whether PAM lets `user` in from `address` ("" = not known) with this password, now.

        Neither octets may hold NUL, and of the password at most `PASSWORD_OCTETS` count. Raises `Unavailable`.
        """
        with self._transaction(user, password, address) as handle:
            status = self._pam.pam_authenticate(handle, _FLAGS)
            if status == _USER_UNKNOWN:
                return "unknown"
            if not self._is_good(handle, status):
                return "refused"
            status = self._pam.pam_acct_mgmt(handle, _FLAGS)
            # The password was right, so PAM does know somebody of that name.
            if status == _USER_UNKNOWN or not self._is_good(handle, status):
                self.log.info(
                    "pam: right password, no login: account={account} reason={reason}",
                    account=user.decode("utf-8"),
                    reason=self._reason(handle, status),
                )
                return "refused"
            return "accepted" if self._user(handle) == user else "refused"

    def _is_good(self, handle: c_void_p, status: int) -> bool:
        """Raises `Unavailable`."""
        if status not in (_SUCCESS, *_REFUSED):
            raise Unavailable(f"{self.name}: {self._reason(handle, status)}")
        return status == _SUCCESS

    def _user(self, handle: c_void_p) -> bytes | None:
        """Who it is now: modules may change it, to the name of somebody else's maildrop."""
        item = c_void_p()
        self._pam.pam_get_item(handle, _USER, byref(item))
        return c_char_p(item.value).value

    def _reason(self, handle: c_void_p | None, status: int) -> str:
        return str(self._pam.pam_strerror(handle, status).decode("ascii", "replace"))

    @contextmanager
    def _transaction(self, user: bytes, password: bytes, address: str) -> Iterator[c_void_p]:
        handle = c_void_p()
        conversation = _Conversation(_answering(self._c, password), None)
        status = self._pam.pam_start_confdir(
            self.name.encode(), user, byref(conversation), self._directory, byref(handle)
        )
        if status != _SUCCESS:
            raise Unavailable(f"{self.name}: {self._reason(None, status)}")
        try:
            self._pam.pam_set_item(handle, _FAIL_DELAY, _no_delay)
            if address:
                self._pam.pam_set_item(handle, _REMOTE_HOST, c_char_p(address.encode("ascii")))
            yield handle
        finally:
            self._pam.pam_end(handle, _SUCCESS)


def _answering(c: Any, password: bytes) -> Callable[..., int]:
    """The client's part: a password to each prompt that hides what is typed, and no answer to any other."""

    def converse(count: int, messages: Any, responses: Any, _data: int | None) -> int:
        styles = [messages[index].contents.style for index in range(count)]
        if _ECHO_ON in styles:
            return _CONVERSATION_ERROR
        # What PAM frees, malloc has to have made.
        memory = c.calloc(count, sizeof(_Response))
        if not memory:
            return _BUFFER_ERROR
        answers = (_Response * count).from_address(memory)
        for answer, style in zip(answers, styles, strict=True):
            answer.text = c.strdup(password) if style == _ECHO_OFF else None
        responses[0] = cast(memory, POINTER(_Response))
        return _SUCCESS

    return _Converse(converse)
