"""A server with one message of 100 MB; on a line of standard input it says what a connection costs it.

Arguments: "text" or "dots" for what is in the message, and "tls" for implicit TLS.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet import reactor as global_reactor
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

from popserv import POP3Factory
from popserv.auth.realm import MaildropRealm
from popserv.net.tls import implicit
from popserv.testing import MemoryAccounts
from tests.net.support import SERVER, OneMessage, QuickReader, StoreOf

reactor: Any = global_reactor


def resident_kib() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


class Reporter(LineOnlyReceiver):
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        transports = [each for each in reactor.getReaders() + reactor.getWriters() if hasattr(each, "_tempDataLen")]
        buffered = max(len(each.dataBuffer) - each.offset + each._tempDataLen for each in transports)
        grown = resident_kib() - before
        print(json.dumps({"given": reader.given, "buffered": buffered, "grown_kib": grown}), flush=True)

    def connectionLost(self, reason: Any = None) -> None:
        reactor.stop()


TEXT = b"y" * 65534 + b"\r\n"
DOTS = b".\r\n" * 21845 + b"\n"  # what takes most room when it is stuffed

reader = QuickReader([TEXT if "text" in sys.argv else DOTS] * 1600)
accounts = MemoryAccounts({"fred": b"secret"})
portal = Portal(MaildropRealm(accounts, StoreOf(OneMessage(reader, octets=1600 * 65536))), [accounts])
factory: Any = POP3Factory(portal, cleartext="always")
if "tls" in sys.argv:
    factory = implicit(factory, SERVER, reactor)
port = reactor.listenTCP(0, factory, interface="127.0.0.1")
StandardIO(Reporter())
before = resident_kib()
reactor.callWhenRunning(print, port.getHost().port, flush=True)
reactor.run()
