"""Where mail of other servers is imported from: "maildir:", "dovecot:", "courier:" and "mbox:", before a path."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import attrs

from popserv.errors import StoreBroken
from popserv.interfaces import IAccount
from popserv.maildrop.foreign import ForeignMail
from popserv.maildrop.foreign_maildir import ForeignMaildir
from popserv.maildrop.foreign_mbox import ForeignMbox
from popserv.maildrop.location import expand, template_errors
from popserv.maildrop.maildir_folder import Folder, folder_path
from popserv.maildrop.mbox_lines import Format
from popserv.maildrop.octet_source import pread_all
from popserv.maildrop.told import Told
from popserv.maildrop.told_lists import COURIER_LIST, DOVECOT_LIST, BrokenList, read_sizelist, read_uidlist
from popserv.maildrop.told_template import Template

Kind = Literal["maildir", "dovecot", "courier", "mbox"]

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@attrs.frozen
class Source:
    """A kind, and a path that may have placeholders."""

    path: str
    kind: Kind | None
    """None: what stands at the path decides."""
    form: Format
    """Of an mbox."""
    template: Template
    """Dovecot's ``pop3_uidl_format``."""

    @classmethod
    def parse(cls, text: str, form: Format, template: Template) -> Source:
        """From "KIND:PATH" or "PATH". Raises `ValueError`."""
        scheme, colon, rest = text.partition(":")
        kind = next((each for each in get_args(Kind) if colon and each == scheme), None)
        path = rest if kind else text
        if path and not path.startswith("{"):
            path = str(Path(path).absolute())
        if wrong := template_errors(path):
            raise ValueError(wrong[0])
        return cls(path, kind, form, template)

    def folders(self, account: IAccount) -> list[bytes]:
        """What this account has there beside the inbox, as Maildir++ names it. Blocks; raises `OSError`."""
        path = os.fsencode(expand(self.path, account))
        if not os.path.isdir(path):
            return []
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(b".") and _is_maildir(entry)]
        return sorted(names)

    def open(self, account: IAccount, folder: bytes = b"INBOX") -> ForeignMail:
        """What this account has there. Blocks; raises `FileNotFoundError`, any other `OSError`, and `StoreBroken`."""
        path = folder_path(os.fsencode(expand(self.path, account)), folder)
        kind = self.kind or _kind_of(path)
        if kind == "mbox":
            return ForeignMbox(path, self.form)
        if kind == "dovecot":
            return ForeignMaildir(path, partial(_told, DOVECOT_LIST, partial(read_uidlist, template=self.template)))
        if kind == "courier":
            return ForeignMaildir(path, partial(_told, COURIER_LIST, read_sizelist))
        return ForeignMaildir(path)


def _is_maildir(entry: os.DirEntry[bytes]) -> bool:
    return entry.is_dir(follow_symlinks=False) and os.path.isdir(os.path.join(entry.path, b"cur"))


def _kind_of(path: bytes) -> Kind:
    if not os.path.isdir(path):
        return "mbox"
    lists: tuple[tuple[str, Kind], ...] = ((DOVECOT_LIST, "dovecot"), (COURIER_LIST, "courier"))
    there = set(os.listdir(path))
    return next((kind for name, kind in lists if os.fsencode(name) in there), "maildir")


def _told(name: str, read: Callable[[bytes], list[Told]], folder: Folder) -> Mapping[bytes, bytes]:
    """The unique-ids in the list of this name, by names of files. Raises `StoreBroken`: without it they were lost."""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder.maildir)
    except FileNotFoundError:
        raise StoreBroken(f"there is no {name}") from None
    try:
        content = pread_all(descriptor, os.fstat(descriptor).st_size, 0)
        return {told.name: told.unique_id for told in read(content)}
    except BrokenList as error:
        raise StoreBroken(f"{name}: {error}") from None
    finally:
        os.close(descriptor)
