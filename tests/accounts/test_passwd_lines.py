"""Lines of a passwd-file: what they mean, what is refused, and what is reported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.account import Account
from popserv.auth.passwd_lines import NotUnderstood, parse, parse_line


def entry(line):
    """The entry of a line that is understood whole."""
    found, complaint = parse_line(line)
    assert complaint == ""
    return found


def complaint(line):
    """Why the account of this line cannot be used."""
    found, reason = parse_line(line)
    assert found.account is None
    assert not found.admits("127.0.0.1")
    return reason


def test_two_fields_are_enough():
    fred = entry(b"fred:{PLAIN}pencil")
    assert (fred.name, fred.stored) == ("fred", "{PLAIN}pencil")
    assert fred.account == Account("fred")
    assert fred.admits("")


def test_all_fields_are_read_and_those_of_the_system_accepted():
    fred = entry(b"fred:x:1000:1000:Fred F.:/home/fred:/bin/sh:userdb_uid=1 userdb_gid=2")
    assert fred.account.home == "/home/fred"
    assert fred.account.owner == (1, 2)


@pytest.mark.parametrize(
    ("extra", "owner"),
    [
        ("userdb_uid=5000", (5000, -1)),
        ("userdb_gid=8", (-1, 8)),
        ("userdb_uid=daemon userdb_gid=mail", (1, 8)),
        ("", None),
    ],
)
def test_the_owner_of_mail_by_number_or_name(extra, owner):
    assert entry(f"fred:x::::::{extra}".encode()).account.owner == owner


@pytest.mark.parametrize("extra", ["userdb_uid=0", "userdb_gid=0", "userdb_uid=no-such-user", "userdb_uid=-5"])
def test_an_owner_that_cannot_be_keeps_the_account_from_being_used(extra):
    assert "nobody on this host" in complaint(f"fred:x::::::{extra}".encode())


def test_extras_may_hold_colons():
    assert entry(b"fred:x::::/home/fred::userdb_mail=maildir:~/Maildir").account.location == (
        "maildir:/home/fred/Maildir"
    )
    assert entry(b"fred:x::::::allow_nets=2001:db8::/32").admits("2001:db8::1")


@pytest.mark.parametrize(
    ("mail", "location"),
    [
        ("maildir:~/Maildir", "maildir:/home/f/Maildir"),
        ("maildir:%h/mail", "maildir:/home/f/mail"),
        ("mbox:/var/mail/%u", "mbox:/var/mail/fred@example.org"),
        ("maildir:/srv/%d/%n/Maildir", "maildir:/srv/example.org/fred/Maildir"),
    ],
)
def test_userdb_mail_becomes_a_location(mail, location):
    found = entry(f"fred@example.org:x::::/home/f::userdb_mail={mail}".encode())
    assert found.account.location == location


def test_userdb_home_goes_before_the_field():
    found = entry(b"fred:x::::/home/a::userdb_home=/home/b userdb_mail=maildir:~/m")
    assert (found.account.home, found.account.location) == ("/home/b", "maildir:/home/b/m")


@pytest.mark.parametrize(
    "mail",
    [
        "~/Maildir",
        "maildir:Maildir",
        "maildir:~/Maildir:INBOX=~/x",
        "maildir:/srv/%Lu",
        "maildir:/srv/%{user}",
        "maildir:/srv/{user}",
        "maildir:/srv/100%",
        "maildir:/srv/%%",
        "maildir:/srv/%d",
        "maildir:~other/Maildir",
        "maildir:/srv/%h",
    ],
)
def test_a_location_that_is_not_supported_bars_the_account(mail):
    assert "userdb_mail" in complaint(f"fred:x::::/home/fred::userdb_mail={mail}".encode())


@pytest.mark.parametrize("name", ["a@..", "a@.b", "j\u00fcrgen@example.org", "a b@example.org", "a@b@c"])
def test_a_name_that_gives_no_plain_directory_name_bars_the_account(name):
    assert complaint(f"{name}:x::::/home/f::userdb_mail=maildir:/srv/%d/%n".encode())


def test_a_home_is_needed_and_absolute():
    assert "home" in complaint(b"fred:x::::::userdb_mail=maildir:~/Maildir")
    assert "home" in complaint(b"fred:x::::home/fred::")
    assert "home" in complaint(b"fred:x::::::userdb_home=/home/%u")


@pytest.mark.parametrize(
    ("networks", "address", "admitted"),
    [
        ("192.0.2.0/24", "192.0.2.9", True),
        ("192.0.2.0/24", "192.0.3.9", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7/24", "192.0.2.9", True),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("198.51.100.0/24,2001:db8::/32", "2001:db8::9", True),
        ("198.51.100.0/24,2001:db8::/32", "2001:db9::9", False),
        ("0.0.0.0/0", "::1", False),
        ("0.0.0.0/0", "", False),
        ("0.0.0.0/0", "nonsense", False),
    ],
)
def test_allow_nets_says_where_an_account_may_be_used(networks, address, admitted):
    assert entry(f"fred:x::::::allow_nets={networks}".encode()).admits(address) is admitted


@pytest.mark.parametrize("networks", ["", "local", "192.0.2.0/33", "192.0.2.0/24,", "example.org", "192.0.2.1;"])
def test_allow_nets_that_are_none_bar_the_account(networks):
    assert "allow_nets" in complaint(f"fred:x::::::allow_nets={networks}".encode())


@pytest.mark.parametrize("nologin", ["nologin", "nologin=", "nologin=y", "nologin=anything"])
def test_nologin_bars_the_login_and_not_the_mail(nologin):
    fred = entry(f"fred:x::::::{nologin}".encode())
    assert not fred.admits("127.0.0.1")
    assert fred.account.name == "fred"


@pytest.mark.parametrize(
    "extra",
    [
        "proxy=y",
        "allow_real_nets=10.0.0.0/8",
        "userdb_quota_rule=*:storage=1G",
        "NOLOGIN",
        "user=other",
        "userdb_mail=maildir:/a userdb_mail=maildir:/b",
        "=",
        "\x1b[2J=1",
    ],
)
def test_a_setting_that_is_not_understood_bars_the_account(extra):
    reason = complaint(f"fred:x::::::{extra}".encode())
    assert reason.isprintable()
    assert "1G" not in reason


def test_lines_of_a_file_are_numbered_and_bad_ones_skipped():
    users = parse(
        b"# users\n"
        b"\n"
        b"fred:{PLAIN}s3cret\r\n"
        b"  \n"
        b"nopassword\n"
        b"a/b:{PLAIN}s3cret\n"
        b"\xff:{PLAIN}s3cret\n"
        b"FRED:{PLAIN}other\n"
        b":{PLAIN}s3cret\n"
        b"bob:{PLAIN}s3cret::::::proxy=y\n"
        b"ann:{PLAIN}s3cret"
    )
    assert list(users.entries) == ["fred", "bob", "ann"]
    assert users.entries["fred"].stored == "{PLAIN}s3cret"
    assert [problem.partition(":")[0] for problem in users.problems] == [f"line {n}" for n in (5, 6, 7, 8, 9, 10)]
    assert "s3cret" not in repr(users)


def test_SA_032_names_are_prepared_as_at_login():
    assert list(parse("FR\u00adED:x\nJ\u00dcRGEN:x\n".encode()).entries) == ["fred", "j\u00fcrgen"]
    assert list(parse(b"FRED:x\nfred:x\n", "keep").entries) == ["FRED", "fred"]


def test_SA_031_a_name_with_an_unassigned_code_point_is_not_kept():
    assert not parse("\u0221:x\n".encode()).entries


def test_the_typical_password_is_of_the_commonest_kind():
    assert parse(b"").typical() is None
    assert parse(b"a:$1$x$y\nb:{SHA}x\nc:$6$x$y\nd:$6$z$y\n").typical() == "$6$x$y"


@given(st.lists(st.sampled_from([b"fred", b":", b"\n", b"#", b" ", b"%u", b"=", b"userdb_mail", b"\xff", b"/"])))
def test_any_octets_are_parsed(parts):
    users = parse(b"".join(parts))
    assert all(entry.name == name for name, entry in users.entries.items())
    assert all(problem.startswith("line ") for problem in users.problems)


@given(st.text(max_size=30))
def test_any_line_is_an_account_or_not_understood(line):
    try:
        found, reason = parse_line(line.encode("utf-8", "surrogatepass"))
    except NotUnderstood:
        return
    assert (found.account is None) == bool(reason)
