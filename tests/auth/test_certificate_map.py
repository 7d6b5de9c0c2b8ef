"""The files that say whose a certificate is."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from popserv.auth.certificate_map import LOOK_SECONDS, CertificateMap, fingerprint_key, parse, subject_key
from popserv.pools import InlinePool
from tests.client_certificates import FRED, subject

PRINT = "AB" * 32
COLONS = ":".join(["AB"] * 32)


def test_lines() -> None:
    text = f"# account fingerprint\r\n\r\nFred {PRINT}\nann\t{COLONS.lower()}  \nann {'cd' * 32}\n"
    reading = parse(text.encode(), fingerprint_key, "fold")
    assert reading.names == {"ab" * 32: {"fred", "ann"}, "cd" * 32: {"ann"}}
    assert reading.problems == ()
    assert parse(text.encode(), fingerprint_key, "keep").names["ab" * 32] == {"Fred", "ann"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"fred", "line 1: holds no account and what stands in its certificate"),
        (b"fred abcd", "line 1: is no SHA-256 fingerprint: 64 hexadecimal digits, with or without colons"),
        (b"fred " + PRINT.encode() + b" # his", "line 1: is no SHA-256 fingerprint"),
        (b"a/b " + PRINT.encode(), "line 1: no account can have this name"),
        (b"fred \xff", "line 1: is not UTF-8"),
        (b"\xff " + PRINT.encode(), "line 1: no account can have this name"),
    ],
)
def test_a_line_that_is_not_understood_is_reported_and_gives_nobody_anything(line: bytes, problem: str) -> None:
    reading = parse(line + b"\nann " + b"cd" * 32, fingerprint_key, "fold")
    assert reading.names == {"cd" * 32: {"ann"}}
    assert len(reading.problems) == 1
    assert reading.problems[0].startswith(problem)


def test_subjects_are_compared_as_names() -> None:
    text = r"""
fred   CN=fred,O=Example,C=DE
comma  CN=Flint\, Fred,O=Example
mail   emailAddress=fred@example.org,CN=fred
multi  CN=fred+UID=42
"""
    names = parse(text.encode(), subject_key, "fold").names
    assert names[FRED] == {"fred"}
    assert names[subject((NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, "Flint, Fred"))] == {"comma"}
    mail = subject((NameOID.COMMON_NAME, "fred"), (NameOID.EMAIL_ADDRESS, "fred@example.org"))
    assert names[mail] == {"mail"}
    assert subject((NameOID.COMMON_NAME, "fred")) not in names, "a part of a subject is another subject"


@pytest.mark.parametrize("text", ["fred", "CN", "/C=DE/CN=fred", "XX=fred"])
def test_what_is_no_subject(text: str) -> None:
    with pytest.raises(ValueError, match="is no distinguished name"):
        subject_key(text)


@given(st.binary(max_size=300), st.sampled_from([fingerprint_key, subject_key]))
def test_no_file_can_break_the_reading(octets: bytes, key: object) -> None:
    reading = parse(octets, key, "fold")  # type: ignore[arg-type]
    lines = [line for line in octets.split(b"\n") if line.split() and not line.split()[0].startswith(b"#")]
    assert sum(map(len, reading.names.values())) + len(reading.problems) <= len(lines)


def map_of(path: Path, clock: Clock, disk: object = None) -> CertificateMap:
    return CertificateMap(path, fingerprint_key, disk or InlinePool(), clock)  # type: ignore[arg-type]


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "map", Clock()
    path.write_text(f"fred {PRINT}\n")
    found = map_of(path, clock)
    path.write_text(f"fred {PRINT}\nann {PRINT}\n")
    found.look()
    assert found.names("ab" * 32) == {"fred"}, "looked at less than a second ago"
    clock.advance(LOOK_SECONDS)
    found.look()
    assert found.names("ab" * 32) == {"fred", "ann"}
    path.unlink()
    clock.advance(LOOK_SECONDS)
    found.look()
    assert found.names("ab" * 32) == {"fred", "ann"}, "what it said last"
    path.write_text("")
    clock.advance(LOOK_SECONDS)
    found.look()
    assert found.names("ab" * 32) == frozenset()
    assert not found


def test_a_file_that_is_not_there_at_first_is_read_later(tmp_path: Path) -> None:
    path, clock = tmp_path / "map", Clock()
    found = map_of(path, clock)
    assert not found
    path.write_text(f"fred {PRINT}\n")
    clock.advance(LOOK_SECONDS)
    found.look()
    assert found


class SlowDisk:
    """Fails when the test says so."""

    def __init__(self) -> None:
        self.work: Deferred[object] = Deferred()

    def run(self, function: object, *arguments: object) -> Deferred[object]:
        return self.work


def test_looking_never_fails(tmp_path: Path) -> None:
    path, clock, disk = tmp_path / "map", Clock(), SlowDisk()
    path.write_text(f"fred {PRINT}\n")
    found = map_of(path, clock, disk)
    clock.advance(LOOK_SECONDS)
    results: list[object] = []
    found.look().addBoth(results.append)
    disk.work.errback(OSError(5, "Input/output error"))
    assert results == [None]
    assert found.names("ab" * 32) == {"fred"}
