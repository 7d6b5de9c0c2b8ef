"""Reads PAM's configuration, to tell beforehand what cannot work. See pam.d(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

HOST_DIRECTORIES = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))
SHADOW = Path("/etc/shadow")

_CONTINUED = re.compile(r"\\\n")
_ENTRY = re.compile(r"-?(\w+)\s+(\[[^\]]*\]|\S+)\s+(\S+)")
_INCLUDES = ("include", "substack")


class NotReadable(Exception):
    """A file of the configuration is not there, or cannot be read."""


def modules(kind: str, service: str, directories: Sequence[Path]) -> list[str]:
    """The modules that PAM calls for `kind`, "auth" or "account", in order. Blocks. Raises `NotReadable`."""
    return list(_modules(kind, service, directories, ()))


def _modules(kind: str, service: str, directories: Sequence[Path], within: tuple[str, ...]) -> Iterator[str]:
    if service in within:
        raise NotReadable(f"{service}: includes itself")
    for line in _CONTINUED.sub(" ", _text(service, directories)).splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 2 and words[0] == "@include":
            yield from _modules(kind, words[1], directories, (*within, service))
        elif (entry := _ENTRY.match(" ".join(words))) and entry[1] == kind:
            if entry[2] in _INCLUDES:
                yield from _modules(kind, entry[3], directories, (*within, service))
            else:
                yield Path(entry[3]).name


def _text(service: str, directories: Sequence[Path]) -> str:
    for directory in directories:
        try:
            return (directory / service).read_text("utf-8", "replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise NotReadable(f"{directory / service}: {error.strerror}") from None
    raise NotReadable(f"{directories[0] / service}: is not there, so PAM takes what it has for other services")


def problems(service: str, directories: Sequence[Path] = HOST_DIRECTORIES, shadow: Path = SHADOW) -> list[str]:
    """What keeps the present user from checking passwords of others by this service, for the administrator. Blocks."""
    wrong = []
    try:
        for kind in ("auth", "account"):
            called = modules(kind, service, directories)
            if not called:
                wrong.append(f"{service}: has no {kind} line, so PAM takes what it has for other services")
            if kind == "auth" and "pam_unix.so" in called and not os.access(shadow, os.R_OK, effective_ids=True):
                wrong.append(
                    f"{service}: pam_unix cannot check the passwords of others, since this user cannot read {shadow}"
                )
    except NotReadable as error:
        wrong.append(str(error))
    return wrong
