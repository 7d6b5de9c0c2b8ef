"""Asking for JSON, on a reactor and without one, from a server that does not behave."""

from __future__ import annotations

import ssl
from base64 import b64encode
from pathlib import Path
from time import monotonic

import pytest
import trustme
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.server import NOT_DONE_YET

from popserv.auth.json_treq import MOST_QUESTIONS, ReactorWeb
from popserv.auth.json_web import (
    MOST_OCTETS,
    BlockingWeb,
    NotThere,
    Question,
    Rejected,
    check_address,
    read_authorities,
)
from popserv.auth.remote import Unavailable
from popserv.errors import Busy
from tests.accounts.identity_provider import IdentityProvider

SECONDS = 0.5
AUTHORITY, STRANGER = trustme.CA(), trustme.CA()


def tls_options():
    """For `listenSSL`."""
    issued = AUTHORITY.issue_cert("127.0.0.1")
    return PrivateCertificate.loadPEM(issued.private_key_and_cert_chain_pem.bytes()).options()


class WebCase(TestCase):
    tls = None

    def setUp(self):
        self.server = IdentityProvider(self.tls)
        self.addCleanup(self.stop)

    async def stop(self):
        await self.server.stop()

    def question(self, path, **more):
        return Question(self.server.issuer + path, **more)

    async def both(self, question, seconds=SECONDS, authorities=None):
        """What comes of it on a reactor; without one it must be the same."""
        outcomes = []
        for make in (ReactorWeb, BlockingWeb):
            try:
                outcomes.append(await self.ask(make, question, seconds, authorities))
            except Unavailable as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    async def ask(self, make, question, seconds, authorities):
        if make is ReactorWeb:
            return await ReactorWeb(reactor, seconds, authorities).ask(question)
        # The server is in this process, so who blocks is in another thread.
        return await deferToThread(lambda: _result(BlockingWeb(seconds, authorities).ask(question)))


