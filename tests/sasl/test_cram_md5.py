"""CRAM-MD5 (RFC 2195) and LOGIN on literals."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from popserv import plugins
from popserv.auth.credentials import CramDigest
from popserv.errors import MalformedResponse
from popserv.service import names
from popserv.testing.talk import Talk, TalkChannel


class Cram(SynchronousTestCase):
    mechanism = plugins.find("sasl", "cram-md5")

    def talk(self, response: bytes) -> tuple[Any, Talk]:
        talk = Talk(None, lambda _challenge: response)
        return ensureDeferred(self.mechanism.authenticate(talk)), talk

    def test_CR_001_each_challenge_is_a_fresh_message_id(self) -> None:
        challenges = set()
        for _ in range(20):
            work, talk = self.talk(b"fred " + b"0" * 32)
            self.successResultOf(work)
            (challenge,) = talk.challenges
            self.assertTrue(re.fullmatch(rb"<[0-9a-f]{36}\.[0-9]+@localhost>", challenge))
            challenges.add(challenge)
        self.assertEqual(len(challenges), 20)
        self.assertFalse(self.mechanism.client_first)

    def test_CR_002_the_name_ends_at_the_last_space(self) -> None:
        credentials = self.successResultOf(self.talk(b"fred of old " + b"a" * 32)[0])
        self.assertEqual((credentials.username, credentials.digest), (b"fred of old", b"a" * 32))
        for wrong in (b"", b"fred", b"fred ", b" " + b"a" * 32, b"fred " + b"A" * 32, b"fred " + b"a" * 31, b"a" * 32):
            self.failureResultOf(self.talk(wrong)[0], MalformedResponse)

    def test_CR_003_the_vector(self) -> None:
        challenge = b"<1896.697170952@postoffice.reston.mci.net>"
        digest = CramDigest(b"tim", challenge, b"b913a602c7eda7a495b4e6e7334d3890")
        self.assertTrue(digest.checkPassword(b"tanstaaftanstaaf"))
        self.assertFalse(digest.checkPassword(b"tanstaaf"))
        self.assertNotIn("b913", repr(digest))

    def test_CR_005_it_is_offered_only_if_it_is_named(self) -> None:
        self.assertNotIn("cram-md5", names.mechanisms(("default",)))
        self.assertIn("cram-md5", names.mechanisms(("default", "CRAM-MD5")))

    @given(st.binary(max_size=80))
    def test_whatever_comes_is_credentials_or_malformed(self, response: bytes) -> None:
        outcome: list[Any] = []
        self.talk(response)[0].addBoth(outcome.append)
        self.assertTrue(isinstance(outcome[0], CramDigest) or outcome[0].check(MalformedResponse))


class Login(SynchronousTestCase):
    mechanism = plugins.find("sasl", "login")

    def log_in(self, initial: bytes | None, *answers: bytes) -> tuple[Any, list[bytes]]:
        left = iter(answers)
        talk = Talk(initial, lambda _challenge: next(left))
        return ensureDeferred(self.mechanism.authenticate(talk)), talk.challenges

    def test_name_and_password_are_asked_for(self) -> None:
        work, challenges = self.log_in(None, b"fred", b"secret")
        credentials = self.successResultOf(work)
        self.assertEqual((credentials.username, credentials.password), (b"fred", b"secret"))
        self.assertEqual(challenges, [b"Username:", b"Password:"])

    def test_an_initial_response_is_the_name(self) -> None:
        work, challenges = self.log_in(b"fred", b"secret")
        self.assertEqual(self.successResultOf(work).username, b"fred")
        self.assertEqual(challenges, [b"Password:"])

    def test_empty_and_nul_are_malformed(self) -> None:
        for answers in ((b"", b"x"), (b"x", b""), (b"x\0y", b"z"), (b"x", b"y\0z")):
            self.failureResultOf(self.log_in(None, *answers)[0], MalformedResponse)

    def test_SEC_004_it_needs_tls_and_has_to_be_named(self) -> None:
        self.assertTrue(self.mechanism.plaintext)
        self.assertNotIn("login", names.mechanisms(("default",)))
        self.assertTrue(self.mechanism.usable(TalkChannel()))
