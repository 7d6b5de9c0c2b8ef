"""What a client certificate says of its holder, whatever stands in it."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from popserv.accounts.certificate import AddressRule, CertificateAccounts
from popserv.auth.client_certificate import (
    PRINCIPAL_NAME,
    SMTP_UTF8_MAILBOX,
    ClientCertificate,
    UnreadableCertificate,
    contents,
    fingerprint,
)
from popserv.auth.names import InvalidName, prepare
from tests.client_certificates import issue, subject

SERVER_ONLY = [ExtendedKeyUsageOID.SERVER_AUTH]
BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
EVERYBODY = CertificateAccounts(AddressRule(frozenset({"example.org"}), "fold"))


def test_addresses_subject_and_purpose() -> None:
    found = contents(issue("fred@example.org", "f@example.net").der)
    assert found.addresses == ("fred@example.org", "f@example.net")
    assert found.subject.rfc4514_string() == "CN=fred,O=Example,C=DE"
    assert found.for_clients


@pytest.mark.parametrize(
    ("purposes", "for_clients"),
    [(None, True), (BOTH, True), (SERVER_ONLY, False), ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], False)],
)
def test_EXT_002_an_extended_key_usage_has_to_be_for_clients(
    purposes: list[x509.ObjectIdentifier] | None, for_clients: bool
) -> None:
    assert contents(issue("fred@example.org", purposes=purposes).der).for_clients is for_clients


def test_EXT_003_a_common_name_is_no_name() -> None:
    common = subject((NameOID.COMMON_NAME, "fred@example.org"), (NameOID.EMAIL_ADDRESS, "fred@example.org"))
    assert contents(issue(name=common).der).addresses == ()
    dns = [x509.DNSName("example.org"), x509.UniformResourceIdentifier("mailto:fred@example.org")]
    assert contents(issue(name=common, names=dns).der).addresses == ()


@pytest.mark.parametrize(
    "address",
    [
        "fred",
        "@example.org",
        "fred@",
        "ann@example.net@example.org",
        '"ann@example.net"@example.org',
        "fred@example.org\0.example.net",
        "fred\0@example.org",
        "fred @example.org",
        "fred@example.org\n",
        "fred@[192.0.2.1]",
        ".fred@example.org",
        "fr..ed@example.org",
        "fred@-example.org",
    ],
)
def test_EXT_003_an_address_that_can_be_read_in_two_ways_is_none(address: str) -> None:
    odd = x509.RFC822Name._init_without_validation(address)
    assert contents(issue("f@example.org", names=[odd]).der).addresses == ("f@example.org",)


def other(kind: x509.ObjectIdentifier, text: bytes, tag: int = 0x0C) -> x509.OtherName:
    length = bytes([len(text)]) if len(text) < 128 else bytes([0x81, len(text)])
    return x509.OtherName(kind, bytes([tag]) + length + text)


def test_EXT_003_other_names_that_are_addresses_or_principals() -> None:
    wide = "jürgen.größe@example.org"
    names = [other(SMTP_UTF8_MAILBOX, wide.encode()), other(PRINCIPAL_NAME, b"fred@ad.example.org")]
    found = contents(issue("f@example.net", names=names).der)
    assert found.addresses == ("f@example.net", wide)
    assert found.principals == ("fred@ad.example.org",)
    long = b"x" * 150 + b"@example.org"
    assert contents(issue(names=[other(PRINCIPAL_NAME, long)]).der).principals == (long.decode(),)


@pytest.mark.parametrize(
    "odd",
    [
        other(x509.ObjectIdentifier("1.2.3.4"), b"fred@example.org"),
        other(PRINCIPAL_NAME, b"fred@example.org", tag=0x04),
        other(PRINCIPAL_NAME, b"fr\xffed@example.org"),
        *(other(PRINCIPAL_NAME, text) for text in (b"", b"fred", b"a@b@c", b"fr ed@x.org", b"f\0@x.org", b".f@x.org")),
    ],
)
def test_EXT_003_other_names_that_are_nobody(odd: x509.OtherName) -> None:
    found = contents(issue(names=[odd]).der)
    assert (found.addresses, found.principals) == ((), ())


def test_what_is_no_certificate() -> None:
    for octets in (b"", b"\x30\x00", b"x" * 1000, issue().der[:-1]):
        with pytest.raises(UnreadableCertificate):
            contents(octets)


def test_fingerprint_is_that_of_openssl() -> None:
    issued = issue()
    assert fingerprint(issued.der) == issued.fingerprint.replace(":", "").lower()


def test_credentials_show_no_octets_and_prepare_the_identity() -> None:
    credentials = ClientCertificate(b"\x30\x82", b"Fred\xc2\xad")
    assert "x82" not in repr(credentials)
    assert credentials.prepared("fold").authorization == b"fred"
    assert ClientCertificate(b"").prepared("fold").authorization == b""
    with pytest.raises(InvalidName):
        ClientCertificate(b"", b"fr\0ed").prepared("fold")


texts = st.text(st.characters(max_codepoint=0x7F), max_size=60)
alternatives = st.one_of(
    texts.map(x509.RFC822Name._init_without_validation),
    st.emails().filter(str.isascii).map(x509.RFC822Name),
    texts.map(x509.DNSName._init_without_validation),
    texts.map(x509.UniformResourceIdentifier._init_without_validation),
    st.binary(max_size=20).map(
        lambda octets: x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), b"\x04%c" % len(octets) + octets)
    ),
    st.sampled_from([x509.DirectoryName(subject((NameOID.COMMON_NAME, "fred")))]),
)
parts = st.tuples(
    st.sampled_from([NameOID.COMMON_NAME, NameOID.EMAIL_ADDRESS, NameOID.ORGANIZATION_NAME, NameOID.USER_ID]),
    st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable() or "\0" in text),
).filter(lambda part: len(part[1].encode("utf-8", "replace")) <= 60)
subjects = st.lists(parts, max_size=4).map(lambda found: _subject(found))


def _subject(found: list[tuple[x509.ObjectIdentifier, str]]) -> x509.Name:
    return subject(*[(oid, value.encode("utf-8", "replace").decode("utf-8")) for oid, value in found])


@given(st.lists(alternatives, max_size=5), subjects)
def test_EXT_003_no_certificate_can_break_the_mapping(names: list[x509.GeneralName], name: x509.Name) -> None:
    certificate = issue(names=names, name=name).der
    for each in EVERYBODY.accounts(certificate):
        assert prepare(each.encode("utf-8")) == each
        assert "\0" not in each
        assert each.count("@") <= 1
        assert not each.endswith("@example.org"), "the local part alone is the name there"


@given(st.binary(max_size=400), st.integers(0, 1500))
def test_EXT_003_no_octets_can_break_the_mapping(junk: bytes, at: int) -> None:
    whole = ODD
    at %= len(whole)
    names = EVERYBODY.accounts(whole[:at] + junk + whole[at + len(junk) :])
    for each in names:
        assert prepare(each.encode("utf-8")) == each


ODD = issue("fred@example.org", "f@example.net").der
