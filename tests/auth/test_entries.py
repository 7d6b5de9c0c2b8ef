"""Entries of a directory as accounts."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.account import Account
from popserv.auth.entries import Attributes, Entry
from popserv.auth.passwd_lines import NotUnderstood

ATTRIBUTES = Attributes("uid", "homeDirectory", "mailLocation", "mailEnabled", "fold")


@attrs.frozen
class Found:
    values: dict[str, list[bytes]]
    dn: str = "uid=fred,dc=example,dc=org"


def test_everything():
    values = {
        "uid": [b"other", b"Fred"],
        "homedirectory": [b"/home/fred"],
        "maillocation": [b"maildir:/m"],
        "mailenabled": [b"TRUE"],
    }
    account = Account("fred", "maildir:/m", "/home/fred")
    assert ATTRIBUTES.entry("fred", Found(values)) == Entry(Found(values).dn, account, True)


@pytest.mark.parametrize("names", [[], [b"freda"], [b"\xff"], [b""], [b"f\0red"], [b"fred "]])
def test_an_entry_of_another_name_is_nobodys(names):
    assert ATTRIBUTES.entry("fred", Found({"uid": names})) is None
    assert ATTRIBUTES.entry("fred", None) is None


def test_case_is_kept_when_it_counts():
    attributes = attrs.evolve(ATTRIBUTES, case="keep")
    assert attributes.entry("fred", Found({"uid": [b"Fred"]})) is None
    assert attributes.entry("Fred", Found({"uid": [b"Fred"]})) is not None


@pytest.mark.parametrize(
    ("values", "enabled"), [([b"TRUE"], True), ([b"FALSE"], False), ([b"true"], False), ([], False)]
)
def test_enabled(values, enabled):
    entry = ATTRIBUTES.entry("fred", Found({"uid": [b"fred"], "mailenabled": values}))
    assert entry is not None
    assert entry.enabled is enabled


@pytest.mark.parametrize("attribute", ["homedirectory", "maillocation", "mailenabled"])
@pytest.mark.parametrize("values", [[b"a", b"b"], [b"\xff"]])
def test_what_is_not_understood(attribute, values):
    with pytest.raises(NotUnderstood):
        ATTRIBUTES.entry("fred", Found({"uid": [b"fred"], attribute: values}))


@given(st.dictionaries(st.sampled_from(["uid", "homedirectory", "mailenabled"]), st.lists(st.binary(), max_size=3)))
def test_whatever_the_values_are(values):
    try:
        entry = ATTRIBUTES.entry("fred", Found({"uid": [b"fred"], **values}))
    except NotUnderstood:
        return
    assert entry is None or entry.account.name == "fred"
