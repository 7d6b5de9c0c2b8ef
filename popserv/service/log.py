"""The log of ``popserv run``: one event a line, with the time, safe to look at in a terminal."""

from __future__ import annotations

from functools import lru_cache
from typing import TextIO

from twisted.logger import FileLogObserver, LogEvent, LogLevel, eventAsText, formatTime, globalLogBeginner


def log_to(stream: TextIO) -> None:
    """Write the log of the process to `stream`."""
    globalLogBeginner.beginLoggingTo([FileLogObserver(stream, log_line)], redirectStandardIO=False)


def log_line(event: LogEvent) -> str | None:
    """The event as text, or None for one without. Lines that follow the first one, of tracebacks, are indented."""
    if event["log_level"] < LogLevel.info:
        return None
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return None
    return f"{_time(int(event['log_time']))} " + "\n\t".join(map(_harmless, text.splitlines())) + "\n"


@lru_cache(maxsize=4)
def _time(second: int) -> str:
    """Seconds since 1970 as text. Many lines share one."""
    return formatTime(second)


def _harmless(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if " " <= character <= "~" or character == "\t" else ascii(character)[1:-1] for character in text
    )
