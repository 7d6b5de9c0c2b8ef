"""Real sockets: opened together or not at all, kept when their address stays."""

from __future__ import annotations

import socket
from pathlib import Path
from tempfile import mkdtemp

from twisted.internet import reactor
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from popserv.service.listening import CannotListen, Offer, Ports, dual_stack_socket

LOOPBACK = "tcp:0:interface=127.0.0.1"


class Says(Factory[Protocol]):
    """Answers each connection with its name."""

    noisy = False

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.started = 0

    def startFactory(self) -> None:
        self.started += 1

    def stopFactory(self) -> None:
        self.started -= 1

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        built = Saying()
        built.factory = self
        return built


class Saying(Protocol):
    factory: Says  # type: ignore[assignment]

    def connectionMade(self) -> None:
        self.transport.write(self.factory.name)  # type: ignore[union-attr]
        self.transport.loseConnection()  # type: ignore[union-attr]


class PortsTests(TestCase):
    def setUp(self) -> None:
        self.directory = Path(mkdtemp())  # the path of a unix socket must be short
        self.ports = Ports(reactor, self.directory.absolute())
        self.addCleanup(self.ports.close)

    def addresses(self) -> dict[str, str]:
        words = self.ports.ready_line().removeprefix("popserv ready ").split()
        return dict(word.split("=", 1) for word in words)

    async def said_at(self, address: str) -> bytes:
        """What the server at `address` says; the reactor runs meanwhile."""
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as connection:
            connection.connect((host.strip("[]"), int(port)))
            connection.setblocking(False)
            while True:
                try:
                    return connection.recv(64)
                except BlockingIOError:
                    await deferLater(reactor, 0.005)

    async def test_names_and_addresses_as_bound(self) -> None:
        offers = [
            Offer("pop3", LOOPBACK, Says(b"a")),
            Offer("lmtp", "unix:lmtp.sock:mode=600", Says(b"b")),
            Offer("pop3", LOOPBACK, Says(b"c")),
            Offer("pop3s", "tcp6:0", Says(b"d")),
        ]
        self.ports.change(offers)
        addresses = self.addresses()
        self.assertEqual(list(addresses), ["pop3", "lmtp", "pop3s"])
        first, second = addresses["pop3"].split(",")
        self.assertEqual([await self.said_at(first), await self.said_at(second)], [b"a", b"c"])
        path = self.directory.absolute() / "lmtp.sock"
        self.assertEqual(addresses["lmtp"], str(path))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    async def test_dual_stack(self) -> None:
        if not socket.has_ipv6 or dual_stack_socket(0, 1) is None:
            self.skipTest("this host has no IPv6")
        self.ports.change([Offer("pop3", "tcp6:0", Says(b"both"))])
        address = self.addresses()["pop3"]
        self.assertRegex(address, r"^\[::\]:\d+$")
        port = address.rpartition(":")[2]
        self.assertEqual(await self.said_at(f"127.0.0.1:{port}"), b"both")
        self.assertEqual(await self.said_at(f"[::1]:{port}"), b"both")

    async def test_an_address_that_stays_keeps_its_socket_and_changes_its_factory(self) -> None:
        old, new = Says(b"old"), Says(b"new")
        self.ports.change([Offer("pop3", LOOPBACK, old)])
        address = self.addresses()["pop3"]
        self.ports.change([Offer("pop3", LOOPBACK, new)])
        self.assertEqual(self.addresses()["pop3"], address)
        self.assertEqual(await self.said_at(address), b"new")
        self.assertEqual((old.started, new.started), (0, 1))

    async def test_addresses_that_go_are_closed(self) -> None:
        self.ports.change([Offer("pop3", LOOPBACK, Says(b"a")), Offer("lmtp", LOOPBACK, Says(b"b"))])
        before = self.addresses()
        self.ports.change([Offer("pop3", LOOPBACK, Says(b"c"))])
        await deferLater(reactor, 0.01)
        with self.assertRaises(ConnectionRefusedError):
            await self.said_at(before["lmtp"])
        self.assertEqual(await self.said_at(before["pop3"]), b"c")

    async def test_one_that_cannot_be_opened_leaves_everything_as_it_was(self) -> None:
        self.ports.change([Offer("pop3", LOOPBACK, Says(b"before"))])
        line = self.ports.ready_line()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            offers = [
                Offer("pop3", LOOPBACK, Says(b"after")),
                Offer("pop3", LOOPBACK, Says(b"more")),
                Offer("lmtp", endpoint, Says(b"x")),
            ]
            with self.assertRaises(CannotListen) as raised:
                self.ports.change(offers)
        self.assertEqual(str(raised.exception), f"{endpoint}: Address already in use")
        self.assertEqual(self.ports.ready_line(), line)
        self.assertEqual(await self.said_at(self.addresses()["pop3"]), b"before")

    def test_sockets_that_systemd_has_not_handed_over(self) -> None:
        for endpoint in ("systemd:INET6:index=0", "systemd:INET:name=pop3"):
            with self.assertRaises(CannotListen):
                self.ports.change([Offer("pop3", endpoint, Says(b"x"))])

    def test_a_directory_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(CannotListen, "unix:none/pop.sock: No such file or directory"):
            self.ports.change([Offer("pop3", "unix:none/pop.sock", Says(b"x"))])
