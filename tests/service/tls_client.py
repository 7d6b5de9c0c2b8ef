"""TLS handshakes in memory: pyOpenSSL or Python's ssl as the client, a connection of ours as the server."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from OpenSSL import SSL


def client_context(most: int = SSL.TLS1_3_VERSION, ciphers: bytes = b"ALL:@SECLEVEL=0") -> SSL.Context:
    """A client that trusts anybody and speaks everything up to the version `most`."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(0)
    context.set_max_proto_version(most)
    context.set_cipher_list(ciphers)
    return context


def connect(context: SSL.Context, name: bytes = b"", session: SSL.Session | None = None) -> SSL.Connection:
    client = SSL.Connection(context, None)
    client.set_connect_state()
    if name:
        client.set_tlsext_host_name(name)
    if session is not None:
        client.set_session(session)
    return client


def shake_hands(client: SSL.Connection, server: SSL.Connection) -> None:
    """Run both sides until both are done. Raises `SSL.Error` of whichever fails first, after the other has heard it."""
    server.set_accept_state()
    sides = ((client, server), (server, client))
    done = {client: False, server: False}
    while not all(done.values()):
        for side, other in sides:
            try:
                side.do_handshake()
                done[side] = True
            except SSL.WantReadError:
                pass
            finally:
                pass_on(side, other)
    for side, other in sides:
        pass_on(side, other)


def pass_on(sender: SSL.Connection, receiver: SSL.Connection) -> None:
    """Carry what one side has written to the other."""
    try:
        while True:
            receiver.bio_write(sender.bio_read(65536))
    except SSL.WantReadError:
        pass


def refused(shake: Callable[[], None]) -> list[str]:
    """The reasons that OpenSSL gives for a handshake that must fail."""
    try:
        shake()
    except SSL.Error as error:
        return [part[2] for part in error.args[0]]
    raise AssertionError("the handshake succeeded")


class StdlibClient:
    """Python's own client, which verifies the certificate."""

    def __init__(self, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None = None) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)

    def shake_hands(self, server: SSL.Connection) -> None:
        server.set_accept_state()
        for _ in range(3):
            for step in (self.tls.do_handshake, server.do_handshake):
                try:
                    step()
                except (ssl.SSLWantReadError, SSL.WantReadError):
                    pass
                self._exchange(server)
        # What the server sends behind its handshake, such as tickets, is read here.
        try:
            self.tls.read(1)
        except ssl.SSLWantReadError:
            pass

    def _exchange(self, server: SSL.Connection) -> None:
        if self._out.pending:
            server.bio_write(self._out.read())
        try:
            while True:
                self._in.write(server.bio_read(65536))
        except SSL.WantReadError:
            pass
