"""OAUTHBEARER (RFC 7628) and XOAUTH2 on literals."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from popserv import plugins
from popserv.auth.bearer import BearerToken
from popserv.errors import MalformedResponse
from popserv.interfaces import IBearerToken
from popserv.testing.talk import Talk, TalkChannel

TOKEN = b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


class Case(SynchronousTestCase):
    mechanism: Any

    def talk(self, message: bytes | None, *answers: bytes) -> Talk:
        left = iter(answers)
        return Talk(
            message, lambda _challenge: next(left, b""), TalkChannel(names=("pop.example.org", "*.example.net"))
        )

    def read(self, message: bytes) -> BearerToken:
        found = self.successResultOf(ensureDeferred(self.mechanism.authenticate(self.talk(message))))
        self.assertTrue(IBearerToken.providedBy(found))
        assert isinstance(found, BearerToken)
        return found

    def refused(self, message: bytes) -> None:
        self.failureResultOf(ensureDeferred(self.mechanism.authenticate(self.talk(message))), MalformedResponse)

    def last_words(self, message: bytes, *reason: str) -> Any:
        talk = self.talk(message)
        token = self.successResultOf(ensureDeferred(self.mechanism.authenticate(talk)))
        self.successResultOf(ensureDeferred(token.refuse(*reason)))
        return json.loads(talk.challenges[-1])


class OAuthBearer(Case):
    mechanism = plugins.find("sasl", "oauthbearer")

    def message(self, *pairs: bytes, header: bytes = b"n,a=user@example.com,") -> bytes:
        return header + b"\1" + b"".join(pair + b"\1" for pair in pairs) + b"\1"

    def test_OA_001_tls_only(self) -> None:
        self.assertFalse(self.mechanism.usable(TalkChannel(tls="")))
        self.assertTrue(self.mechanism.usable(TalkChannel()))
        self.assertTrue(self.mechanism.plaintext)

    def test_OA_002_name_and_token(self) -> None:
        found = self.read(self.message(b"host=pop.example.org", b"port=995", b"auth=Bearer " + TOKEN))
        self.assertEqual((found.username, found.token), (b"user@example.com", TOKEN))
        self.assertEqual(found.authorization, found.username)
        self.assertNotIn(TOKEN.decode(), repr(found))

    def test_OA_003_unknown_keys_are_ignored_and_auth_is_needed_once(self) -> None:
        self.assertEqual(self.read(self.message(b"mthd=POST", b"auth=Bearer x", b"qs=a=b")).token, b"x")
        self.refused(self.message(b"mthd=POST"))
        self.refused(self.message(b"auth=Bearer x", b"auth=Bearer y"))

    def test_OA_004_a_lone_separator_is_refused(self) -> None:
        for message in (b"\1", b"", b"n,,\1", b"n,,"):
            self.refused(message)

    def test_OA_005_the_header(self) -> None:
        self.assertEqual(self.read(self.message(b"auth=Bearer x", header=b"y,,")).username, b"")
        self.assertEqual(self.read(self.message(b"auth=Bearer x", header=b"n,a=a=2Cb=3Dc,")).username, b"a,b=c")
        for header in (b"p=tls-exporter,,", b"x,,", b"n,a=a=b,", b"n,b=c,", b""):
            self.refused(self.message(b"auth=Bearer x", header=header))

    def test_OA_006_the_scheme_in_any_case_and_nothing_but_a_token(self) -> None:
        for scheme in (b"Bearer", b"bearer", b"BEARER "):
            self.assertEqual(self.read(self.message(b"auth=" + scheme + b" " + TOKEN)).token, TOKEN)
        for value in (b"Basic eA==", b"Bearer", b"Bearer ", b"Bearer a b", b"Bearer a=b", b"Bearer a,b", b"x"):
            self.refused(self.message(b"auth=" + value))

    def test_OA_007_the_host_is_this_server(self) -> None:
        for host in (b"localhost", b"pop.example.org", b"POP.Example.ORG.", b"any.example.net"):
            self.assertEqual(self.read(self.message(b"host=" + host, b"auth=Bearer x")).token, b"x")
        for host in (b"example.org", b"a.b.example.net", b"evil.example", b"example.net"):
            self.refused(self.message(b"host=" + host, b"auth=Bearer x"))

    def test_OA_008_the_last_words_say_why_and_where_to_go(self) -> None:
        where = "https://id.example.org/.well-known/openid-configuration"
        said = self.last_words(self.message(b"auth="), "invalid_token", "mail", where)
        self.assertEqual(said, {"status": "invalid_token", "scope": "mail", "openid-configuration": where})
        self.assertEqual(self.read(self.message(b"auth=")).token, b"")

    def test_OA_009_whatever_the_client_answers_is_taken(self) -> None:
        for answer in (b"\1", b"", b"anything"):
            talk = self.talk(self.message(b"auth=Bearer x"), answer)
            token = self.successResultOf(ensureDeferred(self.mechanism.authenticate(talk)))
            self.assertIsNone(self.successResultOf(ensureDeferred(token.refuse("invalid_token"))))

    @given(st.binary(max_size=80) | st.from_regex(rb"[nya=,\x01uthBer x]{0,60}", fullmatch=True))
    def test_whatever_comes_is_a_token_or_malformed(self, message: bytes) -> None:
        outcome: list[Any] = []
        ensureDeferred(self.mechanism.authenticate(self.talk(message))).addBoth(outcome.append)
        self.assertTrue(isinstance(outcome[0], BearerToken) or outcome[0].check(MalformedResponse))

    def test_tokens_may_be_long(self) -> None:
        token = b"x" * 60_000
        self.assertEqual(self.read(self.message(b"auth=Bearer " + token)).token, token)


class XOAuth2(Case):
    mechanism = plugins.find("sasl", "xoauth2")

    def test_XO_001_name_and_token(self) -> None:
        found = self.read(b"user=someuser@example.com\1auth=Bearer " + TOKEN + b"\1\1")
        self.assertEqual((found.username, found.token), (b"someuser@example.com", TOKEN))
        for wrong in (b"", b"user=\1auth=Bearer x\1\1", b"user=a\1auth=Bearer x\1", b"user=a\1auth=x\1\1", b"a\1\1"):
            self.refused(wrong)
        self.assertFalse(self.mechanism.usable(TalkChannel(tls="")))

    def test_XO_002_the_last_words_have_numbers(self) -> None:
        message = b"user=a\1auth=Bearer x\1\1"
        self.assertEqual(
            self.last_words(message, "invalid_token", "mail", "https://x"),
            {"status": "401", "schemes": "bearer", "scope": "mail"},
        )
        self.assertEqual(self.last_words(message, "invalid_request")["status"], "400")

    def test_XO_003_in_one_line_or_in_two(self) -> None:
        message = b"user=a\1auth=Bearer x\1\1"
        talk = self.talk(None, message)
        self.assertEqual(self.successResultOf(ensureDeferred(self.mechanism.authenticate(talk))).token, b"x")
        self.assertEqual(talk.challenges, [b""])

    @given(st.binary(max_size=60))
    def test_whatever_comes_is_a_token_or_malformed(self, message: bytes) -> None:
        outcome: list[Any] = []
        ensureDeferred(self.mechanism.authenticate(self.talk(message))).addBoth(outcome.append)
        self.assertTrue(isinstance(outcome[0], BearerToken) or outcome[0].check(MalformedResponse))
