"""Certificates of our own making, and names."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from popserv.service.certificate import CertificateTrouble, read, self_signed


def write(directory: Path, certificate: bytes, key: bytes) -> tuple[Path, Path]:
    files = directory / "cert.pem", directory / "key.pem"
    files[0].write_bytes(certificate)
    files[1].write_bytes(key)
    return files


def test_what_a_certificate_of_ours_says(tmp_path: Path) -> None:
    pair = read(*write(tmp_path, *self_signed(["localhost", "127.0.0.1", "::1"])))
    names = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    constraints = pair.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert pair.key.key_size == 256


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("pop.test", True),
        ("POP.test.", True),
        ("a.wild.test", True),
        ("a.b.wild.test", False),
        ("wild.test", False),
        ("*.wild.test", True),
        ("test", False),
        ("", False),
    ],
)
def test_TLS_032_names_that_are_covered(tmp_path: Path, name: str, covered: bool) -> None:
    pair = read(*write(tmp_path, *self_signed(["pop.test", "*.wild.test"])))
    assert pair.covers(name) is covered


def test_the_chain_is_kept(tmp_path: Path) -> None:
    issued = trustme.CA().create_child_ca().issue_cert("pop.test")
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    pair = read(*write(tmp_path, chain, issued.private_key_pem.bytes()))
    assert len(pair.chain) == len(issued.cert_chain_pems) - 1
    assert pair.names == ["pop.test"]


def test_a_key_never_shows(tmp_path: Path) -> None:
    assert "PrivateKey" not in repr(read(*write(tmp_path, *self_signed(["x"]))))


def test_each_trouble_names_its_file(tmp_path: Path) -> None:
    certificate, key = self_signed(["pop.test"])
    private = serialization.load_pem_private_key(key, None)
    locked = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    other = self_signed(["pop.test"])[1]
    for content, reason in (
        ((b"", key), "cert.pem: holds no certificate in PEM form"),
        ((certificate, b""), "key.pem: holds no private key in PEM form"),
        ((certificate, certificate), "key.pem: holds no private key in PEM form"),
        ((certificate, locked), "key.pem: has a passphrase; it must have none"),
        ((certificate, other), f"key.pem: is not the key of {tmp_path}/cert.pem"),
    ):
        with pytest.raises(CertificateTrouble) as raised:
            read(*write(tmp_path, *content))
        assert str(raised.value) == f"{tmp_path}/{reason}"
    with pytest.raises(CertificateTrouble, match="No such file"):
        read(tmp_path / "none.pem", tmp_path / "key.pem")
