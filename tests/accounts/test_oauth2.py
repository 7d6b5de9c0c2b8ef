"""Tokens of an OAuth provider: whom they let in, whom they do not, and what happens while the provider is away."""

from __future__ import annotations

import json
import time
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface.verify import verifyObject

from popserv.accounts import oauth2
from popserv.accounts.oauth2 import ALGORITHMS, Options, plugin
from popserv.auth import kept
from popserv.auth.bearer import BearerToken
from popserv.auth.chain import CheckerChain, CredentialsRefused, UnknownAccount
from popserv.auth.oauth_provider import LONGEST_TOKEN
from popserv.errors import Cancelled, MalformedResponse, PopError, SystemBroken, SystemTrouble
from popserv.interfaces import IAccountDirectory, IAccounts, IDummyCheck, INamesOnly
from popserv.testing.talk import Talk
from tests.accounts.context import Context
from tests.accounts.identity_provider import (
    AUDIENCE,
    OPENID,
    RFC_8414,
    IdentityProvider,
    by_hand,
    encoded,
    key,
    public,
)

FRED = b"fred@example.org"
OPAQUE = b"opaque-token"


@attrs.frozen
class Outcome:
    """What became of a token, and what the client was told of it."""

    result: object
    said: list[dict[str, str]]


class OAuthCase(TestCase):
    def setUp(self):
        self.provider = IdentityProvider()
        self.addCleanup(self.stop)
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "secret").write_text("s3cret\n")
        self.said = []
        globalLogPublisher.addObserver(self.said.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.said.append)

    async def stop(self):
        await self.provider.stop()

    def options(self, **options):
        return Options(**{"audience": (AUDIENCE,), "scope": "mail", "answer_seconds": 1.0, **options})

    def made(self, argument=None, **options):
        argument = self.provider.issuer if argument is None else argument
        return plugin.build(argument, self.options(**options), Context(self.folder, reactor=reactor))

    def asking(self, **options):
        """One that may ask the provider of tokens."""
        return self.made(**{"client_id": "popserv", "client_secret_file": "secret", **options})

    async def outcome(self, checker, token, respond=lambda _challenge: b"\1", name=b""):
        talk = Talk(b"", respond)
        credentials = BearerToken(name, token, talk, authorization=name, address="192.0.2.1").prepared("fold")
        try:
            result = await checker.requestAvatarId(credentials)
        except (UnauthorizedLogin, PopError) as error:
            result = type(error)
        return Outcome(result, [json.loads(octets) for octets in talk.challenges])

    async def accepted(self, checker, token):
        # OA-010
        assert await self.outcome(checker, token) == Outcome(FRED, [])

    async def refused(self, checker, token, why, status="invalid_token"):
        before = len(self.reasons())
        outcome = await self.outcome(checker, token)
        assert outcome.result is CredentialsRefused
        where = self.provider.issuer + OPENID
        assert outcome.said == [{"status": status, "scope": "mail", "openid-configuration": where}]
        assert self.reasons()[before:] == [why]

    async def unknown(self, checker, token):
        assert await self.outcome(checker, token) == Outcome(UnknownAccount, [])

    def reasons(self):
        return [event["why"] for event in self.said if "token refused" in event.get("log_format", "")]

    def logged(self):
        return [event["log_format"] for event in self.said if event.get("name", "").startswith("oauth2: ")]


