"""The lines of a passwd-file as Dovecot has it: ``user:{SCHEME}secret:uid:gid:gecos:home:shell:extra``.

Octets in, accounts and complaints out; only names of owners are looked up. Complaints name lines and settings, never
secrets.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Literal, Self

import attrs

from popserv.auth.account import Account
from popserv.auth.names import InvalidName, prepare
from popserv.auth.networks import Network

KNOWN_EXTRAS = frozenset({"userdb_mail", "userdb_home", "userdb_uid", "userdb_gid", "allow_nets", "nologin"})
"""Any other may restrict what the account can do, so it is not ignored."""

_LOCATION = re.compile(r"([a-z][a-z0-9-]*):(~/|%h|/)([^:{}]*)")
_HOME = re.compile(r"/[^:{}%]*")
_VARIABLE = re.compile(r"%(.?)", re.DOTALL)
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_+=@-][A-Za-z0-9._+=@-]*")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_KIND = re.compile(r"(\{[^}]*\})?(\$[^$]*\$)?")


class NotUnderstood(ValueError):
    """A line or a setting that is not understood; the message quotes no secret."""


@attrs.frozen
class Entry:
    """One account of the file."""

    name: str
    stored: str = attrs.field(repr=False)
    account: Account | None = None
    """None: something that is set for it is not understood, so nobody can use it."""

    def admits(self, address: str) -> bool:
        """Whether this account may log in from here; `address` is numeric, "" = not known."""
        return self.account is not None and self.account.admits(address)


@attrs.frozen
class Users:
    """What a file says."""

    entries: Mapping[str, Entry]
    """By prepared name."""
    problems: Sequence[str]
    """What is wrong, a sentence each, with 1-based line numbers."""

    examples: Sequence[str] = attrs.field(default=(), repr=False)
    """A stored password of each kind that there is, the commonest kind first."""

    @classmethod
    def of(cls, entries: Mapping[str, Entry], problems: Sequence[str]) -> Self:
        """With examples found among the entries."""
        first: dict[str, str] = {}
        kinds: Counter[str] = Counter()
        for entry in entries.values():
            kind = kind_of(entry.stored)
            kinds[kind] += 1
            first.setdefault(kind, entry.stored)
        return cls(entries, problems, [first[kind] for kind, _count in kinds.most_common()])

    def typical(self, among: Callable[[str], bool] = lambda _stored: True) -> str | None:
        """The commonest kind of stored password that is `among` those wanted, by an example; None if there is none."""
        return next((stored for stored in self.examples if among(stored)), None)


def parse(octets: bytes, case: Literal["fold", "keep"] = "fold") -> Users:
    """Read a whole file. Names are prepared with `case`; of two lines for one name the first counts."""
    entries: dict[str, Entry] = {}
    problems: list[str] = []
    for number, line in enumerate(octets.split(b"\n"), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        try:
            entry, complaint = parse_line(line.removesuffix(b"\r"), case)
            if entry.name in entries:
                raise NotUnderstood("skipped: an earlier line has the same name")
        except NotUnderstood as error:
            problems.append(f"line {number}: {error}")
            continue
        entries[entry.name] = entry
        if complaint:
            problems.append(f"line {number}: account cannot be used: {complaint}")
    return Users.of(entries, problems)


def parse_line(line: bytes, case: Literal["fold", "keep"] = "fold") -> tuple[Entry, str]:
    """The account of one line, and why it cannot be used, "" if it can. Raises `NotUnderstood` if it is none."""
    try:
        fields = line.decode("utf-8").split(":", 7)
    except UnicodeDecodeError:
        raise NotUnderstood("skipped: it is not UTF-8") from None
    if len(fields) < 2:
        raise NotUnderstood("skipped: it has no password field")
    typed, stored, _uid, _gid, _gecos, home, _shell, extra = fields + [""] * (8 - len(fields))
    try:
        name = prepare(typed.encode("utf-8"), case, stored=True)
    except InvalidName as error:
        raise NotUnderstood(f"skipped: the name is not valid: {error}") from None
    try:
        return _entry(name, stored, home, _settings(extra)), ""
    except NotUnderstood as error:
        return Entry(name, stored), str(error)


def _settings(extra: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    for word in extra.split():
        key, _equals, value = word.partition("=")
        if key not in KNOWN_EXTRAS:
            raise NotUnderstood(f"{_quotable(key)} is not supported")
        if key in settings:
            raise NotUnderstood(f"{key} stands twice")
        settings[key] = value
    return settings


def _entry(name: str, stored: str, home: str, settings: Mapping[str, str]) -> Entry:
    home = settings.get("userdb_home", home)
    if home and not _HOME.fullmatch(home):
        raise NotUnderstood("its home is no absolute path, or holds one of : { } %")
    location = _location(settings.get("userdb_mail", ""), name, home)
    networks = parse_networks(settings["allow_nets"]) if "allow_nets" in settings else None
    enabled = "nologin" not in settings
    owner = _owner(settings.get("userdb_uid", ""), settings.get("userdb_gid", ""))
    return Entry(name, stored, Account(name, location, home, enabled=enabled, networks=networks, owner=owner))


def _owner(uid: str, gid: str) -> tuple[int, int] | None:
    """Numbers of user and group, -1 for one that is not set; None if neither is."""
    if not uid and not gid:
        return None
    try:
        user = _number(uid) if not uid or uid.isdecimal() else pwd.getpwnam(uid).pw_uid
        group = _number(gid) if not gid or gid.isdecimal() else grp.getgrnam(gid).gr_gid
    except (KeyError, ValueError):
        raise NotUnderstood("userdb_uid or userdb_gid is nobody on this host") from None
    return user, group


def _number(text: str) -> int:
    """Raises `ValueError` for 0, which is root, and for what is no number."""
    if not text:
        return -1
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def parse_networks(value: str) -> tuple[Network, ...]:
    """What ``allow_nets`` names. Raises `NotUnderstood`."""
    try:
        return tuple(ip_network(network, strict=False) for network in value.split(","))
    except ValueError:
        raise NotUnderstood("allow_nets is no list of networks") from None


def _location(mail: str, name: str, home: str) -> str:
    """The location that ``userdb_mail`` means: an absolute path with everything filled in. "" for ""."""
    if not mail:
        return ""
    parts = _LOCATION.fullmatch(mail)
    if parts is None:
        raise NotUnderstood("userdb_mail is not SCHEME:PATH with an absolute path and nothing behind it")
    scheme, start, rest = parts.groups()
    if start != "/":
        if not home:
            raise NotUnderstood("userdb_mail needs a home, and there is none")
        start = f"{home}/" if start == "~/" else home
    return f"{scheme}:{start}{_VARIABLE.sub(lambda found: _variable(found[1], name), rest)}"


def _variable(letter: str, name: str) -> str:
    local, _at, domain = name.partition("@")
    value = {"u": name, "n": local, "d": domain}.get(letter, "")
    if "@" in domain:
        # Dovecot splits at the first @, locations here at the last.
        value = ""
    if not _PLAIN_VALUE.fullmatch(value):
        raise NotUnderstood("userdb_mail has a variable that is not supported, or that this name gives no plain value")
    return value


def _quotable(key: str) -> str:
    return f'the setting "{key}"' if re.fullmatch(r"[A-Za-z0-9_]{1,40}", key) else "a setting"


def kind_of(stored: str) -> str:
    """What stored passwords that are checked alike have in common: the scheme, and the method within it."""
    kind = _KIND.match(stored)
    return kind[0] if kind else ""
