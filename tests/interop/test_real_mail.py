"""Every message through every client: what comes out is what went in, to the octet.

Maildrops are compared as a whole, in the order of message-numbers, against what a plain socket saw; and that against
what was delivered. `clients.CLIENTS` says what each client cannot help changing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .. import corpus
from .clients import CLIENTS, Client
from .conftest import required
from .maildrops import ACCOUNTS, Account, Served, real, without_trace
from .running import Security
from .server import Popserv
from .wire import read_maildrop

EVERY_MODE = [pytest.param(client, mode, id=f"{client.name}-{mode}") for client in CLIENTS for mode in client.modes]
# What came in the other way is the same to a client: one mode is enough, another one for each client.
ROTATED = [account for account in ACCOUNTS if account.name not in ("deliver-own", "lmtp-real")]
(REAL,) = (account for account in ACCOUNTS if account.name == "lmtp-real")
EVERYTHING = [(client, mode, REAL) for client in CLIENTS for mode in client.modes] + [
    (client, client.modes[(i + j) % len(client.modes)], account)
    for i, client in enumerate(CLIENTS)
    for j, account in enumerate(ROTATED)
]
by_account = pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.name)


def there(account: Account) -> None:
    if account.samples is not corpus.own and not real():
        pytest.skip("; ".join(corpus.absent()))


def installed(client: Client) -> None:
    if missing := client.missing():
        reason = f"not installed: {', '.join(missing)}"
        pytest.fail(reason) if required() else pytest.skip(reason)


@by_account
def test_what_was_delivered_is_what_is_served(served: dict[str, Served], account: Account) -> None:
    there(account)
    messages = served[account.name].seen.messages
    bare = [without_trace(message) if account.way_in == "lmtp" else message for message in messages]
    # Deliveries at the same time have no order, so the contents are compared as a bag.
    assert differences(Counter(served[account.name].expected), Counter(bare)) == []


@by_account
def test_LIST_STAT_and_RETR_agree_to_the_octet(served: dict[str, Served], account: Account) -> None:
    there(account)
    seen = served[account.name].seen
    sizes = [len(message) for message in seen.messages]
    assert seen.scan == sizes
    assert seen.single_scans == sizes
    assert seen.stat == (len(sizes), sum(sizes))


@by_account
def test_unique_ids_differ(served: dict[str, Served], account: Account) -> None:
    there(account)
    unique_ids = served[account.name].seen.unique_ids
    assert len(set(unique_ids)) == len(served[account.name].seen.messages)


@pytest.mark.parametrize(("client", "mode"), EVERY_MODE)
def test_client_gets_our_messages(
    client: Client, mode: Security, popserv: Popserv, served: dict[str, Served], tmp_path: Path
) -> None:
    fetch_and_compare(client, mode, "deliver-own", popserv, served, tmp_path)


@pytest.mark.parametrize(
    ("client", "mode", "account"),
    [pytest.param(*case, id=f"{case[0].name}-{case[1]}-{case[2].name}") for case in EVERYTHING],
)
def test_client_gets_everything(
    client: Client, mode: Security, account: Account, popserv: Popserv, served: dict[str, Served], tmp_path: Path
) -> None:
    there(account)
    fetch_and_compare(client, mode, account.name, popserv, served, tmp_path)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_client_finds_an_empty_maildrop_empty(
    client: Client, popserv: Popserv, empty_account: str, tmp_path: Path
) -> None:
    installed(client)
    assert client.fetch(popserv.pop3, "plain", empty_account, popserv.password, tmp_path) == []


@pytest.fixture(scope="session")
def empty_account(popserv: Popserv) -> str:
    popserv.add_account("empty")
    return "empty"


@by_account
def test_fetching_leaves_everything_there(popserv: Popserv, served: dict[str, Served], account: Account) -> None:
    there(account)
    assert read_maildrop(popserv.pop3, account.name, popserv.password) == served[account.name].seen


def fetch_and_compare(
    client: Client, mode: Security, account: str, popserv: Popserv, served: dict[str, Served], folder: Path
) -> None:
    installed(client)
    got = client.fetch(popserv.pop3, mode, account, popserv.password, folder)
    expected = client.form(served[account].seen.messages)
    assert len(got) == len(expected)
    wrong = [
        (i + 1, *excerpt(want, have)) for i, (want, have) in enumerate(zip(expected, got, strict=True)) if want != have
    ]
    assert wrong == []


def differences(expected: Counter[bytes], got: Counter[bytes]) -> list[Any]:
    """What is missing and what is too much, shortened to be read."""
    return [("missing", m[:200]) for m in expected - got] + [("unexpected", m[:200]) for m in got - expected]


def excerpt(want: bytes, have: bytes) -> tuple[int, bytes, bytes]:
    """Where two messages part, and some octets of both from there."""
    same = next((i for i, (a, b) in enumerate(zip(want, have, strict=False)) if a != b), min(len(want), len(have)))
    start = max(same - 20, 0)
    return same, want[start : same + 60], have[start : same + 60]