class JwtTests(OAuthCase):
    async def test_OA_010_a_good_token_is_accepted_without_another_word(self):
        checker = self.made()
        assert verifyObject(ICredentialsChecker, checker)
        assert verifyObject(IDummyCheck, checker)
        assert verifyObject(IAccounts, plugin)
        await self.accepted(checker, self.provider.token())
        await self.accepted(checker, self.provider.token())
        assert self.provider.asked == [OPENID, "/jwks"]

    async def test_OA_018_every_kind_of_key(self):
        self.provider.keys = [key("RSA"), key("EC", "e"), key("OKP", "o")]
        checker = self.made(algorithms=ALGORITHMS)
        for algorithm, signer in (("RS256", 0), ("PS384", 0), ("ES256", 1), ("EdDSA", 2), ("Ed25519", 2)):
            await self.accepted(checker, self.provider.token(self.provider.keys[signer], algorithm))
        # A key of another kind than the algorithm asks for.
        await self.refused(checker, self.provider.token(key("EC", "first"), "ES256"), "key")

    async def test_OA_018_wrong_claims(self):
        checker = self.made()
        now = time.time()
        for why, changes in {
            "audience": {"aud": "https://calendar.example.org"},
            "expired": {"exp": now - 31},
            "not yet valid": {"nbf": now + 60},
            "no expiry": {"exp": None},
            "no user name": {"email": None},
            "type": {"typ": "ID"},
            "address not verified": {"email_verified": False},
        }.items():
            await self.refused(checker, self.provider.token(**changes), why)
        await self.refused(checker, self.provider.token(scope="openid"), "scope", "insufficient_scope")
        await self.refused(checker, self.provider.token(header={"typ": "JWT"}), "type")
        assert (
            await self.outcome(self.made(token_types=("jwt",)), self.provider.token(header={"typ": None}))
        ).said == []

    async def test_OA_018_without_a_signature_or_with_one_that_anybody_can_make(self):
        checker = self.made()
        claims = self.provider.claims()
        signer = self.provider.keys[0]
        for algorithm in ("none", "None", "nOnE", "HS256", "RS512", "", None, ["RS256"], {}):
            header = {"alg": algorithm, "typ": "at+jwt", "kid": signer.kid}
            await self.refused(checker, by_hand(header, claims), "algorithm")
        for secret in (signer.as_pem(private=False), json.dumps(public(signer)["keys"][0]).encode(), b"first"):
            header = {"alg": "HS256", "typ": "at+jwt", "kid": signer.kid}
            await self.refused(checker, by_hand(header, claims, secret), "algorithm")
            await self.refused(checker, by_hand({**header, "alg": "RS256"}, claims, secret), "signature")

    async def test_OA_018_a_key_that_the_token_brings_along_is_not_looked_at(self):
        mallory = key("RSA", "mallory")
        own = public(mallory)["keys"][0]
        for header in ({"jwk": own}, {"jku": "http://127.0.0.1:1/"}, {"x5u": "http://127.0.0.1:1/"}):
            token = self.provider.token(mallory, header={**header, "kid": self.provider.keys[0].kid})
            await self.refused(self.made(), token, "signature")

    async def test_OA_018_a_token_that_was_tampered_with(self):
        checker = self.made()
        good = self.provider.token()
        header, claims, signature = good.split(b".")
        other = encoded(self.provider.claims(email="joe@example.org"))
        for token in (
            b".".join([header, other, signature]),
            b".".join([header, claims, b""]),
            b".".join([header, claims, signature[:-8]]),
            b".".join([header, claims, signature[::-1]]),
            b".".join([encoded({"alg": "RS256", "typ": "at+jwt", "kid": "first", "x": 1}), claims, signature]),
            b".".join([header, claims, signature * 200]),
            good + b"=",
        ):
            await self.refused(checker, token, "signature")
        await self.accepted(checker, good)

    async def test_what_is_no_token_of_anybody(self):
        checker = self.made()
        good = self.provider.token()
        header, claims, signature = good.split(b".")
        for token in (
            b"x",
            b"...",
            b"x" * 65_000,
            b"." * 65_000,
            good[: len(header) + 30],
            b".".join([header, claims]),
            b".".join([header, b"A", signature]),
            b".".join([b"A" * 40_000, claims, signature]),
            b".".join([header, encoded(b"[" * 40_000), signature]),
            b"/".join([header, claims, signature]),
        ):
            await self.unknown(checker, token)
        assert self.provider.asked == []

    async def test_a_token_may_be_as_long_as_the_line(self):
        checker = self.made()
        token = self.provider.token(groups=["g" * 90] * 500)
        assert 60_000 < len(token) < 65_536
        await self.accepted(checker, token)

    async def test_a_signed_text_that_is_no_object(self):
        header = {"alg": "RS256", "typ": "at+jwt", "kid": "first"}
        for octets in (b"[]", b"3", b'"x"', b"null", b"", b"\xff"):
            await self.unknown(self.made(), by_hand(header, octets))

    async def test_OA_011_the_token_says_who_it_is_and_nobody_else(self):
        chain = CheckerChain([self.made()])
        for name in (b"", FRED, b"FRED@example.ORG"):
            assert (await self.outcome(chain, self.provider.token(), name=name)).result == FRED
        for name in (b"joe@example.org", b"fred"):
            assert (await self.outcome(chain, self.provider.token(), name=name)).result is CredentialsRefused
        masters = CheckerChain([self.made()], lambda master, _other: master == FRED)
        outcome = await self.outcome(masters, self.provider.token(), name=b"joe@example.org")
        assert outcome.result == b"joe@example.org"

    async def test_OA_011_which_claim_is_the_name(self):
        for claim, name in (("sub", b"17"), ("preferred_username", b"freddy")):
            outcome = await self.outcome(
                self.made(username=claim), self.provider.token(preferred_username="Freddy", email_verified=False)
            )
            assert outcome.result == name

    async def test_OA_008_an_empty_token_asks_where_to_get_one(self):
        chain = CheckerChain([self.made()])
        outcome = await self.outcome(chain, b"")
        assert outcome.result is UnauthorizedLogin
        (said,) = outcome.said
        assert said == {
            "status": "invalid_token",
            "scope": "mail",
            "openid-configuration": self.provider.issuer + OPENID,
        }

    async def test_OA_009_whatever_the_client_says_to_a_refusal_it_stays_one(self):
        def cancels(_challenge):
            raise Cancelled

        def garbles(_challenge):
            raise MalformedResponse

        for respond in (cancels, garbles, lambda _challenge: b"", lambda _challenge: b"USER fred"):
            outcome = await self.outcome(self.made(), self.provider.token(aud="x"), respond)
            assert outcome.result is CredentialsRefused

    async def test_SEC_015_no_token_is_logged(self):
        checker = self.asking()
        tokens = [self.provider.token(aud="x"), by_hand({"alg": "none"}, self.provider.claims()), OPAQUE]
        for token in tokens:
            await self.outcome(checker, token)
        logged = repr(self.said)
        assert not any(token.decode() in logged for token in tokens)
        assert "s3cret" not in logged


