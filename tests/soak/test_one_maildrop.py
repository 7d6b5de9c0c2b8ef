"""Readers, deleters, deliverers and a mover on one maildrop, served by two processes."""

from __future__ import annotations

import os
import poplib
import random
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import pytest

from .ledger import Ledger, read, write

SECONDS = float(os.environ.get("POPSERV_SOAK_SECONDS", "4"))

CONFIGURATION = """\
[server]
hostname = "localhost"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
tls = "off"
[[listen]]
protocol = "lmtp"
endpoint = "tcp:0:interface=127.0.0.1"
[auth]
checkers = ["passwd-file:users"]
cleartext = "loopback"
[maildrop]
location = "{location}"
"""


@contextmanager
def serving(config: Path) -> Iterator[tuple[int, int]]:
    """The ports for POP3 and LMTP of one more process."""
    command = [sys.executable, "-m", "popserv", "run", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            ready = server.stdout.readline().split()
            ports = dict(word.split("=127.0.0.1:") for word in ready if "=" in word)
            yield int(ports["pop3"]), int(ports["lmtp"])
        finally:
            server.terminate()
            server.wait(60)


@attrs.frozen
class Crowd:
    """What each of the threads does, again and again, until it is over or something is wrong."""

    ledger: Ledger
    maildir: Path
    over: threading.Event = attrs.Factory(threading.Event)
    wrong: list[BaseException] = attrs.Factory(list)

    def start(self, act: Callable[[random.Random], None], seed: int, pause: float) -> threading.Thread:
        def repeat() -> None:
            choose = random.Random(seed)
            try:
                while not self.over.wait(choose.random() * pause):
                    act(choose)
            except BaseException as error:
                self.wrong.append(error)
                self.over.set()

        thread = threading.Thread(target=repeat)
        thread.start()
        return thread

    def visitor(self, port: int, remove: bool) -> Callable[[random.Random], None]:
        def visit(choose: random.Random) -> None:
            before = self.ledger.before()
            pop = poplib.POP3("127.0.0.1", port, timeout=60)
            try:
                pop.user("fred")
                try:
                    pop.pass_("secret")
                except poplib.error_proto as refusal:
                    assert b"[IN-USE]" in refusal.args[0], refusal
                    self.ledger.count("in use")
                    return
                with self.ledger.session():
                    marked = self.look(pop, choose, before, remove)
                    stays = choose.random() < 0.2
                    if not stays:
                        self.ledger.ask(marked)
                if stays:
                    self.ledger.count("left without QUIT")
                    return
                pop.quit()
                self.ledger.confirm(marked)
                self.ledger.count("sessions")
            finally:
                pop.close()

        return visit

    def look(
        self, pop: poplib.POP3, choose: random.Random, before: tuple[set[str], set[str]], remove: bool
    ) -> set[str]:
        """One session: the tokens of the messages that it has marked."""
        ids = [line.decode().split()[1] for line in pop.uidl()[1]]
        sizes = [int(line.split()[1]) for line in pop.list()[1]]
        assert pop.stat() == (len(sizes), sum(sizes))
        seen: dict[str, str] = {}
        for number in choose.sample(range(1, len(ids) + 1), len(ids)):
            unique_id = ids[number - 1]
            token = self.ledger.token(unique_id)
            if token is None or choose.random() < 0.2:
                lines = pop.retr(number)[1]
                message = b"".join(line + b"\r\n" for line in lines)
                assert len(message) == sizes[number - 1], "another size than LIST says"
                token = read(message)
            seen[unique_id] = token
        assert [line.decode().split()[1] for line in pop.uidl()[1]] == ids, "numbers have changed"
        self.ledger.see(seen, before)
        marked = choose.sample(ids, len(ids) // 2) if remove and len(ids) > 10 else []
        for unique_id in marked:
            pop.dele(ids.index(unique_id) + 1)
        return {seen[unique_id] for unique_id in marked}

    def by_lmtp(self, port: int) -> Callable[[random.Random], None]:
        def deliver(choose: random.Random) -> None:
            token = f"{choose.getrandbits(64):x}"
            with smtplib.LMTP("127.0.0.1", port, timeout=60) as lmtp:
                lmtp.sendmail("joe@localhost", ["fred@localhost"], write(token, choose))
            self.ledger.store(token)

        return deliver

    def by_hand(self, choose: random.Random) -> None:
        """As an MTA does that knows Maildirs itself."""
        token = f"{choose.getrandbits(64):x}"
        name = f"{time.time():.6f}".replace(".", ".M") + f"P{os.getpid()}_{token}.mta"
        draft = self.maildir / "tmp" / name
        draft.write_bytes(write(token, choose).replace(b"\r\n", b"\n"))
        draft.rename(self.maildir / "new" / name)
        self.ledger.store(token)

    def move(self, choose: random.Random) -> None:
        """As a mail reader does: from new to cur, and other flags in cur."""
        for part in ("new", "cur"):
            names = os.listdir(self.maildir / part)
            for name in choose.sample(names, min(3, len(names))):
                flags = "".join(sorted(choose.sample("FRST", 2)))
                with suppress(FileNotFoundError):
                    os.rename(self.maildir / part / name, self.maildir / "cur" / f"{name.partition(':')[0]}:2,{flags}")
                    self.ledger.count("moved")


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_nothing_is_lost_torn_or_seen_twice_and_nobody_meets_another(kind: str, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("fred:{PLAIN}secret\n")
    config = tmp_path / "popserv.toml"
    config.write_text(CONFIGURATION.format(location=f"{kind}:mail/{{user}}"))
    maildir = tmp_path / "mail" / "fred"
    if kind == "maildir":
        for part in ("tmp", "new", "cur"):
            (maildir / part).mkdir(parents=True)
    else:
        (tmp_path / "mail").mkdir()
    crowd = Crowd(Ledger(), maildir)
    with serving(config) as first, serving(config) as second:
        acts: list[tuple[Callable[[random.Random], None], float]] = []
        for pop3, lmtp in (first, second):
            acts += [(crowd.visitor(pop3, remove), 0.1) for remove in (True, False, True)]
            acts.append((crowd.by_lmtp(lmtp), 0.1))
        if kind == "maildir":
            acts += [(crowd.by_hand, 0.1), (crowd.move, 0.02)]
        threads = [crowd.start(act, seed, pause) for seed, (act, pause) in enumerate(acts)]
        crowd.over.wait(SECONDS)
        crowd.over.set()
        for thread in threads:
            thread.join()
        for error in crowd.wrong:
            raise error
        # Whoever left without a word may be inside for a moment.
        sessions = crowd.ledger.done["sessions"]
        end = time.monotonic() + 30
        choose = random.Random(1)
        while crowd.ledger.done["sessions"] == sessions and time.monotonic() < end:
            crowd.visitor(first[0], remove=False)(choose)
    done = crowd.ledger.done
    print(kind, dict(done))
    assert done["sessions"] > sessions > 0
    assert done["removed"] > 0
    assert done["delivered"] > done["removed"]
