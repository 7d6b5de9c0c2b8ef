"""A client of GSSAPI by the package gssapi, step by step."""

from __future__ import annotations

import poplib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Literal

from tests.peers.programs import library
from tests.peers.service import Served

gssapi = library("gssapi")

Security = Literal["clear", "stls", "tls"]


def connect(served: Served, security: Security) -> poplib.POP3:
    """A connection, protected or not."""
    if security == "tls":
        return served.connect()
    client = poplib.POP3("127.0.0.1", served.clear, timeout=20)
    if security == "stls":
        client.stls(served.context)
    return client


class Client:
    """One exchange."""

    def __init__(
        self, served: Served, tickets: Mapping[str, str], service: str = "pop", security: Security = "tls"
    ) -> None:
        self.client = connect(served, security)
        store = {"ccache": tickets["KRB5CCNAME"]}
        name = gssapi.Name(f"{service}@localhost", gssapi.NameType.hostbased_service)
        self.context = gssapi.SecurityContext(
            name=name, creds=gssapi.Credentials(usage="initiate", store=store), usage="initiate"
        )
        self.token = self.context.step()

    def say(self, octets: bytes) -> bytes:
        """Send a response; the line that comes back."""
        return self.line(b64encode(octets))

    def line(self, line: bytes) -> bytes:
        """Send a line; the one that comes back."""
        self.client.sock.sendall(line + b"\r\n")
        return self.client.file.readline().rstrip(b"\r\n")

    def begin(self) -> bytes:
        """Send the first token."""
        assert self.line(b"AUTH GSSAPI") == b"+ "
        return self.say(self.token)

    def offer(self) -> bytes:
        """As far as the offer of layers, unwrapped."""
        said = self.begin()
        assert said.startswith(b"+ "), said
        assert not self.context.step(b64decode(said[2:]))
        said = self.say(b"")
        return bytes(self.context.unwrap(b64decode(said[2:])).message)

    def choose(self, choice: bytes) -> bytes:
        """Answer the offer with these octets, wrapped."""
        return self.say(self.context.wrap(choice, False).message)

    def log_in(self) -> bytes:
        """The whole exchange: what it ends with."""
        self.offer()
        return self.choose(b"\1\0\0\0")