class SeveralTests(OAuthCase):
    def setUp(self):
        super().setUp()
        self.other = IdentityProvider()
        self.addCleanup(self.stop_other)

    async def stop_other(self):
        await self.other.stop()

    async def test_a_token_of_another_issuer_is_left_to_the_next(self):
        chain = CheckerChain([self.made(), self.made(self.other.issuer)])
        self.other.keys = [key("RSA", "other")]
        assert await self.outcome(chain, self.provider.token()) == Outcome(FRED, [])
        assert await self.outcome(chain, self.other.token()) == Outcome(FRED, [])
        # Signed by one, in the name of the other.
        for issuer, signer in ((self.provider.issuer, self.other.keys[0]), (self.other.issuer, self.provider.keys[0])):
            outcome = await self.outcome(chain, self.provider.token(signer, iss=issuer))
            assert outcome.result is CredentialsRefused
            assert len(outcome.said) == 1

    async def test_OA_008_a_token_that_nobody_knows_is_refused_once(self):
        chain = CheckerChain([self.made(), self.made(self.other.issuer)])
        for token in (OPAQUE, self.provider.token(iss="https://mallory.example")):
            outcome = await self.outcome(chain, token)
            assert outcome.result is UnauthorizedLogin
            assert [said["status"] for said in outcome.said] == ["invalid_token"]

    async def test_the_clients_secret_is_for_one_provider(self):
        options = {"issuer": self.provider.issuer, "introspection": self.provider.issuer + "/introspection"}
        checker = self.asking(argument=self.other.issuer, **options)
        await self.unknown(checker, OPAQUE)
        assert self.provider.asked == self.other.asked == []
        for argument in ("", self.provider.issuer):
            self.provider.known[OPAQUE.decode()] = self.provider.claims()
            await self.accepted(self.asking(argument=argument, **options), OPAQUE)

    async def test_while_one_is_away_the_tokens_of_the_other_are_good(self):
        chain = CheckerChain([self.made(), self.made(self.other.issuer)])
        await self.provider.stop()
        assert (await self.outcome(chain, self.provider.token())).result is SystemTrouble
        assert (await self.outcome(chain, self.other.token())).result == FRED
        self.provider.start()
        assert (await self.outcome(chain, self.provider.token())).result == FRED


