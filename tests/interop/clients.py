"""The real POP3 clients: how each is run, which modes it has, and what it does to a message.

A client that hands on every octet has the form `exact`: what it fetched is compared with the CRLF form of the stored
message as it is. The others change messages whatever one configures; what they make of the *expected* octets is
written down in `forms`, one function a client, and nothing else is forgiven.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

import attrs

from . import drivers, forms
from .running import Fetch

Form = Callable[[Sequence[bytes]], list[bytes]]


@attrs.frozen
class Client:
    """One program or library."""

    name: str
    fetch: Fetch
    programs: tuple[str, ...] = ()
    """What must be on the PATH."""
    modes: tuple[str, ...] = ("plain", "stls", "tls")
    """How it can protect the connection."""
    form: Form = forms.exact
    """Messages in CRLF form → what this client makes of them."""
    changes: str = ""
    """The same in words; empty = it keeps every octet."""

    def missing(self) -> list[str]:
        """The programs that are not installed."""
        return [name for name in self.programs if shutil.which(name) is None]


CLIENTS = (
    Client(
        "curl",
        drivers.curl,
        ("curl",),
        form=forms.each(forms.curl),
        changes="an empty message becomes one CRLF",
    ),
    Client("poplib", drivers.poplib_client),
    Client(
        "fetchmail",
        drivers.fetchmail,
        ("fetchmail",),
        form=forms.each(forms.fetchmail),
        changes=(
            "drops mbox `From ` lines and NUL in the header; does not unstuff header lines but the first; "
            "ends a header that has no blank line; loses the dot that begins the second and later 8191 octets of a "
            "line; makes up a header where there is none, and writes 4 octets between the parts of a long line "
            "(the driver removes both)"
        ),
    ),
    Client("mpop", drivers.mpop, ("mpop",)),
    Client(
        "getmail",
        drivers.getmail,
        ("getmail",),
        ("plain", "tls"),
        form=forms.getmail,
        changes="parses and rewrites every message with Python's email package; sets Return-Path",
    ),
    Client(
        "mutt",
        drivers.mutt,
        ("mutt",),
        form=forms.each(forms.mutt),
        changes=(
            "stores LF line ends; cuts a line at NUL; "
            "puts one blank line between what it takes for the header and the rest"
        ),
    ),
    Client("Net::POP3", drivers.net_pop3, ("perl",)),
    Client("net/pop", drivers.net_pop, ("ruby",), ("plain", "tls")),
    Client("twisted", drivers.twisted_client),
)
