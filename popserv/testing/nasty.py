"""Messages that break what reads, stores or sends them carelessly."""

from __future__ import annotations

NASTY: dict[str, bytes] = {
    "empty": b"",
    "only a dot": b".",
    "only a dot line": b".\r\n",
    "first octet a dot": b".hidden: 1\r\n\r\nbody\r\n",
    "no final line end": b"Subject: a\r\n\r\nbody",
    "final CR": b"Subject: a\r\n\r\nbody\r",
    "only CR": b"\r",
    "only LF": b"\n",
    "only CRLF": b"\r\n",
    "bare CR": b"Subject: a\rb\r\n\r\nbo\rdy\r\n",
    "CR in front of CRLF": b"Subject: a\r\r\n\r\r\r\n\r\n",
    "LF line ends": b"Subject: a\n\n.\n..\nbody\n",
    "mixed line ends": b"Subject: a\r\nTo: b\n\r\nbody\n\nmore\r\n\n\r",
    "NUL": b"Subject: \0\r\n\r\n\0\0\r\n",
    "8-bit": b"Subject: " + bytes(range(128, 256)) + b"\r\n\r\n" + bytes(range(256)) + b"\r\n",
    "From_ lines": b"From a Mon Jan  1 00:00:00 2024\r\n\r\nFrom b\r\n>From c\r\n",
    "dots on every line": b".\r\n" * 500 + b"\n." * 500,
    "the terminator inside": b"Subject: a\r\n\r\nbody\r\n.\r\nQUIT\r\n",
    "dots at the edges of chunks": b"".join([b"x" * (size - 3) + b"\r\n." for size in (64, 512, 4096, 65536, 131072)]),
    "line ends at the edges of chunks": (b"y" * 1023 + b"\r\n") * 200 + (b"z" * 1023 + b"\n") * 200,
    "a line of two million octets": b"Subject: a\r\n\r\n" + b"long" * 500_000,
}
"""Stored octets, by what is nasty about them."""
