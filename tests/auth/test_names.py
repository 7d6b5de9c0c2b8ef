"""Names and passwords as they are prepared: SASLprep (RFC 4013), case, and what no name may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.names import NAME_OCTETS, InvalidName, prepare, prepare_password, saslprep

TEXTS = st.text(max_size=20) | st.text(
    st.sampled_from("aA .\u00e9\u017f\u0130ΣςßK\u00ad\u00a0\u0627\u05d0\ufb01\u2168\u1d2c"), max_size=8
)


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
    ],
)
def test_SA_016_examples_of_rfc_4013_section_3(text, prepared):
    assert saslprep(text) == prepared
    assert saslprep(text, stored=True) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031"])
def test_SA_016_prohibited_and_mixed_direction_examples_of_rfc_4013_section_3(text):
    with pytest.raises(InvalidName):
        saslprep(text)


@pytest.mark.parametrize("text", ["\u00a0", "\u2003", "\u3000"])
def test_SA_016_other_spaces_become_the_ascii_one(text):
    assert saslprep(f"a{text}b") == "a b"


@pytest.mark.parametrize("text", ["\u00ad", "\u200b", "\ufeff"])
def test_SA_016_nothing_left_is_a_failure(text):
    with pytest.raises(InvalidName):
        saslprep(text)
    with pytest.raises(InvalidName):
        prepare(text.encode())
    with pytest.raises(InvalidName):
        prepare_password(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "\x00",
        "\x1b",
        "\x7f",
        "\x85",
        "\ue000",
        "\ufdd0",
        "\ufffd",
        "\u2ff0",
        "\u200e",
        "\u202e",
        "\u2028",
        "\U000e0001",
    ],
)
def test_SA_016_each_prohibited_table_is_held_to(text):
    with pytest.raises(InvalidName):
        saslprep(f"a{text}b")


def test_SA_016_right_to_left_text_must_begin_and_end_so():
    assert saslprep("\u05d0\u0031\u05d1") == "\u05d0\u0031\u05d1"
    for mixed in ("\u05d0a\u05d1", "\u05d01", "1\u05d0"):
        with pytest.raises(InvalidName):
            saslprep(mixed)


def test_SA_031_unassigned_code_points_pass_in_a_query_and_not_in_what_is_stored():
    unassigned = "\u0221"
    assert saslprep(unassigned) == unassigned
    assert prepare(unassigned.encode()) == unassigned
    for stored in (
        lambda: saslprep(unassigned, stored=True),
        lambda: prepare(unassigned.encode(), stored=True),
        lambda: prepare_password(unassigned.encode(), stored=True),
    ):
        with pytest.raises(InvalidName):
            stored()


def test_SA_032_names_that_look_alike_to_a_user_are_one():
    assert prepare("F\u00adRED".encode()) == prepare(b"fred") == "fred"
    assert prepare("J\u00dcRGEN".encode()) == prepare("ju\u0308rgen".encode()) == "j\u00fcrgen"
    assert prepare(b"Fred", "keep") == "Fred"


@pytest.mark.parametrize(
    "name", [b"", b"\xff", b"fred\0", b"a/b", b"/", b".", b"..", b".fred", b"a\r\nb", "a\u2215b\u0000".encode()]
)
def test_names_that_would_be_more_than_a_name_are_refused(name):
    with pytest.raises(InvalidName):
        prepare(name)


def test_a_slash_that_comes_of_preparation_is_refused():
    with pytest.raises(InvalidName):
        prepare("a\uff0fb".encode())
    with pytest.raises(InvalidName):
        prepare("\u2024\u2024".encode())


@pytest.mark.parametrize("letter", ["x", "\u00e9"])
def test_length_is_counted_in_octets(letter):
    each = len(letter.encode())
    longest = letter * (NAME_OCTETS // each)
    assert prepare(longest.encode()) == longest
    with pytest.raises(InvalidName):
        prepare((longest + letter).encode())


def test_PL_003_a_password_that_cannot_be_prepared_is_refused():
    for password in (b"", b"\xe9", b"a\0b", b"\x07"):
        with pytest.raises(InvalidName):
            prepare_password(password)


def test_PL_004_stored_and_presented_passwords_meet():
    assert prepare_password("\u2168 p\u00e4ss".encode()) == prepare_password("IX pa\u0308ss".encode(), stored=True)


@pytest.mark.parametrize("name", ["\u03aa\u0301", "\u03f9", "\u1fbc\u0345", "\u0130"])
def test_SA_032_a_name_is_normal_after_folding_too(name):
    once = prepare(name.encode())
    assert prepare(once.encode()) == once


@given(TEXTS, st.sampled_from(["fold", "keep"]))
def test_SA_032_preparing_twice_changes_nothing(text, case):
    try:
        once = prepare(text.encode("utf-8", "surrogatepass"), case)
    except InvalidName:
        return
    assert prepare(once.encode(), case) == once


@given(st.binary(max_size=40))
def test_any_octets_give_a_safe_name_or_an_error(octets):
    try:
        name = prepare(octets)
    except InvalidName:
        return
    assert 0 < len(name.encode()) <= NAME_OCTETS
    assert not name.startswith(".")
    assert not {"/", "\0", "\r", "\n", "\x1b"} & set(name)
