"""What tokens say, on literals."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.token_claims import HEADER_OCTETS, Demands, TokenRefused, Unverified
from tests.accounts.identity_provider import encoded

NOW = 1_800_000_000.0
ISSUER = "https://id.example.org"
CLAIMS = {"iss": ISSUER, "aud": "mail", "exp": NOW + 60, "scope": "openid mail", "email": "Fred@Example.org"}
DEMANDS = Demands(
    ISSUER, frozenset({"mail", "post"}), frozenset({"mail"}), "email", 30.0, frozenset({"at+jwt"}), "fold"
)
ALGORITHMS = frozenset({"RS256"})


def name(claims: Any, demands: Demands = DEMANDS, introspected: bool = False) -> bytes:
    return demands.name(claims, NOW, introspected=introspected)


def refused(claims: Any, demands: Demands = DEMANDS, introspected: bool = False) -> str:
    with pytest.raises(TokenRefused) as refusal:
        name(claims, demands, introspected)
    assert refusal.value.status == ("insufficient_scope" if str(refusal.value) == "scope" else "invalid_token")
    return str(refusal.value)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in CLAIMS.items() if name != key}


def test_a_good_token_gives_the_prepared_name() -> None:
    assert name(CLAIMS) == b"fred@example.org"
    assert name(CLAIMS, attrs.evolve(DEMANDS, case="keep")) == b"Fred@Example.org"
    assert name({**CLAIMS, "aud": ["other", "post"]}) == b"fred@example.org"
    assert name({**CLAIMS, "scope": ["mail"]}) == name({**without("scope"), "scp": "mail x"}) == b"fred@example.org"
    assert name({**CLAIMS, "sub": "17"}, attrs.evolve(DEMANDS, username="sub")) == b"17"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://id.example.org/"}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "other"}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": [["mail"], None, 3, {}]}, "audience"),
        ({"aud": "mail post"}, "audience"),
        ({"aud": {"mail": 1}}, "audience"),
        ({"exp": NOW - 30}, "expired"),
        ({"exp": 0}, "expired"),
        ({"exp": "4000000000"}, "time"),
        ({"exp": True}, "time"),
        ({"exp": None}, "time"),
        ({"exp": float("nan")}, "time"),
        ({"exp": float("inf")}, "time"),
        ({"exp": 10**400}, "time"),
        ({"nbf": NOW + 31}, "not yet valid"),
        ({"nbf": "0"}, "time"),
        ({"scope": "openid"}, "scope"),
        ({"scope": "MAIL"}, "scope"),
        ({"scope": "mailx"}, "scope"),
        ({"scope": {"mail": 1}}, "scope"),
        ({"scope": 3}, "scope"),
        ({"typ": "ID"}, "type"),
        ({"token_type": "DPoP"}, "type"),
        ({"cnf": {"jkt": "x"}}, "bound to a key"),
        ({"cnf": None}, "bound to a key"),
        ({"email": None}, "no user name"),
        ({"email": ["fred@example.org"]}, "no user name"),
        ({"email": ""}, "user name"),
        ({"email": "../fred"}, "user name"),
        ({"email": "fred\0"}, "user name"),
        ({"email": "\ud800"}, "user name"),
        ({"email": "f" * 256}, "user name"),
        ({"email_verified": False}, "address not verified"),
        ({"email_verified": "false"}, "address not verified"),
        ({"email_verified": 1.5}, "address not verified"),
    ],
)
def test_OA_014_what_is_said_is_looked_at(change: dict[str, Any], reason: str) -> None:
    for introspected in (False, True):
        assert refused({**CLAIMS, **change}, introspected=introspected) == reason


def test_OA_014_clocks_may_differ_a_little() -> None:
    assert name({**CLAIMS, "exp": NOW - 29.5, "nbf": NOW + 29.5}) == b"fred@example.org"


def test_OA_018_a_jwt_has_to_be_complete() -> None:
    for key, reason in {"iss": "issuer", "aud": "audience", "exp": "no expiry", "email": "no user name"}.items():
        assert refused(without(key)) == reason


def test_OA_014_an_introspected_token_need_not_say_what_the_provider_has_looked_at() -> None:
    for key in ("iss", "exp", "aud"):
        assert name(without(key), introspected=True) == b"fred@example.org"
    # Something has to tie it to mail.
    assert refused(without("aud"), attrs.evolve(DEMANDS, scope=frozenset()), introspected=True) == "audience"


def test_OA_018_algorithm_and_type_of_a_jwt() -> None:
    for kind in ("at+jwt", "application/at+jwt", "AT+JWT"):
        DEMANDS.check_header({"alg": "RS256", "typ": kind}, ALGORITHMS)
    loose = attrs.evolve(DEMANDS, types=frozenset({"at+jwt", "jwt"}))
    for header in ({"alg": "RS256"}, {"alg": "RS256", "typ": "JWT"}):
        loose.check_header(header, ALGORITHMS)
        with pytest.raises(TokenRefused, match="type"):
            DEMANDS.check_header(header, ALGORITHMS)
    for algorithm in ("none", "None", "HS256", "RS512", "rs256", None, ["RS256"], 3):
        with pytest.raises(TokenRefused, match="algorithm"):
            DEMANDS.check_header({"alg": algorithm, "typ": "at+jwt"}, ALGORITHMS)
    with pytest.raises(TokenRefused, match="critical"):
        DEMANDS.check_header({"alg": "RS256", "typ": "at+jwt", "crit": ["b64"], "b64": False}, ALGORITHMS)
    with pytest.raises(TokenRefused, match="type"):
        DEMANDS.check_header({"alg": "RS256", "typ": 3}, ALGORITHMS)


def test_who_has_signed_a_jwt_is_read_without_a_key() -> None:
    header = {"alg": "RS256", "kid": "x"}
    token = b".".join([encoded(header), encoded(CLAIMS), b"c2ln"])
    assert Unverified.read(token) == Unverified(header, ISSUER)
    deep = b"[" * 40_000
    for other in (
        b"",
        b"..",
        b"a.b",
        token + b".x",
        token.replace(b".", b"", 1),
        b".".join([encoded(header), encoded(without("iss")), b""]),
        b".".join([encoded(header), encoded({"iss": 3}), b""]),
        b".".join([encoded([]), encoded(CLAIMS), b""]),
        b".".join([encoded(header), encoded(deep), b""]),
        b".".join([encoded(deep), encoded(CLAIMS), b""]),
        b".".join([encoded(header), encoded(b"\xff"), b""]),
        b".".join([encoded({"alg": "x" * HEADER_OCTETS}), encoded(CLAIMS), b""]),
        b"x" * 65_536,
    ):
        assert Unverified.read(other) is None


@given(st.binary(max_size=60) | st.from_regex(rb"[A-Za-z0-9._~+/-]{0,60}=*", fullmatch=True))
def test_whatever_the_token_is_it_can_be_looked_at(token: bytes) -> None:
    assert Unverified.read(token) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["mail", ISSUER]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*CLAIMS, "nbf", "typ", "scp", "email_verified"]), VALUES), st.booleans())
def test_whatever_the_claims_are_they_give_a_name_or_a_refusal(changes: dict[str, Any], introspected: bool) -> None:
    claims = json.loads(json.dumps({**CLAIMS, **changes}))
    try:
        assert name(claims, introspected=introspected)
    except TokenRefused as refusal:
        assert str(refusal)
