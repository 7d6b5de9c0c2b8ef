"""SCRAM (RFC 5802, RFC 7677) on literals: vectors, grammar, channel binding, and who learns what."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from popserv import plugins
from popserv.auth import scram
from popserv.auth.scram import FirstMessage, unescape
from popserv.auth.scram_keys import ScramKeys, salt_for
from popserv.errors import MalformedResponse, PopError
from popserv.service.rehearsal import ScramClient
from popserv.testing.talk import Talk, TalkChannel

NAMES = [f"scram-sha-{size}{plus}" for size in (1, 256, 512) for plus in ("", "-plus")]


def nothing(_challenge: bytes) -> bytes:
    return b""


class Case(SynchronousTestCase):
    def begin(self, talk: Talk, mechanism: str = "scram-sha-256") -> Any:
        return self.successResultOf(ensureDeferred(plugins.find("sasl", mechanism).authenticate(talk)))

    def refused(self, talk: Talk, mechanism: str = "scram-sha-256") -> str:
        work: Deferred[Any] = ensureDeferred(plugins.find("sasl", mechanism).authenticate(talk))
        return self.failureResultOf(work, MalformedResponse).value.text

    def prove(self, exchange: Any, keys: ScramKeys) -> bool:
        return self.successResultOf(ensureDeferred(exchange.prove(keys)))


class Vectors(Case):
    def run_vector(self, mechanism: str, keys: ScramKeys, client: str, nonce: str, proof: str, signature: str) -> None:
        """`nonce` is the server's part."""
        self.patch(scram, "urandom", lambda _octets: b64decode(nonce) if nonce.endswith("=") else b"")
        self.patch(scram, "b64encode", lambda octets: nonce.encode() if octets == b"" else b64encode(octets))
        sent = []

        def respond(challenge: bytes) -> bytes:
            sent.append(challenge)
            return (
                b""
                if challenge.startswith(b"v=")
                else b"c=biws,r=%b%b,p=%b"
                % (
                    client.encode(),
                    nonce.encode(),
                    proof.encode(),
                )
            )

        talk = Talk(b"n,,n=user,r=" + client.encode(), respond)
        self.assertTrue(self.prove(self.begin(talk, mechanism), keys))
        first = f"r={client}{nonce},s={b64encode(keys.salt).decode()},i={keys.iterations}"
        self.assertEqual(sent, [first.encode(), b"v=" + signature.encode()])

    def test_SC_018_the_vector_of_rfc_5802(self) -> None:
        keys = ScramKeys.make(b"pencil", "sha1", 4096, b64decode("QSXCR+Q6sek8bf92"))
        self.assertEqual(b64encode(keys.stored_key), b"6dlGYMOdZcOPutkcNY8U2g7vK9Y=")
        self.assertEqual(b64encode(keys.server_key), b"D+CSWLOshSulAsxiupA+qs2/fTE=")
        client, server = "fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j"
        proof, signature = "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "rmF9pqV8S7suAoZWja4dJRkFsKQ="
        self.run_vector("scram-sha-1", keys, client, server, proof, signature)

    def test_SC_018_the_vector_of_rfc_7677(self) -> None:
        keys = ScramKeys.make(b"pencil", "sha256", 4096, b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
        self.assertEqual(b64encode(keys.stored_key), b"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=")
        self.assertEqual(b64encode(keys.server_key), b"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
        client, server = "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        self.run_vector("scram-sha-256", keys, client, server, proof, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


class Exchanges(Case):
    KEYS = {name: ScramKeys.make(b"pencil", name, 4096) for name in ("sha1", "sha256", "sha512")}

    def client(self, hash_name: str = "sha256", password: bytes = b"pencil", name: bytes = b"fred") -> ScramClient:
        return ScramClient(hash_name, name, password)

    def test_each_hash_function_lets_the_right_password_in_and_no_other(self) -> None:
        for hash_name, size in (("sha1", 1), ("sha256", 256), ("sha512", 512)):
            for password, good in ((b"pencil", True), (b"paper", False)):
                client = self.client(hash_name, password)
                exchange = self.begin(Talk(client.first(), client.respond), f"scram-sha-{size}")
                self.assertEqual(exchange.hash_name, hash_name)
                self.assertIs(self.prove(exchange, self.KEYS[hash_name]), good)

    def test_SA_007_without_an_initial_response_the_client_is_asked(self) -> None:
        client = self.client()
        answers = iter((client.first(),))
        talk = Talk(None, lambda challenge: client.respond(challenge) if challenge else next(answers))
        self.assertTrue(self.prove(self.begin(talk), self.KEYS["sha256"]))

    def test_SA_013_what_the_server_proves_comes_in_a_challenge(self) -> None:
        client = self.client()
        talk = Talk(client.first(), client.respond)
        self.assertTrue(self.prove(self.begin(talk), self.KEYS["sha256"]))
        self.assertTrue(talk.challenges[-1].startswith(b"v="))

    def test_SA_022_the_password_is_never_sent(self) -> None:
        client = self.client()
        sent = [client.first()]
        talk = Talk(sent[0], lambda challenge: sent.append(client.respond(challenge)) or sent[-1])
        self.assertTrue(self.prove(self.begin(talk), self.KEYS["sha256"]))
        self.assertFalse([octets for octets in sent if b"pencil" in octets])

    def test_SC_006_nonces_are_new_each_time_and_long(self) -> None:
        seen = set()
        for _ in range(20):
            client = self.client()
            talk = Talk(client.first(), client.respond)
            self.prove(self.begin(talk), self.KEYS["sha256"])
            nonce = talk.challenges[0].split(b",")[0][2 + 24 :]
            self.assertGreaterEqual(len(b64decode(nonce)), 18)
            seen.add(nonce)
        self.assertEqual(len(seen), 20)

    def final(self, change: Callable[[bytes], bytes]) -> Talk:
        client = self.client()
        return Talk(client.first(), lambda challenge: change(client.respond(challenge)))

    def breaks(self, change: Callable[[bytes], bytes]) -> str:
        exchange = self.begin(self.final(change))
        return self.failureResultOf(ensureDeferred(exchange.prove(self.KEYS["sha256"])), MalformedResponse).value.text

    def test_SC_007_the_nonce_of_the_final_message_is_the_whole_one(self) -> None:
        for change in (
            lambda final: final.replace(b",r=", b",r=x"),
            lambda final: final.split(b",r=")[0] + b",r=" + b"x" * 24 + b",p=" + final.split(b",p=")[1],
        ):
            self.assertIn("nonce", self.breaks(change))

    def test_SC_003_mandatory_extensions_are_refused_and_others_are_part_of_what_is_signed(self) -> None:
        for message in (b"n,,m=x,n=fred,r=abc", b"n,,n=fred,r=abc,m=x"):
            self.refused(Talk(message, nothing))
        self.breaks(lambda final: final.replace(b",p=", b",m=x,p="))
        exchange = self.begin(self.final(lambda final: final.replace(b",p=", b",t=x,p=")))
        self.assertFalse(self.prove(exchange, self.KEYS["sha256"]))
        exchange = self.begin(Talk(b"n,,n=fred,r=abc,t=x", nothing))
        self.assertTrue(exchange.first.bare.endswith(b",t=x"))

    def test_SC_009_the_gs2_header_is_bound(self) -> None:
        exchange = self.begin(self.final(lambda final: final.replace(b"c=biws", b"c=eSws")))
        self.assertFalse(self.prove(exchange, self.KEYS["sha256"]))

    def test_SC_015_a_wrong_proof_gets_no_message_of_scram(self) -> None:
        client = self.client(password=b"paper")
        talk = Talk(client.first(), client.respond)
        self.assertFalse(self.prove(self.begin(talk), self.KEYS["sha256"]))
        self.assertEqual(len(talk.challenges), 1)

    def test_a_proof_of_any_other_length_is_wrong(self) -> None:
        for proof in (b"", b"AA==", b64encode(bytes(31)), b64encode(bytes(33)), b64encode(bytes(64))):
            change = lambda final, proof=proof: final.split(b",p=")[0] + b",p=" + (proof or b"AAAA")  # noqa: E731
            self.assertFalse(self.prove(self.begin(self.final(change)), self.KEYS["sha256"]))

    def test_SA_014_the_line_after_final_data_is_empty(self) -> None:
        client = self.client()
        talk = Talk(client.first(), lambda challenge: client.respond(challenge) or b"more")
        exchange = self.begin(talk)
        self.failureResultOf(ensureDeferred(exchange.prove(self.KEYS["sha256"])), MalformedResponse)

    def test_SC_005_the_name_is_prepared_for_look_up_and_signed_as_received(self) -> None:
        client = self.client(name="Frédéric".encode())
        exchange = self.begin(Talk(client.first(), client.respond))
        prepared = exchange.prepared("fold")
        self.assertEqual(prepared.username, "frédéric".encode())
        self.assertTrue(self.prove(prepared, self.KEYS["sha256"]))

    def test_SC_016_nobody_gets_through_where_there_is_no_account(self) -> None:
        client = self.client()
        talk = Talk(client.first(), client.respond)
        exchange = self.begin(talk)
        self.assertIsNone(self.successResultOf(ensureDeferred(exchange.prove_nothing(b"s" * 16, 4096))))
        self.assertEqual(len(talk.challenges), 1)
        self.assertIn(b",i=4096", talk.challenges[0])

    def test_SC_016_made_up_salts_are_stable_and_differ(self) -> None:
        salts = [salt_for(secret, name) for secret in (b"a", b"b") for name in (b"fred", b"ann")]
        self.assertEqual((len(set(salts)), {len(salt) for salt in salts}), (4, {16}))
        self.assertEqual(salt_for(b"a", b"fred"), salts[0])

    def test_secrets_do_not_show(self) -> None:
        client = self.client()
        shown = repr(self.begin(Talk(client.first(), client.respond)))
        self.assertNotIn("r=", shown)
        self.assertIn("fred", shown)


class Names(Case):
    def test_SC_004_escapes(self) -> None:
        self.assertEqual(unescape(b"a=2Cb=3Dc"), b"a,b=c")
        for wrong in (b"a=", b"a=2c", b"=41", b"a=3d", b"\xff"):
            with self.assertRaises(MalformedResponse):
                unescape(wrong)

    def test_the_authorization_identity(self) -> None:
        exchange = self.begin(Talk(b"n,a=ann=2Cx,n=fred,r=abc", nothing))
        self.assertEqual((exchange.username, exchange.authorization), (b"fred", b"ann,x"))
        self.assertEqual(exchange.prepared("fold").authorization, b"ann,x")

    def test_SC_002_the_first_message(self) -> None:
        for message in (
            *(b"", b"n", b"n,,", b"n,,n=,r=a", b"n,,n=a,r=", b"x,,n=a,r=b", b"N,,n=a,r=b", b"n,b=c,n=a,r=b"),
            *(b"n,,r=b,n=a", b"n,,n=a\0,r=b", b"n,,n=a,r=b c", b"n,,n=a,r=b\x7f", b"n,,n=a,r=b,", b"n,,n=a,r=b,tt=x"),
        ):
            self.refused(Talk(message, nothing))

    @given(st.binary(max_size=60) | st.from_regex(rb"[nyp=,amr=ABc2CD\x00]{0,40}", fullmatch=True))
    def test_whatever_comes_first_is_understood_or_malformed(self, message: bytes) -> None:
        try:
            FirstMessage.parse(message)
        except MalformedResponse as error:
            self.assertNotIn(repr(message), error.text)

    @given(st.binary(max_size=80))
    def test_whatever_comes_last_is_a_wrong_proof_or_malformed(self, final: bytes) -> None:
        exchange = self.begin(Talk(b"n,,n=fred,r=abc", lambda _challenge: final))
        outcome: list[Any] = []
        ensureDeferred(exchange.prove(Exchanges.KEYS["sha256"])).addBoth(outcome.append)
        self.assertTrue(outcome[0] is False or isinstance(outcome[0].value, PopError))


class Binding(Case):
    DATA = {"tls-exporter": b"e" * 32, "tls-server-end-point": b"h" * 32}
    BOTH = (b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")

    def plus(self, kind: str, data: bytes, offered: tuple[bytes, ...] = BOTH) -> bool:
        """Whether a client that is bound to this data gets in."""
        client = ScramClient("sha256", b"fred", b"pencil", header=f"p={kind},,".encode(), binding=data)
        talk = Talk(client.first(), client.respond, TalkChannel(data=dict(self.DATA)), offered)
        return self.prove(self.begin(talk, "scram-sha-256-plus"), Exchanges.KEYS["sha256"])

    def test_CB_002_a_client_on_the_same_connection_gets_in(self) -> None:
        for kind, data in self.DATA.items():
            self.assertTrue(self.plus(kind, data), kind)

    def test_SC_009_a_client_on_another_connection_does_not(self) -> None:
        for kind in self.DATA:
            self.assertFalse(self.plus(kind, b"x" * 32), kind)
        self.assertFalse(self.plus("tls-exporter", self.DATA["tls-server-end-point"]))

    def test_SC_011_types_that_are_not_here_are_refused(self) -> None:
        for kind in (b"tls-unique", b"tls-nonsense", b"tls-Exporter"):
            talk = Talk(b"p=" + kind + b",,n=fred,r=abc", nothing, TalkChannel(data=dict(self.DATA)))
            self.assertIn("not available", self.refused(talk, "scram-sha-256-plus"))

    def test_SC_012_the_flag_and_the_name_of_the_mechanism_go_together(self) -> None:
        with_data = TalkChannel(data=dict(self.DATA))
        self.refused(Talk(b"p=tls-exporter,,n=fred,r=abc", nothing, with_data), "scram-sha-256")
        for flag in (b"n", b"y"):
            self.refused(Talk(flag + b",,n=fred,r=abc", nothing, with_data), "scram-sha-256-plus")

    def test_SC_010_a_client_that_was_told_there_is_no_binding_is_refused_where_there_is(self) -> None:
        talk = Talk(b"y,,n=fred,r=abc", nothing, TalkChannel(data=dict(self.DATA)), self.BOTH)
        self.assertIn("offers channel binding", self.refused(talk))
        talk = Talk(b"y,,n=fred,r=abc", nothing, TalkChannel(), self.BOTH[1:])
        self.assertEqual(self.begin(talk).first.flag, b"y")

    def test_SC_014_plus_needs_something_to_bind_to(self) -> None:
        for name in NAMES:
            mechanism = plugins.find("sasl", name)
            self.assertEqual(mechanism.usable(TalkChannel()), not name.endswith("plus"))
            self.assertTrue(mechanism.usable(TalkChannel(data=dict(self.DATA))))
            self.assertEqual(mechanism.name, name.upper().encode())
            self.assertFalse(mechanism.plaintext)


def test_SC_008_new_keys_ask_for_many_iterations() -> None:
    assert ScramKeys.make(b"pencil").iterations >= 10_000


def test_SC_017_what_is_kept_gives_no_client_key() -> None:
    keys = ScramKeys.make(b"pencil", "sha512", 4096)
    assert hashlib.sha512(keys.stored_key).digest() != keys.stored_key
    assert {field.name for field in attrs.fields(ScramKeys)} == {"salt", "iterations", "stored_key", "server_key"}
