"""What a crowd of clients has done to one maildrop, and what each of them may see of it."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import attrs


def write(token: str, choose: random.Random) -> bytes:
    """A message, CRLF, that says of itself what it has to be."""
    lines = [b"." * choose.randrange(4) + b"line %d" % number for number in range(choose.randrange(1, 200))]
    if choose.random() < 0.1:
        lines += [b"From the middle of it", b".", *(b"x" * 1900 for _ in range(choose.randrange(100)))]
    body = b"\r\n".join(lines) + b"\r\n"
    return b"Subject: %b\r\nX-Sum: %b\r\n\r\n%b" % (token.encode(), hashlib.sha256(body).hexdigest().encode(), body)


def read(message: bytes) -> str:
    """The token of a message that is whole. Raises `AssertionError`."""
    head, _, body = message.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n") if line.startswith((b"Subject: ", b"X-Sum: ")))
    assert fields[b"X-Sum"] == hashlib.sha256(body).hexdigest().encode(), "torn"
    return fields[b"Subject"].decode()


@attrs.define
class Ledger:
    """Who did what, from all threads. Everything that is wrong raises `AssertionError`."""

    stored: set[str] = attrs.Factory(set)
    """Delivery has been confirmed."""
    going: set[str] = attrs.Factory(set)
    """Somebody has asked for their removal."""
    gone: set[str] = attrs.Factory(set)
    """Removal has been confirmed."""
    ids: dict[str, str] = attrs.Factory(dict)
    """Unique-ids by token."""
    done: Counter[str] = attrs.Factory(Counter)
    _tokens: dict[str, str] = attrs.Factory(dict)
    _inside: int = 0
    _lock: Lock = attrs.Factory(Lock)

    def count(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1

    def store(self, token: str) -> None:
        with self._lock:
            self.stored.add(token)
            self.done["delivered"] += 1

    @contextmanager
    def session(self) -> Iterator[None]:
        """From behind the login to before QUIT."""
        with self._lock:
            self._inside += 1
            assert self._inside == 1, "two sessions at once"
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1

    def before(self) -> tuple[set[str], set[str]]:
        """To be asked before a login: what has been stored, and what is gone."""
        with self._lock:
            return set(self.stored), set(self.gone)

    def see(self, seen: dict[str, str], before: tuple[set[str], set[str]]) -> None:
        """A session has these unique-ids by token; a token is None while nobody has read that message."""
        stored, gone = before
        with self._lock:
            for unique_id, token in seen.items():
                assert self.ids.setdefault(token, unique_id) == unique_id, "another unique-id than before"
                assert self._tokens.setdefault(unique_id, token) == token, "a unique-id twice"
            there = set(seen.values())
            assert len(there) == len(seen), "a message twice"
            assert not there & gone, "what was removed has come back"
            lost = stored - self.going - there
            assert not lost, f"lost: {len(lost)}"

    def token(self, unique_id: str) -> str | None:
        """What the message of this unique-id is, if somebody has read it."""
        with self._lock:
            return self._tokens.get(unique_id)

    def ask(self, tokens: set[str]) -> None:
        """These are about to be removed."""
        with self._lock:
            self.going |= tokens

    def confirm(self, tokens: set[str]) -> None:
        """They have been."""
        with self._lock:
            self.gone |= tokens
            self.done["removed"] += len(tokens)
