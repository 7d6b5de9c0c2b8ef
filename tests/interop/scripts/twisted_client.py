"""twisted_client.py HOST PORT MODE CAFILE USER FOLDER < PASSWORD: every message becomes a numbered file.

A program of its own, because importing `twisted.mail.pop3` installs a reactor.
"""

import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import react
from twisted.mail.pop3 import AdvancedPOP3Client


class Client(AdvancedPOP3Client):
    MAX_LENGTH = 1 << 24  # its own limit, 16384 octets a line, is less than mail may have
    allowInsecureLogin = True

    def __init__(self) -> None:
        self.greeted: Deferred[None] = Deferred()

    def serverGreeting(self, greeting: bytes) -> None:
        self.greeted.callback(None)


async def fetch(reactor, host, port, mode, cafile, user, folder):
    password = sys.stdin.buffer.readline().rstrip(b"\n")
    trust = trustRootFromCertificates([Certificate.loadPEM(Path(cafile).read_bytes())])
    options = optionsForClientTLS(host, trustRoot=trust)
    endpoint = HostnameEndpoint(reactor, host, int(port))
    if mode == "tls":
        endpoint = wrapClientTLS(options, endpoint)
    client = await connectProtocol(endpoint, Client())
    await client.greeted
    if mode == "stls":
        await client.startTLS(options)
    await client.user(user.encode())
    await client.password(password)
    count, _octets = await client.stat()
    for index in range(count):
        lines = await client.retrieve(index)
        (Path(folder) / str(index + 1)).write_bytes(b"".join(line + b"\r\n" for line in lines))
    await client.quit()


react(fetch, sys.argv[1:])
