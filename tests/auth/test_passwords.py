"""Stored passwords: every scheme against lines that Dovecot's own tool made, and bounds on the work."""

from __future__ import annotations

import sys
from base64 import b64encode
from hashlib import sha1
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth import passwords
from popserv.auth.crypt_hashes import NATIVE
from popserv.auth.names import InvalidName
from popserv.auth.passwords import (
    MADE_SCHEMES,
    MissingExtra,
    UnknownScheme,
    UnusableHash,
    dummy_hash,
    hash_password,
    plain_secret,
    verify,
)

PASSWORD = "Grüße, pencil".encode()
LINES = [
    line
    for line in (Path(__file__).parent.parent / "accounts" / "doveadm_pw.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
SHA256_CRYPT = "$5$LiYzCvK764K.s13i$6fapo/Swqpq2HKICti2fhnB8/Kce6GeJd78JGSfABw8"


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[1 : line.index("}")])
def test_what_dovecot_made_is_verified(line):
    assert verify(line, PASSWORD)
    assert not verify(line, PASSWORD + b" ")


def test_the_fixtures_hold_every_scheme_of_the_contract():
    named = {line[1 : line.index("}")].partition(".")[0].upper() for line in LINES}
    # Beyond the contract, and beyond that Dovecot.
    assert set(passwords._SCHEMES) - {"SCRAM-SHA-512"} <= named


def test_no_prefix_means_the_default_scheme():
    assert verify(SHA256_CRYPT, PASSWORD, "crypt")
    assert verify("pencil", b"pencil")
    assert not verify(SHA256_CRYPT, PASSWORD)
    assert verify("{PLAIN}pencil", b"pencil", "CRYPT")


def test_crypt_goes_by_the_value_whatever_the_scheme_says():
    assert verify("{SHA512-CRYPT}" + SHA256_CRYPT, PASSWORD)


def test_crypt_knows_yescrypt_and_des():
    assert verify("{CRYPT}$y$j9T$abcdefghijklmnop$jTikHkrWTT5G7lDmHZAxiVeJsKg6hGPJzoniE3C/ud/", PASSWORD)
    assert not verify("{CRYPT}$y$j9T$abcdefghijklmnop$jTikHkrWTT5G7lDmHZAxiVeJsKg6hGPJzoniE3C/ud/", b"\xff")
    assert verify("{CRYPT}abiQ6Ep3EYTHc", b"x")
    assert not verify("{CRYPT}abiQ6Ep3EYTHc", b"y")


def test_an_unsalted_digest_may_stand_in_hex_without_a_suffix():
    assert verify("{SHA}" + sha1(PASSWORD).hexdigest(), PASSWORD)


@pytest.mark.parametrize("stored", ["{FOO}bar", "{CRAM-MD5}00", "{foo", "{}x", "{PLAIN.gzip}x"])
def test_an_unknown_scheme_has_its_own_error(stored):
    with pytest.raises(UnknownScheme):
        verify(stored, b"pencil")


def argon2(memory, passes, lanes):
    return f"{{ARGON2ID}}$argon2id$v=19$m={memory},t={passes},p={lanes}$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ"


@pytest.mark.parametrize(
    "stored",
    [
        argon2(64 * 1024 * 1024, 1, 1),
        argon2(1024 * 1024 + 1, 1, 1),
        argon2(1024 * 1024, 5, 1),
        argon2(8, 1024 * 1024, 1),
        argon2(1024, 1, 17),
        "{PBKDF2}$1$salt$1000000000$" + "0" * 40,
        "{PBKDF2}$1$salt$1000001$" + "0" * 40,
        "{PBKDF2}$1$salt$0$" + "0" * 40,
        "{BLF-CRYPT}$2y$31$" + "a" * 53,
        "{BLF-CRYPT}$2y$16$" + "a" * 53,
        "{SHA512-CRYPT}$6$rounds=999999999$salt$" + "a" * 86,
        "{SHA256-CRYPT}$5$rounds=1000001$salt$" + "a" * 43,
        "{CRYPT}$y$jFT$abcdefghijklmnop$" + "a" * 43,
        "{CRYPT}$7$DU..../....2Q9obwLhin8qvQl6sisAO/$" + "a" * 43,
        "{SCRAM-SHA-256}1000001,c2FsdA==," + ",".join([b64encode(bytes(32)).decode()] * 2),
        "{PLAIN}" + "x" * 4090,
    ],
)
def test_a_value_that_asks_for_too_much_work_is_refused_and_not_computed(stored):
    with pytest.raises(UnusableHash) as caught:
        verify(stored, b"pencil")
    assert stored[12:] not in str(caught.value)


def test_limits_are_inclusive(monkeypatch):
    monkeypatch.setattr(passwords, "MOST_PBKDF2_ROUNDS", 5)
    assert not verify("{PBKDF2}$1$salt$5$" + "0" * 40, b"pencil")
    with pytest.raises(UnusableHash):
        verify("{PBKDF2}$1$salt$6$" + "0" * 40, b"pencil")


@pytest.mark.parametrize(
    "stored",
    [
        "{ARGON2ID}$argon2id$nonsense",
        "{ARGON2ID}é",
        "{PBKDF2}$1$a$b$c",
        "{SSHA}" + b64encode(bytes(20)).decode(),
        "{SSHA}" + b64encode(bytes(3)).decode(),
        "{SHA}" + b64encode(bytes(21)).decode(),
        "{SHA}!",
        "{SHA.hex}0g",
        "{CRYPT}",
        "{CRYPT}*",
        "{CRYPT}$1$x",
        "{CRYPT}$6$",
        "{CRYPT}$2y$05$short",
        "{CRYPT}$2y$05$" + "!" * 53,
        "{SCRAM-SHA-1}4096,a,b",
        "{SCRAM-SHA-1}4096,c2FsdA==," + ",".join([b64encode(bytes(32)).decode()] * 2),
    ],
)
def test_a_malformed_value_is_an_error(stored):
    with pytest.raises(UnusableHash):
        verify(stored, b"pencil")


CHEAP = st.sampled_from(
    ["{SHA}", "{SSHA512}", "{PLAIN}", "{PLAIN.b64}", "{PBKDF2}$1$", "{CRYPT}$1$", "{ARGON2ID}$", ""]
)


@given(CHEAP, st.text(max_size=40), st.binary(max_size=40))
def test_any_text_is_checked_or_refused(scheme, text, password):
    try:
        assert verify(scheme + text, password) in (True, False)
    except UnusableHash as error:
        assert not text or len(text) < 4 or text not in str(error)


def test_empty_and_endless_passwords_fit_nothing():
    assert not verify("{PLAIN}", b"")
    assert not verify("{SHA}" + b64encode(sha1(b"").digest()).decode(), b"")
    assert verify("{PLAIN}" + "x" * 1024, b"x" * 1024)
    assert not verify("{PLAIN}" + "x" * 1025, b"x" * 1025)


def test_a_nul_does_not_cut_a_password_short():
    assert not verify("{CRYPT}" + SHA256_CRYPT, PASSWORD + b"\0")
    assert not verify("{CRYPT}abiQ6Ep3EYTHc", b"x\0")


def test_bcrypt_looks_at_72_octets_as_everywhere():
    stored = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    assert verify(stored, b"x" * 72, "CRYPT")
    assert verify(stored, b"x" * 73, "CRYPT")
    assert not verify(stored, b"x" * 71, "CRYPT")
    with pytest.raises(ValueError):
        hash_password(b"x" * 73, "BLF-CRYPT")


@pytest.mark.parametrize("scheme", MADE_SCHEMES)
def test_what_is_made_is_verified(scheme):
    stored = hash_password(PASSWORD, scheme)
    assert stored.startswith(f"{{{scheme}}}")
    assert verify(stored, PASSWORD)
    assert not verify(stored, b"pencil")


def test_argon2id_is_the_default_with_the_low_memory_profile_of_rfc_9106():
    assert hash_password(b"pencil").startswith("{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$")


def test_a_secret_with_a_colon_still_fits_a_field():
    stored = hash_password(b"a:b", "plain")
    assert ":" not in stored
    assert verify(stored, b"a:b")


def test_PL_004_a_password_is_prepared_before_hashing():
    assert verify(hash_password("I\u00adX \u2168".encode(), "SSHA512"), b"IX IX")


@pytest.mark.parametrize("password", [b"", b"\xff", b"a\0", "\u00ad".encode(), "\u0221".encode()])
def test_SA_031_what_cannot_be_prepared_is_not_hashed(password):
    with pytest.raises(InvalidName):
        hash_password(password, "PLAIN")


def test_nothing_is_made_for_weak_and_unknown_schemes():
    for scheme in ("MD5-CRYPT", "SHA", "SSHA", "ROT13"):
        with pytest.raises(UnknownScheme):
            hash_password(b"pencil", scheme)
    with pytest.raises(ValueError):
        hash_password(b"x" * 1025)


def test_the_dummy_costs_what_a_real_hash_costs_and_fits_nothing():
    def shape(stored):
        *parameters, salt, digest = stored.split("$")
        return parameters, len(salt), len(digest)

    assert shape(dummy_hash()) == shape(hash_password(b"pencil"))
    assert not verify(dummy_hash(), b"pencil")
    assert dummy_hash() != dummy_hash()


def test_plain_secrets_only_are_secrets():
    assert plain_secret("{PLAIN}pencil") == b"pencil"
    assert plain_secret("{plain.hex}70656e") == b"pen"
    assert plain_secret("pencil", "CLEARTEXT") == b"pencil"
    assert plain_secret("{SSHA512}" + b64encode(bytes(70)).decode()) is None
    assert plain_secret("{PLAIN}") is None


@pytest.mark.parametrize(
    ("library", "stored"),
    [
        ("passlib.hash", SHA256_CRYPT),
        ("bcrypt", "$2y$05$lE2mq2pOtlgukWR0mu3zl.e3JqTml7HKgQYlAVc0siB7z860n18dm"),
        (NATIVE, "abiQ6Ep3EYTHc"),
    ],
)
def test_a_missing_library_is_named_by_its_extra(monkeypatch, library, stored):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=r"popserv\[crypt\]"):
        verify(stored, b"pencil", "CRYPT")
