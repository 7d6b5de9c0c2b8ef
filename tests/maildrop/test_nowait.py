"""What the kernel has at hand."""

from __future__ import annotations

import os

from popserv.nowait import on_network, open_cached, read_cached


def test_a_file_just_written_is_opened_and_read_or_left_to_a_thread(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    descriptor = open_cached(os.fsencode(path))
    if descriptor is None:
        descriptor = os.open(path, os.O_RDONLY)
    assert not os.get_inheritable(descriptor)
    assert read_cached(descriptor, 4, 2) in (b"2345", None)
    assert read_cached(descriptor, 100, 5) in (b"56789", None)
    assert read_cached(descriptor, 100, 10) is None
    os.close(descriptor)


def test_what_cannot_be_opened_is_left_to_a_thread_to_say_why(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for name in (b"missing", b"link"):
        assert open_cached(os.fsencode(tmp_path) + b"/" + name) is None


def test_a_local_directory_is_not_on_the_network():
    descriptor = os.open("/proc", os.O_RDONLY)
    assert on_network(descriptor) is False
    os.close(descriptor)
