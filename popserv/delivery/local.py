"""Delivery by a command: one message from a stream into one account's maildrop."""

from __future__ import annotations

from typing import BinaryIO

from popserv.delivery.headers import return_path
from popserv.delivery.intake import Intake
from popserv.delivery.recipients import Recipients
from popserv.interfaces import IDelivery

CHUNK = 64 * 1024
UNLIMITED = 1 << 62


async def deliver(
    stream: BinaryIO, user: bytes, sender: bytes | None, recipients: Recipients, delivery: IDelivery
) -> None:
    """Store what `stream` holds for `user`. It is there for good when this returns.

    A leading mbox ``From `` line is dropped; ``Return-Path:`` is put in front if `sender` is given (b"" is the null
    one); the rest is stored as it is. Raises `UnknownRecipient`, or `DeliveryError`, and then nothing is stored.
    """
    account = await recipients.find(user)
    intake = Intake(delivery, UNLIMITED)
    try:
        await intake.begin([account], b"" if sender is None else return_path(sender))
        chunk = _without_envelope(stream)
        while chunk:
            await intake.write(chunk)
            chunk = stream.read(CHUNK)
        failure = await intake.commit(account)
    finally:
        await intake.abort()
    if failure is not None:
        raise failure


def _without_envelope(stream: BinaryIO) -> bytes:
    """The first chunk, without an mbox ``From `` line, however long that is."""
    chunk = stream.read(CHUNK)
    if not chunk.startswith(b"From "):
        return chunk
    while b"\n" not in chunk:
        chunk = stream.read(CHUNK)
        if not chunk:
            return b""
    return chunk.partition(b"\n")[2] or stream.read(CHUNK)
