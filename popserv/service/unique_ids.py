"""Unique-ids as a table: what clients have been told, written down, compared, and taken over from another server."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import attrs

from popserv.errors import PopError
from popserv.interfaces import IAccount, IMaildrop, INamedMessages, IReadOnlyStore
from popserv.maildrop.mbox_split import HEADER_OCTETS
from popserv.maildrop.told import Adoption, Told, header_hash
from popserv.maildrop.told_headers import read_cyrus, read_uw, x_uidl
from popserv.maildrop.told_lists import COURIER_LIST, DOVECOT_LIST, read_sizelist, read_uidlist
from popserv.maildrop.told_template import Template
from popserv.service import access
from popserv.service.schema import Config
from popserv.service.tending import Tending

COLUMNS = ("account", "unique_id", "octets", "header", "name")

TEMPLATES = {"dovecot": "%08Xu%08Xv", "uw": "%08Xv%08Xu", "cyrus": "%v.%u"}
"""What those servers do when they are not told otherwise."""

SOURCES = ("dovecot", "courier", "uw", "cyrus", "x-uidl")

_SAFE = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"
_HEX = re.compile("[0-9a-f]{64}|")


class BrokenTable(ValueError):
    """A file of unique-ids that is not understood."""


def row(account: str, told: Told) -> dict[str, Any]:
    """One line of the table."""
    name = quote_from_bytes(told.name, safe=_SAFE)
    values = (account, told.unique_id.decode("ascii", "backslashreplace"), told.octets, told.header, name)
    return dict(zip(COLUMNS, values, strict=True))


def as_text(rows: Sequence[dict[str, Any]], form: str) -> str:
    """The table as "csv", with a first line that names the columns, or as "json", one object a line."""
    if form == "json":
        return "".join(json.dumps(each) + "\n" for each in rows)
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_table(text: str, account: str) -> list[Told]:
    """What a table of `as_text` says of this account; lines without an account count. Raises `BrokenTable`."""
    lines = text.splitlines()
    rows: Iterable[Any]
    if text.lstrip().startswith("{"):
        try:
            rows = [json.loads(line) for line in lines if line.strip()]
        except ValueError:
            raise BrokenTable("it is neither CSV nor one JSON object a line") from None
    else:
        rows = csv.DictReader(lines, strict=True)
    told = []
    try:
        for number, each in enumerate(rows, 1):
            if (each.get("account") or account) == account:
                told.append(_told(each, number))
    except csv.Error as error:
        raise BrokenTable(f"it is not CSV: {error}") from None
    return told


def _told(line: Any, number: int) -> Told:
    try:
        octets, header = line.get("octets"), line.get("header") or ""
        if not _HEX.fullmatch(header):
            raise ValueError
        unique_id = line["unique_id"].encode("ascii")
        known = int(octets) if octets not in (None, "") else None
        return Told(unique_id, unquote_to_bytes(line.get("name") or ""), known, header)
    except (KeyError, ValueError, TypeError, AttributeError):
        raise BrokenTable(f"message {number}: needs unique_id, and rightly octets, header or name") from None


@attrs.frozen
class Source:
    """Where another server keeps what it has told."""

    kind: str
    """One of `SOURCES`."""
    path: Path | None = None
    template: Template | None = None
    uidvalidity: int = 0

    def read(self) -> list[Told]:
        """Blocks. Raises `OSError` and `popserv.maildrop.told_lists.BrokenList`. Not for "x-uidl"."""
        assert self.path is not None  # noqa: S101 - the command asks for it
        template = self.template or Template.parse(TEMPLATES.get(self.kind, "%u"))
        if self.kind == "uw":
            return read_uw(self.path, "mboxo", template)
        if self.kind == "cyrus":
            return read_cyrus(self.path, self.uidvalidity, template)
        name = DOVECOT_LIST if self.kind == "dovecot" else COURIER_LIST
        content = (self.path / name if self.path.is_dir() else self.path).read_bytes()
        return read_uidlist(content, template) if self.kind == "dovecot" else read_sizelist(content)


async def found(config: Config, context: access.BuildContext, user: bytes) -> tuple[str, list[Told]]:
    """The account's name, and its messages. Writes nothing. Raises as `popserv.service.inspection.look` does."""
    tending = Tending.of(config, context)
    account = await tending.find(user)
    return account.name, [told for told, _start in await _read(tending.store, account)]


async def of_everybody(config: Config, context: access.BuildContext) -> tuple[list[tuple[str, list[Told]]], list[str]]:
    """The same of all accounts that the databases list; and why it could not be had, for some."""
    tending = Tending.of(config, context)
    tables, failed = [], []
    for account in await tending.everybody():
        try:
            tables.append((account.name, [told for told, _start in await _read(tending.store, account)]))
        except PopError as error:
            failed.append(f"{account.name!a}: {error.text}")
    return tables, failed


async def take_over(
    config: Config, context: access.BuildContext, user: bytes, told: Sequence[Told] | None, dry: bool
) -> tuple[str, Adoption]:
    """Let messages of an account be called so; None = as their X-UIDL says. The account's name, and what came of it.

    Raises as `popserv.service.inspection.look` does.
    """
    tending = Tending.of(config, context)
    account = await tending.find(user)
    if told is None:
        there = await _read(tending.store, account)
        told = [attrs.evolve(each, unique_id=own) for each, start in there if (own := x_uidl(start))]
    adoption: Adoption = await tending.store.adopt(account, told, dry)
    return account.name, adoption


async def _read(store: IReadOnlyStore, account: IAccount) -> list[tuple[Told, bytes]]:
    """Every message, and how it begins."""
    maildrop = await _open(store, account)
    try:
        return [await _look(maildrop, index) for index in range(maildrop.count)]
    finally:
        await maildrop.close()


async def _open(store: Any, account: IAccount) -> IMaildrop:
    opened: IMaildrop = await (store.open if store.cannot_be_counted() else store.open_read_only)(account)
    return opened


async def _look(maildrop: IMaildrop, index: int) -> tuple[Told, bytes]:
    message = maildrop.message(index)
    reader = message.open()
    try:
        start = b""
        while len(start) < 2 * HEADER_OCTETS and b"\r\n\r\n" not in start and (chunk := await reader.read(1 << 15)):
            start += chunk
    finally:
        reader.close()
    named = INamedMessages(maildrop, None)
    name = b"" if named is None else named.file_name(index)
    return Told(maildrop.uidl(index), name, message.octets, header_hash(start)), start


@attrs.frozen
class Difference:
    """What clients would notice."""

    missing: list[Told]
    """Told, and not there any more."""
    other: list[Told]
    """Told, and another message has the id now."""
    renamed: list[tuple[Told, bytes]]
    """Told, and the message is there with another id."""
    new: int = 0
    """Messages that were not in the table."""


def compare(told: Sequence[Told], there: Sequence[Told]) -> Difference:
    """A table with what there is."""
    by_id = {each.unique_id: each for each in there}
    by_content = {(each.octets, each.header): each for each in there}
    difference = Difference([], [], [], len(set(by_id) - {each.unique_id for each in told}))
    for each in told:
        now, same = by_id.get(each.unique_id), by_content.get(each.content)
        if now is None and same is not None and each.header:
            difference.renamed.append((each, same.unique_id))
        elif now is None:
            difference.missing.append(each)
        elif (each.octets is not None and each.octets != now.octets) or (each.header and each.header != now.header):
            difference.other.append(each)
    return difference
