"""A bar that shows how far long work is: on a terminal, where rich is installed; otherwise nothing is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Step = Callable[[int, int], None]
"""Told how many are done, and of how many."""


@contextmanager
def bar(label: str) -> Iterator[Step]:
    """On standard error, gone when the work is done, so that it is in nobody's way."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield nothing
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield nothing
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def nothing(_done: int, _total: int) -> None:
    """Show nothing."""
