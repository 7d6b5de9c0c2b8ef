"""Cut a stream of octets into lines, with a hard limit on what is kept.

RFC 1939 section 3 ends a line with CRLF and with nothing else. The same octets give the same lines and the same faults
however the stream is cut: every decision depends on positions in the line, never on what has arrived behind them.
"""

from __future__ import annotations

from enum import Enum

from popserv.limits import Limits


class Fault(Enum):
    """What `LineBuffer.next` gives in place of a line."""

    OVERLONG = "overlong"
    """The line passed its limit; the rest of it is thrown away."""
    OVERLONG_AGAIN = "overlong again"
    """A second line of this connection passed its limit."""
    BARE_LF = "bare LF"
    """A LF that no CR precedes; everything up to the next CRLF is thrown away."""
    FLOOD = "flood"
    """What was being thrown away went on too long, or held another bare LF. Nothing follows."""


CR = 0x0D


class LineBuffer:
    """Feed octets, take lines (without their CRLF) or faults.

    Keeps no more than was fed and not taken; a line that passes its limit is not kept. `next` is told whether the line
    is a SASL response, since those may be long; so may a line that begins with ``AUTH ``, which can carry one.
    """

    __slots__ = (
        "_auth",
        "_command",
        "_data",
        "_discarding",
        "_dropped",
        "_most",
        "_overlong",
        "_position",
        "_ready",
        "_slow",
    )

    def __init__(self, limits: Limits) -> None:
        self._command = limits.command_octets
        self._auth = max(limits.command_octets, limits.sasl_line_octets)
        self._most = limits.discard_octets
        self._data = b""
        self._position = 0  # octets of _data in front of it are taken
        self._ready: list[bytes] = []  # lines known to be good, the next one last
        self._slow = 0  # up to here in _data something is wrong: look line by line
        self._discarding: Fault | None = None
        self._dropped = 0
        self._overlong = False

    def feed(self, octets: bytes) -> None:
        """Add octets as they arrived."""
        if self._position == len(self._data):
            self._data = octets
        else:
            self._data = self._data[self._position :] + octets
        self._slow = max(0, self._slow - self._position)
        self._position = 0

    @property
    def pending(self) -> bool:
        """Whether any octet has been fed and not been taken."""
        return bool(self._ready) or self._position < len(self._data)

    def clear(self) -> None:
        """Forget everything not taken."""
        self._data, self._position, self._ready, self._slow = b"", 0, [], 0

    def take_rest(self) -> bytes:
        """Everything not taken yet, as it came: for data that follows a command and has no lines."""
        lines = b"".join([line + b"\r\n" for line in reversed(self._ready)])
        rest = lines + self._data[self._position :]
        self.clear()
        return rest

    def next(self, sasl: bool = False) -> bytes | Fault | None:
        """The next line, or the next fault, or None when more octets are needed."""
        if self._ready:
            return self._ready.pop()
        if self._position == len(self._data):
            return None
        if self._discarding is not None and not self._discard():
            return Fault.FLOOD if self._discarding is Fault.FLOOD else None
        if self._position >= self._slow and self._split():
            return self._ready.pop()
        return self._next_slowly(sasl)

    def _split(self) -> bool:
        """Cut all whole lines at once, if all of them are short and none holds a bare LF."""
        start, end = self._position, self._data.rfind(b"\r\n", self._position)
        if end < 0:
            return False
        lines = self._data[start:end].split(b"\r\n")
        longest = self._command - 2
        good = self._data.count(b"\n", start, end) == len(lines) - 1 and (
            end - start <= longest or max(map(len, lines)) <= longest
        )
        if good:
            lines.reverse()
            self._ready = lines
            self._position = end + 2
        else:
            self._slow = end + 2
        return good

    def _next_slowly(self, sasl: bool) -> bytes | Fault | None:
        start = self._position
        end = self._data.find(b"\r\n", start)
        # The CR belongs to what is judged: a line is known to be too long without waiting for what follows it.
        line = self._data[start:] if end < 0 else self._data[start : end + 1]
        fault, where = self._judge(line, sasl)
        if fault is not None:
            # A CR may be the first half of the CRLF that ends the line.
            self._position = start + where + (line[where] != CR)
            self._discarding, self._dropped = fault, 0
            if fault is Fault.OVERLONG:
                if self._overlong:
                    return Fault.OVERLONG_AGAIN
                self._overlong = True
            return fault
        if end < 0:
            return None
        self._position = end + 2
        return line[:-1]

    def _judge(self, line: bytes, sasl: bool) -> tuple[Fault | None, int]:
        """The first fault in `line`, which holds no CRLF but may end in its CR, and the position of its last octet."""
        limit = self._auth if sasl or line[:5].upper() == b"AUTH " else self._command
        over = -1
        if len(line) > limit - 2 and line[limit - 2] != CR:
            over = limit - 2
        elif len(line) > limit - 1:
            over = limit - 1
        bare = line.find(b"\n")
        if bare >= 0 and (over < 0 or bare <= over):
            return Fault.BARE_LF, bare
        return (Fault.OVERLONG, over) if over >= 0 else (None, 0)

    def _discard(self) -> bool:
        """Throw away up to the next CRLF; True when it was there."""
        if self._discarding is Fault.FLOOD:
            return False
        start, end = self._position, self._data.find(b"\r\n", self._position)
        stop = end
        if end < 0:
            # A CR at the very end may be half of the CRLF.
            stop = len(self._data) - self._data.endswith(b"\r")
        self._dropped += stop - start
        self._position = stop
        if self._dropped > self._most or (
            self._discarding is Fault.BARE_LF and self._data.find(b"\n", start, stop) >= 0
        ):
            self._discarding = Fault.FLOOD
            self._position = len(self._data) - 1  # `next` goes on saying so
            return False
        if end < 0:
            return False
        self._position = end + 2
        self._discarding = None
        return True
