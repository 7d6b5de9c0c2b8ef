"""Find the configuration, read it, and say everything that is wrong with it at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from popserv.service import names
from popserv.service.endpoints import parse
from popserv.service.schema import Config, Listen, Tls
from popserv.service.structure import Problems, structure

ENVIRONMENT = "POPSERV_CONFIG"
PLACES = ("popserv.toml", "/etc/popserv/popserv.toml")
"""Where the file is looked for when neither an option nor the environment names it."""


class ConfigErrors(Exception):
    """The configuration cannot be used. `errors` are pairs of a key's path ("" for the whole file) and a message."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(self.lines))

    @property
    def lines(self) -> list[str]:
        """One line for each error."""
        return [f"{path}: {message}" if path else message for path, message in self.errors]


def find() -> Path:
    """The file that is used when no option names one. Raises `ConfigErrors` naming the places."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    for place in map(Path, PLACES):
        if place.is_file():
            return place
    raise ConfigErrors(
        [("", f"no configuration: ${ENVIRONMENT} is not set, and there is neither ./{PLACES[0]} nor {PLACES[1]}")]
    )


def load(path: Path | None = None, serving: bool = True) -> Config:
    """The configuration in `path`, or in the file that `find` finds. Raises `ConfigErrors`.

    `serving` is False for commands that open no listener: they do not care whether TLS is set up.
    """
    path = find() if path is None else path
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigErrors([("", f"{path}: {error.strerror}")]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigErrors([("", f"{path}: {error}")]) from None
    return from_table(table, path.absolute().parent, serving)


def from_table(table: Mapping[str, Any], base: Path, serving: bool = True) -> Config:
    """The configuration in a parsed file whose relative paths are relative to `base`. Raises `ConfigErrors`."""
    problems = Problems()
    config: Config = structure(Config, dict(table), "", problems, names.look_up)
    broken = {re.split(r"[.[]", path)[0] for path, _message in problems.found}
    if serving and not broken & {"listen", "tls"}:
        _check_certificate(config.tls, _check_listeners(config.listeners, problems), problems)
    if problems.found:
        raise ConfigErrors(problems.found)
    return attrs.evolve(config, base=base)


def _check_listeners(listeners: Sequence[Listen], problems: Problems) -> bool:
    """Whether one of them needs a certificate."""
    needs_tls = False
    endpoints = [listen.endpoint for listen in listeners]
    for index, listen in enumerate(listeners):
        if listen.endpoint in endpoints[:index] and not parse(listen.endpoint).any_port:
            problems.add(f"listen[{index}].endpoint", f"is that of listen[{endpoints.index(listen.endpoint)}], too")
        protocol = names.look_up("protocols", listen.protocol)
        mode = listen.tls or protocol.default_tls
        if mode not in protocol.tls_modes:
            able = ", ".join(protocol.tls_modes)
            problems.add(f"listen[{index}].tls", f"{listen.protocol} cannot do {mode}; it can do {able}")
        needs_tls = needs_tls or mode != "off"
    return needs_tls


def _check_certificate(tls: Tls, needed: bool, problems: Problems) -> None:
    if not isinstance(tls.certificate, str):
        if tls.key:
            problems.add("tls.key", "must not be set: tls.certificate is an array, and each of its tables has a key")
        if not tls.certificate:
            problems.add("tls.certificate", "must not be an empty array")
        return
    if bool(tls.certificate) != bool(tls.key):
        missing, there = ("key", "certificate") if tls.certificate else ("certificate", "key")
        problems.add(f"tls.{missing}", f"is missing, and tls.{there} is set")
    elif needed and not tls.certificate:
        message = (
            'is missing, and a listener needs it: write [tls] certificate = "fullchain.pem" and key = "key.pem"'
            ', or tls = "off" in each [[listen]]'
        )
        problems.add("tls.certificate", message)
