"""SCRAM keys: the vectors of RFC 5802 and RFC 7677, and the text form."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.scram_keys import MOST_ITERATIONS, ScramKeys

VECTORS = {
    "sha1": (
        "QSXCR+Q6sek8bf92",
        "6dlGYMOdZcOPutkcNY8U2g7vK9Y=",
        "D+CSWLOshSulAsxiupA+qs2/fTE=",
    ),
    "sha256": (
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
    ),
}


@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
def test_SC_018_keys_of_the_rfc_vectors(hash_name):
    salt, stored_key, server_key = VECTORS[hash_name]
    keys = ScramKeys.make(b"pencil", hash_name, 4096, b64decode(salt))
    assert b64encode(keys.stored_key).decode() == stored_key
    assert b64encode(keys.server_key).decode() == server_key
    assert keys.to_text() == f"4096,{salt},{stored_key},{server_key}"
    assert keys.hash_name == hash_name
    assert keys.verify(b"pencil")
    assert not keys.verify(b"Pencil")


def test_new_keys_have_their_own_salt():
    first, second = (ScramKeys.make(b"pencil", iterations=10) for _ in range(2))
    assert len(first.salt) == 16
    assert first.salt != second.salt
    assert first.stored_key != second.stored_key


def test_SC_017_nothing_but_salt_count_and_two_keys_is_kept_and_no_key_shows():
    keys = ScramKeys.make(b"pencil", iterations=10)
    assert set(ScramKeys.__slots__) - {"__weakref__"} == {"salt", "iterations", "stored_key", "server_key"}
    assert repr(keys.stored_key) not in repr(keys)
    assert repr(keys.server_key) not in repr(keys)


@given(st.binary(min_size=1, max_size=40), st.integers(1, MOST_ITERATIONS), st.binary(min_size=32, max_size=32))
def test_text_and_back(salt, iterations, key):
    keys = ScramKeys(salt, iterations, key, key[::-1])
    assert ScramKeys.from_text(keys.to_text()) == keys


@given(st.text(st.sampled_from("0123456789,=+/aZé٣"), max_size=60))
def test_any_other_text_is_a_value_error(text):
    with pytest.raises(ValueError):
        ScramKeys.from_text(text)


@pytest.mark.parametrize("count", ["0", "-1", "+1", "1_0", "٣", "", str(MOST_ITERATIONS + 1), "9" * 400])
def test_iteration_counts_that_are_none_or_too_high_are_refused(count):
    text = ScramKeys.make(b"pencil", iterations=1).to_text().partition(",")[2]
    with pytest.raises(ValueError):
        ScramKeys.from_text(f"{count},{text}")


def test_the_highest_iteration_count_is_read():
    text = ScramKeys.make(b"pencil", iterations=1).to_text().partition(",")[2]
    assert ScramKeys.from_text(f"{MOST_ITERATIONS},{text}").iterations == MOST_ITERATIONS