class KeyTests(OAuthCase):
    async def test_OA_018_keys_change(self):
        self.patch(kept, "RENEW_SECONDS", 0.0)
        checker = self.made()
        old = self.provider.token()
        await self.accepted(checker, old)
        self.provider.keys = [key("RSA", "second"), key("RSA", "first")]
        await self.accepted(checker, self.provider.token())
        await self.accepted(checker, old)
        self.provider.keys = [key("RSA", "second")]
        await self.refused(checker, self.provider.token(key("RSA", "third")), "key")
        # The first one was taken back, which was noticed with the third.
        await self.refused(checker, old, "key")

    async def test_unknown_keys_do_not_make_us_ask_and_ask(self):
        checker = self.made()
        tokens = [self.provider.token(header={"kid": f"k{number}"}) for number in range(20)]
        for token in tokens:
            await self.refused(checker, token, "key")
        assert self.provider.asked == [OPENID, "/jwks", "/jwks"]

    async def test_many_at_once_ask_once(self):
        checker = self.made()
        outcomes = await gatherResults(
            [ensureDeferred(self.outcome(checker, self.provider.token())) for _ in range(30)]
        )
        assert outcomes == [Outcome(FRED, [])] * 30
        assert self.provider.asked == [OPENID, "/jwks"]

    async def test_OA_018_a_token_need_not_name_the_only_key(self):
        checker = self.made()
        token = self.provider.token(header={"kid": None})
        await self.accepted(checker, token)
        self.provider.keys = [key(), key("RSA", "second")]
        await self.refused(self.made(), token, "key")

    async def test_OA_018_what_of_a_key_set_is_no_key_for_signatures(self):
        good = public(key())["keys"][0]
        for other in (
            None,
            {},
            {"kty": "oct", "k": "AAAA", "kid": "first"},
            {"kty": "RSA", "kid": "first"},
            {"kty": "RSA", "n": "AQ", "e": "AQAB", "kid": "first"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "first"},
            {"kty": "AKP", "kid": "first"},
            {**good, "use": "enc"},
            {**good, "alg": "PS512"},
            {**good, "kid": 3},
            {**public(key("RSA", "x"))["keys"][0], "n": "!"},
        ):
            self.provider.answers["/jwks"] = lambda _request, other=other: {"keys": [other, good]}
            await self.accepted(self.made(), self.provider.token())
        self.provider.answers["/jwks"] = lambda _request: {"keys": [None, {**good, "use": "enc"}]}
        assert (await self.outcome(self.made(), self.provider.token())).result is SystemBroken

    async def test_OA_016_old_keys_are_good_while_the_provider_is_away(self):
        self.patch(kept, "RENEW_SECONDS", 0.0)
        context = Context(self.folder, reactor=reactor)
        checker = plugin.build(self.provider.issuer, self.options(keys_seconds=10), context)
        await self.accepted(checker, self.provider.token())
        await self.provider.stop()
        self.patch(checker._provider._keys, "_seconds", 0.0)
        await self.accepted(checker, self.provider.token())
        # A key that is not known might be a new one: nobody can say.
        token = self.provider.token(key("RSA", "second"))
        assert await self.outcome(checker, token) == Outcome(SystemTrouble, [])
        self.provider.keys.append(key("RSA", "second"))
        self.provider.start()
        await self.accepted(checker, token)


