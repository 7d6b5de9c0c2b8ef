"""Credentials: what they prove, how they are prepared, and that they keep their secrets."""

from __future__ import annotations

import attrs
import pytest
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from zope.interface.verify import verifyObject

from popserv.auth.credentials import ApopDigest, Password
from popserv.auth.names import InvalidName

TIMESTAMP = b"<1896.697170952@dbc.mtview.ca.us>"
DIGEST = b"c4c9334bac560ecc979e58001b3e22fb"


def test_P3_052_the_digest_of_the_rfc_example_is_good():
    digest = ApopDigest(b"mrose", TIMESTAMP, DIGEST)
    assert digest.checkPassword(b"tanstaaf")
    assert not digest.checkPassword(b"tanstaaF")


@pytest.mark.parametrize(
    "digest", [DIGEST.upper(), DIGEST[:-1], DIGEST + b"0", b"", b"\xff" * 32, b" " + DIGEST], ids=repr
)
def test_P3_052_only_32_lower_case_hex_digits_are_good(digest):
    assert not ApopDigest(b"mrose", TIMESTAMP, digest).checkPassword(b"tanstaaf")


def test_P3_052_the_digest_belongs_to_one_timestamp():
    assert not ApopDigest(b"mrose", TIMESTAMP[1:-1], DIGEST).checkPassword(b"tanstaaf")


def test_both_standard_interfaces_are_provided():
    assert verifyObject(IUsernamePassword, Password(b"fred", b"secret"))
    assert verifyObject(IUsernameHashedPassword, ApopDigest(b"fred", TIMESTAMP, DIGEST))


def test_password_is_compared_whole():
    credentials = Password(b"fred", b"secret")
    assert credentials.checkPassword(b"secret")
    for wrong in (b"secre", b"secrets", b"Secret", b"", b"secret\0"):
        assert not credentials.checkPassword(wrong)


def test_SEC_015_no_secret_shows():
    credentials = attrs.evolve(Password(b"fred", b"s3cret"), typed=b"tYped")
    assert "fred" in repr(credentials)
    assert "s3cret" not in repr(credentials)
    assert "tYped" not in repr(credentials)
    assert DIGEST.decode() not in repr(ApopDigest(b"fred", TIMESTAMP, DIGEST))


def test_SA_032_names_and_password_are_prepared_once_and_the_typed_one_is_kept():
    typed = "\u2168\u00a0x".encode()
    prepared = Password(b"FRED", typed, b"Fred").prepared("fold")
    assert prepared == Password(b"fred", b"IX x", b"fred", typed)
    assert Password(b"FRED", b"x").prepared("keep").username == b"FRED"


def test_PL_005_no_authorization_identity_stays_none():
    assert Password(b"Fred", b"x").prepared("fold").authorization == b""


@pytest.mark.parametrize(
    ("name", "password", "authorization"),
    [
        (b"", b"x", b""),
        (b"\xff", b"x", b""),
        (b"fred", b"", b""),
        (b"fred", b"\xff", b""),
        (b"fred", b"x", b"\xff"),
        (b"fred", b"x", "\u00ad".encode()),
    ],
)
def test_PL_003_what_cannot_be_prepared_fails(name, password, authorization):
    with pytest.raises(InvalidName):
        Password(name, password, authorization).prepared("fold")


def test_apop_names_are_prepared_and_the_address_stays():
    prepared = ApopDigest(b"MRose", TIMESTAMP, DIGEST, address="192.0.2.1").prepared("fold")
    assert prepared == ApopDigest(b"mrose", TIMESTAMP, DIGEST, address="192.0.2.1")
    with pytest.raises(InvalidName):
        ApopDigest(b"mr/ose", TIMESTAMP, DIGEST).prepared("fold")
