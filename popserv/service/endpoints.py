"""Where a listener listens: Twisted's endpoint strings of the kinds that make sense here.

``tcp:`` is IPv4, ``tcp6:`` without an interface is dual stack, ``unix:`` a path, ``systemd:`` an inherited socket. TLS
and PROXY are keys of the configuration and no prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Literal, cast

import attrs

from popserv.service.structure import did_you_mean

Kind = Literal["tcp", "tcp6", "unix", "systemd"]

BACKLOG = 1024
"""Connections that the kernel keeps for us to accept."""

SOCKET_MODE = 0o660
"""Of a unix socket: whoever may connect may deliver."""

_FIRST: Mapping[Kind, str] = {"tcp": "port", "tcp6": "port", "unix": "address", "systemd": "domain"}
_KNOWN: Mapping[Kind, frozenset[str]] = {
    "tcp": frozenset({"port", "interface", "backlog"}),
    "tcp6": frozenset({"port", "interface", "backlog"}),
    "unix": frozenset({"address", "mode", "lockfile", "backlog"}),
    "systemd": frozenset({"domain", "index", "name"}),
}
_INSTEAD = {
    "ssl": 'TLS is a key, no endpoint prefix: write endpoint = "tcp:…" and tls = "implicit"',
    "tls": 'TLS is a key, no endpoint prefix: write endpoint = "tcp:…" and tls = "implicit"',
    "haproxy": 'PROXY is a key, no endpoint prefix: write endpoint = "tcp:…" and proxy = ["NETWORK"]',
}


@attrs.frozen
class Endpoint:
    """A parsed endpoint string."""

    kind: Kind
    port: int = 0
    """tcp and tcp6; 0 = any free one."""
    interface: str = ""
    """tcp and tcp6: a numeric address, "" = all."""
    path: str = ""
    """unix: as written, perhaps relative to the configuration file."""
    mode: int = SOCKET_MODE
    """unix."""
    lockfile: bool = True
    """unix: keep ``path.lock`` beside it, so that a socket left behind by a crash can be replaced."""
    backlog: int = BACKLOG
    index: int = 0
    """systemd: which of the sockets, from 0."""
    name: str = ""
    """systemd: its ``FileDescriptorName=``; goes before `index`."""
    domain: str = ""
    """systemd: INET, INET6 or UNIX."""

    @property
    def any_port(self) -> bool:
        """Whether each use of it is an address of its own."""
        return self.kind in ("tcp", "tcp6") and self.port == 0

    @property
    def local(self) -> bool:
        """Whether only programs of this host can reach it, as far as the string tells."""
        if self.kind in ("unix", "systemd"):
            return True
        return bool(self.interface) and ip_address(self.interface).is_loopback


def parse(text: str) -> Endpoint:
    """The endpoint that `text` describes. Raises `ValueError` with what to write instead."""
    prefix, *words = _split(text)
    if prefix in _INSTEAD:
        raise ValueError(_INSTEAD[prefix])
    if prefix not in _KNOWN:
        raise ValueError(f"must begin with tcp:, tcp6:, unix: or systemd:{did_you_mean(prefix, list(_KNOWN))}")
    kind = cast(Kind, prefix)
    settings = _settings(kind, words)
    if kind == "unix":
        return _unix(settings)
    if kind == "systemd":
        return _systemd(settings)
    port, backlog = _number(settings, "port", 65535), _number(settings, "backlog", 65535, BACKLOG)
    return Endpoint(kind, port=port, interface=_interface(kind, settings), backlog=backlog)


def _split(text: str) -> list[str]:
    """The words between colons; a backslash makes a colon part of its word."""
    return [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|[^:\\])+|(?<=:)(?=:|$)", text)] or [""]


def _settings(kind: Kind, words: list[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if number == 0 and not (equals and name in _KNOWN[kind]):
            name, value = _FIRST[kind], word
        elif not equals or name not in _KNOWN[kind]:
            known = ", ".join(f"{name}=" for name in sorted(_KNOWN[kind]))
            raise ValueError(f"{kind}: takes {known} here; a colon inside a value is written \\:")
        settings[name] = value
    if not settings.get(_FIRST[kind]):
        raise ValueError(f"{kind}: needs its {_FIRST[kind]}, as in {_EXAMPLES[kind]}")
    return settings


_EXAMPLES: Mapping[Kind, str] = {
    "tcp": "tcp:110:interface=127.0.0.1",
    "tcp6": "tcp6:110",
    "unix": "unix:/run/popserv/lmtp",
    "systemd": "systemd:INET6:index=0",
}


def _unix(settings: Mapping[str, str]) -> Endpoint:
    mode = settings.get("mode", f"{SOCKET_MODE:o}")
    if not re.fullmatch(r"[0-7]{3,4}", mode):
        raise ValueError("mode must be octal, as in mode=660")
    lockfile = bool(_number(settings, "lockfile", 1, 1))
    backlog = _number(settings, "backlog", 65535, BACKLOG)
    return Endpoint("unix", path=settings["address"], mode=int(mode, 8), lockfile=lockfile, backlog=backlog)


def _systemd(settings: Mapping[str, str]) -> Endpoint:
    if settings["domain"] not in ("INET", "INET6", "UNIX"):
        raise ValueError("systemd: the domain must be INET, INET6 or UNIX")
    index = _number(settings, "index", 65535, 0)
    return Endpoint("systemd", index=index, name=settings.get("name", ""), domain=settings["domain"])


def _number(settings: Mapping[str, str], name: str, most: int, default: int | None = None) -> int:
    text = settings.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch("[0-9]{1,5}", text) or int(text) > most:
        raise ValueError(f"{name} must be a number from 0 to {most}")
    return int(text)


def _interface(kind: Kind, settings: Mapping[str, str]) -> str:
    interface = settings.get("interface", "")
    if not interface:
        return ""
    try:
        version = ip_address(interface).version
    except ValueError:
        raise ValueError("interface must be a numeric address; write the colons of IPv6 as \\:") from None
    if version != (6 if kind == "tcp6" else 4):
        raise ValueError(f"interface is an IPv{version} address: write {'tcp6' if version == 6 else 'tcp'}:")
    return interface
