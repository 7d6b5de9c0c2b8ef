"""Channel binding over real TLS: what the server's side exports is what the client's side does."""

from __future__ import annotations

import ssl
from hashlib import sha256, sha384
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from popserv.net.channel import CLEAR, Channel

CA = trustme.CA()


def connected(version: int, certificate: x509.Certificate | None = None, key: Any = None) -> tuple[Any, Any]:
    """Both ends of a handshake in memory."""
    issued = CA.issue_cert("localhost")
    server_context, client_context = SSL.Context(SSL.TLS_SERVER_METHOD), SSL.Context(SSL.TLS_CLIENT_METHOD)
    if certificate is None:
        certificate = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    server_context.use_certificate(certificate)
    server_context.use_privatekey(key)
    for context in (server_context, client_context):
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    server, client = SSL.Connection(server_context, None), SSL.Connection(client_context, None)
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(6):
        for end, other in ((client, server), (server, client)):
            try:
                end.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                other.bio_write(end.bio_read(1 << 16))
            except SSL.WantReadError:
                pass
    return server, client


class Transport:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def getHandle(self) -> Any:
        return self._connection


def self_signed(key: Any, algorithm: Any) -> x509.Certificate:
    import datetime

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
    return builder.sign(key, algorithm)


class Bindings(SynchronousTestCase):
    def test_CB_001_both_ends_export_the_same_octets(self) -> None:
        server, client = connected(SSL.TLS1_3_VERSION)
        data = Channel(Transport(server), "TLSv1.3").binding("tls-exporter")
        self.assertEqual(data, client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""))
        other, _ = connected(SSL.TLS1_3_VERSION)
        self.assertNotEqual(data, Channel(Transport(other), "TLSv1.3").binding("tls-exporter"))

    def test_CB_006_the_exported_octets_are_given_out_once(self) -> None:
        channel = Channel(Transport(connected(SSL.TLS1_3_VERSION)[0]), "TLSv1.3")
        self.assertIsNotNone(channel.binding("tls-exporter"))
        self.assertIsNone(channel.binding("tls-exporter"))
        self.assertIsNotNone(channel.binding("tls-server-end-point"))

    def test_CB_005_the_hash_is_that_of_the_certificates_signature(self) -> None:
        key = ec.generate_private_key(ec.SECP384R1())
        for algorithm, hashed in ((hashes.SHA256(), sha256), (hashes.SHA384(), sha384)):
            certificate = self_signed(key, algorithm)
            server, _ = connected(SSL.TLS1_3_VERSION, certificate, key)
            data = Channel(Transport(server), "TLSv1.3").binding("tls-server-end-point")
            self.assertEqual(data, hashed(certificate.public_bytes(serialization.Encoding.DER)).digest())

    def test_CB_005_without_a_single_hash_there_is_no_such_binding(self) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        server, _ = connected(SSL.TLS1_3_VERSION, self_signed(key, None), key)
        self.assertIsNone(Channel(Transport(server), "TLSv1.3").binding("tls-server-end-point"))

    def test_CB_004_nothing_is_bound_with_tls_1_2_or_in_the_clear(self) -> None:
        old = Channel(Transport(connected(SSL.TLS1_2_VERSION)[0]), "TLSv1.2")
        for channel in (old, CLEAR):
            self.assertFalse(channel.binds)
            self.assertIsNone(channel.binding("tls-exporter"))
            self.assertIsNone(channel.binding("tls-server-end-point"))

    def test_SC_019_only_channels_that_cannot_be_confused_are_bound(self) -> None:
        self.assertTrue(Channel(Transport(connected(SSL.TLS1_3_VERSION)[0]), "TLSv1.3").binds)

    def test_there_is_no_client_certificate_where_none_was_asked_for(self) -> None:
        self.assertIsNone(Channel(Transport(connected(SSL.TLS1_3_VERSION)[0]), "TLSv1.3").certificate)
        self.assertIsNone(CLEAR.certificate)
        self.assertTrue(ssl.HAS_TLSv1_3)
