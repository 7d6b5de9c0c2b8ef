"""What a pipelined command costs in memory: lines and session, the whole protocol, and Twisted's POP3 beside it.

Prints one JSON line: nanoseconds a command, the median of alternating rounds, and ratios.
"""

from __future__ import annotations

import json
import sys
from statistics import median
from time import perf_counter_ns
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.mail.pop3 import POP3

from popserv import POP3Factory
from popserv.auth.realm import MaildropRealm
from popserv.limits import Limits
from popserv.session.capabilities import Offer
from popserv.session.session import Session
from popserv.stores.memory import MemoryStore
from popserv.testing.accounts import MemoryAccounts
from popserv.wire.lines import LineBuffer

MESSAGES = [b"Subject: x\r\n\r\nbody\r\n"] * 50
COMMANDS = 50_000
ROUNDS = 5
SEGMENT = 32 * 1024
PIPELINES = {"noop": b"NOOP\r\n" * COMMANDS, "list_n": b"LIST 7\r\n" * COMMANDS}


class Sink(StringTransport):
    """Takes everything and keeps nothing."""

    def write(self, data: bytes) -> None: ...

    def writeSequence(self, data: Any) -> None: ...


def segments(octets: bytes) -> list[bytes]:
    return [octets[start : start + SEGMENT] for start in range(0, len(octets), SEGMENT)]


def portal() -> Portal:
    accounts = MemoryAccounts({"fred": b"secret"})
    return Portal(MaildropRealm(accounts, MemoryStore({"fred": MESSAGES})), [accounts])


def lines_and_session(octets: bytes) -> int:
    session = Session(Offer(user=True), Limits())
    opened: list[Any] = []
    MemoryStore({"fred": MESSAGES}).open(type("Account", (), {"name": "fred"})()).addCallback(opened.append)
    session.logged_in(opened[0])
    lines, handle = LineBuffer(Limits()), session.handle
    started = perf_counter_ns()
    for segment in segments(octets):
        lines.feed(segment)
        while (line := lines.next()) is not None:
            handle(line)  # type: ignore[arg-type]
    return perf_counter_ns() - started


def popserv_protocol(octets: bytes) -> int:
    clock = Clock()
    server = POP3Factory(portal(), cleartext="always", reactor=clock).buildProtocol(None)
    server.makeConnection(Sink(peerAddress=IPv4Address("TCP", "127.0.0.1", 1)))
    server.dataReceived(b"USER fred\r\nPASS secret\r\n")
    started = perf_counter_ns()
    for segment in segments(octets):
        server.dataReceived(segment)
        while clock.getDelayedCalls() and clock.getDelayedCalls()[0].getTime() <= clock.seconds():
            clock.advance(0)
    return perf_counter_ns() - started


def twisted_protocol(octets: bytes) -> int:
    server = POP3()
    server.portal = portal()
    server.factory = None
    server.makeConnection(Sink())
    server.setTimeout(None)
    server.dataReceived(b"USER fred\r\nPASS secret\r\n")
    started = perf_counter_ns()
    for segment in segments(octets):
        server.dataReceived(segment)
    return perf_counter_ns() - started


def main() -> None:
    runs = {"session": lines_and_session, "protocol": popserv_protocol, "twisted_mail": twisted_protocol}
    result: dict[str, Any] = {"bench": "session", "python": sys.version.split()[0], "commands": COMMANDS}
    for name, octets in PIPELINES.items():
        times: dict[str, list[int]] = {run: [] for run in runs}
        for _ in range(ROUNDS):
            for run, measure in runs.items():
                times[run].append(measure(octets))
        cost = {run: median(each) / COMMANDS for run, each in times.items()}
        result[name] = {f"{run}_ns": round(each) for run, each in cost.items()}
        result[name]["twisted_mail_to_protocol"] = round(cost["twisted_mail"] / cost["protocol"], 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
