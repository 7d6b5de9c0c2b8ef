"""A maildrop made anew before each fault, and what is done with it in processes that are killed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from twisted.python.failure import Failure

from popserv.auth.account import Account
from popserv.interfaces import IAccount

FRED = Account("fred")
NEW = b"Subject: five\r\n\r\nFrom here on\r\n" + b"text\r\n" * 30_000


def now(deferred: Any) -> Any:
    """What a Deferred that has fired gives, or raises."""
    results: list[object] = []
    deferred.addBoth(results.append)
    [result] = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


class Mail:
    """Fred's mail under `root`, copied from a template."""

    account: IAccount = FRED

    def __init__(self, directory: Path) -> None:
        self.root = directory / "mail"
        self.template = directory / "template"
        self.template.mkdir()

    def store(self) -> Any:
        """As after a start of the service."""
        raise NotImplementedError

    def put(self) -> None:
        """Another program delivers one message."""
        raise NotImplementedError

    def keep(self) -> None:
        """From now on this is what there is before each fault."""
        shutil.rmtree(self.template)
        shutil.copytree(self.root, self.template, symlinks=True)

    def reset(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root, symlinks=True)

    def contents(self) -> dict[bytes, bytes]:
        """What a new session sees."""
        maildrop = now(self.store().open(self.account))
        seen = {}
        for index in range(maildrop.count):
            reader = maildrop.message(index).open()
            octets = b""
            while chunk := now(reader.read(1 << 17)):
                octets += chunk
            reader.close()
            assert len(octets) == maildrop.octets[index]
            seen[maildrop.uidl(index)] = octets
        assert len(seen) == maildrop.count
        now(maildrop.close())
        return seen

    def open_and_close(self) -> str:
        try:
            now(now(self.store().open(self.account)).close())
        except Exception:
            return "not opened"
        return "opened"

    def deliver(self) -> str:
        try:
            incoming = now(self.store().begin(FRED))
            try:
                now(incoming.write(NEW))
                now(incoming.commit())
            except Exception:
                now(incoming.abort())
                raise
        except Exception:
            return "refused"
        return "stored"

    def update(self) -> str:
        """A session in which new mail comes and two of four messages are removed."""
        try:
            maildrop = now(self.store().open(self.account))
        except Exception:
            return "not opened"
        self.put()
        left = now(maildrop.commit({0, 1}))
        now(maildrop.close())
        return "removed" if left == 0 else "not removed"