class AwayTests(OAuthCase):
    async def test_OA_016_a_provider_that_is_down_is_trouble_and_comes_back_without_a_restart(self):
        checker = self.asking()
        self.provider.known[OPAQUE.decode()] = self.provider.claims()
        await self.provider.stop()
        for token in (self.provider.token(), OPAQUE):
            for _ in range(3):
                assert await self.outcome(checker, token) == Outcome(SystemTrouble, [])
        assert 1 <= len(self.logged()) <= 3
        self.provider.start()
        for token in (self.provider.token(), OPAQUE):
            await self.accepted(checker, token)

    async def test_OA_016_one_that_is_silent_is_trouble_in_time(self):
        for path in (OPENID, "/jwks", "/introspection"):
            answer = self.provider.answers[path]
            self.provider.answers[path] = lambda _request: NOT_DONE_YET
            checker = self.asking(answer_seconds=0.2)
            token = OPAQUE if path == "/introspection" else self.provider.token()
            begun = time.monotonic()
            assert (await self.outcome(checker, token)).result is SystemTrouble
            assert time.monotonic() - begun < 2
            self.provider.answers[path] = answer

    async def test_OA_017_the_issuer_in_the_metadata_has_to_be_the_one_that_was_asked_for(self):
        for issuer in (self.provider.issuer + "/", "https://mallory.example", None, 3):
            self.provider.answers[OPENID] = lambda _request, issuer=issuer: self.provider.metadata(issuer=issuer)
            assert (await self.outcome(self.made(), self.provider.token())).result is SystemBroken
        self.provider.answers[OPENID] = lambda _request: []
        assert (await self.outcome(self.made(), self.provider.token())).result is SystemBroken

    async def test_OA_017_metadata_at_either_address(self):
        document = self.provider.answers.pop(OPENID)
        self.provider.answers[RFC_8414] = document
        await self.accepted(self.made(), self.provider.token())
        assert self.provider.asked == [OPENID, RFC_8414, "/jwks"]
        # With a path: behind it, and between it and the host.
        self.provider.asked.clear()
        del self.provider.answers[RFC_8414]
        self.provider.issuer += "/tenant"
        self.provider.answers["/tenant/jwks"] = self.provider.answers["/jwks"]
        self.provider.answers[RFC_8414 + "/tenant"] = lambda _request: self.provider.metadata()
        await self.accepted(self.made(), self.provider.token())
        assert self.provider.asked == ["/tenant" + OPENID, RFC_8414 + "/tenant", "/tenant/jwks"]

    async def test_OA_017_addresses_that_are_configured_go_before(self):
        self.provider.answers["/elsewhere"] = lambda _request: self.provider.metadata()
        await self.accepted(self.made(metadata=self.provider.issuer + "/elsewhere"), self.provider.token())
        assert self.provider.asked == ["/elsewhere", "/jwks"]
        self.provider.asked.clear()
        self.provider.known[OPAQUE.decode()] = self.provider.claims()
        checker = self.asking(
            jwks=self.provider.issuer + "/jwks", introspection=self.provider.issuer + "/introspection"
        )
        await self.accepted(checker, self.provider.token())
        await self.accepted(checker, OPAQUE)
        assert self.provider.asked == ["/jwks", "/introspection"]

    async def test_addresses_in_the_metadata_may_not_lead_anywhere(self):
        for address in ("http://192.0.2.1/jwks", "file:///etc/passwd", 3, ["x"], {}, ""):
            self.provider.answers[OPENID] = lambda _request, address=address: self.provider.metadata(jwks_uri=address)
            assert (await self.outcome(self.made(), self.provider.token())).result is SystemBroken


