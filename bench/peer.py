"""What the benchmarks of whole servers share: a POP3 client that costs little, and what a server's processes cost."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Client:
    """Says a line, takes a reply, counts its octets."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray(1 << 20)
        self._line()

    def say(self, line: bytes, long: bool = False) -> bytes:
        """The reply to a command; of a long one the end."""
        self._connection.sendall(line + b"\r\n")
        reply = self._line(b"\r\n.\r\n" if long else b"\r\n")
        if long and reply.startswith(b"-ERR"):
            raise RuntimeError(reply)
        return reply

    def _line(self, end: bytes = b"\r\n") -> bytes:
        tail = b""
        while not tail.endswith(end):
            count = self._connection.recv_into(self._buffer)
            if not count:
                raise RuntimeError("the server has closed the connection")
            tail = (tail + self._buffer[max(0, count - 200) : count])[-200:]
            if tail.startswith(b"-ERR"):
                raise RuntimeError(tail)
        return tail

    def close(self) -> None:
        self._connection.close()


def connect(port: int) -> Client:
    return Client(socket.create_connection(("127.0.0.1", port), timeout=600))


def processor_seconds(pid: int) -> float:
    """What a process, its threads and its living descendants have used so far."""
    used = (int((task / "schedstat").read_text().split()[0]) for each in processes(pid) for task in tasks(each))
    return sum(used) / 1e9


def processes(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for process in found:
        for task in tasks(process):
            found += map(int, (task / "children").read_text().split())
    return found


def tasks(pid: int) -> Iterator[Path]:
    """What the kernel tells of each thread of a process."""
    return (Path("/proc") / str(pid) / "task").iterdir()


def cost(pid: int, port: int, user: str, commands: tuple[tuple[bytes, bool], ...]) -> float:
    """Processor seconds of one session: USER, PASS, these commands, QUIT."""
    before = processor_seconds(pid)
    client = connect(port)
    client.say(b"USER " + user.encode())
    client.say(b"PASS secret")
    for line, long in commands:
        client.say(line, long)
    client.say(b"QUIT")
    client.close()
    time.sleep(0.1)
    return processor_seconds(pid) - before
