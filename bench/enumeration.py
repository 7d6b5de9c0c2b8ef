"""Whether the time of an answer tells who has an account: one JSON line, ratios of medians over alternating tries.

No delay, no throttle: what is measured is the check itself. Each kind of refusal is compared with a wrong password, in
one database after another, then in several at once with several kinds of stored passwords; and the challenge of SCRAM,
which is the first answer to a name, with that for an account of the first database.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Mapping

from serving import serving

TRIES = 200
SCHEMES = ("ARGON2ID", "SHA512-CRYPT", "PLAIN")
ALONE = {"wrong password": "fred", "unknown": "nobody", "disabled": "barred"}
TOGETHER = {
    "wrong password": "fred",
    "other scheme": "anne",
    "third scheme": "carl",
    "disabled": "barred",
    "second database": "dave",
    "unknown": "nobody",
    "unknown too": "someone",
}
CHALLENGED = {"first database": "carl", "second database": "dave", "unknown": "nobody", "unknown too": "someone"}


def refusal(port: int, name: str) -> float:
    """Seconds to the refusal of a wrong password."""
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.recv(1000)
        client.sendall(b"USER %b\r\n" % name.encode())
        client.recv(1000)
        begun = time.perf_counter()
        client.sendall(b"PASS wrong\r\n")
        answer = client.recv(1000)
        took = time.perf_counter() - begun
    assert answer.startswith(b"-ERR [AUTH]"), answer
    return took


def challenge(port: int, name: str) -> float:
    """Seconds to the challenge of SCRAM-SHA-256."""
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.recv(1000)
        first = b64encode(b"n,,n=%b,r=rOprNGfwEbeRWgbNEkqO" % name.encode())
        begun = time.perf_counter()
        client.sendall(b"AUTH SCRAM-SHA-256 %b\r\n" % first)
        answer = client.recv(1000)
        took = time.perf_counter() - begun
    assert answer.startswith(b"+ "), answer
    return took


def measure(port: int, tries: int, names: Mapping[str, str], ask: Callable[[int, str], float]) -> dict[str, float]:
    taken: dict[str, list[float]] = {kind: [] for kind in names}
    for _ in range(tries):
        for kind, name in names.items():
            taken[kind].append(ask(port, name))
    medians = {kind: statistics.median(times) for kind, times in taken.items()}
    first = next(iter(medians.values()))
    return {**{kind: round(median / first, 3) for kind, median in medians.items()}, "median_ms": round(1000 * first, 2)}


def lines(users: Mapping[str, tuple[str, str]]) -> str:
    """A passwd-file of the stored password and the extra fields by name."""
    return "".join(f"{name}:{stored}{extra}\n" for name, (stored, extra) in users.items())


def main(tries: int) -> None:
    from popserv.auth.passwords import hash_password

    stored = {scheme: hash_password(b"secret", scheme) for scheme in SCHEMES}
    barred = "::::::nologin=y"
    results = {}
    for scheme, value in stored.items():
        users = lines({"fred": (value, ""), "barred": (value, barred)})
        with serving(["passwd-file:users"], {"users": users}) as port:
            results[scheme] = measure(port, tries, ALONE, refusal)
    argon, crypt, plain = stored.values()
    users = lines({"fred": (argon, ""), "anne": (crypt, ""), "carl": (plain, ""), "barred": (crypt, barred)})
    with serving(["passwd-file:users", "sqlite:accounts.db"], {"users": users}, ["dave"]) as port:
        results["together"] = measure(port, tries, TOGETHER, refusal)
        results["challenges"] = measure(port, tries, CHALLENGED, challenge)
    print(json.dumps({"bench": "enumeration", "tries": tries, "ratios to the first": results}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TRIES)