class IntrospectionTests(OAuthCase):
    async def test_OA_012_the_provider_is_asked_of_what_only_it_can_read(self):
        self.provider.known[OPAQUE.decode()] = self.provider.claims()
        checker = self.asking()
        await self.accepted(checker, OPAQUE)
        assert self.provider.forms[-1] == {"token": OPAQUE.decode(), "token_type_hint": "access_token"}
        assert self.provider.headers[-1][b"authorization"] == b"Basic cG9wc2VydjpzM2NyZXQ="

    async def test_OA_013_only_true_is_active(self):
        claims = self.provider.claims()
        for active, result in (
            (False, UnknownAccount),
            ("true", SystemTrouble),
            (1, SystemTrouble),
            (None, SystemTrouble),
        ):
            self.provider.answers["/introspection"] = lambda _request, active=active: {**claims, "active": active}
            assert await self.outcome(self.asking(), OPAQUE) == Outcome(result, [])
        self.provider.answers["/introspection"] = lambda _request: [True]
        assert await self.outcome(self.asking(), OPAQUE) == Outcome(SystemTrouble, [])

    async def test_OA_014_what_the_provider_says_is_looked_at(self):
        now = time.time()
        for why, changes in {
            "audience": {"aud": "https://calendar.example.org"},
            "issuer": {"iss": "https://mallory.example"},
            "expired": {"exp": now - 31},
            "not yet valid": {"nbf": now + 60},
            "type": {"token_type": "DPoP"},
        }.items():
            self.provider.known[OPAQUE.decode()] = self.provider.claims(**changes)
            await self.refused(self.asking(), OPAQUE, why)
        self.provider.known[OPAQUE.decode()] = self.provider.claims(scope="openid")
        await self.refused(self.asking(), OPAQUE, "scope", "insufficient_scope")

    async def test_OA_015_answers_are_remembered_for_a_while(self):
        self.provider.known[OPAQUE.decode()] = self.provider.claims()
        checker = self.asking(introspection=self.provider.issuer + "/introspection")
        for _ in range(3):
            await self.accepted(checker, OPAQUE)
            await self.unknown(checker, b"unknown")
        assert self.provider.asked == ["/introspection"] * 2
        forgetting = self.asking(introspection=self.provider.issuer + "/introspection", remember_seconds=0)
        for _ in range(3):
            await self.accepted(forgetting, OPAQUE)
        assert len(self.provider.asked) == 5

    async def test_OA_015_what_is_remembered_expires_with_the_token(self):
        self.provider.known[OPAQUE.decode()] = self.provider.claims(exp=time.time() + 0.3)
        checker = self.asking(skew_seconds=0)
        await self.accepted(checker, OPAQUE)
        await deferToThread(time.sleep, 0.4)
        await self.refused(checker, OPAQUE, "expired")

    async def test_which_tokens_are_shown_to_the_provider(self):
        token = self.provider.token()
        self.provider.known[OPAQUE.decode()] = self.provider.claims()
        await self.accepted(self.asking(), token)
        assert "/introspection" not in self.provider.asked
        await self.unknown(self.asking(introspect="never"), OPAQUE)
        await self.unknown(self.made(), OPAQUE)
        assert "/introspection" not in self.provider.asked
        # Taken back, though its signature is good.
        strict = self.asking(introspect="always")
        await self.unknown(strict, token)
        self.provider.known[token.decode()] = self.provider.claims()
        await self.accepted(self.asking(introspect="always"), token)
        await self.unknown(strict, self.provider.token(iss="https://mallory.example"))
        assert self.provider.asked.count("/introspection") == 2

    async def test_nobody_makes_us_show_the_provider_what_is_too_long_for_it(self):
        checker = self.asking()
        await self.unknown(checker, b"x" * (LONGEST_TOKEN + 1))
        assert self.provider.asked == []
        await self.unknown(checker, b"x" * LONGEST_TOKEN)
        assert self.provider.asked == [OPENID, "/introspection"]

    async def test_an_opaque_token_of_64_KiB_is_good(self):
        token = b"x" * (64 * 1024)
        self.provider.known[token.decode()] = self.provider.claims()
        await self.accepted(self.asking(), token)

    async def test_a_provider_that_takes_no_token_of_this_length_is_not_down(self):
        def introspect(request):
            if len(self.provider.forms[-1]["token"]) > 16 * 1024:
                request.setResponseCode(next(statuses))
                return {}
            return self.provider.introspect(request)

        statuses = cycle((400, 413))
        self.provider.answers["/introspection"] = introspect
        self.provider.known[OPAQUE.decode()] = self.provider.claims()
        checker = self.asking()
        for number in range(8):
            await self.unknown(checker, b"x" * (20_000 + number))
        await self.accepted(checker, OPAQUE)

    async def test_a_provider_without_introspection_knows_no_opaque_token(self):
        self.provider.answers[OPENID] = lambda _request: self.provider.metadata(introspection_endpoint="")
        await self.unknown(self.asking(), OPAQUE)

    async def test_OA_016_a_secret_that_is_not_taken_or_not_there(self):
        self.provider.answers["/introspection"] = lambda request: request.setResponseCode(401) or b"{}"
        assert (await self.outcome(self.asking(), OPAQUE)).result is SystemTrouble
        assert (await self.outcome(self.asking(client_secret_file="none"), OPAQUE)).result is SystemBroken


