"""The loop of ``popserv run``: it does what Twisted's does, also with what goes wrong in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """\
import socket, sys
from popserv.net.poll import install
install()
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogBeginner, eventAsText

def note(event):
    if "raised" in eventAsText(event):
        print("logged")

globalLogBeginner.beginLoggingTo([note], redirectStandardIO=False)

lost = []

class Echo(Protocol):
    def dataReceived(self, data):
        if data == b"raise":
            raise RuntimeError("raised")
        self.transport.write(data)

    def connectionLost(self, reason):
        lost.append(self)
        print("lost")
        if len(lost) == 2:
            reactor.stop()

port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")

def talk():
    address = "127.0.0.1", port.getHost().port
    first, second = (socket.create_connection(address, timeout=20) for _ in range(2))
    second.sendall(b"raise")
    assert second.recv(10) == b""
    first.sendall(b"hello")
    assert first.recv(10) == b"hello"
    first.close()

reactor.callInThread(talk)
reactor.run()
print(type(reactor).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no epoll")
def test_it_serves_and_what_raises_is_logged_and_ends_its_connection_only() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["logged", "lost", "lost", "LeanReactor"]


def test_a_reactor_that_is_there_stays() -> None:
    script = (
        "from twisted.internet import reactor as before\n"
        "from popserv.net.poll import install\n"
        "install()\n"
        "from twisted.internet import reactor\n"
        "print(reactor is before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
