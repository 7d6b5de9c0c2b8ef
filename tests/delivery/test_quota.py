"""Quotas: what is refused, with which codes, and that nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from popserv.auth.account import Account
from popserv.by_account import ByAccount, Covering
from popserv.delivery.intake import Intake
from popserv.delivery.quota import BoundedDelivery, Quota
from popserv.errors import MailboxFull, MailboxFullForNow
from popserv.protocols.lmtp import LmtpFactory
from popserv.service.config import ConfigErrors, load
from popserv.stores.memory import MemoryStore
from popserv.testing import Wire
from popserv.wire.octets import to_crlf
from tests.delivery.test_parts import result
from tests.protocols.test_lmtp import make_listener, stored

FRED, ANN = Account("fred"), Account("ann")


def bounded(store: MemoryStore, octets: int = 0, messages: int = 0, **more: Any) -> BoundedDelivery:
    return BoundedDelivery(store, store, ByAccount(Quota(octets, messages)), **more)


def deliver(delivery: Any, *chunks: bytes, account: Account = FRED) -> Any:
    """None, or why not."""
    intake = Intake(delivery, 1 << 40)

    async def work() -> Any:
        await intake.begin([account], b"")
        for chunk in chunks:
            await intake.write(chunk)
        outcome = await intake.commit(account)
        await intake.abort()
        return outcome

    return result(work())


def test_messages_are_counted() -> None:
    store = MemoryStore()
    delivery = bounded(store, messages=2)
    assert [type(deliver(delivery, b"x\r\n")) for _ in range(4)] == [type(None)] * 2 + [MailboxFull] * 2
    assert len(stored(store, "fred")) == 2


@pytest.mark.parametrize(("left", "fits"), [(12, False), (13, True), (14, True)])
def test_octets_are_those_of_list(left: int, fits: bool) -> None:
    store = MemoryStore({"fred": [b"there\n"]})  # 7 octets
    outcome = deliver(bounded(store, octets=7 + left), b"one\r", b"\ntwo", b"\nx")  # 5, 5 and 3 octets
    assert (outcome is None) is fits
    assert len(stored(store, "fred")) == 1 + fits


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 120))
def test_exactly_what_fits_is_taken(chunks: list[bytes], limit: int) -> None:
    store = MemoryStore()
    outcome = deliver(bounded(store, octets=limit), *chunks)
    octets = len(to_crlf(b"".join(chunks)))
    assert (outcome is None) is (octets <= limit)
    assert stored(store, "fred") == ([to_crlf(b"".join(chunks))] if octets <= limit else [])


def test_the_first_rule_that_covers_an_account_holds() -> None:
    rules = [
        Covering(lambda name: name == "fred", Quota(messages=1)),
        Covering(lambda name: name in ("fred", "ann"), Quota()),
    ]
    quotas = ByAccount(Quota(octets=1), rules)
    assert (quotas.of(FRED), quotas.of(ANN), quotas.of(Account("joe"))) == (Quota(0, 1), Quota(), Quota(1))
    store = MemoryStore()
    delivery = BoundedDelivery(store, store, quotas)
    assert deliver(delivery, b"x" * 1000, account=ANN) is None
    assert isinstance(deliver(delivery, b"xx", account=Account("joe")), MailboxFull)


def test_deleting_makes_room() -> None:
    store = MemoryStore()
    delivery = bounded(store, messages=1)
    assert deliver(delivery, b"x") is None
    assert isinstance(deliver(delivery, b"x"), MailboxFull)
    maildrop = result_of(store.open(FRED))
    result_of(maildrop.commit({0}))
    maildrop.close()
    assert deliver(delivery, b"x") is None


def result_of(deferred: Any) -> Any:
    found: list[Any] = []
    deferred.addCallback(found.append)
    return found[0]


@pytest.mark.parametrize(("defer", "reply"), [(False, b"552 5.2.2 "), (True, b"452 4.2.2 ")])
def test_each_recipient_has_a_reply_of_his_own(defer: bool, reply: bytes) -> None:
    store = MemoryStore({"ann": [b"x\r\n"]})
    delivery = BoundedDelivery(
        store, store, ByAccount(Quota(), [Covering(lambda name: name == "ann", Quota(messages=1))]), defer=defer
    )
    wire = Wire.to(LmtpFactory(make_listener(delivery, Clock())))  # type: ignore[arg-type]
    wire.say(b"LHLO client\r\nMAIL FROM:<joe@example.net>\r\nRCPT TO:<ann>\r\nRCPT TO:<bob>\r\nDATA\r\n")
    first, second, _ = wire.say(b"Subject: x\r\n\r\nbody\r\n.\r\n").split(b"\r\n")
    assert first.startswith(reply)
    assert second.startswith(b"250 2.")
    assert len(stored(store, "ann")) == len(stored(store, "bob")) == 1
    assert isinstance(deliver(delivery, b"", account=ANN), MailboxFullForNow if defer else MailboxFull)


CONFIG = """
auth.checkers = ["passwd-file:users"]
maildrop.location = "maildir:mail/{user}"
[quota]
octets = 100
rules = [{accounts = ["ann"], messages = 1}]
"""


def popserv(folder: Path, *arguments: str, given: bytes = b"") -> tuple[int, str]:
    command = [sys.executable, "-m", "popserv", *arguments, "--config", str(folder / "popserv.toml")]
    done = subprocess.run(command, input=given, capture_output=True, timeout=30)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_a_quota_as_its_commands_show_it(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("fred:{PLAIN}x\nann:{PLAIN}x\n")
    (tmp_path / "popserv.toml").write_text(CONFIG)
    assert popserv(tmp_path, "deliver", "fred", given=b"x" * 80)[0] == 0
    assert popserv(tmp_path, "deliver", "fred", given=b"x" * 30) == (77, "popserv: mailbox is full\n")
    status, said = popserv(tmp_path, "maildrop", "stat", "fred+x", "--json")
    assert status == 0
    assert json.loads(said) == {
        "account": "fred",
        "location": "maildir:mail/fred",
        "messages": 1,
        "octets": 82,
        "quota_messages": None,
        "quota_octets": 100,
    }
    assert (
        "messages: 0\noctets: 0\nquota messages: 1\nquota octets: none\n"
        in popserv(tmp_path, "maildrop", "stat", "ann")[1]
    )
    assert popserv(tmp_path, "maildrop", "stat", "joe") == (1, "popserv: 'joe': there is no such account\n")
    (tmp_path / "popserv.toml").write_text(CONFIG + 'over = "defer"\n')
    assert popserv(tmp_path, "deliver", "fred", given=b"x" * 30)[0] == 75


def test_a_store_that_cannot_count_has_no_quota(tmp_path: Path) -> None:
    from popserv.pools import InlinePool
    from popserv.service.access import BuildContext, delivery, store

    (tmp_path / "popserv.toml").write_text(CONFIG.replace("maildir:", "mbox:"))
    config = load(tmp_path / "popserv.toml", serving=False)
    with pytest.raises(ConfigErrors) as caught:
        delivery(config, store(config, BuildContext.offline(config, InlinePool())))
    assert caught.value.errors == (("quota", "mbox: this version cannot count what is there"),)
