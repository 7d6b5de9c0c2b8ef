"""A stampede of wrong argon2 passwords, and what a bystander who is logged in notices of it: one JSON line.

The peer is the same bystander, before and after it, in the same run.
"""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time

from serving import serving

STAMPEDE = 200


def connect(port: int, source: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 60, source_address=(source, 0))
    client.recv(1000)
    return client


def ask(client: socket.socket, line: bytes) -> float:
    begun = time.perf_counter()
    client.sendall(line + b"\r\n")
    client.recv(1000)
    return time.perf_counter() - begun


def noops(client: socket.socket, until: threading.Event, least: int) -> list[float]:
    taken: list[float] = []
    while len(taken) < least or not until.is_set():
        taken.append(ask(client, b"NOOP"))
        time.sleep(0.002)
    return taken


def attack(port: int, number: int, gate: threading.Event, answers: list[bytes]) -> None:
    with connect(port, f"127.0.1.{number % 100 + 1}") as client:
        client.sendall(b"USER fred\r\n")
        client.recv(1000)
        gate.wait()
        client.sendall(b"PASS wrong-%d\r\n" % number)
        answers.append(client.recv(1000))


def main() -> None:
    with serving(["sqlite:accounts.db"], {}, ["fred", "bystander"]) as port:
        bystander = connect(port, "127.0.0.1")
        ask(bystander, b"USER bystander")
        ask(bystander, b"PASS secret")
        done = threading.Event()
        done.set()
        quiet = noops(bystander, done, 500)
        gate, over = threading.Event(), threading.Event()
        answers: list[bytes] = []
        threads = [threading.Thread(target=attack, args=(port, n, gate, answers)) for n in range(STAMPEDE)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        begun = time.perf_counter()
        gate.set()
        threading.Thread(target=lambda: [*(t.join() for t in threads), over.set()]).start()
        during = noops(bystander, over, 1)
        took = time.perf_counter() - begun
    print(
        json.dumps(
            {
                "bench": "stampede",
                "passwords": STAMPEDE,
                "refused": sum(answer.startswith(b"-ERR [AUTH]") for answer in answers),
                "busy": sum(answer.startswith(b"-ERR [SYS/TEMP]") for answer in answers),
                "seconds": round(took, 2),
                "noops": len(during),
                "noop_max_s": round(max(during), 4),
                "noop_median_s": round(statistics.median(during), 5),
                "quiet_median_s": round(statistics.median(quiet), 5),
                "median_ratio": round(statistics.median(during) / statistics.median(quiet), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
