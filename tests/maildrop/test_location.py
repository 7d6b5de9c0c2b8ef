"""Locations: no account name leaves its folder."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.account import Account
from popserv.errors import StoreBroken
from popserv.maildrop.location import component, expand, place_of, split, template_errors

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize(
    ("place", "name", "expected"),
    [
        ("/srv/mail/{user}", "fred", "/srv/mail/fred"),
        ("/srv/{domain}/{local}", "fred+x@example.org", "/srv/example.org/fred+x"),
        ("/srv/{domain}/{local}", "a@b@example.org", "/srv/example.org/a@b"),
        ("/srv/{domain}/{local}", "fred", "/srv/%/fred"),
        ("/srv/{user}/Maildir", "..", "/srv/%2E%2E/Maildir"),
        ("/srv/{user}", ".", "/srv/%2E"),
        ("/srv/{user}", "a/../b", "/srv/a%2F..%2Fb"),
        ("/srv/{user}", "gr\u00fcn %41", "/srv/gr%C3%BCn%20%2541"),
        ("/srv/{user}", "{home}", "/srv/%7Bhome%7D"),
        ("{home}/Maildir", "fred", "/home/fr ed/Maildir"),
    ],
)
def test_placeholders(place, name, expected):
    assert expand(place, Account(name, home="/home/fr ed")) == expected


@given(NAMES, NAMES)
def test_SEC_013_a_name_is_one_component_and_different_names_are_different_ones(one, other):
    path = expand("/srv/mail/{user}", Account(one))
    assert posixpath.normpath(path) == path
    assert posixpath.dirname(path) == "/srv/mail"
    assert (component(one) == component(other)) == (one == other)


@given(NAMES)
def test_SEC_013_parts_of_a_name_do_not_leave_the_folder_either(name):
    path = expand("/srv/{domain}/{local}", Account(name))
    assert posixpath.normpath(path) == path
    assert posixpath.dirname(posixpath.dirname(path)) == "/srv"


@pytest.mark.parametrize("home", ["", "relative"])
def test_a_home_has_to_be_there_and_absolute(home):
    with pytest.raises(StoreBroken):
        expand("{home}/Maildir", Account("fred", home=home))


def test_unknown_placeholders_are_an_error():
    with pytest.raises(StoreBroken):
        expand("/srv/{usr}", Account("fred"))


def test_an_account_with_a_location_has_that_one():
    assert place_of(Account("fred"), "/srv/{user}") == "/srv/fred"
    assert place_of(Account("fred", "maildir:/else/{user}"), "/srv/{user}") == "/else/fred"
    with pytest.raises(StoreBroken):
        place_of(Account("fred", "/no/scheme"), "/srv/{user}")


def test_split():
    assert split("maildir:/srv/a:b") == ("maildir", "/srv/a:b")
    for wrong in ("", "maildir", "maildir:", ":/srv", "/srv/a:b", "Mail dir:/srv"):
        with pytest.raises(ValueError, match="scheme:place"):
            split(wrong)


@pytest.mark.parametrize("place", ["/srv/mail/{user}", "mail/{domain}/{local}", "{home}/Maildir", "/var/{user}/{user}"])
def test_good_templates(place):
    assert template_errors(place) == []


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("", "missing"),
        ("/srv/{usr}", "{usr}"),
        ("/srv/{}", "{}"),
        ("/srv/{user", "brace"),
        ("/srv/user}", "brace"),
        ("/srv/{home}", "first"),
        ("~/Maildir", "{home}"),
        ("/srv/\0", "NUL"),
    ],
)
def test_bad_templates(place, word):
    [error] = template_errors(place)
    assert word in error
