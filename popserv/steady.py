"""Time that nobody sets, for whatever is measured or waited for."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from twisted.internet.task import Clock


def steady(clock: Any) -> Callable[[], float]:
    """Seconds that only ever go forward, from no particular beginning.

    A reactor's own time is that of the wall clock, which can be set; a `twisted.internet.task.Clock` is taken at its
    word.
    """
    seconds: Callable[[], float] = clock.seconds if isinstance(clock, Clock) else monotonic
    return seconds
