"""The tables of the configuration about mail: where it is kept, who sees what of it, how much and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from popserv.service import key_checks as checks
from popserv.service import names


@attrs.frozen
class ViewRule:
    """What some accounts see of their maildrops; the first rule that covers an account is the one."""

    accounts: tuple[str, ...] = attrs.field(validator=checks.not_empty, metadata={"each": names.check_accounts_covered})
    """Account names, "@example.org" for all of a domain, "*" for all."""
    largest_octets: int = attrs.field(default=0, validator=checks.least(0))
    """As in [maildrop]."""
    since: str = attrs.field(default="", validator=checks.valid(names.check_since))
    """As in [maildrop]."""
    newest: int = attrs.field(default=0, validator=checks.least(0))
    """As in [maildrop]."""
    junk: str = ""
    """As in [maildrop]."""
    junk_mark: Literal["subject", "header", "none"] = "subject"
    """As in [maildrop]."""
    junk_text: str = ""
    """As in [maildrop]."""
    folders: tuple[str, ...] = ()
    """As in [maildrop]."""


@attrs.frozen
class RetentionRule:
    """How long mail of some accounts is kept; the first rule that covers an account is the one."""

    accounts: tuple[str, ...] = attrs.field(validator=checks.not_empty, metadata={"each": names.check_accounts_covered})
    """Account names, "@example.org" for all of a domain, "*" for all."""
    delete: Literal["remove", "trash", "hide"] = "remove"
    trash_days: int = attrs.field(default=30, validator=checks.least(1))
    expire_days: int = attrs.field(default=0, validator=checks.least(0))
    """0 is never."""


@attrs.frozen
class Maildrop:
    """Where mail is kept, and what sessions see of it."""

    location: str = attrs.field(default="maildir:/srv/mail/{user}", validator=checks.valid(names.check_location))
    """STORE:PLACE. For maildir the place is the Maildir itself, with cur, new and tmp in it; for mbox, the file. {user}
    is the account's name, {local} and {domain} its parts around the last @, {home} what the account database says. A
    table [maildrop.STORE] holds options of its own and makes that store available to accounts that have another
    location."""
    lock: Literal["exclusive", "takeover", "none"] = "exclusive"
    """exclusive: one session at a time, as RFC 1939 asks for; takeover: so, too, but a new one ends the one before,
    which removes nothing; none: several at once."""
    in_use: Literal["nothing", "since", "from"] = "since"
    """What a session that finds the maildrop taken is told of the one that has it: nothing, since when it has it, or
    also the address that it came from."""
    largest_octets: int = attrs.field(default=0, validator=checks.least(0))
    """Larger messages, as LIST counts them, are hidden, and stay where they are; 0 hides none."""
    since: str = attrs.field(default="", validator=checks.valid(names.check_since), metadata={"sample": "90d"})
    """Messages delivered before are hidden, and stay where they are: "90d" is ninety days before the login,
    "2026-01-31" the beginning of that day in UTC. Not for mbox."""
    newest: int = attrs.field(default=0, validator=checks.least(0))
    """So many of the messages that are left are shown, the last ones; the others are hidden, and stay where they are; 0
    hides none."""
    junk: str = attrs.field(default="", metadata={"sample": "Junk"})
    """A folder whose messages are shown behind those of INBOX, and may be removed like them. Not for mbox."""
    junk_mark: Literal["subject", "header", "none"] = "subject"
    """How messages of that folder are told from others: subject: junk_text in front of the subject; header: junk_text
    is a header field; none: they are sent as they are."""
    junk_text: str = attrs.field(default="", metadata={"sample": "[Junk]"})
    """Default: "[Junk]" for subject, "X-Junk: yes" for header."""
    folders: tuple[str, ...] = attrs.field(default=(), metadata={"sample": ["Junk", "Archive.2025"]})
    """Folders that may be logged in to: with "Junk", fred+junk opens the folder Junk of fred. "*" permits all. Any
    other +detail stands for nothing. Not for mbox."""
    view_rules: tuple[ViewRule, ...] = attrs.field(
        default=(), metadata={"sample": ({"accounts": ["@example.org"], "newest": 1000},)}
    )
    """For accounts and domains: accounts, and the keys from largest_octets to folders, which the rule replaces all at
    once. The first rule that covers an account holds: [{accounts = ["joe"], newest = 500}, {accounts = ["*"], since =
    "30d"}]."""
    delete: Literal["remove", "trash", "hide"] = "remove"
    """What QUIT does to marked messages: they are gone for good; they wait in a trash, from where `popserv undelete`
    brings them back; or they are hidden from POP3 and stay for other readers of the same maildrop."""
    trash_days: int = attrs.field(default=30, validator=checks.least(1))
    """How long the trash is kept."""
    expire_days: int = attrs.field(default=0, validator=checks.least(0))
    """Days from delivery until a message is removed by itself, read or not; 0 is never. Told by CAPA as EXPIRE (RFC
    2449 section 6.7)."""
    retention_rules: tuple[RetentionRule, ...] = attrs.field(
        default=(), metadata={"sample": ({"accounts": ["@example.org"], "delete": "trash", "trash_days": 7},)}
    )
    """For accounts and domains: accounts, delete, trash_days, expire_days. The first rule that covers an account holds;
    what it does not name is as the defaults are."""
    nightly: str = attrs.field(default="03:30", validator=checks.time_of_day)
    """When, by the local clock, expired mail is removed and the trash emptied."""
    options: Mapping[str, Any] = attrs.field(factory=dict, metadata={"tables": "stores"})

    @property
    def ways(self) -> frozenset[str]:
        """What is done with some mail besides removing it for good: trash, hide, expire."""
        rules: Sequence[Maildrop | RetentionRule] = (self, *self.retention_rules)
        expire = {"expire" for each in rules if each.expire_days}
        return frozenset({each.delete for each in rules} | expire) - {"remove"}

    @property
    def retains(self) -> bool:
        """Whether anything is to be done about mail after its removal, or without one."""
        return bool(self.ways)


@attrs.frozen
class QuotaRule:
    """What some accounts may keep; the first rule that covers an account is the one."""

    accounts: tuple[str, ...] = attrs.field(validator=checks.not_empty, metadata={"each": names.check_accounts_covered})
    """Account names, "@example.org" for all of a domain, "*" for all."""
    octets: int = attrs.field(default=0, validator=checks.least(0))
    """As LIST counts them; 0 is any number."""
    messages: int = attrs.field(default=0, validator=checks.least(0))
    """0 is any number."""


@attrs.frozen
class Quota:
    """What accounts may keep. Mail beyond it is refused at delivery; nothing is ever removed."""

    octets: int = attrs.field(default=0, validator=checks.least(0))
    """For accounts that no rule covers, as LIST counts them; 0 is any number."""
    messages: int = attrs.field(default=0, validator=checks.least(0))
    """For accounts that no rule covers; 0 is any number."""
    rules: tuple[QuotaRule, ...] = attrs.field(
        default=(), metadata={"sample": ({"accounts": ["@example.org"], "octets": 1073741824},)}
    )
    """For accounts and domains: accounts, octets, messages. The first rule that covers an account holds."""
    over: Literal["bounce", "defer"] = "bounce"
    """What a sender is told: 552 5.2.2, and the mail goes back; or 452 4.2.2, and it is tried again."""


@attrs.frozen
class Lmtp:
    """Mail that comes in."""

    domains: tuple[str, ...] = ()
    """Mail domains, besides server.hostname, whose local parts are account names, for delivery and logins alike."""
    message_octets: int = attrs.field(default=100 * 1024 * 1024, validator=checks.least(64 * 1024, " (RFC 5321)"))
    """The largest message that is taken in, in octets."""
