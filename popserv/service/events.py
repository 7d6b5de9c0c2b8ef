"""What sessions did, in the log: one line for each login, refused or not, and one at the end of each session.

The line of a refused login has a fixed form, for programs such as fail2ban: it begins ``login refused: peer=ADDRESS``.
Whatever comes from outside is escaped, so that a line is always one line and no value looks like another field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from popserv.interfaces import ISessionObserver

VALUE_CHARACTERS = 255
LINE_CHARACTERS = 1024

_AS_IT_IS = re.compile(rf"[!#-\[\]-~]{{1,{VALUE_CHARACTERS - 3}}}")


def escape(value: Any) -> str:
    """`value` as printable ASCII without spaces, at most `VALUE_CHARACTERS` of it; ``-`` if it is empty."""
    text = str(value)
    if _AS_IT_IS.fullmatch(text):
        return text
    escaped = ""
    for character in text:
        step = _escape_character(character)
        if len(escaped) + len(step) > VALUE_CHARACTERS - 3:
            return f"{escaped}..."
        escaped += step
    return escaped or "-"


def _escape_character(character: str) -> str:
    if "!" <= character <= "~" and character not in '\\"':
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def line(facts: Mapping[str, Any]) -> str:
    """``name=value`` for each fact, at most `LINE_CHARACTERS` in all."""
    return " ".join(f"{name}={escape(value)}" for name, value in facts.items())[:LINE_CHARACTERS]


@implementer(ISessionObserver)
class SessionLog:
    """Writes to Twisted's log. The facts stand beside the text, as the event's `facts`, for other observers."""

    log = Logger()

    def event(self, name: str, **facts: Any) -> None:
        if name == "closed":
            self.log.info("{line}", line=line(_session(facts)), facts=facts)
        elif name == "login":
            self.log.info("login: {line}", line=line(_login(facts)), facts=facts)
        elif name == "refused":
            self.log.warn("login refused: {line}", line=line(_refusal(facts)), facts=facts)
        elif name == "failed":
            self.log.info("login failed: {line}", line=line(_refusal(facts)), facts=facts)
        elif name == "delivered":
            self.log.info("delivered: {line}", line=line(facts), facts=facts)


def _session(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """`facts` in their order: counts with octets as ``12/48213``, seconds as ``dur=0.8s``."""
    shown: dict[str, Any] = {}
    for name, value in facts.items():
        if name == "seconds":
            shown["dur"] = f"{value:.1f}s"
        elif isinstance(value, tuple):
            shown[name] = "/".join(map(str, value))
        else:
            shown[name] = value.replace(" ", "-") if name == "why" else value
    return shown


def _login(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    known = {name: facts.get(name, "") for name in ("peer", "session", "user", "mech", "tls", "checker")}
    return {**known, **{name: facts[name] for name in ("by", "trace") if name in facts}}


def _refusal(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: facts.get(name, "") for name in ("peer", "session", "user", "mech", "tls", "reason", "checker")}
