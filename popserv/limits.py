"""Every number that bounds a stranger, in one record."""

from __future__ import annotations

import attrs

KIB = 1024


@attrs.frozen
class Limits:
    """The limits of one listener. Octets, seconds or counts, as the names say."""

    command_octets: int = 512
    """A command line with its CRLF; RFC 2449 section 4 asks for 255 at least."""

    sasl_octets: int = 64 * KIB
    """One SASL response, decoded. RFC 5034 section 4 sets no limit; OAuth tokens need tens of KiB."""

    discard_octets: int = 64 * KIB
    """What of an over-long line is thrown away before the connection ends."""

    bad_commands: int = 20
    """Client faults on one connection; the last one is answered, then the connection ends."""

    login_failures: int = 3
    """Refused credentials on one connection; the last one is answered, then the connection ends."""

    sasl_steps: int = 10
    """Challenges in one SASL exchange; no mechanism needs more than four."""

    login_seconds: float = 60.0
    """The whole of AUTHORIZATION. Absolute: octets do not extend it, so trickling does not help."""

    idle_seconds: float = 600.0
    """TRANSACTION without a command. RFC 1939 section 3: at least ten minutes."""

    handshake_seconds: float = 10.0
    """From the accepted connection, or from STLS, to the end of the TLS handshake."""

    write_seconds: float = 300.0
    """Sending without the peer taking an octet."""

    drain_seconds: float = 30.0
    """What sessions in TRANSACTION get to finish after SIGTERM."""

    turn_lines: int = 64
    """Command lines handled before other connections get their turn."""

    turn_octets: int = 64 * KIB
    """Octets of replies produced before other connections get their turn."""

    chunk_octets: int = 64 * KIB
    """One read of a message. Memory of a connection is bounded by two of these."""

    linger_seconds: float = 2.0
    """After the last reply: how long input is read and dropped, so that no reset destroys the reply."""

    linger_octets: int = 256 * KIB
    """After the last reply: how much input is read and dropped."""

    connections: int = 20_000
    """Open connections of the whole service."""

    deliveries: int = 1000
    """Messages on their way in at a time, one for each recipient, of the whole service: each has a file open."""

    connections_per_address: int = 100
    """Open connections of one address (IPv6: one /64)."""

    @property
    def sasl_line_octets(self) -> int:
        """A line that carries one SASL response in base64, with its CRLF."""
        return 4 * ((self.sasl_octets + 2) // 3) + 64
