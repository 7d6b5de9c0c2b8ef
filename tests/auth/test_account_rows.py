"""Rows of an administrator's query as accounts."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.account_rows import KNOWN_COLUMNS, Known, column_errors, known


def one(**columns: Any) -> Known:
    """The account of one row."""
    found = known("fred", [{"name": "fred", "password": "{PLAIN}a", **columns}], "fold")
    assert found is not None
    return found


def test_columns_that_are_understood():
    assert column_errors(["name", "password"]) == []
    assert column_errors([column for column in KNOWN_COLUMNS if column != "mail"]) == []


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["name"], "no column password"),
        (["password"], "no column name"),
        (["name", "password", "quota"], "'quota'"),
        (["name", "password", "Enabled"], "'Enabled'"),
        (["name", "password", "name"], "'name' twice"),
        (["name", "password", "mail", "location"], "both location and mail"),
    ],
)
def test_columns_that_are_not(columns, said):
    errors = column_errors(columns)
    assert len(errors) == 1
    assert said in errors[0]


def test_a_row_of_another_name_is_nobodys():
    rows = [{"name": "freda", "password": "{PLAIN}a"}, {"name": None, "password": "b"}, {"name": 7, "password": "c"}]
    assert known("fred", rows, "fold") is None
    assert known("fred", [], "fold") is None
    assert known("fred", [{"name": "FRED", "password": "a"}], "keep") is None


def test_names_are_prepared():
    assert known("fred", [{"name": "Fred", "password": "a"}], "fold") is not None
    assert known("Fred", [{"name": "Fred", "password": "a"}], "fold") is None


def test_a_password_is_checked_against_what_is_no_scram_keys():
    keys, hashed = "{SCRAM-SHA-256}1,a,b,c", "{SSHA512}abc"
    for password in ([keys, hashed], [hashed, keys]):
        found = one(password=password)
        assert found.entry.stored == hashed
        assert set(found.verifiers) == {keys, hashed}
    assert one(password=keys).entry.stored == keys
    rows = [{"name": "fred", "password": each, "home": "/h"} for each in (keys, None, hashed)]
    found = known("fred", rows, "fold")
    assert found is not None
    assert (found.entry.stored, found.verifiers) == (hashed, (keys, hashed))


@pytest.mark.parametrize("password", [None, "", [], [None, ""]])
def test_no_password_is_none(password):
    found = one(password=password)
    assert (found.entry.stored, found.verifiers, found.complaint) == ("", (), "")


@pytest.mark.parametrize(
    ("columns", "admitted"),
    [
        ({}, True),
        ({"enabled": True}, True),
        ({"enabled": 1}, True),
        ({"enabled": False}, False),
        ({"enabled": 0}, False),
        ({"enabled": None}, False),
        ({"nologin": False}, True),
        ({"nologin": True}, False),
        ({"nologin": None}, False),
        ({"allow_nets": None}, True),
        ({"allow_nets": "192.0.2.0/24,2001:db8::/32"}, True),
        ({"allow_nets": ip_network("192.0.2.0/24")}, True),
        ({"allow_nets": ip_interface("192.0.2.9/24")}, True),
        ({"allow_nets": ["198.51.100.0/24"]}, False),
    ],
)
def test_who_is_admitted(columns, admitted):
    assert one(**columns).complaint == ""
    assert one(**columns).entry.admits("192.0.2.1") is admitted


@pytest.mark.parametrize(
    "columns",
    [
        {"password": 7},
        {"password": [["a"]]},
        {"password": b"a"},
        {"enabled": 2},
        {"enabled": "yes"},
        {"nologin": "f"},
        {"home": 7},
        {"location": ["a"]},
        {"mechanisms": [1]},
        {"mechanisms": 1},
        {"allow_nets": ""},
        {"allow_nets": []},
        {"allow_nets": "the office"},
    ],
)
def test_what_is_not_understood_admits_nobody(columns):
    found = one(**columns)
    assert found.complaint
    assert found.entry.account is None
    assert not found.entry.admits("192.0.2.1")


def test_rows_that_differ_admit_nobody():
    rows = [{"name": "fred", "password": "a", "enabled": enabled} for enabled in (True, False)]
    found = known("fred", rows, "fold")
    assert found is not None
    assert "differ" in found.complaint


def test_SEC_015_no_verifier_shows():
    assert "{PLAIN}hidden" not in repr(one(password="{PLAIN}hidden"))


values = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.lists(st.text() | st.none()))


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(KNOWN_COLUMNS, values)), max_size=3))
def test_whatever_the_values_are(rows):
    found = known("fred", [{**row, "name": "fred"} for row in rows], "fold")
    if found is None:
        assert rows == []
    else:
        assert (found.entry.account is None) == bool(found.complaint)
