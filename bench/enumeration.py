"""Whether the time of a refusal tells who has an account: one JSON line, ratios of medians over alternating tries.

No delay, no throttle: what is measured is the check itself. Each kind of refusal is compared with a wrong password.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time

from serving import serving

TRIES = 200
NAMES = {"wrong password": b"fred", "unknown": b"nobody", "disabled": b"barred"}
USERS = "fred:{{{scheme}}}{value}\nbarred:{{{scheme}}}{value}::::::nologin=y\n"


def refusal(port: int, name: bytes) -> float:
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.recv(1000)
        client.sendall(b"USER %b\r\n" % name)
        client.recv(1000)
        begun = time.perf_counter()
        client.sendall(b"PASS wrong\r\n")
        answer = client.recv(1000)
        took = time.perf_counter() - begun
    assert answer.startswith(b"-ERR [AUTH]"), answer
    return took


def measure(port: int, tries: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {kind: [] for kind in NAMES}
    for _ in range(tries):
        for kind, name in NAMES.items():
            taken[kind].append(refusal(port, name))
    wrong = statistics.median(taken["wrong password"])
    ratios = {kind: round(statistics.median(times) / wrong, 3) for kind, times in taken.items()}
    return {**ratios, "median_ms": round(1000 * wrong, 2)}


def main(tries: int) -> None:
    from popserv.auth.passwords import hash_password

    results = {}
    for scheme in ("ARGON2ID", "SHA512-CRYPT", "PLAIN"):
        stored = hash_password(b"secret", scheme).removeprefix(f"{{{scheme}}}")
        with serving(["passwd-file:users"], {"users": USERS.format(scheme=scheme, value=stored)}) as port:
            results[scheme] = measure(port, tries)
    print(json.dumps({"bench": "enumeration", "tries": tries, "ratios to a wrong password": results}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TRIES)
