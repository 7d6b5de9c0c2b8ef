"""Dots at line starts, as the C library finds them and as Python does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.wire import dot_lines
from popserv.wire.dot_lines import has_dot_line

PIECES = st.lists(st.sampled_from([b"\n", b".", b"\0", b"\r", b"a", b"long line " * 9]), max_size=30).map(b"".join)


@given(PIECES)
def test_P3_009_a_dot_behind_a_line_end_is_found_wherever_it_stands(octets: bytes) -> None:
    assert has_dot_line(octets) is (b"\n." in octets)
    assert has_dot_line(octets + b"\0") is (b"\n." in octets)


def test_P3_009_without_the_c_library_it_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dot_lines, "_strstr", None)
    assert has_dot_line(b"a\n.b")
    assert not has_dot_line(b"a\n b.\r.")
