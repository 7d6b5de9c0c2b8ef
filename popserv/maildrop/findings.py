"""What an administrator is told of a maildrop that was looked through."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Literal

import attrs

from popserv.errors import PopError

Kind = Literal["octets", "id", "uidmap", "index", "entry", "leftover", "lock", "permission"]
"""octets: counted otherwise than told; id: a unique-id that is not one message's, or none at all; uidmap: the durable
map; index: what is kept to save time; entry: stands among the messages and is none; leftover: of work that was broken
off; lock: the lock file; permission: who may do what to files, or a directory that is missing."""


@attrs.frozen
class Finding:
    """Something that is not as it should be."""

    kind: Kind
    text: str
    remedy: str = ""
    """What `mend` does; "" where nothing can be done without an administrator's decision."""
    mend: Callable[[], object] | None = attrs.field(default=None, eq=False, repr=False)
    """Blocks; raises `OSError` and `PopError`. Loses no message."""
    state: Literal["found", "mended", "failed"] = "found"


@attrs.frozen
class Report:
    """What was looked at, and what was found."""

    messages: int
    octets: int
    """As LIST and STAT tell them, counted anew."""
    findings: Sequence[Finding]
    unknown: Sequence[str] = ()
    """What could not be judged, since a session may have been at it."""


def shown(name: bytes | str) -> str:
    """A name of a file, which may be anything, for people to read."""
    return ascii(os.fsdecode(name))


def mended(findings: Sequence[Finding]) -> list[Finding]:
    """The same, with what became of them once everything was mended that can be. Blocks; never raises."""
    done: set[str] = set()
    return [_mended(finding, done) for finding in findings]


def _mended(finding: Finding, done: set[str]) -> Finding:
    if finding.mend is None:
        return finding
    # One remedy may be that of several findings.
    if finding.remedy not in done:
        try:
            finding.mend()
        except (OSError, PopError) as error:
            return attrs.evolve(finding, state="failed", remedy=f"{finding.remedy}: {error}")
        done.add(finding.remedy)
    return attrs.evolve(finding, state="mended")
