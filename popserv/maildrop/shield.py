"""Let work in a thread come to its end when nobody waits for it any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def _drop(_result: object) -> None:
    pass


def shielded(work: Deferred[T], abandoned: Callable[[T], object] = _drop) -> Deferred[T]:
    """What `work` gives; cancelling the result does not cancel `work`.

    A thread cannot be stopped, and a Deferred that is cancelled forgets what its thread brings. Here `abandoned` is
    called with it, to give back a lock or a descriptor.
    """
    waiting = True

    def cancelled(_outer: Deferred[T]) -> None:
        nonlocal waiting
        waiting = False

    def done(result: T) -> None:
        if waiting:
            outer.callback(result)
        else:
            abandoned(result)

    def failed(failure: Failure) -> None:
        # Of work that was abandoned nobody is left to hear.
        if waiting:
            outer.errback(failure)

    outer: Deferred[T] = Deferred(cancelled)
    work.addCallbacks(done, failed)
    return outer
