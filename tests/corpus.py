"""The messages that tests feed to popserv: our own, a shared corpus of real ones, and Python's."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

import attrs

TESTS = Path(__file__).parent
CORPUS_VARIABLE = "POPSERV_TEST_CORPUS"
"""Environment variable: the folder of real messages, when it is not ``../shared/corpus`` beside the checkout."""

EDGE = 64 * 1024
"""Octets of one read from disk: where a mistake in carrying a line end over two chunks would show."""


@attrs.frozen
class Sample:
    """One message as somebody keeps it."""

    name: str
    octets: bytes


def own() -> list[Sample]:
    """The files of `messages/`, and what is too large to keep as a file."""
    return _files(sorted((TESTS / "messages").glob("*.eml"))) + list(_generated())


def shared() -> list[Sample]:
    """Real messages that nobody of this project wrote; empty when the corpus is not there."""
    folder = corpus_folder()
    return _files(p for p in sorted(folder.rglob("*")) if p.suffix in {".eml", ".msg"})


def pythons() -> list[Sample]:
    """The data files of Python's own tests of `email`; empty when this Python came without its tests."""
    try:
        spec = importlib.util.find_spec("test.test_email.data")
    except ImportError:
        return []
    places = list(spec.submodule_search_locations or ()) if spec else []
    return _files(p for place in places for p in sorted(Path(place).iterdir()) if p.is_file())


def corpus_folder() -> Path:
    """Where the shared corpus is, or would be."""
    return Path(os.environ.get(CORPUS_VARIABLE) or TESTS.parent.parent / "shared" / "corpus")


def absent() -> list[str]:
    """What of the above this machine lacks, in words for a skip reason."""
    reasons = []
    if not shared():
        reasons.append(f"no shared corpus at {corpus_folder()} (set {CORPUS_VARIABLE})")
    if not pythons():
        reasons.append("this Python has no test.test_email.data")
    return reasons


def _files(paths: Iterable[Path]) -> list[Sample]:
    return [Sample(path.name, path.read_bytes()) for path in paths]


def _generated() -> Iterable[Sample]:
    header = b"From: anna@example.org\r\nSubject: large\r\n\r\n"
    yield Sample("long-line", header + b"x" * (3 * EDGE) + b"\r\nend\r\n")
    yield Sample("long-line-without-end", b"Subject: large\n\n" + b"." * (EDGE + 1))
    yield Sample("long-header-line", b"Subject: large\r\nX-Long: " + b"z" * 20_000 + b"\r\n\r\nbody\r\n")
    yield Sample("many-dots", header + b".\r\n" * 30_000)
    yield Sample("many-lf-lines", b"Subject: large\n\n" + b"a line of text\n" * 20_000)
    for name, tail in {
        "dot": b"\r\n.dot\r\n",
        "terminator": b"\r\n.\r\nmore\r\n",
        "lf-dot": b"\n.dot\n",
        "cr": b"\r\r\n.\r",
    }.items():
        # The tail's line end lies before, on and behind the edge.
        for shift in (0, 1, 2, 3):
            filling = b"y" * (EDGE - len(header) - shift)
            yield Sample(f"edge-{name}-{shift}", header + filling + tail)
