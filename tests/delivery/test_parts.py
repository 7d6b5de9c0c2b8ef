"""Header fields, recipients, the intake and local delivery."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from zope.interface import implementer

from popserv.auth.account import Account
from popserv.auth.chain import DirectoryChain
from popserv.auth.naming import Naming
from popserv.delivery.headers import received, return_path
from popserv.delivery.intake import Intake
from popserv.delivery.local import CHUNK, deliver
from popserv.delivery.recipients import Recipients
from popserv.errors import DeliveryError, MailSystemFull, MessageTooLarge, SystemTrouble, UnknownRecipient
from popserv.interfaces import IAccount, IAccountDirectory, IDelivery, IIncoming


@implementer(IAccountDirectory)
class Directory:
    def __init__(self, names: Iterable[str], broken: bool = False) -> None:
        self.names = set(names)
        self.broken = broken

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        if self.broken:
            return fail(SystemTrouble())
        name = avatar_id.decode("utf-8")
        return succeed(Account(name) if name in self.names else None)


@implementer(IIncoming)
class Incoming:
    def __init__(self, name: str, failing: dict[tuple[str, str], DeliveryError]) -> None:
        self.name = name
        self.octets = b""
        self.state = "open"
        self._failing = failing

    def _do(self, step: str) -> Deferred[None]:
        error = self._failing.get((self.name, step))
        return succeed(None) if error is None else fail(error)

    def write(self, octets: bytes) -> Deferred[None]:
        self.octets += octets
        return self._do("write")

    def commit(self) -> Deferred[None]:
        self.state = "stored" if (self.name, "commit") not in self._failing else self.state
        return self._do("commit")

    def abort(self) -> Deferred[None]:
        self.state = "aborted" if self.state == "open" else self.state
        return succeed(None)


@implementer(IDelivery)
class FailingDelivery:
    """A store whose steps fail where they are told to: the real ones do so only on a full disk."""

    def __init__(self, failing: dict[tuple[str, str], DeliveryError] | None = None) -> None:
        self.failing = failing or {}
        self.begun: list[Incoming] = []

    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        if (account.name, "begin") in self.failing:
            return fail(self.failing[account.name, "begin"])
        self.begun.append(Incoming(account.name, self.failing))
        return succeed(self.begun[-1])


def result(work: Any) -> Any:
    """What a coroutine that waits for nothing returns or raises."""
    outcome: list[Any] = []
    ensureDeferred(work).addBoth(outcome.append)
    if hasattr(outcome[0], "raiseException"):
        outcome[0].raiseException()
    return outcome[0]


def recipients(*names: str, domains: Iterable[str] = ("mail.example.org", "example.org"), broken: bool = False) -> Any:
    return Recipients(DirectoryChain([Directory(names, broken)], Naming(domains=frozenset(domains)).forms))


# --- header fields


def test_LM_009_received_and_return_path_are_put_in_front() -> None:
    assert return_path(b"joe@example.net") == b"Return-Path: <joe@example.net>\r\n"
    assert return_path(b"") == b"Return-Path: <>\r\n"
    field = received("client.example", "127.0.0.1", "mail.example.org", "ab-1", 0)
    assert field == (
        b"Received: from client.example ([127.0.0.1])\r\n\tby mail.example.org with LMTP id ab-1;\r\n"
        b"\tThu, 01 Jan 1970 00:00:00 +0000\r\n"
    )


def test_no_sender_can_add_a_header_field() -> None:
    field = return_path(b"a\r\nBcc: x@y\x00\x7f\xff")
    assert field == b"Return-Path: <a??Bcc: x@y???>\r\n"


def test_no_client_name_can_add_a_header_field() -> None:
    assert received("a\r\nb: c", "", "h", "s", 0).startswith(b"Received: from unknown\r\n\tby h with LMTP id s;\r\n")


# --- recipients


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (b"fred@other.example", "fred@other.example"),
        (b"FRED@Other.Example", "fred@other.example"),
        (b"fred+x@other.example", "fred@other.example"),
        (b"ann@mail.example.org", "ann"),
        (b"ann@EXAMPLE.org", "ann"),
        (b"ann+list+more@example.org", "ann"),
        (b"bob+real@example.org", "bob+real"),
        (b"ann", "ann"),
        (b"ann+x", "ann"),
    ],
)
def test_an_address_is_the_whole_name_then_without_detail_then_the_local_part(address: bytes, name: str) -> None:
    known = recipients("fred@other.example", "ann", "bob", "bob+real")
    assert result(known.find(address)).name == name


@pytest.mark.parametrize(
    "address", [b"ann@elsewhere.example", b"nobody@example.org", b"../ann@example.org", b"\xff", b"+"]
)
def test_LM_011_unknown_recipients_are_550(address: bytes) -> None:
    with pytest.raises(UnknownRecipient) as caught:
        result(recipients("ann").find(address))
    assert (caught.value.reply, caught.value.status) == (550, "5.1.1")


def test_a_directory_that_is_down_is_no_unknown_recipient() -> None:
    with pytest.raises(DeliveryError) as caught:
        result(recipients("ann", broken=True).find(b"ann"))
    assert (caught.value.reply, caught.value.status) == (451, "4.3.0")


# --- intake


def test_one_failing_recipient_does_not_hurt_the_others() -> None:
    store = FailingDelivery({("bob", "write"): MailSystemFull(), ("eve", "begin"): DeliveryError()})
    intake = Intake(store, 1000)
    accounts = [Account(name) for name in ("ann", "bob", "eve", "ann")]
    result(intake.begin(accounts, b"head\r\n"))
    result(intake.write(b"body\r\n"))
    outcomes = [result(intake.commit(account)) for account in accounts]
    result(intake.abort())
    assert outcomes[0] is None and outcomes[3] is None
    assert isinstance(outcomes[1], MailSystemFull) and isinstance(outcomes[2], DeliveryError)
    assert store.begun[0].octets == b"head\r\nbody\r\n"
    assert [one.state for one in store.begun] == ["stored", "aborted"], "stored once for an account named twice"


@pytest.mark.parametrize(("octets", "stored"), [(99, True), (100, True), (101, False)])
def test_the_limit_counts_the_message_without_the_fields_in_front(octets: int, stored: bool) -> None:
    store = FailingDelivery()
    intake = Intake(store, 100)
    result(intake.begin([Account("ann")], b"h" * 50))
    result(intake.write(b"x" * octets))
    outcome = result(intake.commit(Account("ann")))
    assert intake.octets == octets
    assert (outcome is None) is stored
    if not stored:
        assert isinstance(outcome, MessageTooLarge)
        assert (outcome.reply, outcome.status) == (552, "5.3.4")
        assert store.begun[0].state == "aborted"


def test_a_failed_commit_is_reported_and_aborted() -> None:
    store = FailingDelivery({("ann", "commit"): MailSystemFull()})
    intake = Intake(store, 100)
    result(intake.begin([Account("ann")], b""))
    assert isinstance(result(intake.commit(Account("ann"))), MailSystemFull)
    assert store.begun[0].state == "aborted"


# --- local delivery


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        (b"Subject: x\n\nbody\n", b"Subject: x\n\nbody\n"),
        (b"From joe Mon Jan  1\nSubject: x\n", b"Subject: x\n"),
        (b"From joe Mon Jan  1\r\nSubject: x\r\n", b"Subject: x\r\n"),
        (b"From " + b"x" * CHUNK * 2 + b"\nSubject: x\n", b"Subject: x\n"),
        (b"From: joe\n", b"From: joe\n"),
        (b"From nothing else", b""),
        (b"From \n" + b"y" * CHUNK * 2, b"y" * CHUNK * 2),
        (b"", b""),
        (b".\n.\n\0\xff\r", b".\n.\n\0\xff\r"),
    ],
)
def test_a_message_is_stored_as_it_comes_without_an_mbox_line(message: bytes, stored: bytes) -> None:
    store = FailingDelivery()
    result(deliver(BytesIO(message), b"Ann+x", None, recipients("ann"), store))
    assert [(one.name, one.state, one.octets) for one in store.begun] == [("ann", "stored", stored)]


def test_return_path_only_if_the_sender_is_given() -> None:
    for sender, head in ((b"joe@x", b"Return-Path: <joe@x>\r\n"), (b"", b"Return-Path: <>\r\n"), (None, b"")):
        store = FailingDelivery()
        result(deliver(BytesIO(b"x"), b"ann", sender, recipients("ann"), store))
        assert store.begun[0].octets == head + b"x"


def test_a_failure_leaves_nothing() -> None:
    store = FailingDelivery({("ann", "commit"): MailSystemFull()})
    with pytest.raises(MailSystemFull):
        result(deliver(BytesIO(b"x"), b"ann", None, recipients("ann"), store))
    assert store.begun[0].state == "aborted"
    with pytest.raises(UnknownRecipient):
        result(deliver(BytesIO(b"x"), b"bob", None, recipients("ann"), store))