def _result(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for a reactor")


class WebTests(WebCase):
    async def test_an_answer(self):
        self.server.answers["/x"] = lambda _request: {"a": ["ü"]}
        assert await self.both(self.question("/x?y=z")) == {"a": ["ü"]}

    async def test_OA_012_a_form_with_the_clients_secret(self):
        self.server.answers["/x"] = lambda _request: {}
        question = self.question("/x", form={"token": "a+/=b", "more": "ü"}, client=("id:1", "s ü"))
        assert await self.both(question) == {}
        assert self.server.forms == [{"token": "a+/=b", "more": "ü"}] * 2
        for headers in self.server.headers:
            assert headers[b"authorization"] == b"Basic " + b64encode(b"id%3A1:s+%C3%BC")
            assert headers[b"content-type"] == b"application/x-www-form-urlencoded"
        assert "s ü" not in repr(question) and "a+/" not in repr(question)

    async def test_OA_016_no_redirect_is_followed(self):
        def away(request):
            request.redirect(b"/there")
            return b"{}"

        self.server.answers.update({"/x": away, "/there": lambda _request: {}})
        assert await self.both(self.question("/x")) is Unavailable
        assert "/there" not in self.server.asked

    async def test_OA_016_statuses(self):
        def status(code):
            return lambda request: request.setResponseCode(code) or b"{}"

        for code in (201, 204, 401, 403, 500, 503):
            self.server.answers["/x"] = status(code)
            assert await self.both(self.question("/x")) is Unavailable
        for code in (400, 413):
            self.server.answers["/x"] = status(code)
            assert await self.both(self.question("/x")) is Rejected
        assert await self.both(self.question("/nothing")) is NotThere

    async def test_what_is_no_json(self):
        for octets in (b"", b"<html>", b"{", b"\xff", b"[" * 100_000):
            self.server.answers["/x"] = lambda _request, octets=octets: octets
            assert await self.both(self.question("/x")) is Unavailable

    async def test_OA_016_an_answer_is_not_read_to_its_end_if_it_is_too_long(self):
        self.server.answers["/x"] = lambda _request: b'"' + b"x" * (MOST_OCTETS - 2) + b'"'
        assert len(await self.both(self.question("/x"), 5)) == MOST_OCTETS - 2
        self.server.answers["/x"] = lambda _request: b'"' + b"x" * MOST_OCTETS + b'"'
        assert await self.both(self.question("/x"), 5) is Unavailable

    async def test_OA_016_an_answer_that_does_not_end(self):
        def endless(request):
            request.write(b'"')
            return NOT_DONE_YET

        self.server.answers["/x"] = endless
        begun = monotonic()
        assert await self.both(self.question("/x")) is Unavailable
        assert monotonic() - begun < 4 * SECONDS

    async def test_OA_016_one_that_is_silent_or_not_there(self):
        self.server.answers["/x"] = lambda _request: NOT_DONE_YET
        begun = monotonic()
        assert await self.both(self.question("/x")) is Unavailable
        assert monotonic() - begun < 4 * SECONDS
        await self.server.stop()
        assert await self.both(self.question("/x")) is Unavailable
        assert await self.both(Question("http://localhost:1/")) is Unavailable
        self.server.start()

    async def test_there_is_no_end_of_questions(self):
        waiting = []
        self.server.answers["/x"] = lambda request: waiting.append(request) or NOT_DONE_YET
        web = ReactorWeb(reactor, 5)
        asked = [ensureDeferred(web.ask(self.question("/x"))) for _ in range(MOST_QUESTIONS)]
        with self.assertRaises(Busy):
            await web.ask(self.question("/x"))
        while len(waiting) < MOST_QUESTIONS:
            await deferLater(reactor, 0.005)
        for request in waiting:
            request.write(b"{}")
            request.finish()
        assert await gatherResults(asked) == [{}] * MOST_QUESTIONS
        self.server.answers["/x"] = lambda _request: {}
        assert await web.ask(self.question("/x")) == {}


class TlsTests(WebCase):
    tls = tls_options()

    async def test_who_vouches_for_the_server(self):
        self.server.answers["/x"] = lambda _request: {}
        own, other = AUTHORITY.cert_pem.bytes(), STRANGER.cert_pem.bytes()
        assert await self.both(self.question("/x"), authorities=own) == {}
        assert await self.both(self.question("/x"), authorities=other + own) == {}
        assert await self.both(self.question("/x"), authorities=other) is Unavailable
        # Those that this host trusts.
        assert await self.both(self.question("/x")) is Unavailable
        # The certificate is for 127.0.0.1 only.
        elsewhere = Question(f"https://localhost:{self.server.number}/x")
        assert await self.both(elsewhere, authorities=own) is Unavailable
        assert self.server.asked == ["/x"] * 4

    async def test_an_answer_that_does_not_end(self):
        self.server.answers["/x"] = lambda request: request.write(b'"') or NOT_DONE_YET
        assert await self.both(self.question("/x"), authorities=AUTHORITY.cert_pem.bytes()) is Unavailable


@pytest.mark.parametrize(
    "address", ["https://a", "https://a:8443/b?c=d", "http://127.0.0.1:80/", "http://localhost", "http://[::1]:80/x"]
)
def test_addresses_that_may_be_asked(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "https://",
        "http://a",
        "http://127.0.0.1.example.org/",
        "http://localhost.example.org",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://u@a",
        "https://u:p@a",
        "https://a/#b",
        "https://a/ b",
        "https://a/\r\nx: y",
        "https://ä.example.org",
        "https://[::1",
    ],
)
def test_addresses_that_may_not(address: str) -> None:
    with pytest.raises(ValueError):
        check_address(address)


def test_authorities_are_read_as_they_are_and_have_to_be_there(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(AUTHORITY.cert_pem.bytes() + STRANGER.cert_pem.bytes())
    assert read_authorities(file) == file.read_bytes()
    assert ssl.create_default_context(cadata=read_authorities(file).decode()).get_ca_certs()
    for wrong in (b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        file.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"ca\.pem"):
            read_authorities(file)
    with pytest.raises(OSError):
        read_authorities(tmp_path / "none")