class PluginTests(OAuthCase):
    async def problems(self, argument=None, **options):
        argument = self.provider.issuer if argument is None else argument
        return await deferToThread(plugin.check, argument, self.options(**options), Context(self.folder))

    async def test_check_has_nothing_to_say_of_a_good_one(self):
        assert await self.problems() == []
        assert await self.problems("", issuer=self.provider.issuer) == []
        assert await self.problems(client_id="x", client_secret_file="secret") == []

    async def test_check_tells_what_is_wrong_with_the_provider(self):
        self.provider.answers[OPENID] = lambda _request: self.provider.metadata(issuer="https://id.example.org")
        (wrong,) = await self.problems()
        assert "the issuer in it is not " + self.provider.issuer in wrong
        self.provider.answers[OPENID] = lambda _request: self.provider.metadata(introspection_endpoint="")
        (wrong,) = await self.problems(client_id="x", client_secret_file="secret")
        assert "no introspection_endpoint" in wrong
        (wrong,) = await self.problems(client_id="x", client_secret_file="none")
        assert "none: No such file" in wrong
        self.provider.answers[OPENID] = lambda _request: self.provider.metadata(jwks_uri="")
        (wrong,) = await self.problems()
        assert "no jwks_uri" in wrong
        del self.provider.answers[OPENID]
        (wrong,) = await self.problems()
        assert f"{self.provider.issuer}{RFC_8414}: there is nothing" in wrong
        await self.provider.stop()
        (wrong,) = await self.problems()
        assert "Connection refused" in wrong
        self.provider.start()

    async def test_what_cannot_be_is_told_by_check_and_not_built(self):
        for argument, options, expected in (
            ("", {}, "needs an issuer"),
            (None, {"audience": ()}, "audience: must be set"),
            ("http://id.example.org", {}, "issuer: .* must be https"),
            ("https://id.example.org?x", {}, "must not have a query"),
            (None, {"jwks": "http://id.example.org"}, "jwks: .* must be https"),
            (None, {"client_id": "x"}, "goes with client_secret_file"),
            (None, {"introspect": "always"}, "client_id: is needed"),
            (None, {"ca_file": "secret"}, "no certificate"),
        ):
            (wrong,) = await self.problems(argument, **options)
            self.assertRegex(wrong, expected)
            with self.assertRaisesRegex(ValueError, expected):
                self.made(argument, **options)
        (wrong,) = await self.problems(ca_file="none")
        assert "No such file" in wrong

    def test_a_missing_library_is_named_with_what_brings_it(self):
        self.patch(oauth2, "LIBRARIES", ("joserfc", "not_installed_here"))
        with self.assertRaisesRegex(ValueError, r"needs not_installed_here, .* popserv\[oauth\]"):
            self.made()

    def test_whether_accounts_have_to_be_known_elsewhere(self):
        assert INamesOnly.providedBy(self.made())
        assert not INamesOnly.providedBy(self.made(unknown_accounts=True))
        assert not IAccountDirectory.providedBy(self.made())


@pytest.mark.parametrize(
    "options",
    [
        {"algorithms": ("HS256",)},
        {"algorithms": ("RS256", "none")},
        {"algorithms": ()},
        {"remember_seconds": 61},
        {"answer_seconds": 0},
        {"skew_seconds": -1},
        {"keys_seconds": 0},
    ],
)
def test_bounds_of_the_options(options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Options(**options)
