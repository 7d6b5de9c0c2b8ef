"""The conversation with modules, as they hold it: by pointers."""

from __future__ import annotations

from ctypes import POINTER, c_char_p, c_int, c_void_p, pointer

import pytest

from popserv.auth import pam_library
from popserv.auth.pam_library import PamService
from tests.peers.pam.stack import needs

HIDDEN, SHOWN, ERROR, TEXT = 1, 2, 3, 4
SUCCESS, CONVERSATION_ERROR = 0, 19


@pytest.fixture(autouse=True)
def _library() -> None:
    needs("libpam.so.0")


def converse(password: bytes, *styles: int) -> tuple[int, list[bytes | None]]:
    """The status, and the answers to prompts of these styles."""
    _pam, c = pam_library._library()
    prompts = [pointer(pam_library._Message(style, b"Password: ")) for style in styles]
    messages = (POINTER(pam_library._Message) * len(styles))(*prompts)
    responses = POINTER(pam_library._Response)()
    status = pam_library._answering(c, password)(len(styles), messages, pointer(responses), None)
    if not responses:
        return status, []
    answers = [c_char_p(responses[index].text).value for index in range(len(styles))]
    for index in range(len(styles)):
        c.free(c_void_p(responses[index].text))
    c.free(responses)
    return status, answers


def test_a_hidden_prompt_gets_the_password() -> None:
    assert converse(b"secret", HIDDEN) == (SUCCESS, [b"secret"])
    assert converse(b"\xc3\xa4" * 255, HIDDEN, HIDDEN) == (SUCCESS, [b"\xc3\xa4" * 255] * 2)


def test_what_is_no_prompt_gets_none() -> None:
    assert converse(b"secret", TEXT, HIDDEN, ERROR) == (SUCCESS, [None, b"secret", None])


@pytest.mark.parametrize("styles", [(SHOWN,), (HIDDEN, SHOWN)])
def test_a_prompt_that_shows_the_answer_ends_it(styles: tuple[int, ...]) -> None:
    assert converse(b"secret", *styles) == (CONVERSATION_ERROR, [])


def test_the_delay_is_none() -> None:
    assert pam_library._no_delay(c_int(7), 10_000_000, None) is None


def test_without_the_library_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pam_library._library.cache_clear()
    monkeypatch.setattr(pam_library, "LIBRARY", "libnonsuch.so.0")
    with pytest.raises(ValueError, match=r"it needs Linux-PAM .*libnonsuch"):
        PamService("popserv")
    pam_library._library.cache_clear()
