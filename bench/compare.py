"""popserv as it comes and Dovecot tuned as far as it goes, in turn, on the same Maildirs: what a session costs each.

Needs root, for Dovecot. Prints one JSON line for each metric.

    python bench/compare.py [METRIC…] [--rounds 5] [--sessions 400] [--quick] [--directory PATH]
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import arena
import attrs

USERS = 40
"""Ten times as many as sessions at a time: one that is held up for a moment must not have its maildrop asked for."""
LARGE = 200_000_000


@attrs.frozen
class Metric:
    """What is compared, and how many times better popserv has to be."""

    name: str
    unit: str
    goal: float
    measure: Callable[[Bench, arena.Server], float]
    fresh: bool = False
    """Each time of a server that has just been started: what one has once had, it does not give back."""


@attrs.define
class Bench:
    """What measurements need."""

    directory: Path
    program: Path
    sessions: int
    digests: dict[str, str] = attrs.field(factory=dict)
    facts: dict[str, Any] = attrs.field(factory=dict)

    def run(self, server: arena.Server, mode: str, tls: str = "none", **more: Any) -> dict[str, Any]:
        """Raises `RuntimeError` if a server has sent something wrong, or another message than the other one."""
        told = arena.load(self.program, server, mode, tls, seconds=600, **more)
        if told["messages"]:
            key = f"{more.get('user', '')} {more.get('retr')}"
            if self.digests.setdefault(key, told["digest"]) != told["digest"]:
                raise RuntimeError(f"{server.name} sends other messages than the other server")
        self.facts[f"{server.name}_resumed"] = told["resumed"]
        return told


def cpu(bench: Bench, server: arena.Server, mode: str, tls: str, **more: Any) -> tuple[float, dict[str, Any]]:
    before = server.cpu()
    told = bench.run(server, mode, tls, **more)
    # The end of the last sessions is a part of their cost.
    time.sleep(0.1)
    return server.cpu() - before, told


def session(mode: str, tls: str) -> Callable[[Bench, arena.Server], float]:
    """CPU ms of one session: PASS, STAT, UIDL, five messages of 10 kB, QUIT."""

    def measure(bench: Bench, server: arena.Server) -> float:
        seconds, _ = cpu(bench, server, mode, tls, users=USERS, sessions=bench.sessions, concurrency=4, retr=5)
        return seconds / bench.sessions * 1000

    return measure


def large(tls: str) -> Callable[[Bench, arena.Server], float]:
    """CPU seconds for a GB, sent as one message of 200 MB."""

    def measure(bench: Bench, server: arena.Server) -> float:
        seconds, told = cpu(bench, server, "session", tls, user="large%d", sessions=1, retr=1)
        return seconds / (int(told["octets"]) / 1e9)

    return measure


def memory(tls: str) -> Callable[[Bench, arena.Server], float]:
    """kB that one more session costs that is logged in and says nothing."""

    def measure(bench: Bench, server: arena.Server) -> float:
        count = USERS_IDLE - 20
        with arena.idle(bench.program, server, 20, tls, users=USERS_IDLE, user="idle%d"):
            before = server.memory()
        with arena.idle(bench.program, server, 20 + count, tls, users=USERS_IDLE, user="idle%d"):
            return (server.memory() - before) / count / 1000

    return measure


USERS_IDLE = 320

METRICS = [
    Metric("plain", "CPU ms/session", 4, session("session", "none")),
    Metric("pipelined", "CPU ms/session", 5, session("pipelined", "none")),
    Metric("tls", "CPU ms/session", 3, session("session", "full")),
    Metric("tls-resumed", "CPU ms/session", 4, session("session", "resume")),
    Metric("retr", "CPU s/GB", 4, large("none")),
    Metric("retr-tls", "CPU s/GB", 3, large("full")),
    Metric("memory", "kB/session", 25, memory("none"), fresh=True),
    Metric("memory-tls", "kB/session", 5, memory("full"), fresh=True),
]


STARTS = {"popserv": arena.popserv, "dovecot": arena.tuned_dovecot}


def compared(bench: Bench, metric: Metric, rounds: int) -> dict[str, Any]:
    """Both in turn, each as often before the other as behind it."""
    found: dict[str, list[float]] = {name: [] for name in STARTS}
    with ExitStack() as running:
        servers = {}
        if not metric.fresh:
            servers = {name: running.enter_context(start(bench.directory)) for name, start in STARTS.items()}
            for server in servers.values():
                metric.measure(bench, server)
        for number in range(rounds):
            for name in STARTS if number % 2 else reversed(STARTS):
                with nullcontext(servers[name]) if servers else STARTS[name](bench.directory) as server:
                    found[name].append(metric.measure(bench, server))
    ours, theirs = (median(found[name]) for name in STARTS)
    return {
        "metric": metric.name,
        "unit": metric.unit,
        "popserv": round(ours, 4),
        "dovecot": round(theirs, 4),
        "ratio": round(theirs / ours, 2),
        "goal": metric.goal,
        "popserv_spread": [round(min(found["popserv"]), 4), round(max(found["popserv"]), 4)],
        "dovecot_spread": [round(min(found["dovecot"]), 4), round(max(found["dovecot"]), 4)],
        "rounds": rounds,
        **bench.facts,
    }


@contextmanager
def place(where: str | None) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(dir=where)).resolve()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def machine() -> dict[str, Any]:
    found = subprocess.run(["/usr/sbin/dovecot", "--version"], capture_output=True, text=True)
    import twisted

    return {
        "python": platform.python_version(),
        "twisted": twisted.__version__,
        "dovecot_version": found.stdout.split()[0],
        "kernel": platform.release(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("metrics", nargs="*", help=", ".join(metric.name for metric in METRICS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=400, help="of one measurement")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--directory", help="where there is room for the Maildirs")
    arguments = parser.parse_args()
    known = {metric.name: metric for metric in METRICS}
    if unknown := set(arguments.metrics) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    if not arena.dovecot.is_there():
        sys.exit("this needs Debian's dovecot-pop3d")
    rounds, sessions = (2, 100) if arguments.quick else (arguments.rounds, arguments.sessions)
    chosen = [known[name] for name in arguments.metrics or known]
    arena.many_files()
    with place(arguments.directory) as directory:
        arena.lay_out(directory, USERS, large=LARGE if any("retr" in metric.name for metric in chosen) else 0)
        if any("memory" in metric.name for metric in chosen):
            for user in range(USERS_IDLE):
                arena.fill(directory / "mail" / f"idle{user}", [arena.message(user, 1000)])
        arena.certificate(directory)
        program = arena.compiled(directory)
        # A directory that was changed a moment ago is read again by everybody.
        time.sleep(3)
        for metric in chosen:
            bench = Bench(directory, program, sessions)
            print(json.dumps(compared(bench, metric, rounds) | machine()), flush=True)


if __name__ == "__main__":
    main()
